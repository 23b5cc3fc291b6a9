//! Measures how a handler that blocks its thread for a second affects other clients: `busy [PEER] [ROUNDS]`, by default `roomcast` and 5.
//! The server has two workers on cores 0 and 1; this program runs on core 1. The last line is `ok` if the p99 of other clients' requests
//! is at most 20 ms above that without a blocking handler, and otherwise `FAILED`.

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::{Beside, Failure, They, beside};
use std::process::ExitCode;
use std::time::Duration;

/// The other clients send 4,000 requests per second in total, a small part of what a server can answer.
const OTHERS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);

/// How long the handler blocks.
const BLOCKS: Duration = Duration::from_secs(1);

/// How much the p99 may be above that without a blocking handler.
const WITHIN: Duration = Duration::from_millis(20);

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let peer = Peer::named(arguments.next().as_deref().unwrap_or("roomcast"))?;
    let rounds: usize = arguments.next().as_deref().unwrap_or("5").parse()?;
    allow_descriptors(OTHERS)?;
    pin_this_process(1)?;
    let size = Beside { others: OTHERS, they: They::Ask(EVERY), blocks: BLOCKS, rounds };
    let run = |calm: bool| beside(&Server::start(&peer, &[0, 1], None)?, size, calm);
    let (calm, busy) = (run(true)?, run(false)?);
    println!("{}: answers to {OTHERS} other clients, without a blocking handler: {calm}", peer.name);
    println!("beside a handler that blocks for {BLOCKS:?}, {rounds} times: {busy}; load {}", load());
    let mut verdict = Verdict::default();
    let within = busy.p99 <= calm.p99 + WITHIN;
    verdict.check(within, &format!("the p99 is more than {WITHIN:?} above that without a blocking handler"));
    Ok(verdict.end())
}
