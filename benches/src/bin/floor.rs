//! A server that does only what a fan-out needs at least: one thread, one epoll, one `write` of the same pre-framed bytes per recipient, and
//! no checks. It supports just enough Socket.IO for the program `peers` to measure it like any server.
//!
//! With `ADAPTER=classic` it publishes the frames to the Redis of `REDIS_URL`, on the channels of the classic dialect, and writes what it
//! receives there, including its own messages, to the recipients. It reads no answers to its publishes.
//!
//! With `--coalesce` everything that a turn of the event loop has for a recipient leaves in one write: the least cost if messages queue.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use roomcast_benches::resp::{command, take_array};
use roomcast_benches::wire::{server_frame, take_frame};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read as _, Write as _};

const LISTENER: Token = Token(usize::MAX);
const SUBSCRIPTION: Token = Token(usize::MAX - 1);

/// The beginning of a channel's name, before the name of its room.
const CHANNEL: &str = "socket.io#/#";

/// The answer to a WebSocket handshake. `peers` does not check the key.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    upgraded: bool,
    /// Bytes to write at the end of the turn.
    waiting: Vec<u8>,
}

#[derive(Default)]
struct Floor {
    peers: Vec<Option<Peer>>,
    rooms: HashMap<String, Vec<usize>>,
    coalesce: bool,
    /// Peers with bytes to write at the end of the turn.
    dirty: Vec<usize>,
    bus: Option<Bus>,
}

/// The two connections to Redis.
struct Bus {
    publisher: std::net::TcpStream,
    /// Bytes to write at the end of the turn.
    waiting: Vec<u8>,
    subscription: TcpStream,
    received: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("listening on http://{}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut floor = Floor { coalesce: std::env::args().any(|word| word == "--coalesce"), ..Floor::default() };
    if std::env::var("ADAPTER").is_ok_and(|adapter| adapter == "classic") {
        let mut bus = Bus::open(&std::env::var("REDIS_URL")?)?;
        poll.registry().register(&mut bus.subscription, SUBSCRIPTION, Interest::READABLE)?;
        floor.bus = Some(bus);
    }
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == SUBSCRIPTION {
                floor.receive()?;
                continue;
            }
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(floor.peers.len()), Interest::READABLE)?;
                    let (received, waiting) = (Vec::new(), Vec::new());
                    floor.peers.push(Some(Peer { stream, received, upgraded: false, waiting }));
                }
                continue;
            }
            floor.serve(event.token().0)?;
        }
        floor.flush()?;
    }
}

