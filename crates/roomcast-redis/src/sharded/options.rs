//! [`ShardedOptions`].

/// Options of the sharded dialect, as Node's `createShardedAdapter` has them. All servers and emitters of a cluster
/// must have the same.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardedOptions {
    /// Prefix of all channels. Defaults to `socket.io`.
    pub channel_prefix: String,
    /// Which rooms have channels of their own. Defaults to [`ShardedMode::Dynamic`].
    pub mode: ShardedMode,
}

impl Default for ShardedOptions {
    fn default() -> Self {
        Self { channel_prefix: "socket.io".to_owned(), mode: ShardedMode::default() }
    }
}

/// Which rooms have channels of their own: Node's `subscriptionMode`. A broadcast without acknowledgements to one such
/// room goes out on the room's channel, which only servers with members of the room subscribe; everything else goes to
/// all servers of the namespace. A server in another mode than the others misses broadcasts to single rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardedMode {
    /// No room.
    Static,
    /// All rooms, except those whose names are 20 UTF-16 units long, as the ids of sockets are.
    #[default]
    Dynamic,
    /// All rooms, including those of socket ids.
    DynamicPrivate,
}

impl ShardedMode {
    /// Whether a room has a channel of its own.
    pub(super) fn has_channel(self, room: &str) -> bool {
        match self {
            Self::Static => false,
            Self::Dynamic => room.encode_utf16().count() != SOCKET_ID_UNITS,
            Self::DynamicPrivate => true,
        }
    }
}

/// The length by which Node recognizes a socket's own room.
const SOCKET_ID_UNITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_with_channels_of_their_own() {
        let nineteen = "é".repeat(19);
        // A character outside the basic plane has two units.
        for (room, dynamic) in [
            ("", true),
            ("room-of-20-character", false),
            ("sockB1--------------", false),
            (&nineteen, true),
            (&format!("{nineteen}x"), false),
            (&format!("{nineteen}😀"), true),
            (&"😀".repeat(10), false),
        ] {
            assert_eq!(ShardedMode::Dynamic.has_channel(room), dynamic, "{room}");
            assert!(ShardedMode::DynamicPrivate.has_channel(room) && !ShardedMode::Static.has_channel(room));
        }
    }
}
