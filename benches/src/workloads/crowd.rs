//! [`Crowd`]: many clients in one thread.

use super::message::{Failure, SILENCE};
use crate::wire::{Client, client_frame, take_frame};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) struct Crowd {
    poll: Poll,
    events: Events,
    pub(super) members: Vec<Member>,
    last: Instant,
}

pub(super) struct Member {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Member {
    /// Sends a packet. It is a failure if the socket's buffer is full, because no workload sends that much.
    pub(super) fn send(&mut self, packet: &str) -> Result<(), Failure> {
        Ok(self.stream.write_all(&client_frame(packet))?)
    }
}

impl Crowd {
    /// Connects clients one after another, each to the `address` for its number. `join` is called for each connected client.
    pub(super) fn new(
        count: usize,
        address: impl Fn(usize) -> SocketAddr,
        mut join: impl FnMut(usize, &mut Client) -> io::Result<()>,
    ) -> Result<Self, Failure> {
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            let mut client = Client::connect(address(number))?;
            join(number, &mut client)?;
            client.stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(client.stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            members.push(Member { stream, received: client.received });
        }
        Ok(Self { poll, events: Events::with_capacity(1024), members, last: Instant::now() })
    }

    /// Waits at most `patience` for packets, and calls `take` for each with the number of its member. Answers heartbeats.
    pub(super) fn read(
        &mut self,
        patience: Duration,
        mut take: impl FnMut(usize, &mut Member, &[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.poll.poll(&mut self.events, Some(patience.min(SILENCE)))?;
        let mut buffer = [0; 64 * 1024];
        for event in &self.events {
            let number = event.token().0;
            let member = &mut self.members[number];
            loop {
                let count = match member.stream.read(&mut buffer) {
                    Ok(0) => return Err("the server has closed a connection".into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                member.received.extend_from_slice(&buffer[..count]);
                if count < buffer.len() {
                    break;
                }
            }
            while let Some(packet) = take_frame(&mut member.received) {
                if packet == b"2" {
                    member.send("3")?;
                } else {
                    self.last = Instant::now();
                    take(number, member, &packet)?;
                }
            }
        }
        if self.last.elapsed() >= SILENCE {
            return Err(format!("no packet arrived for {SILENCE:?}").into());
        }
        Ok(())
    }
}
