//! [`SocketIo`]: the server.

use crate::check::Checks;
use crate::client::{Client, PackedClient};
use crate::config::Config;
use crate::context::HandlerName;
use crate::error::{ConnectError, EmitError};
use crate::handler::EventHandler;
use crate::limits::{CLOSE_ADAPTERS_TIMEOUT, DISCONNECT_HANDLERS_TIMEOUT, LEAVE_TIMEOUT};
use crate::names::{Accepts, MAIN, NamespaceRequest};
use crate::namespace::Namespaces;
use crate::operator::BroadcastOperator;
use crate::outcome::Outcome;
use crate::parts::{Namespace, Socket};
use crate::registry::{IoInner, with_slash};
use http::Request;
use hyper::body::Incoming;
use roomcast_adapter::cluster::{Cluster, ClusterState};
use roomcast_adapter::{Action, AdapterFactory, Answer, Target};
use roomcast_engine::{Connection, Engine, EngineConfig, EngineService, ServeOptions, SessionHandler, bind, serve};
use roomcast_protocol::{Args, Parser, ToArgs};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::timeout;
use tower_service::Service;

/// A Socket.IO server. Cloning it is cheap; all clones are the same server.
///
/// Its methods that emit or handle events are those of its main namespace, `/`; [`SocketIo::of`] returns others. Handlers are given before
/// or while it is served.
///
/// ```no_run
/// use roomcast_server::{Socket, SocketIo};
///
/// # async fn run() -> std::io::Result<()> {
/// let io = SocketIo::builder().build();
/// io.on_connection(|socket: Socket| async move { socket.emit("hello", socket.id()) });
/// io.of("/admin").on("notice", |socket: Socket, text: String| async move {
///     socket.broadcast().emit("notice", text)
/// });
///
/// let clock = io.clone();
/// tokio::spawn(async move {
///     loop {
///         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///         let _ = clock.volatile().emit("tick", ());
///     }
/// });
/// io.listen("127.0.0.1:3000").await
/// # }
/// ```
#[derive(Clone)]
pub struct SocketIo {
    pub(crate) inner: Arc<IoInner>,
    pub(crate) engine: Engine,
    serve: ServeOptions,
    cluster: Option<Cluster>,
    /// Those of the application.
    health_checks: Arc<Checks>,
    /// Set when the server has closed.
    close: Arc<OnceCell<()>>,
}

