//! The bounds of this crate, each with its reason.

/// Most bytes of a room's name. Names are often chosen by clients, and each is kept once per server.
pub const MAX_ROOM_BYTES: usize = 1_024;

/// Most rooms of one socket, its own not counted: 80 KB of membership, far more than a person can follow.
pub const MAX_ROOMS_PER_SOCKET: usize = 10_000;

/// Most acknowledgements awaited from one socket. A client that answers nothing must not fill the table.
pub const MAX_PENDING_ACKS: u32 = 10_000;

/// Server-side events that may wait for a namespace's handlers; more are refused and counted.
pub const MAX_SERVER_EVENTS: usize = 1_024;

/// Bytes of messages from other servers that are put into outboxes before the writers are woken; then they are, and it goes on.
/// With more, a client that reads would be taken for one that does not.
pub const WAKE_AFTER_BYTES: usize = 65_536;
