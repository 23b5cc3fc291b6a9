//! [`Client`]: a simple Socket.IO client on a blocking stream, with as much of WebSocket and Socket.IO as a measurement needs.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Limit for each step of a connect. A server that is busy with other clients may take some seconds.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The size in bytes of the header names and values of [`upgrade_request`], without separators.
pub const HEADER_BYTES: usize = 400;

/// The request of a WebSocket handshake, with eight headers of [`HEADER_BYTES`] in total, like that of a browser with a cookie.
pub fn upgrade_request() -> String {
    let mut headers = vec![
        ("Host", "chat.example.com".to_owned()),
        ("Connection", "Upgrade".to_owned()),
        ("Upgrade", "websocket".to_owned()),
        ("Sec-WebSocket-Version", "13".to_owned()),
        ("Sec-WebSocket-Key", "AAECAwQFBgcICQoLDA0ODw==".to_owned()),
        ("Origin", "https://chat.example.com".to_owned()),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0".to_owned()),
    ];
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers.push(("Cookie", "c".repeat(HEADER_BYTES - "Cookie".len() - bytes)));
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{lines}\r\n")
}

/// A client's text frame. The masking key is always the same, which makes no difference to a server.
pub fn client_frame(text: &str) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(text.len(), 0x80);
    frame.extend_from_slice(&KEY);
    frame.extend(text.bytes().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A server's text frame.
pub fn server_frame(text: &str) -> Vec<u8> {
    let mut frame = header(text.len(), 0);
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn header(length: usize, mask: u8) -> Vec<u8> {
    let mut header = vec![0x81];
    match length {
        0..=125 => header.push(mask | length as u8),
        126..=0xffff => {
            header.push(mask | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

/// Removes the first frame from `bytes` and returns its payload, unmasked. `None` if the frame is incomplete. Fragments and control frames
/// are returned like texts; measurements send none.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (&[_, second], rest) = bytes.split_first_chunk::<2>()?;
    let (masked, short) = (second & 0x80 != 0, usize::from(second & 0x7f));
    let (length, rest) = match short {
        126 => rest.split_first_chunk().map(|(long, rest)| (usize::from(u16::from_be_bytes(*long)), rest))?,
        127 => rest.split_first_chunk().map(|(long, rest)| (u64::from_be_bytes(*long) as usize, rest))?,
        _ => (short, rest),
    };
    let (key, rest) =
        if masked { rest.split_first_chunk::<4>().map(|(key, rest)| (*key, rest))? } else { ([0; 4], rest) };
    let payload: Vec<u8> = rest.get(..length)?.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let whole = bytes.len() - rest.len() + length;
    bytes.drain(..whole);
    Some(payload)
}

/// A client in namespace `/`.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub stream: TcpStream,
    /// Bytes that were received and not used yet.
    pub received: Vec<u8>,
}

impl Client {
    /// Connects, upgrades and joins `/`.
    ///
    /// # Errors
    /// Those of [`Client::begin`] and [`Client::join`].
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::begin(address)?.join()
    }

    /// Connects and sends the handshake.
    ///
    /// # Errors
    /// The server does not accept the connection.
    pub fn begin(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, STEP_TIMEOUT)?)
    }

    /// Like [`Client::begin`], over a connected stream.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_TIMEOUT))?;
        stream.set_write_timeout(Some(STEP_TIMEOUT))?;
        let mut client = Self { stream, received: Vec::new() };
        client.stream.write_all(upgrade_request().as_bytes())?;
        Ok(client)
    }

    /// Reads the answer to the handshake, and joins `/`.
    ///
    /// # Errors
    /// The server's answers are not those of a Socket.IO server.
    pub fn join(mut self) -> io::Result<Self> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read()?;
        };
        if !self.received.starts_with(b"HTTP/1.1 101 ") {
            return Err(unexpected(&self.received[..end]));
        }
        self.received.drain(..end);
        self.expect("0{")?;
        self.send("40")?;
        self.expect("40{")?;
        Ok(self)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn send(&mut self, packet: &str) -> io::Result<()> {
        self.stream.write_all(&client_frame(packet))
    }

    /// Waits for a packet that begins with `prefix`, and drops packets before it.
    ///
    /// # Errors
    /// It does not arrive within [`STEP_TIMEOUT`] or 16 packets.
    pub fn expect(&mut self, prefix: &str) -> io::Result<()> {
        let mut last = Vec::new();
        for _ in 0..16 {
            last = loop {
                match take_frame(&mut self.received) {
                    Some(packet) => break packet,
                    None => self.read()?,
                }
            };
            if last.starts_with(prefix.as_bytes()) {
                return Ok(());
            }
        }
        Err(unexpected(&last))
    }

    /// The next packet, or `None` if none arrives until `end`. Answers heartbeats.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn next_until(&mut self, end: Instant) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(packet) = take_frame(&mut self.received) {
                if packet != b"2" {
                    return Ok(Some(packet));
                }
                self.send("3")?;
                continue;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.read() {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                end => end?,
            }
        }
    }

    /// Emits an event with an acknowledgement and waits for the answer. Drops events before it.
    ///
    /// # Errors
    /// The answer does not arrive within [`STEP_TIMEOUT`].
    pub fn ask(&mut self, question: &str) -> io::Result<String> {
        self.send(&format!("421{question}"))?;
        let end = Instant::now() + STEP_TIMEOUT;
        while let Some(packet) = self.next_until(end)? {
            if let Some(answer) = packet.strip_prefix(b"431") {
                return Ok(String::from_utf8_lossy(answer).into_owned());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {question}")))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn unexpected(bytes: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected answer of the server: {}", String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_back() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let text = "x".repeat(length);
            for frame in [client_frame(&text), server_frame(&text)] {
                let mut bytes = [&frame[..], &frame[..]].concat();
                assert_eq!(take_frame(&mut bytes).as_deref(), Some(text.as_bytes()));
                assert_eq!(bytes, frame);
                bytes.pop();
                assert_eq!(take_frame(&mut bytes), None);
            }
        }
    }

    #[test]
    fn the_request_has_eight_headers_of_400_bytes() {
        let request = upgrade_request();
        let headers: Vec<_> = request.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
        assert_eq!(headers.len(), 8);
        assert_eq!(headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>(), HEADER_BYTES);
    }
}
