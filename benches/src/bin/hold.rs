//! How long a worker is held by other people's writes: `hold [PEER] [MEMBERS] [PUBLISHES] [MOST_MS]`, by default `roomcast`, a room
//! of 5,000 and 30 publishes to it, without a bound. The server has one worker. While it writes a publish to the members, a client
//! that is none asks one question after the other: the longest wait is the longest that the worker did nothing but write. The last
//! line is `ok`, or `FAILED` if a wait was above the bound.
//!
//! Members need descriptors, one each here and in the server. The peer `stand-ins` is the library with members in its own memory, for
//! rooms of 50,000 where fewer descriptors are allowed; what the kernel does for each message is missing there.
//!
//! The server is on core 0, this program on core 1.

use roomcast_benches::dial::dial;
use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::{NO_HEARTBEAT, Server};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::{Client, STEP_TIMEOUT};
use roomcast_benches::workloads::{Failure, Waits};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The peer whose members are in its own memory.
const STAND_INS: &str = "stand-ins";

/// Publishes that are not counted.
const WARM_UP: usize = 3;

/// Questions in the calm.
const CALM: usize = 1_000;

/// How long the asker asks after a publish: for each member, several times what a write takes.
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
        // Nobody reads meanwhile: this program has one core, and the messages are small enough for the kernel to keep.
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
                    // What the conformance server and its twin greet with.
                    Some(packet) if packet.starts_with(b"42[\"auth\"") => {}
                    other => return Err(format!("a member got {other:?} for message {publish}").into()),
                }
            }
        }
    }
    let (calm, holds) = (Waits::of(calm).ok_or("no questions")?, Waits::of(holds).ok_or("no publishes")?);
    println!("{}, one worker: a question in the calm waits {calm}", peer.name);
    println!("the longest wait in each of {publishes} publishes to {members} members: {holds}; load {}", load());
    let mut verdict = Verdict::default();
    if let Some(most) = most {
        let within = holds.longest <= Duration::from_millis(most);
        verdict.check(within, &format!("a worker was held for more than {most} ms"));
    }
    Ok(verdict.end())
}
