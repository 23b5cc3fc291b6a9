//! The bounds and deadlines of this crate, each with its reason. Those called "default" are options of
//! [`EngineConfig`](crate::EngineConfig) or [`ServeOptions`](crate::ServeOptions).

use std::time::Duration;

/// Default time from a pong to the next ping, as in Node.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Default time that a client has for its pong, as in Node.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Default time that an upgrade may take from its probe on, as in Node.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a held poll is looked for during an upgrade, to be answered with a noop, as in Node. The upgrade of a session
/// that has ended is given up within the same time.
pub const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// What a packet costs in an outbox beside its bytes: about its place in the queue and its share of the bookkeeping.
pub const PACKET_COST: usize = 128;

/// Default cost of what may wait for one client before its transport must keep a pace: the soft bound. Some seconds of a
/// video thumbnail a frame, or 7,000 chat messages.
pub const OUTBOX_SOFT: usize = 1024 * 1024;

/// Default cost of what may wait for one client behind the packet that is being written: the hard bound. An empty outbox
/// takes any packet, so a large one can always be sent.
pub const OUTBOX_HARD: usize = 16 * OUTBOX_SOFT;

/// Over the soft bound, the share of what waits that the transport must take in each grace: an eighth.
pub const PACE_SHARE: usize = 8;

/// The grace while the outboxes of all clients hold more than half of their budget. Otherwise it is the ping timeout.
pub const TIGHT_GRACE: Duration = Duration::from_secs(5);

/// Default share of the machine's memory, or its control group's, that all outboxes together may hold: a quarter.
pub const BUDGET_SHARE: usize = 4;

/// Least budget for all outboxes together.
pub const BUDGET_LEAST: usize = 64 * 1024 * 1024;

/// Least soft bound when the budget is used up and nobody is over the usual one.
pub const OUTBOX_LEAST: usize = 64 * 1024;

/// Bytes that the kernel may hold for a WebSocket and has not sent yet, on Linux (`TCP_NOTSENT_LOWAT`). What is under way to the
/// client comes on top.
pub const UNSENT: u32 = 128 * 1024;

/// Packets that leave in one vectored write: Linux takes up to 1 024 slices, and beyond some dozens nothing is gained.
pub const PACKETS_PER_WRITE: usize = 64;

/// Writes to one client in a row, while others go on to put packets into its outbox. Then its own task goes on.
pub const WRITES_PER_DRAIN: usize = 16;

/// Time for which a turn writes to clients before the other tasks of its thread run; then it goes on with the rest.
pub const TURN_TIME: Duration = Duration::from_millis(5);

/// How often turns that last are looked for, while any turn begins at all. A handler that blocks its thread for longer than twice
/// this holds up no other clients' input.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(5);

/// Writes between two looks at the clock in a turn.
pub const WRITES_PER_LOOK: usize = 16;

/// Connections for which a thread keeps the storage of a turn: one that once served 100,000 should not hold 0.8 MB for ever.
pub const KEPT_CONNECTIONS: usize = 16_384;

/// Cost of what may wait for a client until the end of a turn, a quarter of the soft bound if that is less. More is written
/// before it: what one turn makes must not overflow the outbox of a client that would read it.
pub const CROWDED: usize = OUTBOX_SOFT / 4;

/// Bytes that one read may take: the buffer is the thread's, so its size costs nothing per connection.
pub const READ_BUFFER: usize = 64 * 1024;

/// Reads of one connection before the others of its thread get their turn.
pub const READS_PER_TURN: usize = 16;

/// Time that a closing WebSocket has to take what is queued and to answer the close frame.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a closing polling session waits for the poll that takes its last packets, as in Node.
pub const POLL_CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time until the connection of an upgrade request for a path that is nobody's is ended, as in Node.
pub const FOREIGN_UPGRADE_TIMEOUT: Duration = Duration::from_secs(1);

/// A deadline that is noticed this much too late was missed by the server, not by the client.
pub const LATE: Duration = Duration::from_secs(1);

/// Part of an interval by which the first ping may come early, so that clients that all came back at once are not all
/// pinged at once: a quarter.
pub const FIRST_PING_SPREAD: u32 = 4;

/// Default time for the head of a request, from its first byte on.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Default time for the body of a POST.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a request's head; hyper answers 431 beyond it. It is also hyper's buffer per connection that speaks HTTP.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Most headers of a request; hyper answers 431 beyond it.
pub const HEADERS: usize = 100;

/// Default most TCP connections at once; those beyond it are answered 503.
pub const CONNECTIONS: usize = 100_000;

/// Default most Engine.IO sessions at once; handshakes beyond it are answered 503.
pub const SESSIONS: usize = 100_000;

/// Connections that the kernel may hold until they are accepted.
pub const BACKLOG: i32 = 4_096;

/// Pause after an accept that failed because the process has no descriptors left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Default time that connections have for their end when the server stops.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

// --- of the HTTP side ---

/// When the client of a polling session, busy with a handler while its deadline was looked at, is looked at again.
pub const BUSY_CLIENT_RETRY: Duration = Duration::from_millis(10);

/// Default time that a connection is kept for its next request. Proxies and load balancers end their idle connections to a
/// server after 60 s as a rule (AWS, nginx): they must be the first, or a request meets the end of its connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How much longer than it was told a connection is kept for its next request: that may be on its way when the time is over.
/// As Node's `keepAliveTimeoutBuffer`.
pub const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Default time in which a part of an answer that waits must leave ([`WRITE_SHARE`]). A train passes a tunnel in it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The part of an answer that must leave in [`WRITE_TIMEOUT`]: an eighth. Were it a byte, a client could hold a large answer for
/// as long as it likes by taking a little now and then.
pub const WRITE_SHARE: usize = 8;

/// Silence after which the kernel asks whether a client is still there. Sessions have a heartbeat; this is for what else is
/// served, and for a client that vanishes while nothing is expected of it.
pub const TCP_KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between two such questions.
pub const TCP_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Questions without an answer after which the connection is over: two minutes after its last sign of life.
pub const TCP_KEEP_ALIVE_PROBES: u32 = 4;

/// Connections beyond the limit that are given a moment to read their 503. Those beyond them are closed behind it at once.
pub const REFUSALS: usize = 256;

/// That moment.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest that any time of the options may be; longer ones are cut to it: 2^30 - 1 ms, 12 days. A client waits for its ping for
/// interval and timeout together, and JavaScript's timers take no more than 2^31 - 1 ms: beyond it they fire at once.
pub const LONGEST: Duration = Duration::from_millis((1 << 30) - 1);

/// Refused origins that are told in the log in [`REFUSED_ORIGINS_TIME`], each once: whoever makes them up must not fill it.
pub const REFUSED_ORIGINS: usize = 64;

/// That time: a configuration that is wrong is told again.
pub const REFUSED_ORIGINS_TIME: Duration = Duration::from_secs(600);

/// Default most sessions at once that have begun nothing. A client that works joins within a few round trips: in a flood of
/// 2,000 handshakes a second it still has 12 s for that.
pub const UNJOINED_SESSIONS: usize = 25_000;

/// Default most sessions by polling at once. Each may hold a GET, for which hyper keeps 18 KB: 450 MB. It is the session that is
/// refused, and not the GET of one that is there: that would lose what waits for it, and to answer it with nothing would make
/// its client ask again at once.
pub const POLLING_SESSIONS: usize = 25_000;
