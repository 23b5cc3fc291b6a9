//! [`SocketIo`]: the server.

use crate::client::Client;
use crate::config::{Builder, Config};
use crate::error::{ConnectError, EmitError};
use crate::limits::{CLOSE_ADAPTERS_TIMEOUT, DISCONNECT_HANDLERS_TIMEOUT, IDLE_NAMESPACES, LEAVE_TIMEOUT};
use crate::names::{Accepts, MAIN, Missing, Names, NamespaceRequest, Origin, Pattern};
use crate::namespace::{Handlers, Namespace, Namespaces};
use crate::operator::{BroadcastOperator, Rooms};
use crate::way_in::INVALID;
use http::Request;
use hyper::body::Incoming;
use parking_lot::Mutex;
use roomcast_adapter::cluster::Cluster;
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::{Action, AdapterContext, AdapterFactory, Target};
use roomcast_engine::{Connection, Engine, EngineConfig, EngineService, ServeOptions, SessionHandler, bind, serve};
use roomcast_protocol::ToArgs;
use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;

/// A Socket.IO server. Cloning it is cheap; all clones are the same server.
#[derive(Clone)]
pub struct SocketIo {
    inner: Arc<IoInner>,
    engine: Engine,
    serve: ServeOptions,
}

pub(crate) struct IoInner {
    pub(crate) config: Arc<Config>,
    adapter: AdapterFactory,
    cluster: Option<Cluster>,
    this: Weak<Self>,
    names: Mutex<Names>,
    /// Where connections are served: a socket may be disconnected on a thread without a runtime.
    runtime: OnceLock<Handle>,
    endings: Arc<Endings>,
    closed: watch::Sender<bool>,
    /// The close has been done.
    close: OnceCell<()>,
}

/// Handlers of sockets' ends that are under way.
#[derive(Default)]
struct Endings {
    count: AtomicUsize,
    none: Notify,
}

/// One of them.
pub(crate) struct Ending(Arc<Endings>);

impl Drop for Ending {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Endings {
    async fn none(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            // In line before the look, so that none is missed.
            none.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// What becomes of a client's wish for a namespace.
pub(crate) enum Found {
    /// It counts the socket that is to be.
    Namespace(Namespace),
    /// These decide, in this order.
    Ask(Vec<Pattern>),
    Refused(ConnectError),
    /// The server is over, and in a moment so is the connection. The client is not refused: it would not come back.
    Over,
}

impl SocketIo {
    /// Begins a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        engine: EngineConfig,
        serve: ServeOptions,
        config: Config,
        adapter: AdapterFactory,
        cluster: Option<Cluster>,
    ) -> Self {
        let inner = Arc::new_cyclic(|this| IoInner {
            config: Arc::new(config),
            adapter,
            cluster,
            this: this.clone(),
            names: Mutex::default(),
            runtime: OnceLock::new(),
            endings: Arc::default(),
            closed: watch::channel(false).0,
            close: OnceCell::new(),
        });
        let io = inner.clone();
        let engine = Engine::new(engine, move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
            Box::new(Client::new(io.clone(), connection.clone()))
        });
        Self { inner, engine, serve }
    }

    // --- namespaces ---

    /// The namespace of that name (its slash may be left out). It comes to be with the first call, as one of a pattern given
    /// to [`SocketIo::of_matching`] if one accepts the name, with the pattern's middlewares and handlers; and it stays until
    /// [`SocketIo::remove`].
    ///
    /// Where asynchronous patterns are given ([`SocketIo::of_matching_async`]), they decide about each client of a namespace
    /// that has no handlers of its own.
    pub fn of(&self, name: &str) -> Namespace {
        self.inner.static_namespace(&with_slash(name))
    }

    /// The namespace of that name, if there is one.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.inner.names.lock().get(&with_slash(name)).cloned()
    }

    /// Removes a namespace with its handlers: its sockets on this server are disconnected ("server namespace disconnect"), and
    /// its adapter leaves the cluster. A client that asks for it later gets a new one if a pattern accepts the name, or is
    /// refused. `false` if there is none; the main namespace stays.
    pub async fn remove(&self, name: &str) -> bool {
        let name = with_slash(name);
        if *name == *MAIN {
            return false;
        }
        let removed = self.inner.names.lock().remove(&name);
        let Some(namespace) = removed else { return false };
        namespace.close();
        disconnect_all(&namespace);
        namespace.adapter().close().await;
        true
    }

