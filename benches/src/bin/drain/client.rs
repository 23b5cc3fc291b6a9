//! A client that connects again whenever its connection ends, as the official one does.

use crate::talk::{Heard, NUMBERS, Talk, answer_ping};
use roomcast_benches::wire::{client_frame, take_frame, upgrade_request};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections of one client that fail before it gives up.
const ATTEMPTS: u32 = 20;

/// What the clients have done.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connected: AtomicUsize,
    pub(crate) failed: AtomicUsize,
    random: AtomicU64,
    /// Set if there are broadcasts.
    pub(crate) talk: Option<Arc<Talk>>,
}

impl Seen {
    pub(crate) fn new(talk: Option<Arc<Talk>>) -> Self {
        Self { talk, ..Self::default() }
    }

    /// From 0 to 1.
    fn random(&self) -> f64 {
        // The finaliser of SplitMix64, on a counter.
        let mut bits = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Connects, and connects again whenever its connection ends.
pub(crate) async fn client(
    address: SocketAddr,
    seen: Arc<Seen>,
    reconnected: Sender<Instant>,
    connecting: Arc<tokio::sync::Semaphore>,
) {
    let (mut is_first, mut attempt) = (true, 0);
    loop {
        let permit = if is_first { connecting.clone().acquire_owned().await.ok() } else { None };
        let mut heard = Heard::default();
        match enter(address, &seen, &mut heard).await {
            Ok(stream) => {
                drop(permit);
                seen.connected.fetch_add(1, Ordering::Relaxed);
                if !is_first {
                    let _ = reconnected.send(Instant::now());
                }
                (is_first, attempt) = (false, 0);
                stay(stream, &seen, &mut heard).await;
                seen.connected.fetch_sub(1, Ordering::Relaxed);
            }
            Err(_) if attempt == ATTEMPTS => {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => {}
        }
        // As the client's defaults: 1 s, doubled with each attempt up to 5 s, and half of it more or less by chance.
        let delay = (1.0_f64 * f64::from(1_u32 << attempt.min(3))).min(5.0);
        attempt += 1;
        tokio::time::sleep(Duration::from_secs_f64(delay * (0.5 + seen.random()))).await;
    }
}

/// Connects, and joins the room if there are broadcasts.
async fn enter(address: SocketAddr, seen: &Seen, heard: &mut Heard) -> std::io::Result<Stream> {
    let mut stream = connect(address).await?;
    if let Some(talk) = &seen.talk {
        ask(&mut stream, &format!("[\"join\",\"{NUMBERS}\"]"), |frame| talk.hear(heard, frame)).await?;
    }
    Ok(stream)
}

/// Answers pings until the connection ends.
async fn stay(mut stream: Stream, seen: &Seen, heard: &mut Heard) {
    while let Ok(frame) = stream.frame().await {
        // A close frame has no text here.
        if frame.is_empty() || answer_ping(&mut stream, &frame).await.is_err() {
            break;
        }
        if let Some(talk) = &seen.talk {
            talk.hear(heard, &frame);
        }
    }
    if let Some(talk) = &seen.talk {
        talk.end(heard);
    }
}

pub(crate) struct Stream {
    pub(crate) stream: TcpStream,
    bytes: Vec<u8>,
}

impl Stream {
    async fn read(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 1_024];
        match self.stream.read(&mut chunk).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.bytes.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(frame) = take_frame(&mut self.bytes) {
                return Ok(frame);
            }
            self.read().await?;
        }
    }
}

/// A WebSocket session in namespace `/`.
pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Stream> {
    let mut stream = Stream { stream: TcpStream::connect(address).await?, bytes: Vec::new() };
    stream.stream.write_all(upgrade_request().as_bytes()).await?;
    let end = loop {
        match stream.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => stream.read().await?,
        }
    };
    if !stream.bytes.starts_with(b"HTTP/1.1 101") {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    stream.bytes.drain(..end);
    stream.frame().await?;
    stream.stream.write_all(&client_frame("40")).await?;
    while !stream.frame().await?.starts_with(b"40") {}
    Ok(stream)
}

/// Sends an event and waits for its acknowledgement. Frames before it are passed to `others`.
pub(crate) async fn ask(stream: &mut Stream, event: &str, mut others: impl FnMut(&[u8])) -> std::io::Result<()> {
    stream.stream.write_all(&client_frame(&format!("421{event}"))).await?;
    loop {
        let frame = stream.frame().await?;
        answer_ping(stream, &frame).await?;
        match frame.strip_prefix(b"431") {
            Some(answer) => {
                let answer = String::from_utf8_lossy(answer);
                let is_ok = answer.contains("\"ok\":true");
                return if is_ok { Ok(()) } else { Err(std::io::Error::other(answer.into_owned())) };
            }
            None if frame.is_empty() => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            None => others(&frame),
        }
    }
}
