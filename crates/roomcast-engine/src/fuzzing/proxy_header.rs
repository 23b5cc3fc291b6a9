//! The reader of the PROXY protocol.

use crate::http::proxy_header::{Malformed, Progress, ProxyHeader, line_part};
use std::net::SocketAddr;

/// What a connection is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The header ends with the last byte that was read. It names this client, or nobody.
    Done(Option<SocketAddr>),
    /// Read at most so many bytes, at least one.
    Read(usize),
    /// Close: this is no header.
    Malformed,
}

/// Decides as a connection does that has read `bytes`. `ahead` is what has arrived behind them and is not read yet; without
/// any, the connection waits and decides again.
pub fn step(bytes: &[u8], ahead: &[u8]) -> Step {
    match ProxyHeader::read(bytes) {
        Ok(Progress::Done(ProxyHeader::Client(client))) => Step::Done(Some(client)),
        Ok(Progress::Done(ProxyHeader::Peer)) => Step::Done(None),
        Ok(Progress::Needs(more)) => Step::Read(more),
        Ok(Progress::NeedsLine(most)) => Step::Read(line_part(ahead, most)),
        Err(Malformed) => Step::Malformed,
    }
}
