//! The errors of this crate.

use roomcast_adapter::AdapterError;
use roomcast_protocol::{FromArgsError, PacketTooLarge, RESERVED_EVENTS, ToArgsError};

/// Why an emit was refused. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The event's name is reserved for Socket.IO itself.
    #[error("{0:?} is a reserved event name")]
    ReservedEvent(String),
    /// The value cannot be written as arguments, or is too large.
    #[error(transparent)]
    Value(#[from] ToArgsError),
    /// The adapter refused.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The socket is disconnected.
    #[error("the socket is disconnected")]
    Disconnected,
    /// More waits for the client than the outbox's hard bound allows. It does not read, and has been disconnected.
    #[error("the client does not read: more waits for it than the hard bound allows, so it was disconnected")]
    SlowConsumer,
}

impl From<PacketTooLarge> for EmitError {
    fn from(error: PacketTooLarge) -> Self {
        Self::Adapter(error.into())
    }
}

/// Why an acknowledgement did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The event could not be sent.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The client did not answer in time.
    #[error("operation has timed out")]
    Timeout,
    /// The socket was disconnected, or has as many unanswered events as the limit allows.
    #[error("the socket is disconnected, or has too many unanswered events")]
    Gone,
}

/// Why a handler was not called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// What was sent does not fit the handler's type.
    #[error(transparent)]
    Arguments(#[from] FromArgsError),
    /// The application has no state of this type.
    #[error("the server has no state of the type {0}: give it to `Builder::state`")]
    NoState(&'static str),
    /// The socket has no value of this type, and neither has its client's first request.
    #[error(
        "the socket has no value of the type {0}: give it one by `Socket::insert`, such as in a middleware, or name it in `Builder::keep_extension` if it is an extension of the request"
    )]
    NoExtension(&'static str),
    /// The handler takes the answer twice, or is one of those that see every event and cannot answer.
    #[error("there is no acknowledgement: the handler takes it twice, or is given to `on_any`, which cannot answer")]
    NoAck,
}

/// A middleware's refusal. The client gets a CONNECT_ERROR with this message and data. In a middleware `?` works on any error, whose
/// text the client then gets as the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    message: String,
    data: Option<String>,
}

impl ConnectError {
    /// A refusal with a message for the client.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// Adds data for the client. Data that cannot be written as JSON is left out.
    #[must_use]
    pub fn with_data<T: serde::Serialize>(mut self, data: &T) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }

    /// The message for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn to_json(&self) -> String {
        let message = serde_json::Value::from(self.message.as_str());
        match &self.data {
            Some(data) => format!(r#"{{"message":{message},"data":{data}}}"#),
            None => format!(r#"{{"message":{message}}}"#),
        }
    }
}

/// Whatever converts to a boxed error: error types, strings, `anyhow::Error`. **The client is told its text**, without its causes.
impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for ConnectError {
    fn from(error: E) -> Self {
        Self::new(error.into().to_string())
    }
}

/// Refuses the event names that Socket.IO keeps for itself.
pub(crate) fn check_event(event: &str) -> Result<(), EmitError> {
    if RESERVED_EVENTS.contains(&event) { Err(EmitError::ReservedEvent(event.to_owned())) } else { Ok(()) }
}

/// Refuses the names that `server_side_emit` may not use, as in Node.
pub(crate) fn check_server_event(event: &str) -> Result<(), EmitError> {
    match event {
        "connect" | "connection" | "new_namespace" => Err(EmitError::ReservedEvent(event.to_owned())),
        _ => Ok(()),
    }
}
