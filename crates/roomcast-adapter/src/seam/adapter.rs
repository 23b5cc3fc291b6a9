//! The [`Adapter`] seam: everything a namespace asks of its rooms, here and on other servers.

use crate::seam::answer::Answer;
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails};
use crate::seam::recovery::Recovery;
use crate::seam::room::Room;
use crate::seam::target::Target;
use async_trait::async_trait;
use roomcast_protocol::{Args, Packet, SocketId};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// One namespace's rooms and deliveries. There is one adapter per namespace, made by an [`AdapterFactory`].
///
/// The contract, which `testkit` checks for every adapter:
/// - each matching socket gets a packet once, whatever rooms it is in; `except` wins over `rooms`;
/// - what [`Adapter::insert`] is given as the welcome comes before anything else that the recipient gets;
/// - a socket is always in the room named by its id;
/// - membership changes at once: a join, then an emit by the same caller reaches the joiner on this server;
/// - emits through one adapter arrive in order at every recipient, and at every recipient in the same order;
/// - nothing here waits for another server but the `async` questions, and delivery to this server's sockets never waits;
/// - a partial answer says so.
///
/// There are no default bodies: an adapter that forgets a method must not compile.
#[async_trait]
pub trait Adapter: Debug + Send + Sync + 'static {
    /// Takes in a socket, puts it into `rooms` and delivers `welcome` to it, all in one step: no broadcast comes before the
    /// welcome, none after it is missed, and if it is refused nothing of it was done.
    ///
    /// # Errors
    /// [`AdapterError::Duplicate`] if the id is taken; [`AdapterError::RoomName`] and [`AdapterError::TooManyRooms`] as in
    /// [`Adapter::join`].
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError>;

    /// Takes a socket out, and out of all its rooms. Acknowledgements awaited from it are given up. Unknown ids are ignored.
    fn remove(&self, id: SocketId);

    /// Puts a socket into rooms. It applies on this server at once; what is returned may be awaited for the cluster's
    /// confirmation. Joining again, or after [`Adapter::remove`], does nothing.
    ///
    /// # Errors
    /// [`AdapterError::RoomName`], [`AdapterError::TooManyRooms`]: then no room was joined.
    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError>;

    /// Takes a socket out of a room. Nobody leaves the room of their own id.
    fn leave(&self, id: SocketId, room: &str);

    /// The rooms of a socket of this server, its own among them; empty if the id is unknown.
    fn rooms_of(&self, id: SocketId) -> Vec<Room>;

    /// Does something to the sockets that `target` names, here and on other servers.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`]: nothing was sent, to nobody.
    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError>;

    /// Takes a client's acknowledgement. Answers to unknown ids, and second answers, are ignored.
    fn ack(&self, from: SocketId, id: u64, args: Args);

    /// Emits and collects the acknowledgements until all are in or `timeout` has passed. Dropping the future gives up. A
    /// socket for which a volatile event was dropped counts as one that does not answer, as in Node.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`]: nothing was sent, to nobody.
    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError>;

    /// The sockets that `target` names.
    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>>;

    /// Number of sockets that `target` names; asks for less than [`Adapter::fetch_sockets`].
    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize>;

    /// Names of all rooms that have members, those of socket ids among them.
    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>>;

    /// Number of servers, this one among them, as itself: also if the others do not hear it yet.
    async fn server_count(&self) -> Answer<usize>;

    /// Sends an event to the other servers' namespace (never to clients).
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`].
    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError>;

    /// Sends an event to the other servers' namespace and collects one answer from each.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`].
    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError>;

    /// Leaves the cluster. Sockets of this server go on as in memory.
    async fn close(&self);

    /// Where sessions are kept for clients that come back; `None`, the default, of an adapter that keeps none.
    fn recovery(&self) -> Option<&dyn Recovery> {
        None
    }
}

/// Makes the adapter of a namespace. It is called once for each time that a namespace comes to be; the adapter of an earlier
/// namespace of that name may still be closing then.
pub type AdapterFactory = Arc<dyn Fn(AdapterContext) -> Arc<dyn Adapter> + Send + Sync>;

/// What a new adapter is given.
#[derive(Debug)]
pub struct AdapterContext {
    /// The namespace's name, its slash included.
    pub namespace: Arc<str>,
    /// Where events from other servers go. It holds [`MAX_SERVER_EVENTS`](crate::limits::MAX_SERVER_EVENTS); when it is
    /// full, the event is refused and counted by the adapter.
    pub server_events: mpsc::Sender<ServerEvent>,
}

/// An event from another server.
#[derive(Debug)]
pub struct ServerEvent {
    /// The event's name, then its arguments.
    pub data: Args,
    /// Where the answer goes, if one is wanted.
    pub reply: Option<oneshot::Sender<Args>>,
}

/// What to do to the sockets of a target.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// Send them an event.
    Emit(Emit<'a>),
    /// Put them into rooms. A socket at its limit of rooms stays out, which is counted.
    Join(&'a [Room]),
    /// Take them out of rooms.
    Leave(&'a [Room]),
    /// Disconnect them from the namespace, or with `close` from the server.
    Disconnect {
        /// Whether the whole connection ends.
        close: bool,
    },
}

impl<'a> Action<'a> {
    /// An ordinary event.
    pub fn emit(data: &'a Args) -> Self {
        Self::Emit(Emit::of(data))
    }
}

/// An event for clients.
#[derive(Debug, Clone, Copy)]
pub struct Emit<'a> {
    /// The event's name, then its arguments ([`Args::event`]).
    pub data: &'a Args,
    /// Dropped for a client whose transport is not writable at once.
    pub volatile: bool,
    /// May be compressed, where compression is on.
    pub compress: bool,
}

impl<'a> Emit<'a> {
    /// An ordinary event.
    pub fn of(data: &'a Args) -> Self {
        Self { data, volatile: false, compress: true }
    }
}

/// Acknowledgements that were collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acked {
    /// The answers, in the order they came. From sockets of other servers only the first argument is known.
    pub answers: Vec<Args>,
    /// Sockets that were asked and did not answer.
    pub missing_sockets: usize,
    /// Servers that did not say whom they asked.
    pub missing: crate::Missing,
}

/// Resolves when a join is known to the cluster; dropping it changes nothing. In memory it is resolved from the start.
pub struct Joined(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Joined {
    /// A join that needs no confirmation.
    pub fn confirmed() -> Self {
        Self(None)
    }

    /// A join that is confirmed when `future` resolves.
    pub fn when(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl Future for Joined {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        match &mut self.0 {
            Some(future) => future.as_mut().poll(cx),
            None => std::task::Poll::Ready(()),
        }
    }
}

impl Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("confirmed", &self.0.is_none()).finish()
    }
}
