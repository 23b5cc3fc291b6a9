//! [`connects`]: clients connect one after another, join `/`, and then stay idle.

use super::message::Failure;
use crate::server::Server;
use crate::wire::Client;
use std::thread;
use std::time::Duration;

/// Clients that connect and disconnect first, so that what a server creates only once is not counted.
const VISITORS: usize = 100;

/// The cost of connections.
#[derive(Debug, Clone, Copy)]
pub struct Connects {
    /// Processor time of the server per connect, in nanoseconds.
    pub cpu: f64,
    /// Anonymous memory of the server per idle connection, in bytes.
    pub memory: f64,
}

/// Opens WebSocket connections, with 400 bytes of headers each, and keeps them open. The memory is measured after `quiet`.
///
/// # Errors
/// The server does not accept a connection, or has exited.
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
