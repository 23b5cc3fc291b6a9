//! The [`Broker`](broker::Broker) seam: what carries messages between servers, and the messages.

pub(crate) mod alive;
pub(crate) mod broker;
pub mod codec;
pub(crate) mod ids;
pub(crate) mod inbox;
pub(crate) mod message;
pub(crate) mod series;
pub(crate) mod trailer;
pub(crate) mod window;
