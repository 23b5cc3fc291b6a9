//! [`Ack`]: the answer to a client's event.

use crate::context::{Failure, HandlerContext};
use crate::error::{EmitError, ExtractError};
use crate::extract::kinds::Part;
use crate::extract::{EventParts, FromEvent};
use crate::failures;
use crate::parts::{Namespace, Socket};
use roomcast_protocol::{Args, ToArgs};

/// The answer to a client's event, to be sent at most once. Nothing is sent if the client asked for no answer, or if the `Ack` is
/// dropped.
#[derive(Debug)]
pub struct Ack {
    socket: Socket,
    id: Option<u64>,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: Option<u64>) -> Self {
        Self { socket, id }
    }

    /// Whether the client asked for an answer.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Sends the answer; a tuple is sent as several arguments, `()` as none.
    ///
    /// # Errors
    /// [`EmitError`] when `value` cannot be sent.
    pub fn send<T: ToArgs + ?Sized>(self, value: &T) -> Result<(), EmitError> {
        let Some(id) = self.id else { return Ok(()) };
        let args = Args::of(value)?;
        self.socket.send(self.socket.parser().ack(self.socket.namespace().name(), id, &args)?).map(drop)
    }
}

impl HandlerContext for Socket {
    type Ack = Ack;

    fn state<S: Clone + Send + Sync + 'static>(&self) -> Option<S> {
        self.namespace().config().states.get()
    }

    fn answer(&self, event: &str, ack: Ack, args: &Args) {
        match ack.send(args) {
            // A client that has gone needs no answer.
            Ok(()) | Err(EmitError::Disconnected | EmitError::SlowConsumer) => {}
            Err(error) => {
                let namespace = self.namespace().name();
                tracing::warn!(socket = %self.id(), namespace, event, %error, "an answer cannot be sent");
            }
        }
    }

    fn failed(&self, event: &str, failure: &Failure<'_>) -> Option<Args> {
        let namespace = self.namespace();
        failures::tell(namespace.handlers(), failure, &self.id(), namespace.name(), event);
        Some(failures::answer(namespace.config(), failure))
    }
}

impl FromEvent<Self, Part> for Socket {
    fn from_event(event: &mut EventParts<'_, Self>) -> Result<Self, ExtractError> {
        Ok(event.context.clone())
    }
}

impl FromEvent<Socket, Part> for Namespace {
    fn from_event(event: &mut EventParts<'_, Socket>) -> Result<Self, ExtractError> {
        Ok(event.context.namespace().clone())
    }
}

impl FromEvent<Socket, Part> for Ack {
    fn from_event(event: &mut EventParts<'_, Socket>) -> Result<Self, ExtractError> {
        event.ack.take().ok_or(ExtractError::AckTwice)
    }
}
