//! The classic dialect: that of Node's `@socket.io/redis-adapter`, and of `@socket.io/redis-emitter`.

mod broker;
pub(crate) mod decode;
pub(crate) mod encode;
mod lingering;
mod listener;
pub(crate) mod names;
mod options;
mod rooms;
mod router;
#[cfg(test)]
mod tests;

pub use broker::ClassicBroker;
pub use options::ClassicOptions;
