//! Measures resident memory per idle WebSocket connection: `memory PEER [CONNECTIONS] [SECONDS]`, by default with 5,000 connections, which
//! are idle for 10 s before the memory is read. It is the second figure of the workload `connects`, in other sizes.

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load};
use roomcast_benches::server::Server;
use roomcast_benches::wire::HEADER_BYTES;
use roomcast_benches::workloads::{Failure, connects};
use std::time::Duration;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let peer = Peer::named(&arguments.next().ok_or("usage: memory PEER [CONNECTIONS] [SECONDS]")?)?;
    let connections: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    let seconds: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;
    allow_descriptors(connections)?;
    let server = Server::start(&peer, &[], None)?;
    let bytes = connects(&server, connections, Duration::from_secs(seconds))?.memory;
    println!(
        "{}: {bytes:.0} bytes ({:.2} KiB) per connection; {connections} connections, {HEADER_BYTES} bytes of headers each, \
         after {seconds} s; load {}",
        peer.name,
        bytes / 1024.0,
        load(),
    );
    Ok(())
}
