//! Socket.IO packets: decoded from what a client sent, and encoded for all recipients.

pub(crate) mod assembled;
pub(crate) mod decode_error;
pub(crate) mod decoder;
pub(crate) mod grammar;
pub(crate) mod meter;
pub(crate) mod packet;
pub(crate) mod received;
