//! What the hostile clients do. Each comes back a second after it was thrown out.

use crate::Seen;
use roomcast_benches::wire::{client_frame, upgrade_request};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// The kinds, in the order of `behave`.
pub(crate) const KINDS: [&str; 14] = [
    "a byte of a request's head per second",
    "half of a message of 1 MB over WebSocket",
    "half of a POST of 1 MB",
    "attachments that never come",
    "reads nothing, in a loud room",
    "reads a byte per second, in a loud room",
    "bytes that are no frames",
    "packets that are none",
    "a flood of events",
    "rooms with long names",
    "handshakes without a join",
    "joins and leaves a namespace",
    "publishes to the loud room",
    "idle, by polling",
];

/// Time after which a client that was thrown out comes back.
const BACK: Duration = Duration::from_secs(1);

const SECOND: Duration = Duration::from_secs(1);

/// The kernel's receive buffer of a client that does not read.
const NARROW: u32 = 4_096;

/// What the others publish to the loud room.
const LOUD: usize = 10_000;

/// Runs on a thread of its own with the lowest priority: on other machines these clients would take no time of the server's processors.
pub(crate) fn run(address: SocketAddr, clients: usize, seen: &Arc<Seen>, stop: &Arc<AtomicBool>) {
    let _ = rustix::process::nice(19);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        for number in 0..clients {
            let (seen, kind) = (seen.clone(), number % KINDS.len());
            tokio::spawn(async move {
                // They do not come all at the same moment.
                sleep(Duration::from_millis(number as u64 * 5)).await;
                loop {
                    let one = One { kind, number, address, seen: &seen };
                    let _ = one.behave().await;
                    sleep(BACK).await;
                }
            });
        }
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
    });
}

struct One<'a> {
    kind: usize,
    number: usize,
    address: SocketAddr,
    seen: &'a Seen,
}

impl One<'_> {
    /// Until the server ends it.
    async fn behave(&self) -> io::Result<()> {
        match self.kind {
            0 => self.slow_head().await,
            1 => self.half_message().await,
            2 => self.half_post().await,
            3 => self.missing_attachments().await,
            4 => self.reads(None).await,
            5 => self.reads(Some(SECOND)).await,
            6 => self.sends_once(&[0xff; 64]).await,
            7 => self.sends_once(&client_frame("42[\"a\",{\"b\":")).await,
            8 => self.repeats(|_| r#"42["leave","x"]"#.to_owned(), Duration::from_millis(5)).await,
            9 => {
                self.repeats(|n| format!(r#"42["join","{n}{}"]"#, "r".repeat(1_000)), Duration::from_millis(100)).await
            }
            10 => self.handshakes().await,
            11 => self.repeats(|n| if n % 2 == 0 { "41" } else { "40" }.to_owned(), Duration::from_millis(100)).await,
            12 => self.repeats(|_| format!(r#"42["publish","loud","e","{}"]"#, "p".repeat(LOUD)), 20 * SECOND).await,
            _ => self.polls().await,
        }
    }

    fn acted(&self) {
        self.seen.actions[self.kind].fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self, buffer: Option<u32>) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.address).await?;
        self.seen.connects[self.kind].fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// A WebSocket that has joined `/`.
    async fn join(&self, buffer: Option<u32>) -> io::Result<TcpStream> {
        let mut stream = self.connect(buffer).await?;
        stream.write_all(upgrade_request().as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.windows(3).any(|bytes| bytes == b"0{\"") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        stream.write_all(&client_frame("40")).await?;
        let mut answer = Vec::new();
        while !answer.windows(3).any(|bytes| bytes == b"40{") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(stream)
    }

    /// Reads until the server ends the connection.
    async fn wait(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        while stream.read(&mut buffer).await? > 0 {}
        Ok(())
    }

    async fn slow_head(&self) -> io::Result<()> {
        let mut stream = self.connect(None).await?;
        for byte in upgrade_request().bytes() {
            stream.write_all(&[byte]).await?;
            self.acted();
            sleep(SECOND).await;
        }
        Ok(())
    }

    async fn half_message(&self) -> io::Result<()> {
        let mut stream = self.join(None).await?;
        let message = client_frame(&format!("42[\"x\",\"{}\"]", "m".repeat(990_000)));
        self.drip(&mut stream, &message[..message.len() - 10]).await
    }

    async fn half_post(&self) -> io::Result<()> {
        let sid = self.handshake().await?;
        let mut stream = self.connect(None).await?;
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 990000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        self.drip(&mut stream, &[b'4'; 989_990]).await
    }

    /// Sends 20 KB ten times a second, then nothing more.
    async fn drip(&self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(20_000) {
            stream.write_all(piece).await?;
            self.acted();
            sleep(SECOND / 10).await;
        }
        self.wait(stream).await
    }

    async fn missing_attachments(&self) -> io::Result<()> {
        let mut stream = self.join(None).await?;
        let places: Vec<_> = (0..10).map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#)).collect();
        stream.write_all(&client_frame(&format!("4510-[\"x\",{}]", places.join(",")))).await?;
        for _ in 0..9 {
            // A binary frame with a mask of zeros.
            let mut frame = vec![0x82, 0xff];
            frame.extend(100_000_u64.to_be_bytes());
            frame.extend([0; 4]);
            frame.resize(frame.len() + 100_000, 7);
            stream.write_all(&frame).await?;
            self.acted();
            sleep(SECOND).await;
        }
        self.wait(&mut stream).await
    }

    async fn reads(&self, pace: Option<Duration>) -> io::Result<()> {
        let mut stream = self.join(Some(NARROW)).await?;
        stream.write_all(&client_frame(r#"42["join","loud"]"#)).await?;
        loop {
            sleep(pace.unwrap_or(SECOND)).await;
            self.acted();
            if pace.is_some() && stream.read(&mut [0]).await? == 0 {
                return Ok(());
            }
            // Whether it was thrown out.
            if pace.is_none() && stream.writable().await.is_ok() && stream.try_write(&client_frame("3")).is_err() {
                return Ok(());
            }
        }
    }

    async fn sends_once(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = self.join(None).await?;
        stream.write_all(bytes).await?;
        self.acted();
        self.wait(&mut stream).await
    }

    async fn repeats(&self, packet: impl Fn(usize) -> String, pace: Duration) -> io::Result<()> {
        let mut stream = self.join(None).await?;
        sleep(pace.mul_f64((self.number % 100) as f64 / 100.0)).await;
        let mut buffer = [0; 4_096];
        for number in 0.. {
            stream.write_all(&client_frame(&packet(number))).await?;
            self.acted();
            sleep(pace).await;
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn handshakes(&self) -> io::Result<()> {
        loop {
            self.handshake().await?;
            self.acted();
            sleep(SECOND).await;
        }
    }

    /// A session by polling; its id.
    async fn handshake(&self) -> io::Result<String> {
        let mut stream = self.connect(None).await?;
        stream
            .write_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let sid = answer.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split('"').next());
        sid.map(str::to_owned).ok_or_else(|| io::Error::other("no session"))
    }

    async fn polls(&self) -> io::Result<()> {
        let sid = self.handshake().await?;
        loop {
            let mut stream = self.connect(None).await?;
            let request = format!(
                "GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            self.acted();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            if !answer.starts_with("HTTP/1.1 200") {
                return Ok(());
            }
        }
    }
}
