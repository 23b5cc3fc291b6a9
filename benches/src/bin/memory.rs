//! Resident memory per idle WebSocket connection: `memory PEER [CONNECTIONS] [SECONDS]`.
//!
//! Starts the server, lets a few clients come and go, then opens the connections one after the other (each joins namespace
//! `/` and then says nothing), waits for `SECONDS` of quiet (10) and compares `RssAnon` with what it was before them.

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{Server, load};
use roomcast_benches::wire::{Client, HEADER_BYTES};
use std::error::Error;
use std::thread;
use std::time::Duration;

/// Clients that come and go before the first reading, so that what the server makes once is not counted.
const VISITORS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let peer = Peer::named(&arguments.next().ok_or("usage: memory PEER [CONNECTIONS] [SECONDS]")?)?;
    let connections: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let seconds: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;
    let needed = connections as u64 + 64;
    if rlimit::increase_nofile_limit(needed)? < needed {
        return Err(format!("{needed} descriptors are needed here, and as many in the server: raise ulimit -n").into());
    }

    let server = Server::start(&peer, &[])?;
    for _ in 0..VISITORS {
        Client::connect(server.address)?;
    }
    thread::sleep(Duration::from_secs(1));
    let before = server.anonymous_memory()?;
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Client::connect(server.address)?);
    }
    let peak = server.anonymous_memory()?;
    thread::sleep(Duration::from_secs(seconds));
    let after = server.anonymous_memory()?;
    let per_connection = after.saturating_sub(before) as f64 / connections as f64;
    println!(
        "{}: {per_connection:.0} bytes ({:.2} KiB) per connection; {connections} connections, {HEADER_BYTES} bytes of \
         headers each; RssAnon {} KiB before, {} KiB after the last connect, {} KiB after {seconds} s; load {}",
        peer.name,
        per_connection / 1024.0,
        before / 1024,
        peak / 1024,
        after / 1024,
        load(),
    );
    drop(clients);
    Ok(())
}
