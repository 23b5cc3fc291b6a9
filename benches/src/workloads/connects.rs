//! [`connects`]: clients come one after the other, join `/` and then say nothing.

use super::message::Failure;
use crate::server::Server;
use crate::wire::Client;
use std::thread;
use std::time::Duration;

/// Clients that come and go first, so that what a server makes once is not counted.
const VISITORS: usize = 100;

/// What connections cost.
#[derive(Debug, Clone, Copy)]
pub struct Connects {
    /// Nanoseconds of the server's processor time for each.
    pub cpu: f64,
    /// Bytes of anonymous memory for each that stays and says nothing.
    pub memory: f64,
}

/// Opens connections over WebSocket, with 400 bytes of headers each, and keeps them; memory is read after `quiet`.
///
/// # Errors
/// The server does not take them.
pub fn connects(server: &Server, count: usize, quiet: Duration) -> Result<Connects, Failure> {
    for _ in 0..VISITORS {
        Client::connect(server.address)?;
    }
    thread::sleep(Duration::from_secs(1));
    let (memory, cpu) = (server.process.anonymous_memory()?, server.process.cpu_nanoseconds()?);
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Client::connect(server.address)?);
    }
    let cpu = server.process.cpu_nanoseconds()? - cpu;
    thread::sleep(quiet);
    let memory = server.process.anonymous_memory()?.saturating_sub(memory);
    Ok(Connects { cpu: cpu as f64 / count as f64, memory: memory as f64 / count as f64 })
}
