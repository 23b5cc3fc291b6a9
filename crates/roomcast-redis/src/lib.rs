//! Redis as the broker of a roomcast cluster, byte-compatible with Node's servers on the same Redis.
//!
//! [`ClassicBroker`] speaks the dialect of `createAdapter` in `@socket.io/redis-adapter`, and [`ShardedBroker`] that of
//! `createShardedAdapter`, in which each channel is on one node of a Redis Cluster. Give either to a
//! [`Cluster`](roomcast_adapter::cluster::Cluster), and the cluster's factory to the server:
//!
//! ```no_run
//! use roomcast_adapter::cluster::{Cluster, ClusterOptions};
//! use roomcast_redis::{ClassicBroker, ClassicOptions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = ClassicBroker::new("redis://127.0.0.1".parse()?, ClassicOptions::default());
//! let cluster = Cluster::new(broker, ClusterOptions::default());
//! let adapters = cluster.factory(); // for `SocketIo::builder().adapter_factory(adapters)`
//! # drop(adapters);
//! # Ok(())
//! # }
//! ```

// Beyond the lints of the workspace: each place in library code that could panic must be justified. Tests may panic.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod attempts;
mod bus;
mod classic;
mod config;
mod delivery;
mod error;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
#[allow(dead_code)] // Shared with the protocol crate's tests, which use more of it.
#[path = "../../roomcast-protocol/tests/common/js.rs"]
mod js;
pub mod limits;
mod sharded;
mod topology;
mod watch;
mod wire;

pub use classic::{ClassicBroker, ClassicOptions};
pub use config::{Credentials, RedisConfig, RedisTimeouts, RedisTls};
pub use error::RedisError;
pub use sharded::{ShardedBroker, ShardedMode, ShardedOptions};
pub use watch::{
    RedisBufferLimit, RedisFigures, RedisReport, RedisServer, RedisStatus, RedisWarning, RedisWarningKind, RedisWatch,
    RedisWatchOptions,
};

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
