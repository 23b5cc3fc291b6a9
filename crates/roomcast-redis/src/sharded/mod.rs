//! The sharded dialect: that of `createShardedAdapter` in Node's `@socket.io/redis-adapter`, on Redis' sharded pub/sub.

mod broker;
mod decode;
mod ear;
mod ears;
mod encode;
pub mod fuzzing;
mod names;
mod namespace;
mod options;
mod places;
mod resp;
mod roads;
mod rooms;
mod slots;
mod stream;
#[cfg(test)]
mod tests;
mod wanted;

pub use broker::ShardedBroker;
pub use options::{ShardedMode, ShardedOptions};
