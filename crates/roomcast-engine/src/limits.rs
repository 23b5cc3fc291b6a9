//! The bounds and deadlines of this crate, each with its reason. Those called "default" are options of
//! [`EngineConfig`](crate::EngineConfig) or [`ServeOptions`](crate::ServeOptions).

use std::time::Duration;

/// Default time from a pong to the next ping, as in Node.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Default time that a client has for its pong, as in Node.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Default time that an upgrade may take from its probe on, as in Node.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// During an upgrade, how often the server checks for a held poll to answer with a noop, as in Node. The upgrade of a
/// session that has ended is given up within the same time.
pub const NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// What a packet costs in an outbox in addition to its bytes: about its place in the queue and its share of the
/// bookkeeping.
pub const PACKET_COST: usize = 128;

/// Default cost of what may wait for one client before its transport must keep a pace: the soft bound. It is some
/// seconds of video thumbnails, one a frame, or 7,000 chat messages.
pub const OUTBOX_SOFT: usize = 1024 * 1024;

/// Default cost of what may wait for one client behind the packet that is being written: the hard bound. An empty
/// outbox accepts any packet, so that a large one can always be sent.
pub const OUTBOX_HARD: usize = 16 * OUTBOX_SOFT;

/// Over the soft bound, the share of what waits that the transport must take in each grace period: an eighth.
pub const PACE_SHARE: usize = 8;

/// The grace period while the outboxes of all clients hold more than half of their budget. Otherwise it is the ping
/// timeout.
pub const TIGHT_GRACE: Duration = Duration::from_secs(5);

/// Default share of the memory, of the machine or of its control group, that all outboxes together may hold: a quarter.
pub const BUDGET_SHARE: usize = 4;

/// Smallest default budget for all outboxes together.
pub const BUDGET_LEAST: usize = 64 * 1024 * 1024;

/// Smallest bound when the budget is used up and no client is over the soft bound.
pub const OUTBOX_LEAST: usize = 64 * 1024;

/// Default share of the memory that unfinished messages of all clients may hold together: an eighth.
pub const INBOX_SHARE: usize = 8;

/// Smallest default budget for unfinished messages.
pub const INBOX_BUDGET_LEAST: usize = 32 * 1024 * 1024;

/// Bytes of an unfinished message that count for the budget. Less is part of what a connection costs.
pub const INBOX_LEAST: usize = 16 * 1024;

/// Bytes that the kernel may hold unsent for a WebSocket, on Linux (`TCP_NOTSENT_LOWAT`). What has been sent and is not
/// acknowledged comes on top.
pub const UNSENT: u32 = 128 * 1024;

/// Packets that leave in one vectored write. Linux takes up to 1,024 slices, but beyond some dozens nothing is gained.
pub const PACKETS_PER_WRITE: usize = 64;

/// Writes to one client in a row while other threads keep adding packets to its outbox. After that its own task takes
/// over.
pub const WRITES_PER_DRAIN: usize = 16;

/// Time for which a turn writes to clients before the other tasks of its thread run. A task writes the rest.
pub const TURN_TIME: Duration = Duration::from_millis(5);

/// How often the watcher checks for turns that last, as long as turns begin at all. So a handler that blocks its thread
/// holds up the input of other clients for at most twice this time.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(5);

/// Writes in a turn between two reads of the clock.
pub const WRITES_PER_LOOK: usize = 16;

/// Largest list of connections that a thread keeps from one turn to the next: a thread that wrote to 100,000 clients
/// once should not hold 0.8 MB forever.
pub const KEPT_CONNECTIONS: usize = 16_384;

/// Cost of what may wait for a client until the end of a turn, or a quarter of the soft bound if that is less. Beyond
/// it, the outbox is written at once: what one turn makes must not overflow the outbox of a client that would read it.
pub const CROWDED: usize = OUTBOX_SOFT / 4;

/// Most bytes of one read. The buffer belongs to the thread, so its size costs nothing per connection.
pub const READ_BUFFER: usize = 64 * 1024;

/// Reads of one connection in a row, before the other connections of its thread are served.
pub const READS_PER_TURN: usize = 16;

/// Time for which one connection's reads are handled in a row. A client that floods the server with small events sends 3,000 of them
/// with each read, and sixteen reads would hold up the other clients of the thread for tens of milliseconds.
pub const READ_TIME: Duration = Duration::from_millis(1);

/// Time that a closing WebSocket has to take what is queued and to answer the close frame.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a closing polling session waits for the poll that takes its last packets, as in Node.
pub const POLL_CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time until the connection of an upgrade request for an unknown path is ended, as in Node.
pub const FOREIGN_UPGRADE_TIMEOUT: Duration = Duration::from_secs(1);

/// If the server notices a deadline this much too late, the server was late and not the client.
pub const LATE: Duration = Duration::from_secs(1);

/// Divisor of the ping interval: the first ping may come a quarter of it early, so that clients that reconnected all at
/// once are not pinged all at once.
pub const FIRST_PING_SPREAD: u32 = 4;

