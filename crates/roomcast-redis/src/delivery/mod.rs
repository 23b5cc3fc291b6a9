//! From a subscription to its listener, in both dialects: messages in runs, proof that they come, and what Redis
//! forbids.

pub(crate) mod denied;
pub(crate) mod echo;
pub(crate) mod listener;
pub(crate) mod rooms;
pub(crate) mod run;

pub(crate) use echo::{Echo, Mark};
pub(crate) use listener::{Delivery, Listener, Waiter};
