//! The classic dialect: that of Node's `@socket.io/redis-adapter`, and of `@socket.io/redis-emitter`.

mod broker;
mod decode;
mod encode;
pub mod fuzzing;
mod leaving;
mod names;
mod namespace;
mod options;
mod servers;
#[cfg(test)]
mod tests;

pub use broker::ClassicBroker;
pub use options::ClassicOptions;
