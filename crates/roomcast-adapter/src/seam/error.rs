//! [`AdapterError`]: why an adapter refuses a call.

use roomcast_protocol::{EncodeError, PacketTooLarge, SocketId};

/// Why an adapter refused a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A socket with this id is already in the namespace: a mistake of the caller.
    #[error("socket id {0} is already in the namespace")]
    Duplicate(SocketId),
    /// The room's name is longer than [`MAX_ROOM_BYTES`](crate::limits::MAX_ROOM_BYTES).
    #[error("room name of {0} bytes: at most {max} are allowed", max = crate::limits::MAX_ROOM_BYTES)]
    RoomName(usize),
    /// The socket would be in more than [`MAX_ROOMS_PER_SOCKET`](crate::limits::MAX_ROOMS_PER_SOCKET) rooms.
    #[error("more than {max} rooms for one socket", max = crate::limits::MAX_ROOMS_PER_SOCKET)]
    TooManyRooms,
    /// The packet is too large.
    #[error(transparent)]
    TooLarge(#[from] PacketTooLarge),
    /// The server's parser cannot write the arguments. They come from text that nobody has checked
    /// ([`Args::from_parts`](roomcast_protocol::Args::from_parts)).
    #[error(transparent)]
    Unencodable(EncodeError),
    /// The event is too large for the message system between the servers. Emit it to this server only, or in pieces.
    #[error("an event of {bytes} bytes: the other servers can be sent at most {most}")]
    TooLargeForServers {
        /// Bytes of the event's JSON and its attachments.
        bytes: usize,
        /// The largest size that can be carried.
        most: usize,
    },
}

impl From<EncodeError> for AdapterError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge(error) => Self::TooLarge(error),
            error => Self::Unencodable(error),
        }
    }
}