    /// The namespaces whose names `pattern` accepts. Clients choose the names: accept few. Each is made with its first
    /// socket, and removed some seconds after its last has left ([`Builder::namespace_linger`]); of those that have sockets
    /// there may be [`Builder::max_namespaces`]. Patterns are asked in the order given.
    pub fn of_matching(&self, pattern: impl Fn(&str) -> bool + Send + Sync + 'static) -> Namespaces {
        self.inner.add_pattern(Accepts::Name(Arc::new(pattern)))
    }

    /// As [`SocketIo::of_matching`], for patterns that wait for something, or look at the client. One is asked for *each*
    /// client, also if the namespace is there already.
    ///
    /// ```
    /// # use roomcast_server::{NamespaceRequest, SocketIo};
    /// # async fn knows(tenant: &str, token: &str) -> bool { true }
    /// #[derive(serde::Deserialize)]
    /// struct Auth {
    ///     token: String,
    /// }
    ///
    /// # let io = SocketIo::builder().build();
    /// io.of_matching_async(|request: NamespaceRequest| async move {
    ///     let Some(tenant) = request.name().strip_prefix("/tenant-") else { return false };
    ///     let Ok(Auth { token }) = request.auth() else { return false };
    ///     knows(tenant, &token).await
    /// });
    /// ```
    pub fn of_matching_async<Fut>(
        &self,
        pattern: impl Fn(NamespaceRequest) -> Fut + Send + Sync + 'static,
    ) -> Namespaces
    where
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.inner.add_pattern(Accepts::Client(Arc::new(move |request| Box::pin(pattern(request)))))
    }

    /// Number of namespaces that exist.
    pub fn namespaces(&self) -> usize {
        self.inner.names.lock().len()
    }

    /// Number of clients' connections (Engine.IO sessions).
    pub fn connections(&self) -> usize {
        self.engine.sessions()
    }

    // --- the main namespace ---

    /// Emits an event to all sockets of the main namespace.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.of("/").emit(event, data)
    }

    /// Chooses the sockets of a room or rooms of the main namespace.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.of("/").to(rooms)
    }

    // --- serving ---

    /// Serves on an address until [`SocketIo::close`] is called.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        self.serve(bind(address).await?, std::future::pending()).await
    }

    /// Serves on a listener until `shutdown` resolves or [`SocketIo::close`] is called; then accepts nobody more, closes the
    /// server and waits for its connections, 5 s at most. With the close of the server, which goes on beside it, it takes 8.5 s
    /// at most.
    ///
    /// # Errors
    /// None today; failed accepts are logged and tried again.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.serve_with(listener, roomcast_engine::NotFound, shutdown).await
    }

    /// As [`SocketIo::serve`]; requests that are not the server's go to `others`.
    ///
    /// # Errors
    /// As [`SocketIo::serve`].
    pub async fn serve_with<S, R>(
        &self,
        listener: TcpListener,
        others: S,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        S: Service<Request<Incoming>, Response = http::Response<R>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        R: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
        R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.inner.listen_all();
        let mut closed = self.inner.closed.subscribe();
        let (stop, stopped) = oneshot::channel::<()>();
        let close = async {
            tokio::select! {
                () = shutdown => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
            // First of all nobody is accepted any more, so that load balancers send clients elsewhere.
            drop(stop);
            self.close().await;
        };
        let service = self.engine.clone().into_service_with(others);
        let served = serve(listener, service, self.serve.clone(), async { drop(stopped.await) });
        let (served, ()) = tokio::join!(served, close);
        served
    }

    /// The server as a tower service; other requests get 404.
    pub fn into_service(self) -> EngineService {
        self.inner.listen_all();
        self.engine.into_service()
    }

    /// The server as a tower service; other requests go to `others`.
    pub fn into_service_with<S>(self, others: S) -> EngineService<S> {
        self.inner.listen_all();
        self.engine.into_service_with(others)
    }

    /// Ends the server, in this order:
    ///
    /// 1. its sockets end ("server shutting down", no DISCONNECT packet, so that clients come back to another server), and
    ///    their "disconnecting" and "disconnect" handlers begin; what these emit still reaches the cluster;
    /// 2. connections are closed, and new ones refused;
    /// 3. handlers of sockets' ends that wait for something finish, within 3 s;
    /// 4. adapters leave their namespaces, within 3.5 s;
    /// 5. the cluster is left, within 2 s, if it was given by [`Builder::cluster`].
    ///
    /// Called again, it waits for the same.
    pub async fn close(&self) {
        self.inner.close.get_or_init(|| self.close_in_order()).await;
    }

    async fn close_in_order(&self) {
        self.inner.closed.send_replace(true);
        let namespaces = self.inner.close_names();
        namespaces.iter().for_each(Namespace::close);
        namespaces.iter().for_each(disconnect_all);
        self.engine.close();
        if timeout(DISCONNECT_HANDLERS_TIMEOUT, self.inner.endings.none()).await.is_err() {
            let handlers = self.inner.endings.count.load(Ordering::Relaxed);
            tracing::warn!(handlers, "disconnect handlers still run, and are not waited for any longer");
        }
        // All at once: each may wait for the cluster a moment.
        let close = |namespace: Namespace| tokio::spawn(async move { namespace.adapter().close().await });
        let closing: Vec<_> = namespaces.into_iter().map(close).collect();
        let closed = async {
            for namespace in closing {
                let _ = namespace.await;
            }
        };
        if timeout(CLOSE_ADAPTERS_TIMEOUT, closed).await.is_err() {
            tracing::warn!("adapters have not left the cluster in time");
        }
        let Some(cluster) = &self.inner.cluster else { return };
        if timeout(LEAVE_TIMEOUT, cluster.close()).await.is_err() {
            tracing::warn!(messages = cluster.queued(), "messages for the other servers did not go out any more");
        }
    }
}

