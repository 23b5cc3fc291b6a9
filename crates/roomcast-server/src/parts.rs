//! [`Namespace`] and [`Socket`] as data. A socket knows its namespace, and a namespace has handlers that take sockets, so both are
//! defined here, below everything that they do (`docs/decisions/0023-layers.md`).
//!
//! What they do stands in the files above: `namespace.rs` and `socket.rs` have their public methods, `connect.rs`, `dispatch.rs` and
//! `disconnect.rs` the three phases of a socket's life.

use crate::config::Config;
use crate::handler::{BoxedConnect, BoxedDisconnect, BoxedLeave, BoxedMiddleware, BoxedRoom};
use crate::labels::Counted;
use crate::lifetime::Lifetime;
use crate::limits::{FAILURE_LINES, TOLD_EVENTS};
use crate::link::{HandlerGuard, Link, Linked};
use crate::listeners::{EventTable, Found, OwnEvents};
use crate::reason::DisconnectReason;
use crate::recovery::RecoveryOutcome;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use roomcast_adapter::{Adapter, Room, RoomFeed, ServerEvent};
use roomcast_engine::{Bucket, Connection, Rate};
use roomcast_protocol::{Args, Parser, SocketId};
use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::Instant;

/// A namespace: sockets with handlers and rooms of their own. Cloning it is cheap; all clones are the same namespace.
///
/// ```
/// use roomcast_server::{ConnectError, Socket, SocketIo};
///
/// let io = SocketIo::builder().build();
/// let admin = io.of("/admin");
/// admin.middleware(|socket: Socket| async move {
///     match socket.auth_json() {
///         Some(auth) if auth.contains("secret") => Ok(()),
///         _ => Err(ConnectError::new("not authorized")),
///     }
/// });
/// admin.on("kick", |socket: Socket, id: String| socket.namespace().to(id).disconnect_sockets(true));
/// admin.emit("restarting", "in five minutes")?;
/// # Ok::<(), roomcast_server::EmitError>(())
/// ```
#[derive(Clone)]
pub struct Namespace(pub(crate) Arc<NamespaceInner>);

pub(crate) struct NamespaceInner {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Handlers of this namespace alone.
    pub(crate) own: Handlers,
    /// Handlers of the pattern that accepted the name, if one did.
    pub(crate) pattern: OnceLock<Arc<Handlers>>,
    /// The namespace was removed, or the server is closed: a socket that connects now is disconnected at once.
    pub(crate) closed: AtomicBool,
    /// Events of other servers, until a task takes the receiver.
    pub(crate) server_events: Mutex<Option<mpsc::Receiver<ServerEvent>>>,
    pub(crate) room_feed: Arc<RoomFeed>,
    pub(crate) lifetime: Arc<Lifetime>,
    /// What is counted for its name.
    pub(crate) counted: Arc<Counted>,
    /// Called when a socket has left, or was refused: the server counts the sockets of namespaces that patterns make.
    pub(crate) on_left: OnLeft,
    pub(crate) sibling: Sibling,
    pub(crate) told: SetOnce<()>, // Set once `on_new_namespace` was told of it: no client connects before.
    /// Called when a session was kept.
    pub(crate) on_kept: OnLeft,
    /// Whether sessions can be recovered.
    pub(crate) recovers: bool,
    /// Whether a task runs that ends kept sessions.
    pub(crate) kept_are_swept: AtomicBool,
    /// The values of sockets whose sessions are kept ([`Socket::insert`]).
    pub(crate) kept_values: Mutex<HashMap<SocketId, http::Extensions, RandomState>>,
}

pub(crate) type OnLeft = Box<dyn Fn(&Namespace) + Send + Sync>;

/// Finds or makes a namespace of the same server, if that still exists.
pub(crate) type Sibling = Box<dyn Fn(&str) -> Option<Namespace> + Send + Sync>;

/// What the application gave a namespace, or all namespaces of one pattern.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) connect: RwLock<Arc<Vec<BoxedConnect<Socket>>>>,
    pub(crate) middlewares: RwLock<Arc<Vec<BoxedMiddleware<Socket>>>>,
    pub(crate) events: RwLock<EventTable<Socket>>,
    pub(crate) server_events: RwLock<EventTable<Namespace>>,
    pub(crate) disconnecting: RwLock<Vec<BoxedLeave<Socket>>>,
    pub(crate) disconnect: RwLock<Vec<BoxedLeave<Socket>>>,
    pub(crate) upgrade: RwLock<Vec<BoxedConnect<Socket>>>,
    pub(crate) rooms: RwLock<Vec<BoxedRoom<Namespace>>>,
    /// Hashes of what was logged once: event names may be the client's, and long.
    logged: Mutex<HashSet<u64, RandomState>>,
    /// Log lines about failures of handlers.
    failures: Mutex<Bucket>,
}