/// Default time for the head of a request, from its first byte on.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Default time for the body of a POST.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a request's head; hyper answers 431 beyond it. It is also the size of hyper's buffer for each
/// connection that speaks HTTP.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Most headers of a request; hyper answers 431 beyond it.
pub const HEADERS: usize = 100;

/// Default for the most TCP connections at once; those beyond it are answered 503.
pub const CONNECTIONS: usize = 100_000;

/// Default for the most Engine.IO sessions at once; handshakes beyond it are answered 503.
pub const SESSIONS: usize = 100_000;

/// Connections that the kernel may hold until they are accepted.
pub const BACKLOG: i32 = 4_096;

/// Pause after an accept that failed because the process has no descriptors left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Default time that connections have to end when the server stops.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

// --- HTTP ---

/// When the handler of a polling session was busy at its deadline, the time until it is tried again.
pub const BUSY_HANDLER_RETRY: Duration = Duration::from_millis(10);

/// Default time that a connection is kept for its next request. Proxies and load balancers usually end their idle
/// connections to a server after 60 s (AWS, nginx). They must be first, or a request is sent while its connection ends.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How much longer than announced a connection is kept for its next request, which may be on its way when the time is
/// over. As Node's `keepAliveTimeoutBuffer`.
pub const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Default time in which a part of a waiting answer must leave ([`WRITE_SHARE`]). It is enough for a train to pass a
/// tunnel.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// The part of an answer that must leave in [`WRITE_TIMEOUT`]: an eighth. If a single byte were enough, a client could
/// hold a large answer for as long as it likes by taking a little now and then.
pub const WRITE_SHARE: usize = 8;

/// Silence after which the kernel probes whether a client is still there. Sessions have a heartbeat; this is for other
/// requests, and for a client that vanishes while the server expects nothing of it.
pub const TCP_KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);

/// Time between two such probes.
pub const TCP_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Probes without an answer after which the connection is over: two minutes after its last sign of life.
pub const TCP_KEEP_ALIVE_PROBES: u32 = 4;

/// Most connections at once that are given [`REFUSAL_TIMEOUT`] to read their 503. Further ones are closed at once
/// behind it.
pub const REFUSALS: usize = 256;

/// Time that a refused connection has to read its 503.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time that an option may have; longer ones are cut to it: 2^30 - 1 ms, 12 days. A client waits for its ping
/// for interval and timeout together, and JavaScript's timers take at most 2^31 - 1 ms: beyond that they fire at once.
pub const LONGEST: Duration = Duration::from_millis((1 << 30) - 1);

/// Most refused origins that are logged within [`REFUSED_ORIGINS_TIME`], each once: invented origins must not fill the
/// log.
pub const REFUSED_ORIGINS: usize = 64;

/// Time after which a refused origin is logged again, as the configuration is still wrong.
pub const REFUSED_ORIGINS_TIME: Duration = Duration::from_secs(600);

/// Default for the most sessions at once that are not established. A client that works joins a namespace within a few
/// round trips; in a flood of 2,000 handshakes a second it still has 12 s for that.
pub const UNJOINED_SESSIONS: usize = 25_000;

/// Default for the most sessions by polling at once. Each may hold a GET, for which hyper keeps 18 KB: 450 MB. Beyond
/// it the new session is refused, and not the GET of an open one: that would lose what waits for it, and with an empty
/// answer its client would ask again at once.
pub const POLLING_SESSIONS: usize = 25_000;

/// Places of the table of sessions that are looked at in one step when all outboxes are summed for metrics. While they
/// are copied no session opens or closes, some 20 µs.
pub const SESSIONS_PER_STEP: usize = 1_024;

// --- addresses ---

/// Entries of `X-Forwarded-For` that are looked at, from the right. A chain of trusted proxies has two or three; what
/// stands further to the left is what clients sent.
pub const FORWARDED_ENTRIES: usize = 32;

/// Most bytes of a header of the PROXY protocol. Version 1 has at most 107. Version 2 may carry what the proxy knows of
/// TLS, such as the server's name (255 bytes), the client's common name and an id of the connection (128).
pub const PROXY_HEADER_BYTES: usize = 2_048;

/// Addresses whose rates are remembered. Beyond it those that used least are forgotten, so that a flood from many
/// addresses does not free the address that does most. A full table takes some 5 MB.
pub const RATED_ADDRESSES: usize = 100_000;

/// Most refused addresses that are logged within [`REFUSED_ADDRESSES_TIME`], each once, for each option.
pub const REFUSED_ADDRESSES: usize = 64;

/// Time after which a refused address is logged again.
pub const REFUSED_ADDRESSES_TIME: Duration = Duration::from_secs(600);

// --- TLS ---

/// Most bytes of the file of a certificate or a key. All of Debian's roots together have some 220 KiB.
pub const PEM_FILE: usize = 1024 * 1024;

/// How often the files of certificate and key are checked for a change.
pub const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);