/// Ends the sockets of this server; those of a server that is over are not told.
fn disconnect_all(namespace: &Namespace) {
    let everyone = Target::everyone().local();
    if let Err(error) = namespace.adapter().apply(&everyone, Action::Disconnect { close: false }) {
        tracing::error!(%error, namespace = namespace.name(), "the adapter did not disconnect the sockets");
    }
}

fn with_slash(name: &str) -> Cow<'_, str> {
    if name.starts_with('/') { name.into() } else { format!("/{name}").into() }
}

impl IoInner {
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(crate) fn ending(&self) -> Ending {
        self.endings.count.fetch_add(1, Ordering::AcqRel);
        Ending(self.endings.clone())
    }

    fn add_pattern(&self, accepts: Accepts) -> Namespaces {
        let handlers: Arc<Handlers> = Arc::default();
        self.names.lock().patterns.push(Pattern { accepts, handlers: handlers.clone() });
        Namespaces(handlers)
    }

    fn make(&self, name: &Arc<str>, pattern: Option<Arc<Handlers>>) -> Namespace {
        let (sender, receiver) = mpsc::channel(MAX_SERVER_EVENTS);
        let adapter = (self.adapter)(AdapterContext { namespace: name.clone(), server_events: sender });
        Namespace::new(name.clone(), self.this.clone(), self.config.clone(), pattern, adapter, receiver)
    }

    /// The namespace of that name, which stays; it is made if it is not there.
    fn static_namespace(&self, name: &str) -> Namespace {
        let patterns = {
            let mut names = self.names.lock();
            if let Some(namespace) = names.keep(name) {
                return namespace;
            }
            names.patterns.clone()
        };
        // The main namespace is everybody's, as in Node.
        let pattern = patterns.into_iter().find(|pattern| name != MAIN && pattern.accepts_name(name));
        let mut names = self.names.lock();
        if let Some(namespace) = names.keep(name) {
            return namespace;
        }
        let name: Arc<str> = name.into();
        let namespace = self.make(&name, pattern.map(|pattern| pattern.handlers));
        names.insert(name, namespace.clone());
        namespace
    }

