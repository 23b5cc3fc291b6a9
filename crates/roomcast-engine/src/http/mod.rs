//! The HTTP side: requests sorted and refused, WebSocket handshakes, and the server for plain TCP.

pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod deadlines;
pub(crate) mod error;
pub(crate) mod handshake;
pub(crate) mod header_words;
pub(crate) mod origin;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod server_stream;
pub(crate) mod service;
pub(crate) mod tokens;
pub(crate) mod upgrade;
