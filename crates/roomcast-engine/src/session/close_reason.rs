//! [`CloseReason`]: why a session ended.

use std::fmt;

/// Why a session ended. The texts are Node's where Node has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// No pong came in time.
    PingTimeout,
    /// The client broke the transport's rules, or a poll was dropped.
    TransportError,
    /// The client closed the transport.
    TransportClose,
    /// The client sent something that is not a packet.
    ParseError,
    /// The server called [`Connection::close`](crate::Connection::close).
    ForcedClose,
    /// The client broke a rule of the protocol above, and something was still queued: see
    /// [`Connection::close_at_fault`](crate::Connection::close_at_fault).
    ForcedServerClose,
    /// The client sent more than a rate limit allows. Node has no such limit, and no such reason.
    RateLimit,
    /// The server stops.
    ServerShutdown,
    /// The client did not read what was sent to it. Node has no such bound, and no such reason.
    SlowConsumer,
}

impl CloseReason {
    /// The reason as Socket.IO names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PingTimeout => "ping timeout",
            Self::TransportError => "transport error",
            Self::TransportClose => "transport close",
            Self::ParseError => "parse error",
            Self::ForcedClose => "forced close",
            Self::ForcedServerClose => "forced server close",
            Self::RateLimit => "rate limit exceeded",
            Self::ServerShutdown => "server shutting down",
            Self::SlowConsumer => "slow consumer",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
