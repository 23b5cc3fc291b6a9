//! [`Ack`]: the answer to a client's event.

use crate::error::EmitError;
use crate::handler::HandlerContext;
use crate::parts::Socket;
use roomcast_protocol::{Args, Packet, ToArgs};

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
        self.socket.send(Packet::ack(self.socket.namespace().name(), id, &args)?).map(drop)
    }
}

impl HandlerContext for Socket {
    type Ack = Ack;
}
