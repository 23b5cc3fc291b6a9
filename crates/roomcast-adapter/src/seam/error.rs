//! [`AdapterError`]: why an adapter refused.

use roomcast_protocol::{PacketTooLarge, SocketId};

/// Why an adapter refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The socket's id is taken in this namespace: a mistake of the caller.
    #[error("socket id {0} is already in the namespace")]
    Duplicate(SocketId),
    /// A room name over [`MAX_ROOM_BYTES`](crate::limits::MAX_ROOM_BYTES).
    #[error("room name of {0} bytes: at most {max} are allowed", max = crate::limits::MAX_ROOM_BYTES)]
    RoomName(usize),
    /// The socket would be in more than [`MAX_ROOMS_PER_SOCKET`](crate::limits::MAX_ROOMS_PER_SOCKET) rooms.
    #[error("more than {max} rooms for one socket", max = crate::limits::MAX_ROOMS_PER_SOCKET)]
    TooManyRooms,
    /// The packet is too large.
    #[error(transparent)]
    TooLarge(#[from] PacketTooLarge),
    /// The event is larger than the system that connects the servers carries. Emit it to this server's clients alone, or in pieces.
    #[error("an event of {bytes} bytes: at most {most} reach the other servers")]
    TooLargeForServers {
        /// Bytes of the event's JSON and its attachments.
        bytes: usize,
        /// Most of them.
        most: usize,
    },
}
