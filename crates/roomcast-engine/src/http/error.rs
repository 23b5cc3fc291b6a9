//! [`RequestError`]: why a request is refused, and how that is answered.

use crate::http::body::Body;
use crate::http::handshake::PeerAddr;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

/// A refused request, with Node's codes and texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The `transport` parameter names no transport that is offered.
    #[error("Transport unknown")]
    UnknownTransport,
    /// The `sid` parameter names no session.
    #[error("Session ID unknown")]
    UnknownSid,
    /// A handshake with a method other than GET.
    #[error("Bad handshake method")]
    HandshakeMethod,
    /// `transport=websocket` without an upgrade.
    #[error("Bad request")]
    TransportHandshake,
    /// The session is on another transport.
    #[error("Bad request")]
    TransportMismatch,
    /// The `EIO` parameter is not the session's.
    #[error("Bad request")]
    ProtocolMismatch,
    /// No id could be made for the session.
    #[error("Bad request")]
    IdGeneration,
    /// The application or the list of origins refused. The text is the application's.
    #[error("{0}")]
    Forbidden(String),
    /// A handshake that asks for its answers as scripts (the parameter `j`).
    #[error("JSONP is not supported")]
    Jsonp,
    /// A protocol revision other than Engine.IO 4.
    #[error("Unsupported protocol version")]
    UnsupportedProtocol,
    /// As many sessions as allowed are open, or the server stops.
    #[error("Server busy, try again later")]
    Busy,
    /// The client's address has made more handshakes than [`EngineConfig::handshakes_per_address`] allows. Node has no
    /// such answer.
    ///
    /// [`EngineConfig::handshakes_per_address`]: crate::EngineConfig::handshakes_per_address
    #[error("Too many handshakes, try again later")]
    RateLimited {
        /// The seconds after which the next one is allowed; at least 1.
        retry_after: u32,
    },
}

impl RequestError {
    /// The number in the answer's body.
    pub fn code(&self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::HandshakeMethod => 2,
            Self::TransportHandshake
            | Self::TransportMismatch
            | Self::ProtocolMismatch
            | Self::IdGeneration
            // Node has no such answers. A client only shows the text.
            | Self::Jsonp
            | Self::Busy
            | Self::RateLimited { .. } => 3,
            Self::Forbidden(_) => 4,
            Self::UnsupportedProtocol => 5,
        }
    }

    /// What went wrong, by the name that Node gives it in the context of its `connection_error` event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownTransport => "UNKNOWN_TRANSPORT",
            Self::UnknownSid => "UNKNOWN_SID",
            Self::HandshakeMethod => "BAD_HANDSHAKE_METHOD",
            Self::TransportHandshake => "TRANSPORT_HANDSHAKE_ERROR",
            Self::TransportMismatch => "TRANSPORT_MISMATCH",
            Self::ProtocolMismatch => "PROTOCOL_MISMATCH",
            Self::IdGeneration => "ID_GENERATION_ERROR",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::UnsupportedProtocol => "UNSUPPORTED_PROTOCOL_VERSION",
            Self::Jsonp => "JSONP",
            Self::Busy => "BUSY",
            Self::RateLimited { .. } => "RATE_LIMITED",
        }
    }

    /// The answer to a plain request.
    pub(crate) fn answer(&self) -> Response<Body> {
        let body = serde_json::json!({"code": self.code(), "message": self.to_string()}).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = match self {
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            _ => self.temporary().unwrap_or(StatusCode::BAD_REQUEST),
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.retry_after(&mut response);
        response
    }

    /// The answer to an upgrade request: 400, or 503 or 429 if the client should come back later, and the connection
    /// ends.
    pub(crate) fn upgrade_answer(&self) -> Response<Body> {
        let mut response = upgrade_refusal(&self.to_string());
        if let Some(status) = self.temporary() {
            *response.status_mut() = status;
        }
        self.retry_after(&mut response);
        response
    }

    /// The status, if the same request may succeed later.
    fn temporary(&self) -> Option<StatusCode> {
        match self {
            Self::Busy => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::RateLimited { .. } => Some(StatusCode::TOO_MANY_REQUESTS),
            _ => None,
        }
    }

    fn retry_after(&self, response: &mut Response<Body>) {
        let seconds = match self {
            Self::Busy => HeaderValue::from_static("5"),
            Self::RateLimited { retry_after } => HeaderValue::from(*retry_after),
            _ => return,
        };
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }

    /// Counts and logs the refusal of a request.
    pub(crate) fn tell(&self, request: &Parts) {
        metrics::counter!("roomcast_requests_refused_total", "error" => self.name()).increment(1);
        let peer = request.extensions.get::<PeerAddr>().map(|peer| peer.0);
        let origin = request.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(shown);
        tracing::debug!(code = self.code(), name = self.name(), reason = %self, peer = ?peer, origin, "request refused");
    }
}

/// The start of a text that a client chose.
fn shown(text: &str) -> &str {
    /// Characters.
    const MOST: usize = 128;
    let end = text.char_indices().nth(MOST).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text)
}

/// An answer of 400 with this text, after which the connection ends.
pub(crate) fn upgrade_refusal(text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// Marks an answer for which Node ends the connection without answering. [`serve`](crate::serve) looks for this
/// extension and does the same; under another server the client gets the answer that carries it: 400 and
/// `Connection: close`.
#[derive(Debug, Clone, Copy)]
pub struct EndWithoutAnswer;

pub(crate) fn end_without_answer() -> Response<Body> {
    let mut response = upgrade_refusal("");
    response.extensions_mut().insert(EndWithoutAnswer);
    response
}
