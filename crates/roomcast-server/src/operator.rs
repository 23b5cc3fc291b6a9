//! [`BroadcastOperator`]: chooses sockets, and acts on them.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::durations;
use crate::error::{AckError, EmitError, check_event};
use crate::flags::Flags;
use crate::parts::{Namespace, Socket};
use crate::rooms::Rooms;
use crate::task;
use roomcast_adapter::{Acked, Action, Answer, Missing, Room, Target};
use roomcast_protocol::{Args, SocketId, ToArgs};
use std::time::Duration;

/// Chooses sockets of a namespace, on all servers of the cluster, and acts on them. The methods that choose return the changed operator;
/// nothing happens before a method that acts, such as [`emit`](Self::emit).
///
/// ```
/// # use roomcast_server::SocketIo;
/// # fn run(io: &SocketIo) -> Result<(), roomcast_server::EmitError> {
/// io.to("news").except("muted").emit("headline", "…")?;
/// io.to(["red", "blue"]).volatile().emit("position", (3, 4))?;
/// io.of("/admin").local().sockets_join("here")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `emit` or another action"]
pub struct BroadcastOperator {
    pub(crate) namespace: Namespace,
    pub(crate) target: Target,
    /// Rooms were asked for, so no rooms are nobody. A target without rooms is everybody.
    of_rooms: bool,
    pub(crate) flags: Flags,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace, except: Option<SocketId>) -> Self {
        let target = Target { except: except.into_iter().map(Room::from).collect(), ..Target::default() };
        Self { namespace, target, of_rooms: false, flags: Flags::default() }
    }

    /// The socket of that id, and not other sockets that joined the room of that name.
    pub(crate) fn only(self, id: &str) -> Self {
        Self { target: Target::socket(id), ..self }
    }

    /// Only sockets in this room, or in any of these rooms; a further call adds rooms. A socket that is in several of them gets an
    /// event once.
    ///
    /// **An empty list of rooms is nobody.** In Node it is everybody, so that "all friends" of somebody without friends would be strangers.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        rooms.push_to(&mut self.target.rooms);
        self.of_rooms = true;
        self
    }

    /// Leaves out the sockets in this room, or in any of these rooms.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        rooms.push_to(&mut self.target.except);
        self
    }

    /// Only sockets of this server.
    pub fn local(mut self) -> Self {
        self.target.local = true;
        self
    }

    /// Drops the event for each client whose transport cannot take it at once.
    pub fn volatile(mut self) -> Self {
        self.flags.volatile = true;
        self
    }

    /// Whether the event may be compressed, where compression is on. Defaults to true.
    pub fn compress(mut self, compress: bool) -> Self {
        self.flags.compress = compress;
        self
    }

    /// How long to wait for answers. Defaults to the server's `ack_timeout` (10 s) for acknowledgements, and to its `request_timeout` (5 s)
    /// for answers of other servers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.flags.timeout = Some(timeout);
        self
    }

    /// Emits an event. Never waits: when this returns, the event is in the outbox of every chosen client of this server, and queued for
    /// the other servers.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        check_event(event)?;
        let data = Args::event(event, &data)?;
        let _stopwatch = durations::broadcast();
        self.apply(Action::Emit(self.flags.emit(&data)))
    }

    /// Emits the event "message", as Node's `send`.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn send(&self, data: impl ToArgs) -> Result<(), EmitError> {
        self.emit("message", data)
    }

    /// Emits an event and collects the clients' answers, until all have answered or the timeout has passed. A client for which a
    /// volatile event was dropped counts as one that did not answer, as in Node.
    ///
    /// Cancel safe: after the future is dropped, answers that come are ignored.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn emit_with_ack(&self, event: &str, data: impl ToArgs) -> Result<Acked, EmitError> {
        check_event(event)?;
        let data = Args::event(event, &data)?;
        if self.is_nobody() {
            return Ok(Acked { answers: Vec::new(), missing_sockets: 0, missing: Missing::default() });
        }
        let timeout = self.flags.timeout.unwrap_or(self.namespace.config().ack_timeout);
        let asked = self.namespace.adapter().emit_with_ack(&self.target, self.flags.emit(&data), timeout);
        Ok(task::answer(asked).await?)
    }

    /// The answer of a single chosen socket.
    pub(crate) async fn emit_with_its_ack(&self, event: &str, data: impl ToArgs) -> Result<Args, AckError> {
        let timeout = self.flags.timeout.unwrap_or(self.namespace.config().ack_timeout);
        let started = tokio::time::Instant::now();
        let mut acked = self.emit_with_ack(event, data).await?;
        match acked.answers.pop() {
            Some(answer) => Ok(answer),
            None if started.elapsed() >= timeout => Err(AckError::Timeout),
            None => Err(AckError::Gone),
        }
    }

    /// Number of chosen sockets, on all servers. The answer says which servers are missing in it.
    pub async fn count(&self) -> Answer<usize> {
        if self.is_nobody() {
            return Answer::complete(0);
        }
        self.namespace.adapter().count(&self.target, self.request_timeout()).await
    }

    /// The chosen sockets of this server, as they are: with their handlers and values. In no particular order.
    /// [`fetch_sockets`](Self::fetch_sockets) returns those of all servers.
    pub fn local_sockets(&self) -> Vec<Socket> {
        if self.is_nobody() {
            return Vec::new();
        }
        self.namespace.adapter().local_recipients(&self.target).into_iter().filter_map(Socket::of_recipient).collect()
    }

    /// Makes the sockets join rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn sockets_join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.apply(Action::Join(&rooms.into_vec()))
    }

    /// Makes the sockets leave rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn sockets_leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.apply(Action::Leave(&rooms.into_vec()))
    }

    /// Disconnects the sockets from the namespace, or with `close` ends their clients' whole connections.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitError> {
        self.apply(Action::Disconnect { close })
    }

    fn apply(&self, action: Action<'_>) -> Result<(), EmitError> {
        if self.is_nobody() {
            return Ok(());
        }
        Ok(self.namespace.adapter().apply(&self.target, action)?)
    }

    pub(crate) fn is_nobody(&self) -> bool {
        self.of_rooms && self.target.rooms.is_empty()
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.flags.timeout.unwrap_or(self.namespace.config().request_timeout)
    }
}
