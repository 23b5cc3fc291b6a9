//! The [`Adapter`] seam: everything that a namespace asks of its rooms, on this server and on others.

use crate::seam::answer::Answer;
pub use crate::seam::emit::Emit;
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails};
use crate::seam::recovery::{Recovery, RecoverySpace};
use crate::seam::room::Room;
use crate::seam::room_feed::RoomFeed;
use crate::seam::target::Target;
use async_trait::async_trait;
use roomcast_protocol::{Args, Packet, Parser, SocketId};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The rooms of one namespace, and delivery to their members. An [`AdapterFactory`] makes one for each namespace.
///
/// The contract, which `testkit` checks for every adapter:
/// - each matching socket gets a packet once, however many of the rooms it is in; `except` wins over `rooms`;
/// - the welcome packet given to [`Adapter::insert`] is the first thing that the recipient gets;
/// - a socket is always in the room named after its id;
/// - membership changes at once: after a join, an emit by the same caller reaches the socket on this server;
/// - emits through one adapter arrive in order at every recipient, and in the same order at all of them;
/// - only the `async` questions wait for other servers; delivery to this server's sockets never waits;
/// - a partial answer says that it is partial.
///
/// Only [`Adapter::recovery`] has a default: an adapter that forgets another method must not compile.
#[async_trait]
pub trait Adapter: Debug + Send + Sync + 'static {
    /// Adds a socket, puts it into `rooms` and delivers `welcome` to it, all in one step: no broadcast arrives before
    /// the welcome, and no later one is missed. If the socket is refused, nothing has happened.
    ///
    /// # Errors
    /// [`AdapterError::Duplicate`] if the id is taken; [`AdapterError::RoomName`] and [`AdapterError::TooManyRooms`] as
    /// in [`Adapter::join`].
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError>;

    /// Removes a socket from all rooms, and gives up its pending acknowledgements. Unknown ids are ignored.
    fn remove(&self, id: SocketId);

    /// Gives a socket another recipient, which gets all that is delivered from now on. Rooms and pending acknowledgements stay. Unknown
    /// ids are ignored. The server calls this under the socket's lock: it must not call the recipient.
    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>);

    /// Puts a socket into rooms. This takes effect on this server at once; await the returned future for confirmation
    /// by the cluster. Nothing happens for rooms that the socket is in already, nor after [`Adapter::remove`].
    ///
    /// # Errors
    /// [`AdapterError::RoomName`], [`AdapterError::TooManyRooms`]: then no room was joined.
    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError>;

    /// Takes a socket out of a room. No socket leaves the room named after its id.
    fn leave(&self, id: SocketId, room: &str);

    /// The rooms of a socket of this server, including the room named after its id. Empty if the id is unknown.
    fn rooms_of(&self, id: SocketId) -> Vec<Room>;

    /// Applies an action to the sockets that `target` selects, on this server and on others.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`]: nothing was sent to anybody.
    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError>;

    /// Takes a client's acknowledgement. Unknown ids and second answers are ignored.
    fn ack(&self, from: SocketId, id: u64, args: Args);

    /// Emits an event and collects the acknowledgements until all have arrived or `timeout` has passed. Dropping the
    /// future stops collecting. As in Node, a socket for which a volatile event was dropped counts as silent.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`]: nothing was sent to anybody.
    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError>;

    /// The sockets that `target` selects.
    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>>;

    /// The number of sockets that `target` selects. Cheaper than [`Adapter::fetch_sockets`].
    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize>;

    /// The names of all rooms that have members, including the rooms named after socket ids.
    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>>;

    /// The number of servers, including this one even while it is not connected yet.
    async fn server_count(&self) -> Answer<usize>;

    /// Sends an event to the namespace on the other servers, never to clients.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`].
    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError>;

    /// Sends an event to the namespace on the other servers, and collects one answer from each.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`], [`AdapterError::TooLargeForServers`].
    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError>;

    /// The recipients of this server that `target` selects, each once.
    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>>;

    /// How many sockets and rooms this server has in the namespace, for metrics. It must not take longer the more there
    /// are.
    fn local_sizes(&self) -> LocalSizes;

    /// Leaves the cluster. This server's sockets go on as with an in-memory adapter.
    async fn close(&self);

    /// Where sessions are kept for clients that come back. `None`, the default, if this adapter keeps none.
    fn recovery(&self) -> Option<&dyn Recovery> {
        None
    }
}

