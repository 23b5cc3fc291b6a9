//! Measures how long writes to a large room occupy a worker: `hold [PEER] [MEMBERS] [PUBLISHES] [MOST_MS]`, by default `roomcast`, a room
//! of 5,000 members and 30 publishes, without a limit. The server has one worker. While it writes a publish to the members, another client,
//! which is not a member, sends one request after another. Its longest wait is the longest time for which the worker only wrote. The last
//! line is `ok`, or `FAILED` if a wait was above the limit.
//!
//! Each member needs a descriptor here and one in the server. The peer `stand-ins` is the library with members in its own memory, for rooms
//! of 50,000 members where fewer descriptors are allowed. It does not include the kernel's work for each message.
//!
//! The server runs on core 0, this program on core 1.

use roomcast_benches::dial::dial;
use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::{NO_HEARTBEAT, Server};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::{Client, STEP_TIMEOUT};
use roomcast_benches::workloads::{Failure, Waits};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The peer with members in its own memory.
const STAND_INS: &str = "stand-ins";

/// Publishes before those that are counted.
const WARM_UP: usize = 3;

/// Requests before the first publish.
const CALM: usize = 1_000;

/// How long requests are sent after a publish, per member: several times what a write takes.
const PER_MEMBER: Duration = Duration::from_micros(20);

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut peer = Peer::named(arguments.next().as_deref().unwrap_or("roomcast"))?;
    let members: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let publishes: usize = arguments.next().as_deref().unwrap_or("30").parse()?;
    let most: Option<u64> = arguments.next().map(|most| most.parse()).transpose()?;
    let connections = if peer.name == STAND_INS { 0 } else { members };
    if peer.name == STAND_INS {
        peer.command.push(members.to_string().into());
    }
    allow_descriptors(connections)?;
    pin_this_process(1)?;
    let server = Server::start_with(&peer, &[0], &[NO_HEARTBEAT])?;
    let connect = |number: usize| Client::over(dial(server.address, number, None)?)?.join();
    let mut room = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut client = connect(number)?;
        client.ask(r#"["join","room"]"#)?;
        room.push(client);
    }
    let (mut publisher, mut asker) = (connect(0)?, connect(0)?);
    let mut ask = || -> Result<Duration, Failure> {
        let asked = Instant::now();
        asker.ask(r#"["echo",1]"#)?;
        Ok(asked.elapsed())
    };
    let calm = (0..CALM).map(|_| ask()).collect::<Result<Vec<_>, _>>()?;
    let mut holds = Vec::new();
    for publish in 0..WARM_UP + publishes {
        publisher.send(&format!(r#"42["pub","room",{publish},"text"]"#))?;
        // The members do not read meanwhile, because this program has only one core. The messages fit into the kernel's buffers.
        let end = Instant::now() + PER_MEMBER * members as u32;
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            longest = longest.max(ask()?);
        }
        if publish >= WARM_UP {
            holds.push(longest);
        }
        let message = format!(r#"42["msg",{publish},"text"]"#);
        for client in &mut room {
            let end = Instant::now() + STEP_TIMEOUT;
            loop {
                match client.next_until(end)? {
                    Some(packet) if packet == message.as_bytes() => break,
                    // The greeting of the conformance server and its counterpart on Node.
                    Some(packet) if packet.starts_with(b"42[\"auth\"") => {}
                    other => return Err(format!("a member got {other:?} for message {publish}").into()),
                }
            }
        }
    }
    let (calm, holds) = (Waits::of(calm).ok_or("no requests")?, Waits::of(holds).ok_or("no publishes")?);
    println!("{}, one worker: the wait of a request without publishes: {calm}", peer.name);
    println!("the longest wait in each of {publishes} publishes to {members} members: {holds}; load {}", load());
    let mut verdict = Verdict::default();
    if let Some(most) = most {
        let within = holds.longest <= Duration::from_millis(most);
        verdict.check(within, &format!("writes occupied the worker for more than {most} ms"));
    }
    Ok(verdict.end())
}
