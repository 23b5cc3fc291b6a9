//! How long a worker is held by other people's writes: `hold [PEER] [MEMBERS] [PUBLISHES] [MOST_MS]`, by default `roomcast`, a room
//! of 5,000 and 30 publishes to it, without a bound. The server has one worker. While it writes a publish to the members, a client
//! that is none asks one question after the other: the longest wait is the longest that the worker did nothing but write. 50,000
//! members need as many descriptors here and in the server. The last line is `ok`, or `FAILED` if a wait was above the bound.
//!
//! The server is on core 0, this program on core 1.

use roomcast_benches::dial::dial;
use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::{Client, STEP_TIMEOUT};
use roomcast_benches::workloads::{Failure, Waits};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Publishes that are not counted.
const WARM_UP: usize = 3;

/// Questions in the calm.
const CALM: usize = 1_000;

/// How long the asker asks after a publish: for each member, several times what a write takes.
const PER_MEMBER: Duration = Duration::from_micros(20);

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let peer = Peer::named(arguments.next().as_deref().unwrap_or("roomcast"))?;
    let members: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let publishes: usize = arguments.next().as_deref().unwrap_or("30").parse()?;
    let most: Option<u64> = arguments.next().map(|most| most.parse()).transpose()?;
    allow_descriptors(members)?;
    pin_this_process(1)?;
    let server = Server::start(&peer, &[0], None)?;
    let connect = |number: usize| Client::over(dial(server.address, number, None)?)?.join();
    let mut room = Vec::with_capacity(members);
    for number in 0..members {
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
