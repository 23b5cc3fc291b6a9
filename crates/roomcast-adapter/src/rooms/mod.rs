//! The rooms of a namespace on one server.

pub(crate) mod acks;
mod history;
mod in_memory;
mod index;
pub(crate) mod local;
mod pending_acks;
mod recovery;
