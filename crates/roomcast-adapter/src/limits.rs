//! The limits of this crate, each with its reason.

/// Most bytes of a room's name. Names are often chosen by clients, and each name is stored once per server.
pub const MAX_ROOM_BYTES: usize = 1_024;

/// Most rooms of one socket, not counting the room of its id. They take 80 KB, and are more than a person can follow.
pub const MAX_ROOMS_PER_SOCKET: usize = 10_000;

/// Most acknowledgements awaited from one socket, so that a client that never answers cannot fill the table.
pub const MAX_PENDING_ACKS: u32 = 10_000;

/// Most server-side events that wait for a namespace's handlers. Further events are refused and counted.
pub const MAX_SERVER_EVENTS: usize = 1_024;

/// After this many bytes of messages from other servers have gone into outboxes, their writers are woken before the
/// next message is taken. With more, the outbox of a client that reads could fill up as if it did not read.
pub const WAKE_AFTER_BYTES: usize = 65_536;
