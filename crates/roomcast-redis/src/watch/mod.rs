//! Watching Redis: its memory, clients and replication, and what waits there for this server.
//!
//! [`RedisWatch`] asks, from time to time; what the answers mean is decided without Redis (`figures`, `warnings`,
//! `rights`).

mod asker;
mod figures;
mod gauges;
mod options;
mod redis_watch;
mod report;
mod rights;
mod warnings;

pub use figures::{RedisBufferLimit, RedisFigures};
pub use options::RedisWatchOptions;
pub use redis_watch::RedisWatch;
pub use report::{RedisReport, RedisServer, RedisStatus, RedisWarning, RedisWarningKind};
