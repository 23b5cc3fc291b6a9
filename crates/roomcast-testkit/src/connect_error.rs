//! [`ConnectError`]: why a client could not connect.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// Why a client could not connect. Shown as one line with all of it, so that `?` and `unwrap` in a test say enough.
#[derive(Clone, PartialEq)]
pub struct ConnectError {
    client: String,
    message: String,
    data: Option<Value>,
    status: Option<u16>,
}

impl ConnectError {
    pub(crate) fn new(client: &str, message: impl Into<String>) -> Self {
        Self { client: client.to_owned(), message: message.into(), data: None, status: None }
    }

    /// The answer to a CONNECT: `{"message":…,"data":…}`.
    pub(crate) fn refused(client: &str, json: &str) -> Self {
        let parsed = serde_json::from_str::<Value>(json).unwrap_or_default();
        let message = parsed.get("message").and_then(Value::as_str).unwrap_or(json);
        Self { data: parsed.get("data").cloned(), ..Self::new(client, message) }
    }

    /// The answer to a handshake: `{"code":…,"message":…}` by polling, and a text for a WebSocket.
    pub(crate) fn handshake(client: &str, status: u16, body: &str) -> Self {
        let parsed = serde_json::from_str::<Value>(body).unwrap_or_default();
        let message = parsed.get("message").and_then(Value::as_str).unwrap_or(body);
        Self { status: Some(status), ..Self::new(client, message) }
    }

    /// What the client is told: the message of a middleware's error, or that of the engine.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The data of a middleware's error, if it has any that fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self.data.as_ref()?).ok()
    }

    /// The HTTP status, if the connection itself was refused, before any namespace was asked for.
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, message, data, status } = self;
        write!(f, "{client} could not connect: {message}")?;
        if let Some(data) = data {
            write!(f, " {data}")?;
        }
        status.map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

/// As its `Display`, since this is what `unwrap` shows.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConnectError {}
