//! Redis as the broker of a roomcast cluster, byte-compatible with Node's servers on the same Redis.
//!
//! [`ClassicBroker`] speaks the dialect of `createAdapter` in `@socket.io/redis-adapter`, and [`ShardedBroker`] that of
//! `createShardedAdapter`, in which the channels of a Redis Cluster are each on one node. Give either to a
//! [`Cluster`](roomcast_adapter::cluster::Cluster), and its factory to the server:
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

// Beyond the lints of the workspace: what can panic in library code is looked at, place by place. Tests may.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod advice;
mod attempts;
mod bus;
mod classic;
mod config;
mod credentials;
mod error;
mod files;
#[cfg(test)]
#[allow(dead_code)] // Shared with the protocol crate's tests, which use more of it.
#[path = "../../roomcast-protocol/tests/common/js.rs"]
mod js;
mod layout;
mod sharded;
mod timeouts;
mod tls;
mod url;
mod wire;

#[doc(hidden)]
pub use classic::fuzzing;
pub use classic::{ClassicBroker, ClassicOptions};
pub use config::RedisConfig;
pub use credentials::Credentials;
pub use error::RedisError;
#[doc(hidden)]
pub use sharded::fuzzing as resp;
pub use sharded::{ShardedBroker, ShardedMode, ShardedOptions};
pub use timeouts::RedisTimeouts;
pub use tls::RedisTls;
