//! [`Namespace`]: a name, its adapter and its handlers.

use crate::config::Config;
use crate::error::{ConnectError, EmitError};
use crate::handler::{
    BoxedConnect, BoxedEvent, BoxedMiddleware, EventHandler, EventName, Outcome, boxed_connect, boxed_event,
    boxed_middleware,
};
use crate::io::{Ending, IoInner};
use crate::limits::TOLD_EVENTS;
use crate::operator::{BroadcastOperator, Rooms};
use crate::server_event::{BoxedServerEvent, ServerEventHandler, boxed_server_event};
use crate::socket::Socket;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use roomcast_adapter::{Adapter, Answer, Room, ServerEvent};
use roomcast_protocol::{Args, ToArgs};
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::mpsc;

/// A namespace. Cloning it is cheap; all clones are the same namespace.
#[derive(Clone)]
pub struct Namespace(Arc<NamespaceInner>);

struct NamespaceInner {
    name: Arc<str>,
    io: Weak<IoInner>,
    config: Arc<Config>,
    adapter: Arc<dyn Adapter>,
    /// Given to this namespace alone.
    own: Handlers,
    /// Those of the pattern that the name fits, if one does.
    pattern: OnceLock<Arc<Handlers>>,
    /// It was removed, or the server is closed: whoever comes now goes again.
    closed: AtomicBool,
    /// Events of other servers, until a task takes them.
    server_events: Mutex<Option<mpsc::Receiver<ServerEvent>>>,
}

/// What the application gave a namespace, or all those of one pattern.
#[derive(Default)]
pub(crate) struct Handlers {
    connect: RwLock<Arc<Vec<BoxedConnect>>>,
    middlewares: RwLock<Arc<Vec<BoxedMiddleware>>>,
    events: RwLock<HashMap<EventName, BoxedEvent, RandomState>>,
    any: RwLock<Option<BoxedEvent>>,
    server_events: RwLock<HashMap<EventName, BoxedServerEvent, RandomState>>,
    any_server_event: RwLock<Option<BoxedServerEvent>>,
    /// What has been logged, as hashes: names may be the client's, and long.
    told: Mutex<HashSet<u64, RandomState>>,
}

impl Handlers {
    fn is_empty(&self) -> bool {
        self.connect.read().is_empty()
            && self.middlewares.read().is_empty()
            && self.events.read().is_empty()
            && self.any.read().is_none()
    }

    /// Whether something of an event is to be logged loudly: the first time, and of [`TOLD_EVENTS`] at most.
    pub(crate) fn is_news(&self, what: &'static str, event: &str) -> bool {
        let mut told = self.told.lock();
        let hash = told.hasher().hash_one((what, event));
        told.len() < TOLD_EVENTS && told.insert(hash)
    }
}

/// The methods that give handlers, for [`Namespace`] and [`Namespaces`].
macro_rules! giving_handlers {
    () => {
        /// Called for each socket that has connected. Several handlers may be given; they begin in that order.
        pub fn on_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
        where
            Fut: Future<Output = O> + Send + 'static,
            O: Outcome,
        {
            Arc::make_mut(&mut self.handlers().connect.write()).push(boxed_connect(handler));
            self
        }

        /// Decides who may connect. Middlewares run in the order given; the first error is told to the client as
        /// CONNECT_ERROR. What a middleware emits to the socket goes out before the answer to its CONNECT; rooms that it
        /// joins are joined if the socket is let in.
        pub fn middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
        where
            Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
        {
            Arc::make_mut(&mut self.handlers().middlewares.write()).push(boxed_middleware(middleware));
            self
        }

        /// Handles an event of every socket; it costs nothing per socket. A later handler of the same event replaces it.
        pub fn on<M>(&self, event: impl Into<EventName>, handler: impl EventHandler<M>) -> &Self {
            self.handlers().events.write().insert(event.into(), boxed_event(handler));
            self
        }

        /// Handles the events that no other handler takes. The arguments then begin with the event's name.
        pub fn on_any<M>(&self, handler: impl EventHandler<M>) -> &Self {
            *self.handlers().any.write() = Some(boxed_event(handler));
            self
        }

        /// Handles an event that another server of the cluster sent with [`Namespace::server_side_emit`].
        pub fn on_server_event<M>(&self, event: impl Into<EventName>, handler: impl ServerEventHandler<M>) -> &Self {
            self.handlers().server_events.write().insert(event.into(), boxed_server_event(handler));
            self
        }

        /// Handles the events of other servers that no other handler takes. The arguments then begin with the event's name.
        pub fn on_any_server_event<M>(&self, handler: impl ServerEventHandler<M>) -> &Self {
            *self.handlers().any_server_event.write() = Some(boxed_server_event(handler));
            self
        }
    };
}

impl Namespace {
    pub(crate) fn new(
        name: Arc<str>,
        io: Weak<IoInner>,
        config: Arc<Config>,
        pattern: Option<Arc<Handlers>>,
        adapter: Arc<dyn Adapter>,
        server_events: mpsc::Receiver<ServerEvent>,
    ) -> Self {
        let namespace = Self(Arc::new(NamespaceInner {
            name,
            io,
            config,
            adapter,
            own: Handlers::default(),
            pattern: pattern.map(OnceLock::from).unwrap_or_default(),
            closed: AtomicBool::new(false),
            server_events: Mutex::new(Some(server_events)),
        }));
        namespace.listen();
        namespace
    }

