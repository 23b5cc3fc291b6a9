//! [`DisconnectReason`]: why a socket is no longer connected.

use roomcast_engine::CloseReason;
use std::fmt;

/// Why a socket was disconnected. The texts are those of Node's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client left the namespace.
    ClientNamespace,
    /// The server disconnected the socket.
    ServerNamespace,
    /// The client's whole connection ended.
    Connection(CloseReason),
}

impl DisconnectReason {
    /// The reason as Node's server writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientNamespace => "client namespace disconnect",
            Self::ServerNamespace => "server namespace disconnect",
            Self::Connection(reason) => reason.as_str(),
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
