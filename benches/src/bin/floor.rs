//! The least that a fan-out can cost: one thread, one epoll, one `write` of the same pre-framed bytes per recipient, and no
//! checks. It speaks just enough Socket.IO for the `fanout` program to drive it like any server.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use roomcast_benches::wire::{server_frame, take_frame};
use std::error::Error;
use std::io::{self, Read as _, Write as _};

const LISTENER: Token = Token(usize::MAX);

/// A handshake's answer. `fanout` does not look at the key.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
    upgraded: bool,
    joined: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("listening on http://{}", listener.local_addr()?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: Vec<Option<Peer>> = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    poll.registry().register(&mut stream, Token(peers.len()), Interest::READABLE)?;
                    peers.push(Some(Peer { stream, received: Vec::new(), upgraded: false, joined: false }));
                }
                continue;
            }
            serve(&mut peers, event.token().0)?;
        }
    }
}

fn serve(peers: &mut [Option<Peer>], number: usize) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let Some(peer) = &mut peers[number] else { return Ok(()) };
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
                peers[number] = None;
                return Ok(());
            }
        }
    }
    if !peer.upgraded && peer.received.ends_with(b"\r\n\r\n") {
        peer.upgraded = true;
        peer.received.clear();
        peer.stream.write_all(ANSWER)?;
        peer.stream.write_all(&server_frame(r#"0{"sid":"floor","upgrades":[]}"#))?;
    }
    while let Some(packet) = peers[number].as_mut().and_then(|peer| take_frame(&mut peer.received)) {
        let packet = String::from_utf8_lossy(&packet);
        if let Some(arguments) = packet.strip_prefix(r#"42["pub","room","#) {
            publish(peers, &server_frame(&format!(r#"42["msg",{arguments}"#)));
        } else if let Some(peer) = &mut peers[number] {
            match &*packet {
                "40" => peer.stream.write_all(&server_frame(r#"40{"sid":"floor"}"#))?,
                r#"421["join","room"]"# => {
                    peer.joined = true;
                    peer.stream.write_all(&server_frame("431[]"))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// One write per recipient.
fn publish(peers: &mut [Option<Peer>], frame: &[u8]) {
    for peer in peers.iter_mut().flatten().filter(|peer| peer.joined) {
        let _ = peer.stream.write(frame);
    }
}
