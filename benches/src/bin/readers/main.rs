//! Clients that do not read as fast as they are sent to, and what becomes of them: `readers WHAT [PEER] [CLIENTS] [SECONDS]`, on the
//! server `roomcast` by default. The last line is `ok` or `FAILED`.
//!
//! - `pace`: 100 clients, half of them polling, that read in between and pause for up to 15 s at random, for 600 s. Nobody is cut,
//!   and everybody gets everything, once and in order.
//! - `drip`: 2,000 clients that are sent twice as much as the server may keep for all together, and take one byte a second, for
//!   90 s at most. The server stays within its budget, answers others meanwhile, and has cut all of them at the end.
//! - `stop`: 20 clients that are sent more than the hard bound, and 20 that are sent a part of it, and read nothing, for 40 s. The
//!   first are cut at once, and the server keeps no more for each than the bound and a packet; the others within a grace.

mod crowd;
mod drip;
mod pace;
mod polling;
mod stop;

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load};
use roomcast_benches::server::{NO_HEARTBEAT, Server};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::Failure;
use std::process::ExitCode;
use std::time::Duration;

/// The rule for slow consumers, as docs/protocol.md has it: the bounds of one outbox, and the time in which an eighth of what waits
/// over the soft bound has to be taken.
const SOFT_BOUND: usize = 1 << 20;
const HARD_BOUND: usize = 16 << 20;
const GRACE: Duration = Duration::from_secs(20);

/// Time for the server to find it out.
const SLACK: Duration = Duration::from_secs(10);

/// What the allocator may keep beside what the server counts: a quarter, and some for the server itself.
fn with_slack(bytes: u64) -> u64 {
    bytes + bytes / 4 + (64 << 20)
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let peer = Peer::named(arguments.next().as_deref().unwrap_or("roomcast"))?;
    let (clients, seconds) = match &*what {
        "pace" => (100, 600),
        "drip" => (2_000, 90),
        "stop" => (20, 40),
        _ => return Err("usage: readers pace|drip|stop [PEER] [CLIENTS] [SECONDS]".into()),
    };
    let clients: usize = arguments.next().map_or(Ok(clients), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(seconds), |text| text.parse())?;
    allow_descriptors(2 * clients)?;
    let mut settings = vec![("TOKIO_WORKER_THREADS", "2")];
    if what != "pace" {
        // Who reads nothing answers no heartbeat either: it must be the rule that ends it.
        settings.push(NO_HEARTBEAT);
    }
    let server = Server::start_with(&peer, &[], &settings)?;
    let time = Duration::from_secs(seconds);
    let mut verdict = Verdict::default();
    match &*what {
        "pace" => pace::pace(&server, clients, time, &mut verdict)?,
        "drip" => drip::drip(&server, clients, time, &mut verdict)?,
        _ => stop::stop(&server, clients, time, &mut verdict)?,
    }
    println!("{}; load {}", peer.name, load());
    Ok(verdict.end())
}
