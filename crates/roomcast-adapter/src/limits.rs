//! The limits of this crate, each with its reason.

use std::time::Duration;

/// Most bytes of a room's name. Names are often chosen by clients, and each name is stored once per server.
pub const MAX_ROOM_BYTES: usize = 1_024;

/// Most rooms of one socket, not counting the room of its id. They take 80 KB, and are more than a person can follow.
pub const MAX_ROOMS_PER_SOCKET: usize = 10_000;

/// Most acknowledgements awaited from one socket, so that a client that never answers cannot fill the table.
pub const MAX_PENDING_ACKS: u32 = 10_000;

/// Most server-side events that wait for a namespace's handlers. Further events are refused and counted.
pub const MAX_SERVER_EVENTS: usize = 1_024;

/// Most changes of a namespace's rooms that wait for an observer which is slower than they come. They take 3 MB.
pub const MAX_ROOM_EVENTS: usize = 65_536;

/// After this many bytes of messages from other servers have gone into outboxes, their writers are woken before the
/// next message is taken. With more, the outbox of a client that reads could fill up as if it did not read.
pub const WAKE_AFTER_BYTES: usize = 65_536;

/// How long a session is kept for a client whose connection was lost, unless set otherwise. As in Node.
pub const RECOVERY_DISCONNECTION: Duration = Duration::from_secs(120);

/// How long an event stays in the log, beyond the time for which sessions are kept: a server notices a silent loss up to
/// 45 s late (an interval and a timeout of the heartbeat), and until then the client's session is not even kept yet.
pub const RECOVERY_NOTICE: Duration = Duration::from_secs(45);

/// Most events in the log of a namespace, unless set otherwise: 500 events a second for two minutes.
pub const RECOVERY_PACKETS: usize = 65_536;

/// Most bytes of all logs of a server together, unless set otherwise. A packet counts its frames and
/// [`RECOVERY_ENTRY_BYTES`]; packets that still wait for clients are shared, so they may count twice.
pub const RECOVERY_BYTES: usize = 32 << 20;

/// What an entry of the log costs beside its packet's frames: the packet's own fields, the entry, its place in the lists
/// of its rooms.
pub const RECOVERY_ENTRY_BYTES: usize = 320;

/// Most sessions that a server keeps, unless set otherwise: as many as it may have connections.
pub const RECOVERY_SESSIONS: usize = 100_000;

/// Most bytes of all kept sessions of a server, unless set otherwise: data, 24 bytes for each room, and
/// [`RECOVERY_SESSION_BYTES`].
pub const RECOVERY_SESSIONS_BYTES: usize = 64 << 20;

/// What a kept session costs beside its data and its rooms.
pub const RECOVERY_SESSION_BYTES: usize = 384;

/// Most bytes of packets that one client may have missed, unless set otherwise. More goes not well into an outbox (hard
/// bound 16 MiB): the client would be cut off as slow while it receives what it missed, and come back for the same again.
pub const RECOVERY_REPLAY_BYTES: usize = 4 << 20;

/// Most changes of rooms that are noted for a session, so that it is known later in which rooms it was when an event was
/// emitted. The oldest is forgotten; who has received nothing since then is not recovered.
pub const RECOVERY_ROOM_CHANGES: usize = 64;

/// Most rooms for which it is noted when an event of theirs left the log. It lets idle sessions be recovered however much
/// was emitted elsewhere; when there are more, all are forgotten, and who was idle for so long is not recovered.
pub const RECOVERY_GONE_ROOMS: usize = 65_536;

/// Most sessions that ended, of which a server still knows why, to tell it to a client that asks.
pub const RECOVERY_TOLD_ENDS: usize = 4_096;

/// How long a client that comes back waits until its former connection, which the server takes for alive, has ended.
pub const RECOVERY_TAKEOVER: Duration = Duration::from_secs(2);