    /// A client asks for a namespace.
    pub(crate) fn find(&self, name: &str) -> Found {
        let patterns = {
            let mut names = self.names.lock();
            if names.is_closed {
                return Found::Over;
            }
            match names.enter(name, false, self.config.max_namespaces) {
                Ok(namespace) => {
                    drop(names);
                    namespace.listen();
                    return Found::Namespace(namespace);
                }
                Err(Missing::Full) => return Found::Refused(full()),
                Err(Missing::Ask) => {
                    let asking = names.patterns.iter().filter(|pattern| pattern.asks_client());
                    return Found::Ask(asking.cloned().collect());
                }
                Err(Missing::Unknown) if name == MAIN => {
                    // It is always there, as in Node; the application may only broadcast to it.
                    drop(names);
                    drop(self.static_namespace(name));
                    return self.find(name);
                }
                Err(Missing::Unknown) => names.patterns.clone(),
            }
        };
        if patterns.iter().any(Pattern::asks_client) {
            return Found::Ask(patterns);
        }
        match patterns.iter().find(|pattern| pattern.accepts_name(name)) {
            None => Found::Refused(ConnectError::new(INVALID)),
            Some(pattern) => self.enter_by(&name.into(), pattern),
        }
    }

    /// A pattern has accepted a client's wish; counts the socket that is to be.
    pub(crate) fn enter_by(&self, name: &Arc<str>, pattern: &Pattern) -> Found {
        let most = self.config.max_namespaces;
        let mut names = self.names.lock();
        if names.is_closed {
            return Found::Over;
        }
        match names.enter(name, true, most) {
            Ok(namespace) => {
                drop(names);
                namespace.adopt(&pattern.handlers);
                namespace.listen();
                return Found::Namespace(namespace);
            }
            Err(Missing::Unknown) if !names.is_full(most) => {}
            Err(_) => return Found::Refused(full()),
        }
        let namespace = self.make(name, Some(pattern.handlers.clone()));
        let origin = if pattern.asks_client() { Origin::Client } else { Origin::Name };
        names.insert_busy(name.clone(), namespace.clone(), origin);
        Found::Namespace(namespace)
    }

    /// A socket has left a namespace, or did not get in.
    pub(crate) fn left(&self, namespace: &Namespace) {
        let most_idle = if self.config.namespace_linger.is_zero() { 0 } else { IDLE_NAMESPACES };
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.get().cloned());
        let (gone, sweeps) = {
            let mut names = self.names.lock();
            let gone = names.left(namespace, most_idle);
            let sweeps = names.has_idle() && !names.is_swept && runtime.is_some();
            names.is_swept |= sweeps;
            (gone, sweeps)
        };
        let Some(runtime) = runtime else { return };
        if let Some(namespace) = gone {
            runtime.spawn(async move { namespace.adapter().close().await });
        }
        if sweeps {
            runtime.spawn(sweep(self.this.clone()));
        }
    }

    /// No namespace comes to be for a client any more; those that there are, by name.
    fn close_names(&self) -> Vec<Namespace> {
        let mut names = self.names.lock();
        names.is_closed = true;
        let mut all: Vec<Namespace> = names.all().cloned().collect();
        drop(names);
        // The same order at each end, the main namespace first.
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Serving begins. Namespaces that were made before there was a runtime begin to take other servers' events.
    fn listen_all(&self) {
        self.is_served();
        for namespace in self.names.lock().all() {
            namespace.listen();
        }
    }

    /// There is a runtime, if there is one here.
    pub(crate) fn is_served(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
    }
}

fn full() -> ConnectError {
    metrics::counter!("roomcast_namespaces_refused_total").increment(1);
    tracing::warn!("a client was refused: as many namespaces as may be by patterns are in use (`max_namespaces`)");
    ConnectError::new("Too many namespaces")
}

/// Closes namespaces that have been without a socket for long enough, until there are none.
async fn sweep(io: Weak<IoInner>) {
    loop {
        let next = {
            let Some(io) = io.upgrade() else { return };
            let linger = io.config.namespace_linger;
            let now = Instant::now();
            let (gone, next) = {
                let mut names = io.names.lock();
                let (gone, next) = names.sweep(now, linger);
                names.is_swept = next.is_some();
                (gone, next)
            };
            for namespace in gone {
                tokio::spawn(async move { namespace.adapter().close().await });
            }
            // Each look goes over all namespaces, so there are few of them.
            next.map(|next| now.checked_add(linger / 4).map_or(next, |at| at.max(next)))
        };
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("engine", &self.engine).finish_non_exhaustive()
    }
}
