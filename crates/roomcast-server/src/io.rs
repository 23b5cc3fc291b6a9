//! [`SocketIo`]: the server.

use crate::client::Client;
use crate::config::{Builder, Config};
use crate::error::EmitError;
use crate::namespace::{Handlers, Namespace, Namespaces};
use crate::operator::{BroadcastOperator, Rooms};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use http::Request;
use hyper::body::Incoming;
use parking_lot::Mutex;
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::{AdapterContext, AdapterFactory};
use roomcast_engine::{
    Client as EngineClient, Connection, Engine, EngineConfig, EngineService, ServeOptions, bind, serve,
};
use roomcast_protocol::ToArgs;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Weak};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

/// The namespace that every server has.
const MAIN: &str = "/";

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
    this: Weak<Self>,
    names: Mutex<Names>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct Names {
    by_name: HashMap<Arc<str>, Entry, RandomState>,
    patterns: Vec<(Pattern, Arc<Handlers>)>,
}

type Pattern = Arc<dyn Fn(&str) -> bool + Send + Sync>;

struct Entry {
    namespace: Namespace,
    /// Sockets that are in it or on their way in.
    sockets: usize,
    /// It came to be by a pattern, and goes with its last socket.
    passing: bool,
}

impl Names {
    /// The namespace of that name, if there is one, with one more socket.
    fn enter(&mut self, name: &str) -> Option<Namespace> {
        let entry = self.by_name.get_mut(name)?;
        entry.sockets += 1;
        Some(entry.namespace.clone())
    }
}

impl SocketIo {
    /// Begins a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(engine: EngineConfig, serve: ServeOptions, config: Config, adapter: AdapterFactory) -> Self {
        let inner = Arc::new_cyclic(|this| IoInner {
            config: Arc::new(config),
            adapter,
            this: this.clone(),
            names: Mutex::default(),
            closed: watch::channel(false).0,
        });
        let io = inner.clone();
        let engine = Engine::new(engine, move |connection: &Arc<Connection>| -> Box<dyn EngineClient> {
            Box::new(Client::new(io.clone(), connection.clone()))
        });
        Self { inner, engine, serve }
    }

    // --- namespaces ---

    /// The namespace of that name (its slash may be left out); it comes to be with the first call.
    pub fn of(&self, name: &str) -> Namespace {
        if name.starts_with('/') {
            self.inner.static_namespace(name)
        } else {
            self.inner.static_namespace(&format!("/{name}"))
        }
    }

    /// The namespaces whose names `pattern` accepts. Clients choose the names: accept few. Each is made with its first
    /// socket and removed with its last.
    pub fn of_matching(&self, pattern: impl Fn(&str) -> bool + Send + Sync + 'static) -> Namespaces {
        let handlers: Arc<Handlers> = Arc::default();
        self.inner.names.lock().patterns.push((Arc::new(pattern), handlers.clone()));
        Namespaces(handlers)
    }

    /// Number of namespaces that exist.
    pub fn namespaces(&self) -> usize {
        self.inner.names.lock().by_name.len()
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

    /// Serves on a listener until `shutdown` resolves or [`SocketIo::close`] is called; then closes the server and waits for
    /// its connections, 5 s at most.
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
        let ended = async {
            tokio::select! {
                () = shutdown => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
            self.close().await;
        };
        serve(listener, self.engine.clone().into_service_with(others), self.serve.clone(), ended).await
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

    /// Ends the server: its sockets are disconnected ("server shutting down", no DISCONNECT packet, so that clients come back
    /// to another server), new ones are refused, and adapters leave the cluster.
    pub async fn close(&self) {
        self.inner.closed.send_replace(true);
        self.engine.close();
        let namespaces: Vec<Namespace> = {
            let names = self.inner.names.lock();
            names.by_name.values().map(|entry| entry.namespace.clone()).collect()
        };
        // All at once: each may wait for the cluster a moment.
        let close = |namespace: Namespace| tokio::spawn(async move { namespace.adapter().close().await });
        let closing: Vec<_> = namespaces.into_iter().map(close).collect();
        for namespace in closing {
            let _ = namespace.await;
        }
    }
}

impl IoInner {
    fn make(&self, name: &Arc<str>, handlers: Arc<Handlers>) -> Namespace {
        let (sender, receiver) = mpsc::channel(MAX_SERVER_EVENTS);
        let adapter = (self.adapter)(AdapterContext { namespace: name.clone(), server_events: sender });
        Namespace::new(name.clone(), self.this.clone(), self.config.clone(), handlers, adapter, receiver)
    }

    /// The namespace of that name, which stays; it is made if it is not there.
    fn static_namespace(&self, name: &str) -> Namespace {
        let mut names = self.names.lock();
        if let Some(entry) = names.by_name.get_mut(name) {
            entry.passing = false;
            return entry.namespace.clone();
        }
        let name: Arc<str> = name.into();
        let namespace = self.make(&name, Arc::default());
        names.by_name.insert(name, Entry { namespace: namespace.clone(), sockets: 0, passing: false });
        namespace
    }

    /// A client asks for a namespace; counts the socket that is to be.
    pub(crate) fn enter(&self, name: &str) -> Option<Namespace> {
        let patterns = {
            let mut names = self.names.lock();
            if let Some(namespace) = names.enter(name) {
                drop(names);
                namespace.listen();
                return Some(namespace);
            }
            names.patterns.clone()
        };
        if name == MAIN {
            // The main namespace is always there, as in Node; the application may only broadcast to it.
            drop(self.static_namespace(name));
            return self.names.lock().enter(name);
        }
        // The pattern is the application's code, and may ask for namespaces itself.
        let matches = |(pattern, _): &&(Pattern, Arc<Handlers>)| {
            crate::task::contain("namespace pattern", || pattern(name)).unwrap_or(false)
        };
        let handlers = patterns.iter().find(matches).map(|(_, handlers)| handlers.clone())?;
        let mut names = self.names.lock();
        if let Some(namespace) = names.enter(name) {
            return Some(namespace);
        }
        let name: Arc<str> = name.into();
        let namespace = self.make(&name, handlers);
        names.by_name.insert(name, Entry { namespace: namespace.clone(), sockets: 1, passing: true });
        Some(namespace)
    }

    /// A socket has left a namespace.
    pub(crate) fn left(&self, name: &str) {
        let gone = {
            let mut names = self.names.lock();
            let Some(entry) = names.by_name.get_mut(name) else { return };
            entry.sockets = entry.sockets.saturating_sub(1);
            if entry.sockets > 0 || !entry.passing { None } else { names.by_name.remove(name) }
        };
        if let (Some(entry), Ok(runtime)) = (gone, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { entry.namespace.adapter().close().await });
        }
    }

    /// Namespaces that were made before there was a runtime begin to take other servers' events.
    fn listen_all(&self) {
        for entry in self.names.lock().by_name.values() {
            entry.namespace.listen();
        }
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("engine", &self.engine).finish_non_exhaustive()
    }
}
