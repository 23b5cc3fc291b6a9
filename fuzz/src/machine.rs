//! A server without sockets: connections are pipes in memory, time moves only when all tasks wait, and after each
//! execution nothing may be left.

use crate::input::Input;
use crate::novelty::{seen, size};
use http::{Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roomcast_engine::limits::{HEAD_BYTES, HEADER_TIMEOUT, HEADERS};
use roomcast_engine::{Body, EndWithoutAnswer};
use roomcast_protocol::EnginePacket;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower_service::Service;

thread_local! {
    /// Kept from one execution to the next, as making a runtime costs more than most executions.
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// Runs `work` to its end, with tokio's paused clock. Then no task may be left.
pub(crate) fn run(work: impl Future<Output = ()>) {
    let runtime = RUNTIME
        .take()
        .unwrap_or_else(|| Builder::new_current_thread().enable_time().start_paused(true).build().unwrap());
    runtime.block_on(work);
    let left = runtime.metrics().num_alive_tasks();
    assert_eq!(left, 0, "{left} tasks are left");
    // After a panic it is not put back: what the execution left in it would count against the next one.
    RUNTIME.set(Some(runtime));
}

/// Longer than every deadline of a server. After it, everything without a client must have ended.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(600);

/// Time for all tasks to do what they have to do now.
const MOMENT: Duration = Duration::from_millis(1);

/// Most connections at once.
const MOST_PEERS: usize = 4;

/// Most bytes that are kept of what a peer is sent.
const MOST_RECEIVED: usize = 256 * 1024;

/// A service for the connections.
pub(crate) trait Served:
    Service<Request<Incoming>, Response = Response<Either<Body, Body>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Served for S where
    S: Service<Request<Incoming>, Response = Response<Either<Body, Body>>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The clients of one server.
pub(crate) struct Machine<S> {
    service: S,
    path: &'static str,
    peers: Vec<Peer>,
    /// The index of the current peer.
    at: usize,
    /// The id of the session that was opened last.
    sid: String,
}

struct Peer {
    stream: DuplexStream,
    received: Vec<u8>,
}

impl<S: Served> Machine<S> {
    pub(crate) fn new(service: S, path: &'static str) -> Self {
        Self { service, path, peers: Vec::new(), at: 0, sid: "none".to_owned() }
    }

    /// Performs the steps of the input, with `act` for what the server does by itself. Then all clients leave.
    pub(crate) async fn run(mut self, mut input: Input<'_>, mut act: impl FnMut(u8)) {
        while !input.is_empty() {
            let step = input.byte() % 16;
            self.step(step, &mut input, &mut act).await;
            sleep(MOMENT).await;
        }
        for at in 0..self.peers.len() {
            self.read(at, usize::MAX).await;
        }
        for peer in self.peers.drain(..) {
            check_answers(&peer.received);
        }
        sleep(FOR_EVER).await;
    }

    async fn step(&mut self, step: u8, input: &mut Input<'_>, act: &mut impl FnMut(u8)) {
        match step {
            0 => self.connect(input.choice(&[65_536, 4_096, 300, 64, 7])),
            1 => self.write(input.piece()).await,
            2 => {
                let first = input.byte();
                let frame = frame(first, input.piece());
                self.write(&frame).await;
            }
            3 => self.request(&["GET", "&transport=websocket", UPGRADE], b"").await,
            4 => self.request(&["GET", "&transport=polling", ""], b"").await,
            5 => {
                let query = format!("&transport=polling&sid={}", self.sid);
                self.request(&["GET", &query, ""], b"").await;
            }
            6 => {
                let body = input.piece();
                let query = format!("&transport=polling&sid={}", self.sid);
                let length = format!("Content-Length: {}\r\n", body.len());
                self.request(&["POST", &query, &length], body).await;
            }
            7 => {
                let query = format!("&transport=websocket&sid={}", self.sid);
                self.request(&["GET", &query, UPGRADE], b"").await;
            }
            8 => {
                let milliseconds = input.choice(&[1, 99, 101, 1_000, 5_001, 10_001, 20_000, 25_001, 46_000]);
                sleep(Duration::from_millis(milliseconds)).await;
            }
            9 => {
                let most = input.choice(&[usize::MAX, 1, 100, 5_000]);
                self.read(self.at, most).await;
            }
            10 if !self.peers.is_empty() => {
                let peer = self.peers.remove(self.at);
                check_answers(&peer.received);
                self.at = 0;
            }
            11 => {
                if let Some(peer) = self.peers.get_mut(self.at) {
                    let _ = timeout(MOMENT, peer.stream.shutdown()).await;
                }
            }
            12 => self.at = usize::from(input.byte()) % self.peers.len().max(1),
            13 => act(input.byte()),
            // A message, the most common frame.
            14 => {
                let frame = frame(0x81, &[b"4", input.piece()].concat());
                self.write(&frame).await;
            }
            // A piece, written byte by byte.
            _ => {
                for byte in input.piece() {
                    self.write(std::slice::from_ref(byte)).await;
                }
            }
        }
    }

    fn connect(&mut self, room: usize) {
        if self.peers.len() == MOST_PEERS {
            self.peers.remove(0);
        }
        let (stream, theirs) = tokio::io::duplex(room);
        let service = self.service.clone();
        // As in `serve`.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(
                TokioIo::new(theirs),
                service_fn(move |request| {
                    let answer = service.clone().call(request);
                    async move {
                        let Ok(answer) = answer.await;
                        let ended = answer.extensions().get::<EndWithoutAnswer>().is_some();
                        if ended { Err(io::Error::other("ended without an answer")) } else { Ok(answer) }
                    }
                }),
            )
            .with_upgrades();
        tokio::spawn(async move { drop(connection.await) });
        self.peers.push(Peer { stream, received: Vec::new() });
        self.at = self.peers.len() - 1;
    }

    async fn request(&mut self, [method, query, headers]: &[&str; 3], body: &[u8]) {
        if self.peers.is_empty() {
            self.connect(65_536);
        }
        let head = format!("{method} {}?EIO=4{query} HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n", self.path);
        self.write(head.as_bytes()).await;
        self.write(body).await;
        sleep(MOMENT).await;
        self.read(self.at, 1_000).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(peer) = self.peers.get_mut(self.at) {
            // The server may have stopped reading, or be gone.
            let _ = timeout(Duration::from_millis(20), peer.stream.write_all(bytes)).await;
        }
    }

    async fn read(&mut self, at: usize, most: usize) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let mut left = most;
        while left > 0 && peer.received.len() < MOST_RECEIVED {
            let mut buffer = [0; 4_096];
            let room = left.min(buffer.len());
            let Ok(Ok(count @ 1..)) = timeout(MOMENT, peer.stream.read(&mut buffer[..room])).await else { break };
            left -= count;
            peer.received.extend_from_slice(&buffer[..count]);
        }
        if let Some(sid) = session(&peer.received) {
            self.sid = sid;
        }
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The id in the last `open` packet.
fn session(received: &[u8]) -> Option<String> {
    let before = b"0{\"sid\":\"";
    let at = received.windows(before.len()).rposition(|part| part == before)?;
    let sid = received.get(at + before.len()..)?.get(..20)?;
    Some(std::str::from_utf8(sid).ok()?.to_owned())
}

/// A complete frame of a client, with a mask that leaves the payload readable.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => frame.extend([0x80 | 126, (long >> 8) as u8, long as u8]),
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Checks what a client was sent: after an upgrade, complete frames as a server may send them, and nothing after a
/// close frame.
fn check_answers(received: &[u8]) {
    let text = String::from_utf8_lossy(received);
    for status in text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")) {
        seen(("status", status));
    }
    let upgraded = b"HTTP/1.1 101 ";
    let Some(at) = received.windows(upgraded.len()).position(|part| part == upgraded) else { return };
    let Some(end) = received[at..].windows(4).position(|part| part == b"\r\n\r\n") else { return };
    let mut frames = &received[at + end + 4..];
    // Node completes an upgrade for another protocol revision, and then refuses it in HTTP.
    if frames.starts_with(b"HTTP/1.1 400") {
        return;
    }
    let mut count = 0;
    while let [first, second, rest @ ..] = frames {
        let (length, rest) = match (second, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [0, 0, 0, 0, a, b, c, d, rest @ ..]) => (u32::from_be_bytes([*a, *b, *c, *d]) as usize, rest),
            (126 | 127, _) => break,
            (short, rest) => (usize::from(*short), rest),
        };
        assert!(*second < 128, "a server's frame is masked");
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        match first {
            0x81 => drop(EnginePacket::from_text(std::str::from_utf8(payload).unwrap()).unwrap()),
            0x82 | 0x8a => {}
            0x88 => {
                assert!(payload.len() != 1 && payload.len() <= 125 && rest.is_empty(), "a close frame, then {rest:?}");
            }
            other => panic!("a frame that begins with {other:#x}"),
        }
        count += 1;
        seen(("frame", first, size(length), size(count)));
        frames = rest;
    }
}
