//! A client that writes HTTP and WebSocket frames by hand. Frames are masked with `00000000`, so their bytes are
//! readable.

use super::PATIENCE;
use super::over::{ClientStream, Over};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// The key of RFC 6455, and its answer.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One connection.
pub struct Wire {
    stream: ClientStream,
    /// What was read and is not used yet.
    buffer: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV and opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

async fn patient<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

impl Answer {
    /// The values of a header, joined if there are several.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect();
        if values.is_empty() { None } else { Some(values.join(" | ")) }
    }

    /// Status, code and message of a refusal; its content type must be JSON.
    pub fn error(&self) -> (u16, u64, String) {
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 2);
        (self.status, body["code"].as_u64().unwrap(), body["message"].as_str().unwrap().to_owned())
    }

    /// The data of the `open` packet.
    pub fn open(&self) -> serde_json::Value {
        serde_json::from_str(self.body.strip_prefix('0').unwrap()).unwrap()
    }

    pub fn sid(&self) -> String {
        self.open()["sid"].as_str().unwrap().to_owned()
    }

    /// The answer to an accepted POST.
    pub fn assert_ok(&self) {
        assert_eq!((self.status, &*self.body), (200, "ok"), "{self:?}");
        assert_eq!(self.header("content-type").as_deref(), Some("text/html"));
        assert_eq!(self.header("content-length").as_deref(), Some("2"));
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"));
    }

    /// The answer to a poll, with this payload.
    pub fn assert_payload(&self, payload: &str) {
        assert_eq!((self.status, &*self.body), (200, payload), "{self:?}");
        assert_eq!(self.header("content-type").as_deref(), Some("text/plain; charset=UTF-8"));
        assert_eq!(self.header("content-length"), Some(payload.len().to_string()));
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"));
    }

    /// An answer without a body.
    pub fn assert_empty(&self, status: u16) {
        assert_eq!((self.status, &*self.body), (status, ""), "{self:?}");
        assert_eq!(self.header("content-type"), None);
    }

    /// The refusal of an upgrade, which is bare text; then the connection ends.
    pub fn assert_refused(&self, text: &str) {
        assert_eq!((self.status, &*self.body), (400, text), "{self:?}");
        assert_eq!(self.header("connection").as_deref(), Some("close"));
        assert_eq!(self.header("content-type").as_deref(), Some("text/html"));
        assert_eq!(self.header("content-length"), Some(text.len().to_string()));
    }
}

impl Wire {
    /// A connection to a server over this test's kind of stream.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(super::streams::over(), address, false).await
    }

    /// `narrow`: the client's kernel buffers little for it.
    pub async fn over(over: Over, address: SocketAddr, narrow: bool) -> Self {
        let stream = patient("a connection", over.connect(address, narrow)).await;
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patient("the server takes our bytes", self.write(bytes.as_ref())).await.unwrap();
    }

    /// Sends as much as the server takes. Returns `false` if it has ended the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        patient("the server takes our bytes", self.write(bytes.as_ref())).await.is_ok()
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends these bytes repeatedly, until enough have left or the server takes no more, and returns how many have.
    /// Server and test share one thread, so a server that reads has read once the test has yielded often enough.
    pub async fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        let (mut sent, mut turns) = (0, 0);
        while sent < most && turns < 1_000 {
            let rest = &bytes[sent % bytes.len()..];
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut self.stream).poll_write(cx, rest))).await {
                Poll::Ready(written) => {
                    sent += written.unwrap();
                    turns = 0;
                }
                Poll::Pending => {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        sent
    }

    /// Sends a request, and returns the status of its answer, unless the server ends the connection without one.
    pub async fn status_of(&mut self, request: impl AsRef<[u8]>) -> Option<u16> {
        self.try_send(request).await;
        while !self.buffer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            if !self.more().await {
                return None;
            }
        }
        Some(self.answer().await.status)
    }

    /// Sends a masked text frame.
    pub async fn say(&mut self, text: &str) {
        self.send(frame(TEXT, text.as_bytes())).await;
    }

    /// Ends the connection by a TCP reset.
    pub fn reset(self) {
        self.stream.tcp().set_zero_linger().unwrap();
    }

    /// Reads more. Returns `false` if the server has ended the connection.
    async fn more(&mut self) -> bool {
        let read = patient("bytes of the server", self.stream.read_buf(&mut self.buffer)).await;
        // A reset ends the connection too.
        read.unwrap_or(0) > 0
    }

    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).unwrap();
            }
            assert!(self.more().await, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let line = self.line().await;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect(&line).parse().unwrap();
        let mut answer = Answer { status, headers: Vec::new(), body: String::new(), bytes: Vec::new() };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        let mut body = Vec::new();
        if matches!(status, 100 | 101 | 204 | 304) || method == "HEAD" {
            return answer;
        } else if let Some(length) = answer.header("content-length") {
            body = self.exactly(length.parse().unwrap()).await;
        } else {
            assert_eq!(answer.header("transfer-encoding").as_deref(), Some("chunked"), "{answer:?}");
            loop {
                let length = usize::from_str_radix(&self.line().await, 16).unwrap();
                body.extend(self.exactly(length).await);
                assert_eq!(self.line().await, "");
                if length == 0 {
                    break;
                }
            }
        }
        if answer.header("content-encoding").is_none() {
            answer.body = String::from_utf8(body.clone()).unwrap();
        }
        answer.bytes = body;
        answer
    }

    /// The next frame. A server's frames are final and not masked.
    pub async fn frame(&mut self) -> Frame {
        let header = self.exactly(2).await;
        assert!(header[0] & 0x80 != 0 && header[1] & 0x80 == 0, "{header:x?}");
        let length = match header[1] {
            126 => usize::from(u16::from_be_bytes(self.exactly(2).await.try_into().unwrap())),
            127 => u64::from_be_bytes(self.exactly(8).await.try_into().unwrap()) as usize,
            length => usize::from(length),
        };
        Frame { first: header[0], payload: self.exactly(length).await }
    }

    /// The next frame, which must be text.
    pub async fn text(&mut self) -> String {
        let frame = self.frame().await;
        assert_eq!(frame.first, TEXT, "{frame:x?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// Expects a close frame with this code, answers it, and expects the server to end the connection.
    pub async fn assert_closed(mut self, code: Option<u16>) {
        let frame = self.frame().await;
        let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        assert_eq!(frame, Frame { first: CLOSE, payload: payload.clone() });
        self.try_send(super::wire::frame(CLOSE, &payload)).await;
        self.assert_ended().await;
    }

    /// Expects the server to end the connection, and to send nothing more.
    pub async fn assert_ended(&mut self) {
        while self.more().await {}
        assert_eq!(String::from_utf8_lossy(&self.buffer), "");
    }

    /// Everything that the server sends until it ends the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for an echo, after which everything sent before has been handled.
    pub async fn assert_alive(&mut self, token: &str) {
        self.say(&format!("4{token}")).await;
        assert_eq!(self.text().await, format!("4{token}"));
    }
}

/// An HTTP request with a body of known length.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let length =
        if body.is_empty() && method != "POST" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{}{length}\r\n{body}", head(method, target, headers))
}

/// The head of a request, without its last line.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}")
}

/// A WebSocket handshake. A given header replaces the usual one; an empty value removes it.
pub fn upgrade(target: &str, headers: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
    request("GET", target, &all, "")
}

/// A client's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