impl SocketIo {
    pub(crate) fn new(
        engine: EngineConfig,
        serve: ServeOptions,
        config: Config,
        adapter: AdapterFactory,
        cluster: Option<Cluster>,
        health_checks: Checks,
    ) -> Self {
        let inner = IoInner::new(config, adapter);
        let io = inner.clone();
        let engine = Engine::new(engine, move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
            match io.config.parser {
                Parser::Default => Box::new(Client::new(io.clone(), connection.clone())),
                Parser::MessagePack => Box::new(PackedClient::new(io.clone(), connection.clone())),
            }
        });
        Self { inner, engine, serve, cluster, health_checks: Arc::new(health_checks), close: Arc::default() }
    }

    // --- namespaces ---

    /// The namespace of that name, whose leading slash may be left out. The first call makes it; it exists until
    /// [`SocketIo::remove`]. If a pattern of [`SocketIo::of_matching`] accepts the name, the namespace has the pattern's middlewares
    /// and handlers too.
    ///
    /// If there are asynchronous patterns ([`SocketIo::of_matching_async`]), they decide about each client of a namespace that has no
    /// handlers of its own.
    pub fn of(&self, name: &str) -> Namespace {
        self.inner.static_namespace(&with_slash(name))
    }

    /// The namespace of that name, if there is one.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.inner.names.lock().get(&with_slash(name)).cloned()
    }

    /// Removes a namespace with its handlers: its sockets on this server are disconnected ("server namespace disconnect"), and
    /// its adapter leaves the cluster. A client that asks for it later gets a new one if a pattern accepts the name, and is
    /// refused otherwise. Returns `false` if there is no such namespace. The main namespace cannot be removed.
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

    /// The namespaces whose names `pattern` accepts. Clients choose the names, so accept few. A namespace is made with its first
    /// socket, and removed some seconds after its last socket has left ([`Builder::namespace_linger`](crate::Builder::namespace_linger)).
    /// At most [`Builder::max_namespaces`](crate::Builder::max_namespaces) of them may have sockets. Patterns are asked in the order given.
    pub fn of_matching(&self, pattern: impl Fn(&str) -> bool + Send + Sync + 'static) -> Namespaces {
        self.inner.add_pattern(Accepts::Name(Arc::new(pattern)))
    }

    /// As [`SocketIo::of_matching`], for patterns that wait for something or look at the client. Such a pattern is asked about *each*
    /// client, even if the namespace exists already.
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

    /// Called for each namespace that is made from now on, by [`SocketIo::of`] or with its first socket by a pattern. As Node's event
    /// "new_namespace". No client connects to the namespace before this has returned, so it may give middlewares to the namespace. It
    /// must not wait: clients may be waiting for the namespace.
    pub fn on_new_namespace(&self, told: impl Fn(Namespace) + Send + Sync + 'static) -> &Self {
        self.inner.on_new_namespace(Arc::new(told));
        self
    }

    /// Number of namespaces that exist.
    pub fn namespaces(&self) -> usize {
        self.inner.names.lock().len()
    }

    /// Number of connected clients (Engine.IO sessions).
    pub fn connections(&self) -> usize {
        self.engine.sessions()
    }

    // --- the main namespace ---

    /// Chooses all sockets of the main namespace.
    pub fn everyone(&self) -> BroadcastOperator {
        self.of(MAIN).everyone()
    }

    /// Called for each socket that has connected to the main namespace ([`Namespace::on_connection`]).
    pub fn on_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.of(MAIN).on_connection(handler);
        self
    }

    /// Decides which sockets may connect to the main namespace ([`Namespace::middleware`]). As Node's `io.use`.
    pub fn middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        self.of(MAIN).middleware(middleware);
        self
    }

    /// Handles an event of every socket of the main namespace ([`Namespace::on`]).
    pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Socket, M>) -> &Self {
        self.of(MAIN).on(event, handler);
        self
    }

    /// Handles an event that another server sent to the main namespace ([`Namespace::on_server_event`]).
    pub fn on_server_event<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Namespace, M>) -> &Self {
        self.of(MAIN).on_server_event(event, handler);
        self
    }

    /// Sends an event to the main namespace on all *other* servers ([`Namespace::server_side_emit`]).
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn server_side_emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        self.of(MAIN).server_side_emit(event, data)
    }

    /// As [`SocketIo::server_side_emit`], and collects one answer from each server ([`Namespace::server_side_emit_with_ack`]).
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn server_side_emit_with_ack(
        &self,
        event: &str,
        data: impl ToArgs,
    ) -> Result<Answer<Vec<Args>>, EmitError> {
        self.of(MAIN).server_side_emit_with_ack(event, data).await
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lifetime.is_closed()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner.lifetime.is_draining()
    }

    /// Sends the clients elsewhere, as [`Builder::drain`](crate::Builder::drain) says, and returns when that is done. [`SocketIo::serve`]
    /// does it by itself; under another server call it before [`SocketIo::close`]. The server goes on to accept connections: clients
    /// that use polling need them until their sessions are closed. Without [`Builder::drain`](crate::Builder::drain) it does nothing.
    pub async fn drain(&self) {
        let Config { drain_grace, drain_window, .. } = *self.inner.config;
        if drain_grace.is_zero() && drain_window.is_zero() {
            return;
        }
        self.inner.lifetime.begin_drain();
        tracing::info!(
            clients = self.connections(),
            grace_seconds = drain_grace.as_secs_f64(),
            window_seconds = drain_window.as_secs_f64(),
            "draining: not ready from now on; after the grace clients are refused and disconnected over the window"
        );
        tokio::time::sleep(drain_grace).await;
        if !drain_window.is_zero() {
            self.engine.drain(drain_window).await;
        }
    }

    /// How the server stands with the other servers, if it belongs to a cluster.
    pub(crate) fn cluster_state(&self) -> Option<ClusterState> {
        self.cluster.as_ref().map(|cluster| *cluster.state().borrow())
    }

    pub(crate) fn health_checks(&self) -> &Checks {
        &self.health_checks
    }

    pub(crate) fn requires_cluster(&self) -> bool {
        self.inner.config.require_cluster
    }

    // --- serving ---

    /// Serves on an address until [`SocketIo::close`] is called. The log says on which, at level info.
    ///
    /// # Errors
    /// The address cannot be listened on, which the error names, or as [`SocketIo::serve`].
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {error}"));
        let listener = bind(address).await.map_err(named)?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, path = self.engine.config().path, "listening");
        }
        self.serve(listener, std::future::pending()).await
    }

    /// Serves on a listener until `shutdown` resolves or [`SocketIo::close`] is called. At `shutdown` it first drains the server, if
    /// [`Builder::drain`](crate::Builder::drain) was called. Then it stops accepting, closes the server, and
    /// waits at most 5 s for open connections. Together with the close, which runs at the same time, this takes at most 8.5 s.
    ///
    /// # Errors
    /// At once, if options of [`Builder::serving`](crate::Builder::serving) cannot work, such as a certificate that cannot be read; the
    /// error names the file. Failed accepts are logged and retried.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.serve_with(listener, roomcast_engine::NotFound, shutdown).await
    }

    /// As [`SocketIo::serve`]. Requests for paths other than the server's go to `others`.
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
        self.inner.serving_begins();
        let (stop, stopped) = oneshot::channel::<()>();
        let close = async {
            let closed = self.inner.lifetime.closed();
            let drained = async {
                shutdown.await;
                self.drain().await;
            };
            tokio::select! {
                () = drained => {}
                () = closed => {}
            }
            // Accepting stops before the close, so that load balancers send clients elsewhere.
            drop(stop);
            self.close().await;
        };
        let service = self.engine.clone().into_service_with(others);
        let mut served = pin!(serve(listener, service, self.serve.clone(), async { drop(stopped.await) }));
        let mut close = pin!(close);
        tokio::select! {
            // Options that cannot work end it at once, and the server is as it was.
            served = &mut served => {
                served?;
                close.await;
                Ok(())
            }
            () = &mut close => served.await,
        }
    }

    /// The server as a tower service. Requests for other paths are answered with 404.
    pub fn into_service(self) -> EngineService {
        self.inner.serving_begins();
        self.engine.into_service()
    }

    /// The server as a tower service. Requests for other paths go to `others`.
    pub fn into_service_with<S>(self, others: S) -> EngineService<S> {
        self.inner.serving_begins();
        self.engine.into_service_with(others)
    }

    /// Closes the server, in this order:
    ///
    /// 1. its sockets are disconnected ("server shutting down", without a DISCONNECT packet, so that clients reconnect to another
    ///    server), and their "disconnecting" and "disconnect" handlers begin; what these emit still reaches the cluster;
    /// 2. connections are closed, and new ones refused;
    /// 3. disconnect handlers finish, within 3 s;
    /// 4. adapters leave their namespaces, within 3.5 s;
    /// 5. the server leaves the cluster, within 2 s, if one was given by [`Builder::cluster`](crate::Builder::cluster).
    ///
    /// A further call waits for the same close.
    pub async fn close(&self) {
        self.close.get_or_init(|| self.close_in_order()).await;
    }

    async fn close_in_order(&self) {
        self.inner.lifetime.close();
        let namespaces = self.inner.close_names();
        namespaces.iter().for_each(Namespace::close);
        namespaces.iter().for_each(disconnect_all);
        self.engine.close();
        if timeout(DISCONNECT_HANDLERS_TIMEOUT, self.inner.lifetime.no_disconnect_handlers()).await.is_err() {
            let handlers = self.inner.lifetime.disconnect_handlers();
            tracing::warn!(handlers, "disconnect handlers still run; the close goes on without them");
        }
        // All at the same time, as each may wait for the cluster for a moment.
        let close = |namespace: Namespace| tokio::spawn(async move { namespace.adapter().close().await });
        let closing: Vec<_> = namespaces.into_iter().map(close).collect();
        let closed = async {
            for namespace in closing {
                let _ = namespace.await;
            }
        };
        if timeout(CLOSE_ADAPTERS_TIMEOUT, closed).await.is_err() {
            tracing::warn!("adapters did not leave the cluster in time; the close goes on without them");
        }
        let Some(cluster) = &self.cluster else { return };
        if timeout(LEAVE_TIMEOUT, cluster.close()).await.is_err() {
            tracing::warn!(
                messages = cluster.queued(),
                "messages for the other servers were not sent before the close and are lost"
            );
        }
    }
}

/// Ends the sockets of this server. If the server is closed, their clients get no DISCONNECT.
fn disconnect_all(namespace: &Namespace) {
    let everyone = Target::everyone().local();
    if let Err(error) = namespace.adapter().apply(&everyone, Action::Disconnect { close: false }) {
        tracing::error!(%error, namespace = namespace.name(), "the adapter did not disconnect the sockets");
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIo").field("engine", &self.engine).finish_non_exhaustive()
    }
}
