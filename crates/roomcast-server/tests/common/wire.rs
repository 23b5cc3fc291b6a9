//! A client that writes HTTP requests and WebSocket frames by hand, so that the test controls every byte. Frames are masked with
//! `00000000`, which leaves their bytes readable.

use super::over::{ClientStream, Over};
use super::patient;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The example key of RFC 6455, with which the answers in `vectors/` were recorded.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: ClientStream,
    /// Bytes that were read and not used yet.
    buffer: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the answer said `Connection: close`; the connection has ended then.
    pub ended: bool,
}

/// A WebSocket frame of the server.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// The code, if there is one, and the reason.
    Close(Option<u16>, String),
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.status_line[9..12].parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(Over::Serve, address).await
    }

    /// Connects to a server that is served in the way `over`.
    pub async fn over(over: Over, address: SocketAddr) -> Self {
        let stream = patient("a connection", over.connect(address, false)).await;
        stream.tcp().set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        patient("the server accepts the bytes", self.write(bytes.as_ref())).await.unwrap();
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Like [`Wire::send`], but the server may have closed the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        // The caller checks next whether the connection is closed.
        let _ = patient("the server accepts the bytes", self.write(bytes.as_ref())).await;
    }

    /// Reads more bytes. `false` at the end of the connection.
    async fn more(&mut self) -> bool {
        patient("bytes from the server", self.stream.read_buf(&mut self.buffer)).await.unwrap_or(0) > 0
    }

    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "the connection ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    /// All bytes up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
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

    /// Reads the answer to a request with this method.
    pub async fn answer(&mut self, method: &str) -> Answer {
        let status_line = self.line().await;
        let mut answer = Answer { status_line, headers: Vec::new(), body: Vec::new(), ended: false };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        if answer.status() == 101 {
            return answer;
        }
        if !matches!(answer.status(), 204 | 304) && method != "HEAD" {
            if let Some(length) = answer.header("content-length") {
                answer.body = self.exactly(length.parse().unwrap()).await;
            } else {
                assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{answer:?}");
                loop {
                    let length = usize::from_str_radix(&self.line().await, 16).unwrap();
                    answer.body.extend(self.exactly(length).await);
                    assert_eq!(self.line().await, "");
                    if length == 0 {
                        break;
                    }
                }
            }
        }
        if answer.header("connection") == Some("close") {
            assert_eq!(self.rest().await, b"");
            answer.ended = true;
        }
        answer
    }

    /// The bytes of the next frame. Frames of the server must be final, unmasked, and of the shortest form.
    pub async fn raw_frame(&mut self) -> Vec<u8> {
        let mut frame = self.exactly(2).await;
        assert!(frame[0] & 0xf0 == 0x80 && frame[1] & 0x80 == 0, "{frame:x?}");
        let length = match frame[1] {
            126 => {
                frame.extend(self.exactly(2).await);
                usize::from(u16::from_be_bytes([frame[2], frame[3]]))
            }
            127 => {
                frame.extend(self.exactly(8).await);
                usize::try_from(u64::from_be_bytes(frame[2..].try_into().unwrap())).unwrap()
            }
            length => usize::from(length),
        };
        frame.extend(self.exactly(length).await);
        frame
    }

    pub async fn frame(&mut self) -> Frame {
        let frame = self.raw_frame().await;
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let payload = &frame[header..];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match frame[0] & 0x0f {
            1 => Frame::Text(text(payload)),
            2 => Frame::Binary(payload.to_vec()),
            8 => match payload {
                [] => Frame::Close(None, String::new()),
                [high, low, reason @ ..] => Frame::Close(Some(u16::from_be_bytes([*high, *low])), text(reason)),
                _ => panic!("{frame:x?}"),
            },
            10 => Frame::Pong(payload.to_vec()),
            _ => panic!("{frame:x?}"),
        }
    }

    /// The next frame, which must be text.
    pub async fn text(&mut self) -> String {
        match self.frame().await {
            Frame::Text(text) => text,
            frame => panic!("not text: {frame:?}"),
        }
    }

    /// Sends a text message.
    pub async fn say(&mut self, text: &str) {
        self.send(frame(1, text.as_bytes())).await;
    }

    /// Like [`Wire::say`], but the server may have closed the connection.
    pub async fn try_say(&mut self, text: &str) {
        self.try_send(frame(1, text.as_bytes())).await;
    }

    /// Sends a binary message.
    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        self.send(frame(2, bytes)).await;
    }

    /// All frames that the server has sent, including those that it sends because of what was sent to it before. Reads up to the answer to
    /// a control ping, or up to and including a close frame, which it answers.
    pub async fn sync(&mut self) -> Vec<Frame> {
        self.try_send(frame(9, b"sync")).await;
        let mut frames = Vec::new();
        loop {
            match self.frame().await {
                Frame::Pong(payload) if payload == b"sync" => return frames,
                frame @ Frame::Close(..) => {
                    self.answer_close(&frame).await;
                    frames.push(frame);
                    return frames;
                }
                frame => frames.push(frame),
            }
        }
    }

    /// Like [`Wire::sync`], where all frames must be text.
    pub async fn texts(&mut self) -> Vec<String> {
        let text = |frame| match frame {
            Frame::Text(text) => text,
            frame => panic!("not text: {frame:?}"),
        };
        self.sync().await.into_iter().map(text).collect()
    }

    /// Asserts that the next frame is a close frame without a code, after which the connection ends.
    pub async fn assert_closed(&mut self) {
        let close = self.frame().await;
        assert_eq!(close, Frame::Close(None, String::new()));
        self.answer_close(&close).await;
        assert_eq!(self.rest().await, b"");
    }

    pub async fn answer_close(&mut self, close: &Frame) {
        let Frame::Close(code, reason) = close else { panic!("{close:?}") };
        let mut payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        payload.extend(reason.as_bytes());
        self.try_send(frame(8, &payload)).await;
    }
}

/// An HTTP request with a `Content-Length`.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length =
        if body.is_empty() && method != "POST" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")
}

/// The HTTP request of a WebSocket handshake.
pub fn upgrade(target: &str, version: &str, headers: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", version),
        ("Sec-WebSocket-Key", KEY),
    ];
    all.extend(headers);
    request("GET", target, &all, "")
}

/// A final, masked frame of a client.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
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