    /// The name, its slash included.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    giving_handlers!();

    // --- everybody ---

    /// Chooses the sockets of a room or rooms.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.everyone().to(rooms)
    }

    /// Chooses all sockets but those in the room or rooms.
    pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.everyone().except(rooms)
    }

    /// Chooses all sockets of this server.
    pub fn local(&self) -> BroadcastOperator {
        self.everyone().local()
    }

    /// Chooses all sockets.
    pub fn everyone(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.clone(), None)
    }

    /// Emits an event to all sockets.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.everyone().emit(event, data)
    }

    // --- servers ---

    /// Sends an event to this namespace on all *other* servers, never to clients.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn server_side_emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_server_event(event)?;
        Ok(self.0.adapter.server_side_emit(&Args::event(event, data)?)?)
    }

    /// Sends an event to this namespace on all other servers and collects one answer of each, for as long as the server's
    /// `request_timeout` (5 s by default).
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn server_side_emit_with_ack<T: ToArgs + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<Answer<Vec<Args>>, EmitError> {
        check_server_event(event)?;
        let data = Args::event(event, data)?;
        Ok(self.0.adapter.server_side_emit_with_ack(&data, self.0.config.request_timeout).await?)
    }

    /// Number of servers in the cluster, this one among them.
    pub async fn server_count(&self) -> Answer<usize> {
        self.0.adapter.server_count().await
    }

    /// Names of all rooms with members in the cluster, those of socket ids among them.
    pub async fn all_rooms(&self) -> Answer<Vec<Room>> {
        self.0.adapter.all_rooms(self.0.config.request_timeout).await
    }

    /// The adapter.
    pub fn adapter(&self) -> &Arc<dyn Adapter> {
        &self.0.adapter
    }

    // --- inside ---

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn handlers(&self) -> &Handlers {
        &self.0.own
    }

    /// The handlers, the pattern's first: what stands there applies to all its namespaces.
    fn each<T>(&self, of: impl Fn(&Handlers) -> T) -> [Option<T>; 2] {
        [self.0.pattern.get().map(|pattern| of(pattern)), Some(of(&self.0.own))]
    }

    /// What the namespace's own handlers have, or else the pattern's.
    fn own_or<T>(&self, find: impl Fn(&Handlers) -> Option<T>) -> Option<T> {
        find(&self.0.own).or_else(|| find(self.0.pattern.get()?))
    }

    /// Whether the application has given it nothing of its own that concerns clients.
    pub(crate) fn is_bare(&self) -> bool {
        self.0.own.is_empty()
    }

    /// A pattern has accepted a client of it; its handlers count from now on.
    pub(crate) fn adopt(&self, pattern: &Arc<Handlers>) {
        self.0.pattern.get_or_init(|| pattern.clone());
    }

    pub(crate) fn event_handler(&self, event: &str) -> Option<BoxedEvent> {
        self.own_or(|handlers| handlers.events.read().get(event).cloned())
    }

    pub(crate) fn any_handler(&self) -> Option<BoxedEvent> {
        self.own_or(|handlers| handlers.any.read().clone())
    }

    /// The handler of another server's event, and whether it wants the arguments without the event's name.
    pub(crate) fn server_event_handler(&self, event: &str) -> Option<(BoxedServerEvent, bool)> {
        let named = self.own_or(|handlers| handlers.server_events.read().get(event).cloned());
        let any = || self.own_or(|handlers| handlers.any_server_event.read().clone());
        named.map(|named| (named, true)).or_else(|| Some((any()?, false)))
    }

    pub(crate) fn middlewares(&self) -> [Option<Arc<Vec<BoxedMiddleware>>>; 2] {
        self.each(|handlers| handlers.middlewares.read().clone())
    }

    pub(crate) fn connect_handlers(&self) -> [Option<Arc<Vec<BoxedConnect>>>; 2] {
        self.each(|handlers| handlers.connect.read().clone())
    }

    /// A socket has left, or did not get in.
    pub(crate) fn left(&self) {
        if let Some(io) = self.0.io.upgrade() {
            io.left(self);
        }
    }

    /// Takes no socket from now on.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Whether the server is over.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.io.upgrade().is_none_or(|io| io.is_closed())
    }

    /// A handler of a socket's end begins; the server's end waits for it.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.0.io.upgrade().map(|io| io.ending())
    }

    /// Takes events of other servers, from the first moment that there is a runtime to do it.
    pub(crate) fn listen(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Some(mut events) = self.0.server_events.lock().take() else { return };
        // Held weakly: the task ends with the namespace, whose adapter has the other end of the channel.
        let namespace = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                let Some(namespace) = namespace.upgrade() else { return };
                crate::server_event::dispatch(&Self(namespace), event);
            }
        });
    }
}

/// Names that `server_side_emit` may not use, as in Node.
fn check_server_event(event: &str) -> Result<(), EmitError> {
    match event {
        "connect" | "connection" | "new_namespace" => Err(EmitError::ReservedEvent(event.to_owned())),
        _ => Ok(()),
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

/// The namespaces whose names match a pattern. Each comes to be with its first socket, and goes some seconds after its last
/// (`Builder::namespace_linger`). What is given here applies to all of them; a [`Namespace`] may have handlers besides.
#[derive(Clone)]
pub struct Namespaces(pub(crate) Arc<Handlers>);

impl Namespaces {
    giving_handlers!();

    fn handlers(&self) -> &Handlers {
        &self.0
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespaces").finish()
    }
}
