//! The sharded dialect: that of `createShardedAdapter` in Node's `@socket.io/redis-adapter`, on Redis' sharded pub/sub.

mod decode;
mod encode;
mod names;
mod options;
#[cfg(test)]
mod tests;

pub use options::{ShardedMode, ShardedOptions};
