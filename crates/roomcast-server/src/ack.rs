//! [`Ack`]: the answer to a client's event.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::context::{Failure, HandlerContext};
use crate::error::{EmitError, ExtractError};
use crate::extract::kinds::Part;
use crate::extract::{EventParts, FromEvent};
use crate::failures;
use crate::parts::{Namespace, Socket};
use roomcast_protocol::{Args, ToArgs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The answer to a client's event, to be sent at most once. Nothing is sent if the client asked for no answer, or if the `Ack` is
/// dropped.
///
/// If the event has several handlers, or middlewares, each gets an `Ack`. The first answer counts, and later ones are not sent, as in
/// Node.
#[derive(Debug)]
pub struct Ack {
    socket: Socket,
    id: Option<u64>,
    /// Set by the first answer, if there may be several.
    answered: Option<Arc<AtomicBool>>,
}

impl Ack {
    /// `answered` is shared by all that may answer the event, if there are several.
    pub(crate) fn new(socket: Socket, id: Option<u64>, answered: Option<Arc<AtomicBool>>) -> Self {
        Self { socket, id, answered }
    }

    /// For the case that the event's handler cannot be called, and so does not answer.
    pub(crate) fn again(&self) -> Self {
        Self { socket: self.socket.clone(), id: self.id, answered: self.answered.clone() }
    }

    /// Whether the client asked for an answer.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Sends the answer; a tuple is sent as several arguments, `()` as none.
    ///
    /// # Errors
    /// [`EmitError`] when `value` cannot be sent.
    pub fn send(self, value: impl ToArgs) -> Result<(), EmitError> {
        let Some(id) = self.id else { return Ok(()) };
        let args = Args::of(&value)?;
        if self.answered.is_some_and(|answered| answered.swap(true, Ordering::AcqRel)) {
            tracing::debug!(socket = %self.socket.id(), "an event has several handlers, and another one has answered it");
            return Ok(());
        }
        self.socket.send_packet(self.socket.parser().ack(self.socket.namespace().name(), id, &args)?).map(drop)
    }
}

impl HandlerContext for Socket {
    type Ack = Ack;

    fn state<S: Clone + Send + Sync + 'static>(&self) -> Option<S> {
        self.namespace().config().states.get()
    }

    fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.get()
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
        failures::tell(namespace, Some(self.id()), event, failure);
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
        event.ack.take().ok_or(ExtractError::NoAck)
    }
}
