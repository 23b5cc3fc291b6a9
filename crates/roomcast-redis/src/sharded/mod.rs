//! The sharded dialect: that of `createShardedAdapter` in Node's `@socket.io/redis-adapter`, on Redis' sharded pub/sub.

mod broker;
mod decode;
mod encode;
mod listener;
mod names;
mod node;
mod node_subscriptions;
mod options;
mod publishers;
pub(crate) mod resp;
mod rooms;
mod shared;
mod slot_cache;
mod slots;
mod stream;
mod subscriber;
mod subscribers;
mod subscription;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use broker::ShardedBroker;
pub use options::{ShardedMode, ShardedOptions};
