//! Packets as socket.io-msgpack-parser 3.0.2 has them: each is one binary message that holds one map, with bytes inside
//! it.

pub(crate) mod encode_error;
pub(crate) mod message;
pub(crate) mod unpacked;
