//! [`Client`]: the small part of NATS' protocol that the broker needs: plain text over TCP, without TLS, logins,
//! headers and JetStream. In your program, use a crate such as `async-nats` instead; this repository builds without a
//! network, so it has no such crate.

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// After this much silence the server is pinged, and after as much again without an answer the connection is given up.
const PING_AFTER: Duration = Duration::from_secs(2);

/// Pause before the second attempt to connect. It doubles with each further attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Bytes of the longest line. A server's INFO names all servers of its cluster.
const MAX_LINE: usize = 65_536;

/// The longest subject: a server ends the connection at a line of more than 4,096 bytes, with command and numbers.
pub const MAX_SUBJECT: usize = 4_000;

/// An event on a connection.
#[derive(Debug)]
pub enum Event<T> {
    /// It was opened.
    Connected(Client<T>),
    /// A message of the subscription with this number.
    Message(u64, Vec<u8>),
    /// The server has processed everything sent before [`Client::flush`], and all its events from before have come.
    Flushed(T),
    /// All events that arrived together have been passed on.
    Together,
    /// It has ended. What waits to be flushed is dropped with the client.
    Disconnected,
}

/// A connection. Its methods return at once, and what they send leaves in order. The bytes that wait have no limit
/// here: the broker has one batch in flight at a time, and subscribes only to the rooms of its server's sockets.
#[derive(Debug)]
pub struct Client<T> {
    /// Most bytes of a payload, as the server has stated.
    pub max_payload: usize,
    sender: Sender<T>,
    writing: AbortHandle,
}

#[derive(Debug)]
struct Sender<T> {
    out: mpsc::UnboundedSender<Vec<u8>>,
    /// What each PING in flight is for. `None` checks whether the server is alive.
    pings: Arc<Mutex<VecDeque<Option<T>>>>,
}

impl<T> Client<T> {
    /// Publishes.
    pub fn publish(&self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.sender.send([head.as_bytes(), payload, b"\r\n"].concat());
    }

    /// Subscribes to a subject, unless it is too long. Returns the number of the subscription, which is unique.
    pub fn subscribe(&self, subject: &str) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if subject.len() > MAX_SUBJECT {
            tracing::error!("a name of {} bytes is too long for a subject: it is not subscribed", subject.len());
        } else {
            self.sender.send(format!("SUB {subject} {number}\r\n").into_bytes());
        }
        number
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, number: u64) {
        self.sender.send(format!("UNSUB {number}\r\n").into_bytes());
    }

    /// Emits [`Event::Flushed`] once the server has processed everything sent before.
    pub fn flush(&self, then: T) {
        self.sender.ping(Some(then));
    }
}

impl<T> Sender<T> {
    fn send(&self, bytes: Vec<u8>) {
        let _ = self.out.send(bytes); // If the writer is gone, the reader reports the end.
    }

    fn ping(&self, then: Option<T>) {
        let mut pings = self.pings.lock();
        pings.push_back(then);
        self.send(b"PING\r\n".to_vec());
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { out: self.out.clone(), pings: self.pings.clone() }
    }
}

impl<T> Drop for Client<T> {
    fn drop(&mut self) {
        self.writing.abort();
        let waiting = std::mem::take(&mut *self.sender.pings.lock());
        drop(waiting);
    }
}

/// Keeps a connection to the server at `address` open for ever, and passes each event to `tell`.
pub async fn run<T>(address: &str, mut tell: impl FnMut(Event<T>)) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut answered = false;
        let ended = one(address, &mut tell, &mut answered).await;
        tell(Event::Disconnected);
        pause = if answered { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
        tracing::warn!(address, error = ?ended.err(), ?pause, "no connection to NATS; trying again after the pause");
        sleep(pause).await;
    }
}

