//! The HTTP side: requests sorted and refused, WebSocket handshakes, and the server for TCP and TLS.

pub(crate) mod address_rates;
pub(crate) mod body;
pub(crate) mod client_files;
pub(crate) mod compressed;
pub(crate) mod cors;
pub(crate) mod deadlines;
pub(crate) mod encodings;
pub(crate) mod error;
pub(crate) mod handshake;
pub(crate) mod header_words;
pub(crate) mod lately;
pub(crate) mod origin;
pub(crate) mod preface;
pub(crate) mod proxy_header;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod server_stream;
pub(crate) mod service;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod trusted_proxies;
pub(crate) mod upgrade;