impl Handlers {
    /// Whether nothing was given that concerns clients.
    pub(crate) fn is_empty(&self) -> bool {
        self.connect.read().is_empty()
            && self.middlewares.read().is_empty()
            && self.events.read().is_empty()
            && self.disconnecting.read().is_empty()
            && self.disconnect.read().is_empty()
            && self.upgrade.read().is_empty()
    }

    /// Whether to log a failure of a handler as a warning: [`FAILURE_LINES`] in a minute.
    pub(crate) fn may_log_failure(&self) -> bool {
        let rate = Rate::new(FAILURE_LINES, Duration::from_secs(60));
        rate.is_some_and(|rate| self.failures.lock().take(1, &rate, Instant::now()).is_ok())
    }

    /// Whether to log something about an event as a warning: the first time, and for [`TOLD_EVENTS`] events at most.
    pub(crate) fn is_first(&self, what: &'static str, event: &str) -> bool {
        let mut logged = self.logged.lock();
        let hash = logged.hasher().hash_one((what, event));
        logged.len() < TOLD_EVENTS && logged.insert(hash)
    }
}

impl Namespace {
    /// The name, including its slash.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Another namespace of the same server, for handlers that have no [`SocketIo`](crate::SocketIo) at hand: as
    /// [`SocketIo::of`](crate::SocketIo::of), and as `socket.nsp.server.of` in Node. `None` if the server has been dropped.
    pub fn of(&self, name: &str) -> Option<Self> {
        (self.0.sibling)(name)
    }

    /// The adapter.
    pub fn adapter(&self) -> &Arc<dyn Adapter> {
        &self.0.adapter
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn handlers(&self) -> &Handlers {
        &self.0.own
    }

    /// Something of the pattern's handlers, and of the namespace's own. The pattern's come first, as they apply to all its namespaces.
    pub(crate) fn each<T>(&self, of: impl Fn(&Handlers) -> T) -> [Option<T>; 2] {
        [self.0.pattern.get().map(|pattern| of(pattern)), Some(of(&self.0.own))]
    }

    /// What there is for an event of a client.
    pub(crate) fn find_event(&self, event: &str, found: &mut Found<Socket>) {
        if let Some(pattern) = self.0.pattern.get() {
            pattern.events.read().find(event, found);
        }
        self.0.own.events.read().find(event, found);
    }

    /// What there is for an event of another server.
    pub(crate) fn find_server_event(&self, event: &str) -> Found<Self> {
        let mut found = Found::default();
        if let Some(pattern) = self.0.pattern.get() {
            pattern.server_events.read().find(event, &mut found);
        }
        self.0.own.server_events.read().find(event, &mut found);
        found
    }

    /// The handlers for a session's upgrade.
    pub(crate) fn upgrade_handlers(&self) -> Vec<BoxedConnect<Socket>> {
        self.each(|handlers| handlers.upgrade.read().clone()).into_iter().flatten().flatten().collect()
    }

    /// The handlers for each disconnect, of those that `of` names.
    pub(crate) fn leave_handlers(
        &self,
        of: fn(&Handlers) -> &RwLock<Vec<BoxedLeave<Socket>>>,
    ) -> Vec<BoxedLeave<Socket>> {
        self.each(|handlers| of(handlers).read().clone()).into_iter().flatten().flatten().collect()
    }

    pub(crate) fn middlewares(&self) -> [Option<Arc<Vec<BoxedMiddleware<Socket>>>>; 2] {
        self.each(|handlers| handlers.middlewares.read().clone())
    }

    pub(crate) fn connect_handlers(&self) -> [Option<Arc<Vec<BoxedConnect<Socket>>>>; 2] {
        self.each(|handlers| handlers.connect.read().clone())
    }

    /// A pattern has accepted a client; its handlers apply from now on.
    pub(crate) fn adopt(&self, pattern: &Arc<Handlers>) {
        self.0.pattern.get_or_init(|| pattern.clone());
        self.watch_rooms();
    }

    /// A socket has left, or was refused.
    pub(crate) fn left(&self) {
        (self.0.on_left)(self);
    }

    /// A socket has left, and its session is kept. The namespace counts it until it is continued or ends.
    pub(crate) fn kept(&self) {
        (self.0.on_kept)(self);
    }

    /// Disconnects every socket that connects from now on.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.0.name).finish()
    }
}

/// A client in one namespace. Cloning it is cheap; all clones are the same socket. A clone that is kept after the client has gone does
/// no harm: it emits to nobody, with an error.
///
/// ```
/// use roomcast_server::{Socket, SocketIo};
///
/// let io = SocketIo::builder().build();
/// io.on_connection(|socket: Socket| async move {
///     socket.join("lobby")?; // rooms
///     socket.emit("welcome", ("lobby", 7))?; // to this client
///     socket.to("lobby").emit("joined", socket.id())?; // to the others there
///     let name: String = socket.emit_with_ack("name?", ()).await?.parse()?; // a question
///     socket.insert(name); // a value for its handlers, as Extension<String>
///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// });
/// ```
#[derive(Clone)]
pub struct Socket(pub(crate) Arc<SocketInner>);

