//! [`Emit`]: an event for clients, and how it is sent.

use roomcast_protocol::Args;

/// An event for clients.
#[derive(Debug, Clone, Copy)]
pub struct Emit<'a> {
    /// The event's name, then its arguments ([`Args::event`]).
    pub data: &'a Args,
    /// Drop it for clients whose transport cannot be written to at once.
    pub volatile: bool,
    /// Whether it may be compressed, where compression is on.
    pub compress: bool,
}

impl<'a> Emit<'a> {
    /// An event that is neither volatile nor exempt from compression.
    pub fn of(data: &'a Args) -> Self {
        Self { data, volatile: false, compress: true }
    }
}
