//! A namespace of the cluster on this server: what it asks of the other servers, and what it does for them.

pub(crate) mod adapter;
mod ask;
mod close;
pub(crate) mod inbox;
pub(crate) mod place;
mod receive;
mod recovery;
pub(crate) mod subscription;