pub(crate) struct SocketInner {
    pub(crate) id: SocketId,
    /// Milliseconds from the session's first request to the CONNECT; a `u32` fits beside the id.
    pub(crate) since: u32,
    pub(crate) namespace: Namespace,
    /// The connection of `link`, kept here too: a broadcast visits every recipient, and one pointer less to follow is worth 8 bytes.
    pub(crate) connection: Arc<Connection>,
    pub(crate) link: Arc<Link<Socket>>,
    /// The auth payload of the client's CONNECT: a JSON object.
    pub(crate) auth: Option<Box<str>>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// What the application keeps with the socket.
    pub(crate) kept: Option<Box<Kept>>,
    /// Most sockets have none.
    pub(crate) own: Option<Box<OwnHandlers>>,
    /// Connection handlers that have not ended.
    pub(crate) connection_handlers: u32,
    /// What came of its client's wish to continue a session. It fits beside the number.
    pub(crate) recovery: RecoveryOutcome,
    /// What is sent to its client is, or was, shown to somebody. It fits there too.
    pub(crate) observed: bool,
}

/// What the application keeps with a socket.
#[derive(Default)]
pub(crate) struct Kept {
    /// As JSON: `fetch_sockets` shows it on every server.
    pub(crate) data: Option<Box<str>>,
    /// Values by type, for this server alone. Each is in an [`Arc`], so that an application's `clone` never runs under a lock.
    pub(crate) extensions: http::Extensions,
}

/// Handlers of one socket alone.
#[derive(Default)]
pub(crate) struct OwnHandlers {
    pub(crate) events: OwnEvents<Socket>,
    pub(crate) turns: Turns,
    pub(crate) disconnecting: Vec<BoxedDisconnect<Socket>>,
    pub(crate) disconnect: Vec<BoxedDisconnect<Socket>>,
}

/// The events of a socket that wait until the handlers of earlier ones have ended ([`Builder::ordered`](crate::Builder::ordered)).
#[derive(Default)]
pub(crate) struct Turns {
    /// Handlers of an event run, or begin in a moment.
    pub(crate) busy: bool,
    pub(crate) waiting: VecDeque<Waiting>,
}

/// An event that waits.
pub(crate) struct Waiting {
    pub(crate) name: String,
    pub(crate) args: Args,
    pub(crate) id: Option<u64>,
    pub(crate) guard: HandlerGuard<Socket>,
}

/// Where a socket is in its life.
pub(crate) enum Phase {
    Connecting(Box<Connecting>),
    Connected,
    /// With the reason, if it was ever connected.
    Disconnected(Option<DisconnectReason>),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Connecting(Box::default())
    }
}

/// A socket that has asked for its namespace and is not in it yet.
#[derive(Default)]
pub(crate) struct Connecting {
    pub(crate) stage: Stage,
    /// Rooms that it joins once it is in the namespace.
    pub(crate) rooms: Vec<Room>,
    /// Rooms that it leaves then, as it may come back into them with its session.
    pub(crate) left: Vec<Room>,
}

/// How far a connecting socket has come.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Middlewares decide. The client may send nothing to the namespace yet.
    #[default]
    Middlewares,
    /// The adapter inserts the socket. The client may receive its CONNECT, and go on, before the adapter has returned.
    Inserting,
    /// The server disconnected the socket while the adapter inserted it: it is removed as soon as the adapter returns.
    Evicted,
}

impl State {
    /// Whether middlewares still decide about the socket, so that the client has to wait.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(&self.phase, Phase::Connecting(connecting) if connecting.stage == Stage::Middlewares)
    }
}

impl Socket {
    pub(crate) fn new(id: SocketId, namespace: Namespace, link: Arc<Link<Self>>, auth: Option<&str>) -> Self {
        let auth = auth.map(Box::from);
        let connection = link.connection.clone();
        let since = connection.handshake().time().elapsed().unwrap_or_default().as_millis();
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        Self(Arc::new(SocketInner { id, since, namespace, connection, link, auth, state: Mutex::default() }))
    }

    /// The socket's id. It is public, and the name of the room that the socket is always in.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// How its packets are written.
    pub(crate) fn parser(&self) -> Parser {
        self.0.namespace.0.config.parser
    }

    /// Whether middlewares still decide about it.
    pub(crate) fn is_undecided(&self) -> bool {
        self.0.state.lock().is_undecided()
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    pub(crate) fn link(&self) -> &Arc<Link<Self>> {
        &self.0.link
    }
}

impl Linked for Socket {
    fn namespace_name(&self) -> &Arc<str> {
        &self.0.namespace.0.name
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}

impl fmt::Debug for SocketInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("namespace", &self.namespace.0.name).finish()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_about_failures_at_the_limit_and_one_past_it() {
        let handlers = Handlers::default();
        assert!((0..FAILURE_LINES).all(|_| handlers.may_log_failure()));
        assert!(!handlers.may_log_failure());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!((0..FAILURE_LINES).all(|_| handlers.may_log_failure()));
        assert!(!handlers.may_log_failure());
    }
}
