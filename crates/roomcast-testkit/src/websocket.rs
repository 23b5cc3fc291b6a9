//! The WebSocket of a client: a task that reads and one that writes, so that neither waits for the other.

use crate::connect_error::ConnectError;
use crate::connection::{Connection, Link, Out};
use crate::disconnection::Disconnection;
use crate::frames::{Frame, Taken, masked, of_packet, take};
use crate::handshake::Opened;
use crate::http::{Accepted, Http};
use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roomcast_protocol::Parser;
use roomcast_protocol::frame::Opcode;
use roomcast_server::Transport;
use roomcast_server::engine::Deflate;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::AbortHandle;

type Stream = TokioIo<Upgraded>;

/// Opens a session over a WebSocket.
pub(crate) async fn open(http: Http, parser: Parser, client: &str) -> Result<Connection, ConnectError> {
    let mut socket = Opening::begin(&http, None, client).await?;
    let first = socket.text(client).await?;
    let Opened { sid, max_payload, .. } = Opened::read(client, &first)?;
    let (out, rest) = mpsc::unbounded_channel();
    let link = Link::new(out, parser, max_payload, Transport::WebSocket);
    let tasks = socket.run(&link, rest);
    Ok(Connection { http, sid, link, tasks: tasks.into() })
}

/// Lets a WebSocket take the place of polling. The steps are those of the official client: the WebSocket proves that it
/// works, polling comes to its end, and the rest goes over the WebSocket.
pub(crate) async fn upgrade(connection: &Connection, client: &str) -> Result<(), ConnectError> {
    let link = &connection.link;
    let mut socket = Opening::begin(&connection.http, Some(&connection.sid), client).await?;
    socket.write(client, &masked(Opcode::Text, b"2probe")).await?;
    let answer = socket.text(client).await?;
    if answer != "3probe" {
        return Err(ConnectError::new(client, format!("the server answered the probe with {answer:?}")));
    }
    let rest = crate::polling::finish(link)
        .await
        .ok_or_else(|| ConnectError::new(client, "the session ended during its upgrade"))?;
    socket.write(client, &masked(Opcode::Text, b"5")).await?;
    *link.transport.lock() = Transport::WebSocket;
    *connection.tasks.lock() = socket.run(link, rest);
    Ok(())
}

/// A WebSocket whose session has not begun.
struct Opening {
    stream: Stream,
    received: BytesMut,
    /// How to compress, if client and server have agreed on that.
    deflate: Option<Deflate>,
}

impl Opening {
    async fn begin(http: &Http, sid: Option<&str>, client: &str) -> Result<Self, ConnectError> {
        let accepted = http.upgrade(sid).await.map_err(|lost| ConnectError::new(client, lost.to_string()))?;
        let accepted = accepted.map_err(|refusal| ConnectError::handshake(client, refusal.status, &refusal.body))?;
        let Accepted { stream, deflate } = accepted;
        Ok(Self { stream, received: BytesMut::new(), deflate })
    }

    async fn write(&mut self, client: &str, bytes: &[u8]) -> Result<(), ConnectError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| ConnectError::new(client, format!("the WebSocket ended: {error}")))
    }

    /// The next frame, which must be text.
    async fn text(&mut self, client: &str) -> Result<String, ConnectError> {
        loop {
            match take(&mut self.received, self.deflate.is_some()) {
                Ok(Some(Taken { frame: Frame::Text(text), .. })) => return Ok(text),
                Ok(None) => {}
                other => {
                    let text = format!("the server answered the handshake with {other:?}");
                    return Err(ConnectError::new(client, text));
                }
            }
            if !matches!(self.stream.read_buf(&mut self.received).await, Ok(1..)) {
                return Err(ConnectError::new(client, "the server closed the WebSocket at once"));
            }
        }
    }

    fn run(self, link: &Arc<Link>, out: UnboundedReceiver<Out>) -> Vec<AbortHandle> {
        let Self { stream, received, deflate } = self;
        link.compression.lock().agreed = deflate.is_some();
        let (reader, writer) = split(stream);
        let reading = tokio::spawn(read(reader, received, link.clone(), deflate.is_some())).abort_handle();
        let writing = tokio::spawn(write(writer, out, link.clone(), deflate, reading.clone())).abort_handle();
        vec![reading, writing]
    }
}

async fn read(mut stream: ReadHalf<Stream>, mut received: BytesMut, link: Arc<Link>, deflate: bool) {
    let mut reading = link.reading.subscribe();
    loop {
        if !*reading.borrow_and_update() {
            if reading.changed().await.is_err() {
                return;
            }
            continue;
        }
        match take(&mut received, deflate) {
            Ok(Some(Taken { frame, compressed })) => {
                link.compression.lock().received += u64::from(compressed);
                handle(frame, &link);
                continue;
            }
            Ok(None) => {}
            Err(why) => return link.end(&Disconnection::ParseError(why)),
        }
        tokio::select! {
            biased;
            _ = reading.changed() => {}
            read = stream.read_buf(&mut received) => if !matches!(read, Ok(1..)) {
                return link.end(&Disconnection::TransportClose);
            }
        }
    }
}

fn handle(frame: Frame, link: &Link) {
    match frame {
        Frame::Text(text) => link.text(&text),
        Frame::Binary(bytes) => link.binary(&bytes),
        Frame::Ping(payload) => link.put(Out::Frame(masked(Opcode::Pong, &payload))),
        Frame::Pong => {
            if let Some(fence) = link.fences.lock().pop_front() {
                // Its receiver may have given up.
                let _ = fence.send(());
            }
        }
        Frame::Close if link.is_closing.swap(true, SeqCst) => {}
        Frame::Close => link.put(Out::Frame(masked(Opcode::Close, b""))),
    }
}

async fn write(
    mut stream: WriteHalf<Stream>,
    mut out: UnboundedReceiver<Out>,
    link: Arc<Link>,
    deflate: Option<Deflate>,
    reading: AbortHandle,
) {
    while let Some(next) = out.recv().await {
        let bytes = match next {
            Out::Packet(packet) => {
                let (frames, compressed) = of_packet(&packet, deflate.as_ref());
                link.compression.lock().sent += compressed;
                frames
            }
            Out::Frame(frame) => frame,
            Out::Fence(fence) => {
                link.fences.lock().push_back(fence);
                masked(Opcode::Ping, b"fence")
            }
            Out::Close => masked(Opcode::Close, b""),
            Out::Leave => {
                reading.abort();
                return;
            }
            // There is nothing better than a WebSocket.
            Out::HandOver(_) => continue,
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            // The reader sees the end too, after what the server sent before it.
            return;
        }
    }
}
