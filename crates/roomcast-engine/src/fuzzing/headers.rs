//! Readers of headers and queries that no public function reaches alone.

use crate::http::{encodings, query, tokens};
use http::header::{HeaderMap, HeaderName};
use roomcast_protocol::deflate::Format;
use std::borrow::Cow;

/// The encoding that `Accept-Encoding` prefers of those that there are.
pub fn preferred_encoding(headers: &HeaderMap) -> Option<&'static str> {
    encodings::preferred(headers).map(Format::as_str)
}

/// Whether a header that is a list contains this token.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens::has_token(headers, name, token)
}

/// What a query says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `EIO`.
    pub protocol: Option<String>,
    /// `transport`.
    pub transport: Option<String>,
    /// `sid`, unless it is empty.
    pub sid: Option<String>,
    /// Whether `b64` asks for text alone.
    pub base64: bool,
    /// Whether `j` asks for JSONP.
    pub jsonp: bool,
}

/// Reads a query.
pub fn query(text: &str) -> Query {
    let read = query::Query::new(text);
    let sid = read.sid().map(str::to_owned);
    let query::Query { protocol, transport, base64, jsonp, .. } = read;
    Query { protocol: protocol.map(Cow::into_owned), transport: transport.map(Cow::into_owned), sid, base64, jsonp }
}
