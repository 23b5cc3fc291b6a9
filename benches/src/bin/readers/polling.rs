//! [`Polling`]: a polling client in namespace `/`, which sends one request after another on a blocking stream.

use roomcast_benches::wire::STEP_TIMEOUT;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Separates the packets of a payload.
const SEPARATOR: u8 = 0x1e;

pub(crate) struct Polling {
    address: SocketAddr,
    stream: TcpStream,
    path: String,
    /// The bytes of the next answer that have arrived.
    received: Vec<u8>,
}

impl Polling {
    /// Opens a session, joins `/`, and then joins the room.
    pub(crate) fn connect(address: SocketAddr, room: &str) -> io::Result<Self> {
        let stream = Self::open(address)?;
        let path = "/socket.io/?EIO=4&transport=polling".to_owned();
        let mut client = Self { address, stream, path, received: Vec::new() };
        let open = client.get()?.concat();
        let open = String::from_utf8_lossy(&open).into_owned();
        let sid = open.split(r#""sid":""#).nth(1).and_then(|rest| rest.split('"').next());
        client.path = format!("{}&sid={}", client.path, sid.ok_or_else(|| io::Error::other(open.clone()))?);
        client.post("40")?;
        client.expect(b"40{")?;
        client.post(&format!(r#"421["join","{room}"]"#))?;
        client.expect(b"431[")?;
        Ok(client)
    }

    fn open(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_TIMEOUT))?;
        Ok(stream)
    }

    /// The next packets without heartbeats, which are answered here.
    pub(crate) fn get(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let body = self.request(&format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", self.path))?;
        let mut packets = Vec::new();
        for packet in body.split(|byte| *byte == SEPARATOR) {
            match packet {
                b"2" => self.post("3")?,
                b"1" => return Err(io::Error::other("the server has ended the session")),
                packet => packets.push(packet.to_vec()),
            }
        }
        Ok(packets)
    }

    fn expect(&mut self, prefix: &[u8]) -> io::Result<()> {
        while !self.get()?.iter().any(|packet| packet.starts_with(prefix)) {}
        Ok(())
    }

    fn post(&mut self, packet: &str) -> io::Result<()> {
        let head = format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain;charset=UTF-8\r\n", self.path);
        self.request(&format!("{head}Content-Length: {}\r\n\r\n{packet}", packet.len())).map(drop)
    }

    /// Sends a request and returns the body of the answer, whose status must be 200.
    fn request(&mut self, request: &str) -> io::Result<Vec<u8>> {
        // An idle connection may have been closed. Then the server has not handled the request, and it is sent again.
        if self.stream.write_all(request.as_bytes()).is_err() || !self.has_begun()? {
            self.stream = Self::open(self.address)?;
            self.stream.write_all(request.as_bytes())?;
        }
        let end = loop {
            match self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read()?,
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        let length = length.ok_or_else(|| io::Error::other(head.clone()))?;
        while self.received.len() < end + length {
            self.read()?;
        }
        let body = self.received[end..end + length].to_vec();
        self.received.drain(..end + length);
        if head.starts_with("http/1.1 200 ") {
            return Ok(body);
        }
        Err(io::Error::other(format!("{head}{}", String::from_utf8_lossy(&body))))
    }

    /// Whether an answer has begun. If not, the connection was closed before the request.
    fn has_begun(&mut self) -> io::Result<bool> {
        match self.read() {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}