impl Floor {
    fn serve(&mut self, number: usize) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let Some(peer) = &mut self.peers[number] else { return Ok(()) };
        loop {
            match peer.stream.read(&mut buffer) {
                Ok(count @ 1..) => {
                    peer.received.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => {
                    self.peers[number] = None;
                    return Ok(());
                }
            }
        }
        if !peer.upgraded && peer.received.ends_with(b"\r\n\r\n") {
            peer.upgraded = true;
            peer.received = Vec::new();
            peer.stream.write_all(ANSWER)?;
            peer.stream.write_all(&server_frame(r#"0{"sid":"floor","upgrades":[]}"#))?;
        }
        while let Some(packet) = self.peers[number].as_mut().and_then(|peer| take_frame(&mut peer.received)) {
            let packet = String::from_utf8_lossy(&packet);
            if let Some((room, arguments)) =
                packet.strip_prefix(r#"42["pub",""#).and_then(|rest| rest.split_once("\","))
            {
                let frame = server_frame(&format!(r#"42["msg",{arguments}"#));
                match &mut self.bus {
                    Some(bus) => bus.publish(room, &frame, self.coalesce)?,
                    None => self.publish(room, &frame),
                }
            } else if let Some((id, arguments)) =
                packet.strip_prefix("42").and_then(|rest| rest.split_once(r#"["echo","#))
            {
                self.write(number, &server_frame(&format!("43{id}[{arguments}")));
            } else if let Some(room) = packet.strip_prefix(r#"421["join",""#) {
                let room = room.trim_end_matches("\"]").to_owned();
                self.rooms.entry(room).or_default().push(number);
                self.write(number, &server_frame("431[]"));
            } else if packet == "40" {
                self.write(number, &server_frame(r#"40{"sid":"floor"}"#));
            }
        }
        if let Some(peer) = &mut self.peers[number]
            && peer.received.is_empty()
        {
            // No buffer is kept for an idle peer.
            peer.received = Vec::new();
        }
        Ok(())
    }

    /// Writes what this and other floors have published to the recipients.
    fn receive(&mut self) -> io::Result<()> {
        let Some(bus) = &mut self.bus else { return Ok(()) };
        let mut received = std::mem::take(&mut bus.received);
        let mut buffer = [0; 64 * 1024];
        loop {
            match bus.subscription.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("Redis has closed the connection")),
                Ok(count) => {
                    received.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(items) = take_array(&mut received)? {
            // pmessage, the pattern, the channel, and the frame.
            let [kind, _, channel, frame] = &items[..] else { continue };
            let channel = String::from_utf8_lossy(channel);
            if let (b"pmessage", Some(room)) =
                (&kind[..], channel.strip_prefix(CHANNEL).and_then(|rest| rest.strip_suffix('#')))
            {
                self.publish(room, frame);
            }
        }
        if let Some(bus) = &mut self.bus {
            bus.received = received;
        }
        Ok(())
    }

    /// Writes a frame to each recipient.
    fn publish(&mut self, room: &str, frame: &[u8]) {
        let Self { peers, rooms, coalesce, dirty, .. } = self;
        for number in rooms.get(room).into_iter().flatten() {
            if let Some(peer) = &mut peers[*number] {
                peer.write(frame, *coalesce, *number, dirty);
            }
        }
    }

    fn write(&mut self, number: usize, frame: &[u8]) {
        let Self { peers, coalesce, dirty, .. } = self;
        if let Some(peer) = &mut peers[number] {
            peer.write(frame, *coalesce, number, dirty);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(bus) = &mut self.bus {
            bus.flush()?;
        }
        for number in self.dirty.drain(..) {
            if let Some(peer) = &mut self.peers[number] {
                let _ = peer.stream.write(&peer.waiting);
                peer.waiting.clear();
            }
        }
        Ok(())
    }
}

impl Bus {
    fn open(url: &str) -> io::Result<Self> {
        let address = url.strip_prefix("redis://").and_then(|rest| rest.parse().ok());
        let address: std::net::SocketAddr =
            address.ok_or_else(|| io::Error::other("REDIS_URL must be redis://ADDRESS:PORT"))?;
        let connect = |words: &[&[u8]]| {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.write_all(&command(words))?;
            io::Result::Ok(stream)
        };
        let publisher = connect(&[b"CLIENT", b"REPLY", b"OFF"])?;
        let subscription = connect(&[b"PSUBSCRIBE", format!("{CHANNEL}*").as_bytes()])?;
        subscription.set_nonblocking(true)?;
        let subscription = TcpStream::from_std(subscription);
        Ok(Self { publisher, waiting: Vec::new(), subscription, received: Vec::new() })
    }

    fn publish(&mut self, room: &str, frame: &[u8], coalesce: bool) -> io::Result<()> {
        self.waiting.extend(command(&[b"PUBLISH", format!("{CHANNEL}{room}#").as_bytes(), frame]));
        if coalesce { Ok(()) } else { self.flush() }
    }

    /// Writes everything; the write may block, but Redis always reads.
    fn flush(&mut self) -> io::Result<()> {
        self.publisher.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

impl Peer {
    fn write(&mut self, frame: &[u8], coalesce: bool, number: usize, dirty: &mut Vec<usize>) {
        if !coalesce {
            let _ = self.stream.write(frame);
            return;
        }
        if self.waiting.is_empty() {
            dirty.push(number);
        }
        self.waiting.extend_from_slice(frame);
    }
}