/// What a namespace holds on one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalSizes {
    /// Sockets.
    pub sockets: usize,
    /// Rooms that were joined and have members. The rooms named after socket ids do not count.
    pub rooms: usize,
}

/// Makes the adapter of a namespace. It is called each time that a namespace is created; the adapter of an earlier
/// namespace of the same name may still be closing.
pub type AdapterFactory = Arc<dyn Fn(AdapterContext) -> Arc<dyn Adapter> + Send + Sync>;

/// What a new adapter is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct AdapterContext {
    /// The namespace's name, including its slash.
    pub namespace: Arc<str>,
    /// Where events from other servers go. It holds [`MAX_SERVER_EVENTS`](crate::limits::MAX_SERVER_EVENTS) events; the
    /// adapter refuses and counts further ones.
    pub server_events: mpsc::Sender<ServerEvent>,
    /// How packets for clients are written. What travels between servers does not depend on it.
    pub parser: Parser,
    /// Where sessions are kept for clients that come back. `None`: they are not kept.
    pub recovery: Option<Arc<RecoverySpace>>,
    /// Who wants to know of changes of rooms. [`Local`](crate::Local) tells it all; an adapter that does without `Local` may leave it.
    pub room_feed: Arc<RoomFeed>,
}

impl AdapterContext {
    /// The context of a namespace whose clients use the default parser, and whose sessions are not kept.
    pub fn new(namespace: impl Into<Arc<str>>, server_events: mpsc::Sender<ServerEvent>) -> Self {
        Self {
            namespace: namespace.into(),
            server_events,
            parser: Parser::Default,
            recovery: None,
            room_feed: Arc::default(),
        }
    }

    /// The same, with packets written like this.
    #[must_use]
    pub fn with_parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// The same, with sessions that are kept for clients that come back.
    #[must_use]
    pub fn with_recovery(mut self, space: Option<Arc<RecoverySpace>>) -> Self {
        self.recovery = space;
        self
    }

    /// The same, with somebody who may want to know of changes of rooms.
    #[must_use]
    pub fn with_room_feed(mut self, feed: Arc<RoomFeed>) -> Self {
        self.room_feed = feed;
        self
    }
}

/// An event from another server.
#[derive(Debug)]
pub struct ServerEvent {
    /// The event's name, then its arguments.
    pub data: Args,
    /// Where the answer goes, if an answer is wanted.
    pub reply: Option<oneshot::Sender<Args>>,
}

/// What to do with the sockets of a target.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// Send them an event.
    Emit(Emit<'a>),
    /// Put them into rooms. A socket that has reached its limit of rooms does not join, which is counted.
    Join(&'a [Room]),
    /// Take them out of rooms.
    Leave(&'a [Room]),
    /// Disconnect them from the namespace, or with `close` from the server.
    Disconnect {
        /// Whether to close the whole connection.
        close: bool,
    },
}

impl<'a> Action<'a> {
    /// An event that is neither volatile nor exempt from compression.
    pub fn emit(data: &'a Args) -> Self {
        Self::Emit(Emit::of(data))
    }
}

/// The acknowledgements of an emit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acked {
    /// The answers, in order of arrival. From sockets of other servers, only the first argument is known.
    pub answers: Vec<Args>,
    /// Sockets that were asked and did not answer.
    pub missing_sockets: usize,
    /// Servers that did not say how many sockets they asked.
    pub missing: crate::Missing,
}

/// Resolves when the cluster has confirmed a join. Dropping it changes nothing. In memory it is ready from the start.
pub struct Joined(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Joined {
    /// A join that needs no confirmation.
    pub fn confirmed() -> Self {
        Self(None)
    }

    /// A join that is confirmed once `future` resolves.
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
