//! [`Disconnection`]: how a client left its namespace.

use std::fmt;

/// How a client left its namespace. Its text is that of the official client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnection {
    /// The server disconnected it from the namespace: "io server disconnect".
    ByServer,
    /// [`Client::disconnect`](crate::Client::disconnect) was called: "io client disconnect".
    ByClient,
    /// The connection ended: the server closed it, or has been closed itself. "transport close".
    TransportClose,
    /// [`Client::cut`](crate::Client::cut) was called. Its text is "cut".
    Cut,
    /// The server sent something that no client can read, with the reason.
    ParseError(String),
}

impl fmt::Display for Disconnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByServer => f.write_str("io server disconnect"),
            Self::ByClient => f.write_str("io client disconnect"),
            Self::TransportClose => f.write_str("transport close"),
            Self::Cut => f.write_str("cut"),
            Self::ParseError(why) => write!(f, "parse error: {why}"),
        }
    }
}
