//! [`Ack`]: the answer to a client's event.

use crate::error::EmitError;
use crate::socket::Socket;
use roomcast_protocol::{Args, Packet, ToArgs};

/// Answers a client's event, once. If the client wants no answer, or the `Ack` is dropped, nothing is sent.
#[derive(Debug)]
pub struct Ack {
    socket: Socket,
    id: Option<u64>,
}

impl Ack {
    pub(crate) fn new(socket: Socket, id: Option<u64>) -> Self {
        Self { socket, id }
    }

    /// Whether the client wants an answer.
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Sends the answer: a tuple is several arguments, `()` is none.
    ///
    /// # Errors
    /// [`EmitError`] when `value` cannot be sent.
    pub fn send<T: ToArgs + ?Sized>(self, value: &T) -> Result<(), EmitError> {
        let Some(id) = self.id else { return Ok(()) };
        let args = Args::of(value)?;
        self.socket.send(Packet::ack(self.socket.namespace().name(), id, &args)?).map(drop)
    }
}
