//! [`Builder`]: the options of a server.

use crate::io::SocketIo;
use crate::limits;
use roomcast_adapter::cluster::Cluster;
use roomcast_adapter::{Adapter, AdapterContext, AdapterFactory, Local};
use roomcast_engine::{Cookie, Cors, EngineConfig, OutboxLimits, ServeOptions, Transport, cut_time};
use roomcast_protocol::DecoderLimits;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// What namespaces and clients need of the options.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_handlers: usize,
    pub(crate) max_namespaces: usize,
    pub(crate) namespace_linger: Duration,
    pub(crate) decoder: DecoderLimits,
}

/// Builds a [`SocketIo`]. The defaults are Node's where Node has the option.
#[must_use = "call `build`"]
pub struct Builder {
    engine: EngineConfig,
    serve: ServeOptions,
    config: Config,
    adapter: AdapterFactory,
    cluster: Option<Cluster>,
}

impl Default for Builder {
    fn default() -> Self {
        let mut engine = EngineConfig::default();
        "/socket.io/".clone_into(&mut engine.path);
        let config = Config {
            connect_timeout: limits::CONNECT_TIMEOUT,
            ack_timeout: limits::ACK_TIMEOUT,
            request_timeout: limits::REQUEST_TIMEOUT,
            max_handlers: limits::HANDLERS_PER_CONNECTION,
            max_namespaces: limits::PATTERN_NAMESPACES,
            namespace_linger: limits::NAMESPACE_LINGER,
            decoder: DecoderLimits::default(),
        };
        let adapter: AdapterFactory = Arc::new(|context: AdapterContext| Local::new(context.namespace));
        Self { engine, serve: ServeOptions::default(), config, adapter, cluster: None }
    }
}

impl Builder {
    /// Makes the server.
    pub fn build(mut self) -> SocketIo {
        self.config.connect_timeout = cut_time("connect_timeout", self.config.connect_timeout);
        // One truth, wherever it was set: by `max_payload` or by `engine`.
        self.config.decoder.max_bytes = self.engine.max_payload;
        SocketIo::new(self.engine, self.serve, self.config, self.adapter, self.cluster)
    }

    /// The cluster that the server belongs to; none by default. [`SocketIo::close`] leaves it when everything else is done.
    pub fn cluster(mut self, cluster: &Cluster) -> Self {
        self.adapter = cluster.factory();
        self.cluster = Some(cluster.clone());
        self
    }

    /// How the servers of a cluster reach one another: called each time that a namespace comes to be. In memory by default.
    pub fn adapter<A: Adapter>(mut self, adapter: impl Fn(AdapterContext) -> Arc<A> + Send + Sync + 'static) -> Self {
        self.adapter = Arc::new(move |context| adapter(context));
        self
    }

    /// As [`Builder::adapter`], for a choice made at run time.
    pub fn adapter_factory(mut self, adapter: AdapterFactory) -> Self {
        self.adapter = adapter;
        self
    }

    /// Path of the server's requests; `/socket.io/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.engine.path = path.into();
        self
    }

    /// Time from a pong to the next ping; 25 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.engine.ping_interval = interval;
        self
    }

    /// Time that a client has for its pong; 20 s.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.engine.ping_timeout = timeout;
        self
    }

    /// Time that an upgrade to WebSocket may take; 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.engine.upgrade_timeout = timeout;
        self
    }

    /// Time that a client has to join its first namespace; 45 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Time that a client has to answer an event; 10 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.config.ack_timeout = timeout;
        self
    }

    /// Time that other servers have to answer; 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Most handlers of one client's connection under way at once; 1,024. While there are so many, nothing is read from that
    /// client, the answers to [`Socket::emit_with_ack`](crate::Socket::emit_with_ack) neither: where that many handlers of one
    /// client wait for its answers, raise it.
    pub fn max_handlers(mut self, handlers: usize) -> Self {
        self.config.max_handlers = handlers.max(1);
        self
    }

    /// Most namespaces made by patterns that have sockets at the same time; 10,000. Clients choose their names.
    pub fn max_namespaces(mut self, namespaces: usize) -> Self {
        self.config.max_namespaces = namespaces;
        self
    }

    /// How long a namespace that a pattern made waits for another socket when its last has left; 5 s. A client that comes and
    /// goes must not make the cluster subscribe each time.
    pub fn namespace_linger(mut self, linger: Duration) -> Self {
        self.config.namespace_linger = linger;
        self
    }

    /// Most bytes of a message over WebSocket, of a POST body, and of a packet's attachments together; 1,000,000.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.engine.max_payload = bytes;
        self
    }

    /// Most attachments of a packet from a client; 10.
    pub fn max_attachments(mut self, attachments: usize) -> Self {
        self.config.decoder.max_attachments = attachments;
        self
    }

    /// Deepest nesting of JSON from a client; 128, at most 1,024. More than 128 is for arguments that a handler takes as
    /// [`Args`](crate::Args): typed ones nest at most 127 levels, whatever this says.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.config.decoder.max_depth = depth;
        self
    }

    /// The soft bound of what may wait for a client, in bytes, where each packet costs 128 more; 1 MiB. Over it the client's
    /// transport must take an eighth of what waits in each `ping_timeout`, or the client is disconnected as a slow consumer.
    /// The hard bound becomes sixteen times as much. All clients together have a budget: see
    /// [`OutboxLimits`](roomcast_engine::OutboxLimits), which [`Builder::engine`] reaches.
    pub fn max_outbox(mut self, bytes: usize) -> Self {
        let budget = self.engine.outbox.budget;
        self.engine.outbox = OutboxLimits::soft(bytes);
        self.engine.outbox.budget = budget;
        self
    }

    /// Most TCP connections that [`SocketIo::listen`] serves at once; 100,000. And as many sessions, of which 25,000 by polling and
    /// 25,000 that have joined nothing: options of [`Builder::engine`].
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.serve.max_connections = connections;
        self.engine.max_sessions = connections;
        self
    }

    /// Transports that are offered; both.
    pub fn transports(mut self, transports: impl Into<Vec<Transport>>) -> Self {
        self.engine.transports = transports.into();
        self
    }

    /// Whether polling may be upgraded to a WebSocket; yes.
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.engine.allow_upgrades = allow;
        self
    }

    /// Which web origins may use the server. Without it browsers let only pages of the server's own origin poll, but pages of
    /// any origin open WebSockets, with the user's cookies: set it in production.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.engine.cors = Some(cors);
        self
    }

    /// A cookie with the session's id on the answer to a polling handshake, for sticky load balancers; none.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.engine.cookie = Some(cookie);
        self
    }

    /// Decides on handshakes; the error's text is told to the client.
    pub fn allow_request<Fut>(mut self, allow: impl Fn(&http::request::Parts) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.engine.allow_request = Some(Arc::new(move |request| Box::pin(allow(request))));
        self
    }

    /// Changes the options of [`SocketIo::listen`] and [`SocketIo::serve`] that have no method here: their deadlines.
    pub fn serving(mut self, change: impl FnOnce(&mut ServeOptions)) -> Self {
        change(&mut self.serve);
        self
    }

    /// Changes the engine's options that have no method here.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("engine", &self.engine).field("config", &self.config).finish_non_exhaustive()
    }
}
