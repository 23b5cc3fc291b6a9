//! Limits and deadlines of watching Redis ([`RedisWatch`](crate::RedisWatch)). Those of pub/sub are beside the code that
//! applies them.

use std::time::Duration;

/// How often each Redis server is asked for its state. It is asked by every roomcast server, and takes some 100 µs for
/// an answer.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(15);

/// The shortest interval, whatever is set: more often would be load, and no news.
pub const WATCH_INTERVAL_LEAST: Duration = Duration::from_secs(1);

/// For all answers of a Redis server together, including the connection to it.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Redis servers that are watched, and that ever have gauges: the primaries of a large Cluster. Each takes a connection
/// every time.
pub const WATCHED_SERVERS: usize = 64;

/// Bytes of an answer that are read. `INFO` has some 8 KiB, and a client takes some 400 bytes in `CLIENT LIST`.
pub const WATCH_ANSWER: usize = 64 * 1024;

/// Connections of our own whose output buffers are asked for at once: one for a Redis server, and more only while
/// subscribers are made again.
pub const WATCHED_CONNECTIONS: usize = 64;

/// How often a warning is repeated while its cause lasts, and how long a command that Redis has refused is not tried.
pub const WATCH_REPEAT: Duration = Duration::from_secs(600);

/// Percent of `maxmemory`, or of the machine's memory if there is none, from which on there is a warning.
pub const WATCH_MEMORY_PERCENT: u64 = 80;

/// Percent of `maxclients` from which on there is a warning.
pub const WATCH_CLIENTS_PERCENT: u64 = 80;

/// Percent of the hard limit of `client-output-buffer-limit pubsub` from which on there is a warning.
pub const WATCH_BUFFER_PERCENT: u64 = 50;

/// A warning is over this many percentage points below the point where it began, so that it does not come and go.
pub const WATCH_MARGIN_PERCENT: u64 = 5;
