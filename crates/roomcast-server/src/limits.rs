//! The limits and timeouts of this crate, each with its reason. Those called "default" are options of the
//! [`Builder`](crate::Builder).

use std::time::Duration;

/// Default for how long a client has to join its first namespace; Node's value.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);

/// Default for how long to wait for a client's acknowledgement. Node waits forever unless a timeout is given.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Default for how long to wait for other servers' answers; Node's value.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the attachments of a packet may take to arrive.
pub const ATTACHMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Namespaces that one connection may have joined or asked for. Each is a socket with its state; a web page needs a few.
pub const NAMESPACES_PER_CONNECTION: usize = 64;

/// Default for how many handlers of one connection may run at the same time. While so many run, nothing more is read from the client.
/// What was read already is still handled: the messages of one read (64 KiB) of a WebSocket, or of one POST.
pub const HANDLERS_PER_CONNECTION: usize = 1_024;

/// How many bytes the events may have together whose handlers run for one connection, as a multiple of `max_payload`. The handler of a
/// large event counts for several of `HANDLERS_PER_CONNECTION`, so that a thousand handlers do not hold a thousand events of the largest size.
pub const HANDLER_PAYLOADS: usize = 16;

/// Namespaces from which the server disconnected a client that a connection remembers, because packets for them may still arrive. A
/// client is in a few namespaces. A packet for one that is no longer remembered is a fault and closes the connection.
pub const LEFT_NAMESPACES: usize = 16;

/// Default for how many namespaces made by patterns may have sockets at the same time. Each costs some 2 KB and a task, and in a cluster
/// a subscription, with which Redis compares every publish.
pub const PATTERN_NAMESPACES: usize = 10_000;

/// Default for how long a namespace made by a pattern is kept after its last socket has left, so that a client that comes and goes does
/// not cause a subscription each time.
pub const NAMESPACE_LINGER: Duration = Duration::from_secs(5);

/// Namespaces without sockets that are kept for [`NAMESPACE_LINGER`] at the same time. A further one is removed as soon as its last
/// socket has left. Clients choose the names, so a client could otherwise fill the memory.
pub const IDLE_NAMESPACES: usize = 1_024;

/// Event names per namespace or pattern that are remembered as logged, for log lines that appear once per event. Clients may choose the
/// names. Further events are logged at level debug.
pub const TOLD_EVENTS: usize = 256;

/// How long a close of the server waits for disconnect handlers. With the next two it adds up to 8.5 s, less than the 10 s after which
/// Docker kills a container.
pub const DISCONNECT_HANDLERS_TIMEOUT: Duration = Duration::from_secs(3);

/// How long it then waits for adapters to leave their namespaces. Over Redis this takes up to 3.05 s.
pub const CLOSE_ADAPTERS_TIMEOUT: Duration = Duration::from_millis(3_500);

/// How long it then waits for messages to the other servers to be sent.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// For each rate of [`RateLimits`](crate::RateLimits), the users or addresses whose use of it is remembered. Each takes some 40 bytes, and
/// may be forgotten as soon as it has used nothing for a while.
pub const RATE_KEYS: usize = 100_000;

/// Least time between two warnings of a client that exceeds a rate.
pub const RATE_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a client that was warned may go on before it is disconnected: what it had sent already must not count against it.
pub const RATE_GRACE: Duration = Duration::from_secs(2);

/// Least time between two log lines about one connection that exceeds a rate.
pub const RATE_LOG_INTERVAL: Duration = Duration::from_secs(600);

/// Log lines in a minute about clients that exceed a rate, so that thousands of them do not fill the log.
pub const RATE_LOG_LINES: u32 = 60;

/// Namespaces that have a name of their own in metrics. Each name is a series of every metric by namespace, and a
/// histogram is a dozen of them.
pub const NAMED_NAMESPACES: usize = 64;

/// Lines that a namespace logs in a minute about errors that handlers return. Further ones are logged at level debug. All are counted.
pub const FAILURE_LINES: u32 = 60;

/// Recovery removes events that are too old from the logs of all namespaces, each time that an eighth of their greatest age has passed. This
/// is the least time between two such looks.
pub const LOG_SWEEP_PAUSE: Duration = Duration::from_secs(1);