async fn one<T>(address: &str, tell: &mut impl FnMut(Event<T>), answered: &mut bool) -> io::Result<()> {
    let (mut reader, client) = timeout(PING_AFTER, connect(address)).await??;
    let sender = client.sender.clone();
    sender.ping(None);
    tell(Event::Connected(client));
    loop {
        while let Some(line) = parse(&mut reader.buffer)? {
            match line {
                Line::Message(number, payload) => tell(Event::Message(number, payload)),
                Line::Ping => sender.send(b"PONG\r\n".to_vec()),
                Line::Pong => {
                    *answered = true;
                    let then = sender.pings.lock().pop_front();
                    then.flatten().into_iter().for_each(|then| tell(Event::Flushed(then)));
                }
                Line::Other => {}
            }
        }
        tell(Event::Together);
        if let Ok(read) = timeout(PING_AFTER, reader.stream.read_buf(&mut reader.buffer)).await {
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else if sender.pings.lock().is_empty() {
            sender.ping(None);
        } else {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

/// Connects, and sends CONNECT. With `echo: false` the server does not send a connection what it published itself.
async fn connect<T>(address: &str) -> io::Result<(Reader, Client<T>)> {
    #[derive(Deserialize)]
    struct Info {
        max_payload: usize,
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut stream, mut writer) = stream.into_split();
    let mut buffer = BytesMut::new();
    let end = loop {
        if let Some(end) = line_end(&buffer)? {
            break end;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let line = buffer.split_to(end + 2);
    let info = line.strip_prefix(b"INFO ").ok_or_else(|| malformed(&String::from_utf8_lossy(&line)))?;
    let info: Info = serde_json::from_slice(info).map_err(io::Error::other)?;
    let (out, mut waiting) = mpsc::unbounded_channel::<Vec<u8>>();
    let sender = Sender { out, pings: Arc::default() };
    let hello = r#"{"verbose":false,"pedantic":false,"echo":false,"lang":"rust","version":"0","name":"roomcast"}"#;
    sender.send(format!("CONNECT {hello}\r\n").into_bytes());
    let writing = tokio::spawn(async move {
        while let Some(bytes) = waiting.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return; // The reader learns of it too.
            }
        }
    });
    let client = Client { max_payload: info.max_payload, sender, writing: writing.abort_handle() };
    Ok((Reader { stream, buffer }, client))
}

/// A message from the server.
#[derive(Debug, PartialEq)]
enum Line {
    Message(u64, Vec<u8>),
    Ping,
    Pong,
    Other,
}

fn malformed(line: &str) -> io::Error {
    io::Error::other(format!("not NATS: {:?}", line.chars().take(40).collect::<String>()))
}

/// Where the first line ends, if it is complete.
fn line_end(buffer: &[u8]) -> io::Result<Option<usize>> {
    let end = buffer.windows(2).take(MAX_LINE).position(|pair| pair == b"\r\n");
    if end.is_none() && buffer.len() > MAX_LINE {
        return Err(io::Error::other("a line without an end"));
    }
    Ok(end)
}

/// Takes the first line, with its payload, out of the buffer; `None` if it is not complete yet.
fn parse(buffer: &mut BytesMut) -> io::Result<Option<Line>> {
    let Some(end) = line_end(buffer)? else { return Ok(None) };
    let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    let mut words = line.split_ascii_whitespace();
    let parsed = match words.next().unwrap_or_default() {
        "MSG" => {
            // MSG subject number [reply-to] bytes
            let (number, length) = (words.nth(1).and_then(|it| it.parse().ok()), words.last().map(str::parse::<usize>));
            let (Some(number), Some(Ok(length))) = (number, length) else { return Err(malformed(&line)) };
            let Some(rest) = buffer.get(end + 2..) else { return Ok(None) };
            if rest.len() < length.saturating_add(2) {
                return Ok(None);
            }
            buffer.advance(end + 2);
            let payload = buffer.split_to(length).to_vec();
            buffer.advance(2);
            return Ok(Some(Line::Message(number, payload)));
        }
        "PING" => Line::Ping,
        "PONG" => Line::Pong,
        "INFO" | "+OK" => Line::Other,
        "-ERR" => return Err(io::Error::other(line)),
        _ => return Err(malformed(&line)),
    };
    buffer.advance(end + 2);
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> io::Result<Vec<Line>> {
        let (mut buffer, mut events) = (BytesMut::new(), Vec::new());
        for part in parts {
            buffer.extend_from_slice(part);
            while let Some(event) = parse(&mut buffer)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let bytes = b"INFO {}\r\nMSG a.b 7 4\r\n\r\nhi\r\nMSG a 18 reply 0\r\n\r\nPING\r\nPONG\r\n";
        let message = |number, payload: &[u8]| Line::Message(number, payload.to_vec());
        let expected = [Line::Other, message(7, b"\r\nhi"), message(18, b""), Line::Ping, Line::Pong];
        for cut in 0..bytes.len() {
            let (one, two) = bytes.split_at(cut);
            assert_eq!(all(&[one, two]).unwrap(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn input_that_is_not_nats_ends_the_connection() {
        let long = [b"INFO ".to_vec(), vec![b'x'; MAX_LINE]].concat();
        let bad: [&[u8]; 6] =
            [b"HTTP/1.1 200\r\n", b"\r\n", b"MSG a\r\n", b"MSG a b 1\r\n", b"-ERR 'Slow Consumer'\r\n", &long];
        for bytes in bad {
            assert!(all(&[bytes]).is_err(), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(30)]));
        }
    }
}
