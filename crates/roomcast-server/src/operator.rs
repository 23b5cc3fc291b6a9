//! [`BroadcastOperator`]: chooses sockets, and acts on them.

use crate::durations;
use crate::error::{EmitError, check_event};
use crate::parts::Namespace;
use crate::rooms::Rooms;
use crate::task;
use roomcast_adapter::{Acked, Action, Answer, Emit, Room, Target};
use roomcast_protocol::{Args, SocketId, ToArgs};
use std::time::Duration;

/// Chooses sockets of a namespace, on all servers of the cluster, and acts on them. The methods that choose return the changed operator;
/// nothing happens before a method that acts, such as [`emit`](Self::emit).
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `emit` or another action"]
pub struct BroadcastOperator {
    pub(crate) namespace: Namespace,
    pub(crate) target: Target,
    volatile: bool,
    compress: bool,
    timeout: Option<Duration>,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace, except: Option<SocketId>) -> Self {
        let target = Target { except: except.into_iter().map(Room::from).collect(), ..Target::default() };
        Self { namespace, target, volatile: false, compress: true, timeout: None }
    }

    /// The socket of that id, and not other sockets that joined the room of that name.
    pub(crate) fn of_socket(namespace: Namespace, id: &str) -> Self {
        let target = Target::socket(id);
        Self { target, ..Self::new(namespace, None) }
    }

    /// Only sockets in this room, or in any of these rooms; a further call adds rooms. A socket that is in several of them gets an
    /// event once.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        rooms.push_to(&mut self.target.rooms);
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
        self.volatile = true;
        self
    }

    /// Whether the event may be compressed, where compression is on. Defaults to true.
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// How long to wait for answers. Defaults to the server's `ack_timeout` (10 s) for acknowledgements, and to its `request_timeout` (5 s)
    /// for answers of other servers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Emits an event. Never waits: when this returns, the event is in the outbox of every chosen client of this server, and queued for
    /// the other servers.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_event(event)?;
        let data = Args::event(event, data)?;
        let _stopwatch = durations::broadcast();
        Ok(self.namespace.adapter().apply(&self.target, Action::Emit(self.as_emit(&data)))?)
    }

    /// Emits an event and collects the clients' answers, until all have answered or the timeout has passed. A client for which a
    /// volatile event was dropped counts as one that did not answer, as in Node.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn emit_with_ack<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Acked, EmitError> {
        check_event(event)?;
        let data = Args::event(event, data)?;
        let timeout = self.timeout.unwrap_or(self.namespace.config().ack_timeout);
        Ok(task::answer(self.namespace.adapter().emit_with_ack(&self.target, self.as_emit(&data), timeout)).await?)
    }

    /// Number of chosen sockets, on all servers.
    pub async fn count(&self) -> Answer<usize> {
        self.namespace.adapter().count(&self.target, self.request_timeout()).await
    }

    /// Makes the sockets join rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn sockets_join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Join(&rooms.into_vec()))?)
    }

    /// Makes the sockets leave rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn sockets_leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Leave(&rooms.into_vec()))?)
    }

    /// Disconnects the sockets from the namespace, or with `close` ends their clients' whole connections.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Disconnect { close })?)
    }

    fn as_emit<'a>(&self, data: &'a Args) -> Emit<'a> {
        Emit { data, volatile: self.volatile, compress: self.compress }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.timeout.unwrap_or(self.namespace.config().request_timeout)
    }
}
