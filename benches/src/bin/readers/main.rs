//! Tests clients that read more slowly than the server sends: `readers WHAT [PEER] [CLIENTS] [SECONDS]`, by default with the server
//! `roomcast`. The last line is `ok` or `FAILED`.
//!
//! - `pace`: 100 clients, half of them polling, that read with random pauses of up to 15 s, for 600 s. None of them may be disconnected, and
//!   each must receive everything once and in order.
//! - `drip`: 2,000 clients that are together sent twice the server's memory budget and read one byte per second, for at most 90 s. The server
//!   must stay within its budget, answer other clients meanwhile, and have disconnected all of them at the end.
//! - `stop`: 20 clients that are sent more than the hard bound, and 20 that are sent less than it but more than the soft bound. They read
//!   nothing, for 40 s. The first must be disconnected immediately, with no more memory for each than the bound and a packet; the others
//!   after the grace period.

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

/// The rule for slow clients in docs/protocol.md: the bounds of an outbox, and the grace period in which a client has to take an eighth of
/// what waits above the soft bound.
const SOFT_BOUND: usize = 1 << 20;
const HARD_BOUND: usize = 16 << 20;
const GRACE: Duration = Duration::from_secs(20);

/// How much later the server may notice it.
const SLACK: Duration = Duration::from_secs(10);

/// Adds what the allocator may need beyond the bytes that the server counts: a quarter, and some for the server itself.
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
        // Clients that do not read answer no heartbeats either. They must be disconnected because of the rule.
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
