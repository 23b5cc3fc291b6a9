//! Engine.IO: packets, polling payloads, the handshake and session ids.

pub(crate) mod id;
pub(crate) mod open;
pub(crate) mod packet;
pub(crate) mod payload;
