//! The handshake: the data of the server's `open` packet.

use crate::engineio::id::Sid;
use std::fmt;
use std::time::Duration;

/// What the server sends to a new client. Its `Display` is the JSON of the `open` packet, with the keys in Node's
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The session's secret id.
    pub sid: Sid,
    /// Whether the transport may be upgraded to a WebSocket.
    pub upgrade: bool,
    /// Time from a pong to the next ping, in whole milliseconds.
    pub ping_interval: Duration,
    /// Time that the client has for its pong, in whole milliseconds.
    pub ping_timeout: Duration,
    /// Most bytes of a message or POST body.
    pub max_payload: usize,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upgrades = if self.upgrade { r#"["websocket"]"# } else { "[]" };
        write!(
            f,
            r#"{{"sid":"{}","upgrades":{upgrades},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.sid,
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload
        )
    }
}
