//! [`SocketOperator`]: emits to one client, with flags.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::error::{AckError, EmitError, check_event};
use crate::flags::Flags;
use crate::operator::BroadcastOperator;
use crate::parts::Socket;
use crate::recovered::without_offset;
use crate::rooms::Rooms;
use roomcast_engine::Delivery;
use roomcast_protocol::{Args, ToArgs};
use std::time::Duration;

/// Emits to the client of one socket, with flags. [`Socket::volatile`], [`Socket::timeout`] and [`Socket::compress`] begin one; the methods
/// that set a flag return the changed operator. [`to`](Self::to), [`except`](Self::except) and [`broadcast`](Self::broadcast) turn to other
/// sockets and take the flags along.
///
/// ```
/// # use roomcast_server::Socket;
/// # use std::time::Duration;
/// # async fn run(socket: Socket) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// socket.volatile().emit("position", (3, 4))?;
/// let answer = socket.timeout(Duration::from_secs(1)).emit_with_ack("are you there?", ()).await?;
/// socket.volatile().to("game").emit("position", (3, 4))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `emit` or another action"]
pub struct SocketOperator {
    socket: Socket,
    flags: Flags,
}

impl SocketOperator {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, flags: Flags::default() }
    }

    /// Drops the event if the client's transport cannot take it at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether the event may be compressed, where compression is on. Defaults to true.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// How long to wait for the client's answer. Defaults to the server's `ack_timeout`, which is 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Emits an event to the client. Never waits: when this returns, the event is in the client's outbox, unless it is volatile and was
    /// dropped ([`Delivery::Dropped`]).
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<Delivery, EmitError> {
        check_event(event)?;
        let mut data = Args::event(event, &data)?;
        let namespace = self.socket.namespace();
        if namespace.0.recovers {
            if !self.flags.volatile {
                return self.socket.emit_recoverable(self.flags.emit(&data)).map(|()| Delivery::Queued);
            }
            data = without_offset(&data).into_owned();
        }
        let packet = self.socket.parser().event(namespace.name(), None, &data)?;
        self.socket.send_packet(packet.with_volatile(self.flags.volatile).with_compress(self.flags.compress))
    }

    /// Emits the event "message", as Node's `send`.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn send(&self, data: impl ToArgs) -> Result<Delivery, EmitError> {
        self.emit("message", data)
    }

    /// As [`Socket::emit_with_ack`].
    ///
    /// # Errors
    /// [`AckError`]: it was not sent, not answered in time, or the socket is gone.
    pub async fn emit_with_ack(&self, event: &str, data: impl ToArgs) -> Result<Args, AckError> {
        check_event(event)?;
        if !self.socket.is_connected() {
            return Err(AckError::Gone);
        }
        // This socket, and not others that joined the room of its id.
        let everyone = BroadcastOperator::new(self.socket.namespace().clone(), None);
        let mut operator = everyone.only(self.socket.id().as_str()).local();
        operator.flags = self.flags;
        operator.emit_with_its_ack(event, data).await
    }

    /// Chooses the sockets of a room or rooms, except this one. An empty list is nobody.
    pub fn to(self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Chooses all sockets of the namespace, except this one and those in the room or rooms.
    pub fn except(self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Chooses all sockets of the namespace on this server, except this one.
    pub fn local(self) -> BroadcastOperator {
        self.broadcast().local()
    }

    /// Chooses all sockets of the namespace, except this one.
    pub fn broadcast(self) -> BroadcastOperator {
        let mut operator = self.socket.broadcast();
        operator.flags = self.flags;
        operator
    }
}

impl Socket {
    /// Emits to this client only what its transport can take at once.
    pub fn volatile(&self) -> SocketOperator {
        SocketOperator::new(self.clone()).volatile()
    }

    /// Says whether the next event may be compressed, where compression is on.
    pub fn compress(&self, compress: bool) -> SocketOperator {
        SocketOperator::new(self.clone()).compress(compress)
    }

    /// Says how long to wait for this client's answer.
    pub fn timeout(&self, timeout: Duration) -> SocketOperator {
        SocketOperator::new(self.clone()).timeout(timeout)
    }
}
