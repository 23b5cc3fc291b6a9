//! What others notice of a handler that blocks its thread for a second: `busy [PEER] [ROUNDS]`, `roomcast` and 5 by default. The
//! server has two workers on cores 0 and 1, this program is on core 1. The last line is `ok` if the p99 of the others' questions is
//! within 20 ms of that in the calm, or else `FAILED`.

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::{Beside, Failure, They, beside};
use std::process::ExitCode;
use std::time::Duration;

/// The others ask 4,000 times a second in all, a small part of what a server answers.
const OTHERS: usize = 200;
const EVERY: Duration = Duration::from_millis(50);

/// How long the handler blocks.
const BLOCKS: Duration = Duration::from_secs(1);

/// Most that the p99 may be above that of the calm.
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
    println!("{}: {OTHERS} others ask; in the calm: {calm}", peer.name);
    println!("beside a handler that blocks for {BLOCKS:?}, {rounds} times: {busy}; load {}", load());
    let mut verdict = Verdict::default();
    verdict.check(busy.p99 <= calm.p99 + WITHIN, &format!("the p99 is more than {WITHIN:?} above that of the calm"));
    Ok(verdict.end())
}
