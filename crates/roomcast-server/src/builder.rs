//! [`Builder`]: sets the options of a server and makes it.

use crate::check::{Check, Checks};
use crate::config::{AnswerFailures, Config, OnFailure};
use crate::context::{Failed, Failure};
use crate::io::SocketIo;
use crate::limits;
use crate::rate_limits::RateLimits;
use crate::recovery::RecoveryOptions;
use crate::states::States;
use roomcast_adapter::cluster::Cluster;
use roomcast_adapter::{Adapter, AdapterContext, AdapterFactory, Local};
use roomcast_engine::{
    ClientFiles, Cookie, Cors, Deflate, EngineConfig, OutboxLimits, RequestError, ServeOptions, Transport,
    TrustedProxies, cut_time,
};
use roomcast_protocol::{DecoderLimits, Packet, Parser};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`SocketIo`]. Where Node's server has the same option, the default is the same, unless the method says otherwise.
///
/// ```
/// use roomcast_server::{Cors, SocketIo};
/// use std::time::Duration;
///
/// let io = SocketIo::builder()
///     .cors(Cors::origins(["https://app.example.com"])?.credentials(true))
///     .ping_interval(Duration::from_secs(20))
///     .max_payload(100_000)
///     .state(String::from("what handlers take as State<String>"))
///     .build();
/// # Ok::<(), roomcast_server::CorsError>(())
/// ```
#[must_use = "call `build`"]
pub struct Builder {
    engine: EngineConfig,
    serve: ServeOptions,
    config: Config,
    adapter: AdapterFactory,
    cluster: Option<Cluster>,
    health_checks: Checks,
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
            require_cluster: true,
            drain_grace: Duration::ZERO,
            drain_window: Duration::ZERO,
            decoder: DecoderLimits::default(),
            rate_limits: RateLimits::default(),
            states: States::default(),
            answer_failures: None,
            on_failure: None,
            ordered: false,
            parser: Parser::Default,
            recovery: None,
        };
        let adapter: AdapterFactory = Arc::new(|context: AdapterContext| Local::of(&context));
        Self { engine, serve: ServeOptions::default(), config, adapter, cluster: None, health_checks: Vec::new() }
    }
}

impl SocketIo {
    /// Begins to build a server.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Makes the server.
    pub fn build(mut self) -> SocketIo {
        if !self.engine.path.starts_with('/') {
            tracing::warn!(path = self.engine.path, "a path begins with a slash: one is added");
            self.engine.path.insert(0, '/');
        }
        self.config.connect_timeout = cut_time("connect_timeout", self.config.connect_timeout);
        // `max_payload` and `engine` both can set it; the engine's value counts.
        self.config.decoder.max_bytes = self.engine.max_payload;
        if let Some(recovery) = &mut self.config.recovery {
            let bounds = &mut recovery.bounds;
            bounds.max_disconnection = cut_time("recovery's max_disconnection", bounds.max_disconnection);
            // A silent loss is noticed that late, and until then the session is not even kept.
            let notice = self.engine.ping_interval.saturating_add(self.engine.ping_timeout);
            bounds.age = bounds.max_disconnection.saturating_add(notice);
            bounds.replay_bytes = bounds.replay_bytes.min(self.engine.outbox.hard / 2);
        }
        SocketIo::new(self.engine, self.serve, self.config, self.adapter, self.cluster, self.health_checks)
    }

    /// The cluster that the server belongs to. Defaults to none: a server by itself. [`SocketIo::close`] leaves the cluster last.
    pub fn cluster(mut self, cluster: &Cluster) -> Self {
        self.adapter = cluster.factory();
        self.cluster = Some(cluster.clone());
        self
    }

    /// Whether the server is ready ([`Health::is_ready`](crate::Health::is_ready)) only while it reaches the other servers of its cluster.
    /// Defaults to true: clients are sent to servers that reach the others. If all servers lose the message system at the same time, no
    /// server is ready, and a load balancer refuses all clients, although each server still serves its own. With `false` such clients
    /// are served, but those of different servers do not see each other.
    pub fn require_cluster(mut self, require: bool) -> Self {
        self.config.require_cluster = require;
        self
    }

    /// Adds a check of the application's own to [`SocketIo::health`], and so to `/readyz`. It is called for each answer, on the thread that
    /// answers, so it must return what is known already. If it panics, it counts as a check that fails and is not required.
    ///
    /// A second check of the same name takes the place of the first. The names `server` and `cluster` are taken: such a check is left out,
    /// and the log says so.
    ///
    /// ```
    /// use roomcast_server::{Check, SocketIo};
    /// # fn free_disk() -> u64 { 7 }
    ///
    /// let check = || Check::optional(free_disk() > 1, format!("{} GB are free", free_disk()));
    /// let io = SocketIo::builder().health_check("disk", check).build();
    /// assert_eq!(io.health().others[0].1.reason, "7 GB are free");
    /// ```
    pub fn health_check(mut self, name: &'static str, check: impl Fn() -> Check + Send + Sync + 'static) -> Self {
        if matches!(name, "server" | "cluster") {
            tracing::error!(
                name,
                "the name of a health check is taken, so the check is left out; give it another name"
            );
            return self;
        }
        self.health_checks.retain(|(other, _)| *other != name);
        self.health_checks.push((name, Arc::new(check)));
        self
    }

    /// How [`SocketIo::serve`] empties the server when its `shutdown` resolves, before it closes it. For `grace` the server goes on as
    /// before, but is not ready ([`Health::is_ready`](crate::Health::is_ready)), so that load balancers stop sending clients to it. Then it
    /// refuses handshakes (503 with `Retry-After`) and closes its clients' sessions evenly over `window`, so that not all clients reconnect
    /// at the same moment. Both default to zero: the server closes at once.
    ///
    /// `grace` should be longer than a load balancer needs to notice: interval times failures of its health check. All in all, a
    /// shutdown takes `grace`, `window`, and at most 8.5 s for the close.
    pub fn drain(mut self, grace: Duration, window: Duration) -> Self {
        (self.config.drain_grace, self.config.drain_window) =
            (cut_time("drain grace", grace), cut_time("drain window", window));
        self
    }

    /// Gives handlers a state of the application, which they take as [`State<S>`](crate::State): a pool of connections to a database,
    /// a configuration, a channel. There is one state for each type; a second one replaces the first.
    pub fn state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> Self {
        self.config.states.set(state);
        self
    }

    /// Makes the answer to a client that asked for an acknowledgement, if its event failed: the handler returned an error or panicked, or
    /// what was sent does not fit the handler. By default the answer is `{"ok":false,"error":text}`. The text is that of the error or of
    /// the mismatch, and "Server error" for a panic, also one of this function. **The text of an error may tell more than clients should
    /// know**: change it here, or return errors whose text is meant for clients.
    ///
    /// ```
    /// use roomcast_server::{Failure, SocketIo};
    /// use serde_json::json;
    ///
    /// let io = SocketIo::builder().answer_failures(|failure| match failure {
    ///     Failure::Extract(_) => json!({ "code": 400 }),
    ///     _ => json!({ "code": 500 }),
    /// });
    /// ```
    pub fn answer_failures(
        mut self,
        answer: impl Fn(&Failure<'_>) -> serde_json::Value + Send + Sync + 'static,
    ) -> Self {
        self.config.answer_failures = Some(AnswerFailures(Arc::new(answer)));
        self
    }

    /// Makes the adapter of each namespace; called when a namespace is made. Defaults to [`Local`], which is in memory.
    pub fn adapter<A: Adapter>(mut self, adapter: impl Fn(AdapterContext) -> Arc<A> + Send + Sync + 'static) -> Self {
        self.adapter = Arc::new(move |context| adapter(context));
        self
    }

    /// As [`Builder::adapter`], for an adapter whose type is chosen at run time.
    pub fn adapter_factory(mut self, adapter: AdapterFactory) -> Self {
        self.adapter = adapter;
        self
    }

    /// The path of the server's requests. Defaults to `/socket.io/`. A path that ends with a slash is that and everything below it; `/` is
    /// every path. It is the path as the server sees it: where a router or proxy in front strips a prefix, it is what is left.
    ///
    /// ```
    /// let io = roomcast_server::SocketIo::builder().path("/").build();
    /// let app: axum::Router = axum::Router::new().nest_service("/socket.io", io.into_service());
    /// ```
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.engine.path = path.into();
        self
    }

    /// The time from a pong to the next ping. Defaults to 25 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.engine.ping_interval = interval;
        self
    }

    /// How long a client has to answer a ping. Defaults to 20 s.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.engine.ping_timeout = timeout;
        self
    }

    /// How long an upgrade to WebSocket may take. Defaults to 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> Self {
        self.engine.upgrade_timeout = timeout;
        self
    }

    /// How long a client has to join its first namespace. Defaults to 45 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long to wait for a client's acknowledgement. Defaults to 10 s.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.config.ack_timeout = timeout;
        self
    }

    /// How long to wait for other servers' answers. Defaults to 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// How many handlers of one client may run at the same time. Defaults to 1,024. While so many run, nothing is read from that
    /// client, including its answers to [`Socket::emit_with_ack`](crate::Socket::emit_with_ack). Raise it if that many handlers of one
    /// client may wait for its answers. The handler of a large event counts for several, so that the events of running handlers are
    /// together not larger than 16 times [`Builder::max_payload`].
    pub fn max_handlers(mut self, handlers: usize) -> Self {
        self.config.max_handlers = handlers.max(1);
        self
    }

    /// Whether a socket's events are handled one at a time: the handlers of an event, and its middlewares, have ended before those of the
    /// next one begin. Defaults to `false`: handlers begin in the order of the events, and from their first await on they may overtake one
    /// another, as in Node. Events that wait count as running handlers ([`Builder::max_handlers`]), so that a client that sends faster
    /// is read more slowly. Acknowledgements of the client do not wait.
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.config.ordered = ordered;
        self
    }

    /// How many namespaces made by patterns may have sockets at the same time. Defaults to 10,000. There is a limit because clients
    /// choose the names.
    pub fn max_namespaces(mut self, namespaces: usize) -> Self {
        self.config.max_namespaces = namespaces;
        self
    }

    /// How long a namespace that a pattern made is kept after its last socket has left. Defaults to 5 s. It keeps a client that
    /// comes and goes from causing a subscription in the cluster each time.
    pub fn namespace_linger(mut self, linger: Duration) -> Self {
        self.config.namespace_linger = linger;
        self
    }

    /// The largest message over WebSocket, the largest POST body, and the largest sum of a packet's attachments, in bytes. Defaults to
    /// 1,000,000.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.engine.max_payload = bytes;
        self
    }

    /// How many attachments a packet of a client may have. Defaults to 10.
    pub fn max_attachments(mut self, attachments: usize) -> Self {
        self.config.decoder.max_attachments = attachments;
        self
    }

    /// How deep a client's JSON may be nested. Defaults to 128; at most 1,024. More than 128 is of use only where a handler takes
    /// [`Args`](crate::Args), as typed arguments nest at most 127 levels.
    pub fn max_depth(mut self, depth: usize) -> Self {
        self.config.decoder.max_depth = depth;
        self
    }

    /// How much clients may send: events and bytes of each connection, user and address. Not limited by default.
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.config.rate_limits = limits;
        self
    }

    /// The soft bound of what may wait for a client, in bytes; each packet counts 128 more. Defaults to 1 MiB. While more waits, the
    /// client's transport must take an eighth of it in each `ping_timeout`, or the client is disconnected as a slow consumer. This
    /// also sets the hard bound, to sixteen times as much. All clients together have a budget: see
    /// [`OutboxLimits`](roomcast_engine::OutboxLimits), which [`Builder::engine`] can set.
    pub fn max_outbox(mut self, bytes: usize) -> Self {
        let budget = self.engine.outbox.budget;
        self.engine.outbox = OutboxLimits::soft(bytes);
        self.engine.outbox.budget = budget;
        self
    }

    /// How many TCP connections [`SocketIo::listen`] serves at the same time, and how many sessions there may be. Defaults to 100,000.
    /// Of the sessions, 25,000 may use polling, and 25,000 may have joined no namespace; these are options of [`Builder::engine`].
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.serve.max_connections = connections;
        self.engine.max_sessions = connections;
        self
    }

    /// The transports that clients may use. Defaults to both.
    pub fn transports(mut self, transports: impl Into<Vec<Transport>>) -> Self {
        self.engine.transports = transports.into();
        self
    }

    /// Whether a polling session may be upgraded to WebSocket. Defaults to true.
    pub fn allow_upgrades(mut self, allow: bool) -> Self {
        self.engine.allow_upgrades = allow;
        self
    }

    /// Which web origins may use the server. Set it in production: without it, browsers let only pages of the server's own origin use
    /// polling, but pages of any origin may open WebSockets, with the user's cookies.
    pub fn cors(mut self, cors: Cors) -> Self {
        self.engine.cors = Some(cors);
        self
    }

    /// A cookie with the session's id in the answer to a polling handshake, for load balancers with sticky sessions. Defaults to none.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.engine.cookie = Some(cookie);
        self
    }

    /// Decides whether a client's first request is accepted. The error's text is sent to the client.
    pub fn allow_request<Fut>(mut self, allow: impl Fn(&http::request::Parts) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.engine.allow_request = Some(Arc::new(move |request| Box::pin(allow(request))));
        self
    }

    /// Called for each request that the server refuses, such as one of a foreign origin, for an unknown session, or while it is busy. As
    /// Node's event "connection_error". It runs on the thread that answers, so it must not wait. Refusals by middlewares are not among
    /// them.
    ///
    /// ```
    /// let io = roomcast_server::SocketIo::builder()
    ///     .on_connection_error(|error, request| eprintln!("{} {}: {error}", request.method, request.uri))
    ///     .build();
    /// ```
    pub fn on_connection_error(
        mut self,
        told: impl Fn(&RequestError, &http::request::Parts) + Send + Sync + 'static,
    ) -> Self {
        self.engine.on_refused = Some(Arc::new(told));
        self
    }

    /// Called for each failure of a handler, after it was counted and before the client is answered: for a tracker of errors, say. The
    /// log tells of it already. It runs on the thread of the handler, so it must not wait.
    ///
    /// ```
    /// let io = roomcast_server::SocketIo::builder()
    ///     .on_failure(|failed| eprintln!("{} in {}: {}", failed.event, failed.namespace, failed.failure))
    ///     .build();
    /// ```
    pub fn on_failure(mut self, told: impl Fn(&Failed<'_>) + Send + Sync + 'static) -> Self {
        self.config.on_failure = Some(OnFailure(Arc::new(told)));
        self
    }

    /// Keeps the extension of this type of each client's first request, so that sockets have it ([`Socket::get`](crate::Socket::get),
    /// [`Extension`](crate::Extension)): what a layer in front of the server found, such as a session or a user. Nothing else is kept, as
    /// some extensions of frameworks hold the whole request in memory.
    ///
    /// ```
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// let io = roomcast_server::SocketIo::builder().keep_extension::<User>().build();
    /// io.on("whoami", |roomcast_server::Extension(User(name)): roomcast_server::Extension<User>| name);
    /// ```
    pub fn keep_extension<T: Clone + Send + Sync + 'static>(mut self) -> Self {
        self.engine.keep_extension::<T>();
        self
    }

    /// The proxies and load balancers in front of the server. What they say about a client's address is believed; see
    /// [`TrustedProxies`] and [`Handshake::client_address`](roomcast_engine::Handshake::client_address). Defaults to none.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.serve.trusted_proxies = proxies.clone();
        self.engine.trusted_proxies = proxies;
        self
    }

    /// Sets options of [`SocketIo::listen`] and [`SocketIo::serve`] that have no method here: deadlines, TLS, the PROXY
    /// protocol, and the rate of connections of an address.
    pub fn serving(mut self, change: impl FnOnce(&mut ServeOptions)) -> Self {
        change(&mut self.serve);
        self
    }

    /// Keeps the sessions of clients whose connections are lost, so that they can continue them: connection state recovery. Off by
    /// default, as in Node.
    ///
    /// While it is on, the client's handlers get one more argument at the end, a string, as with Node's server. Events that want an
    /// acknowledgement do not have it, nor do volatile ones; a volatile event that would end in a string ends in `null` instead.
    ///
    /// It needs an adapter that keeps sessions ([`Adapter::recovery`]), as [`Local`] and that of [`Cluster`] do. A client is recovered by
    /// the server that had it, so several servers need sticky sessions.
    pub fn recovery(mut self, options: RecoveryOptions) -> Self {
        self.config.recovery = Some(options);
        self
    }

    /// Compresses WebSocket messages for clients that can (permessage-deflate, RFC 7692), as all browsers do. Defaults to none, as in
    /// Node. A broadcast is compressed once for all its recipients, and nothing is kept of a client between its messages.
    /// [`BroadcastOperator::compress`](crate::BroadcastOperator::compress) with `false` exempts an event. Exempt messages that hold a
    /// secret beside text that others chose: from the compressed length one can guess the secret.
    ///
    /// ```
    /// use roomcast_server::SocketIo;
    /// use roomcast_server::engine::Deflate;
    ///
    /// let mut deflate = Deflate::default(); // from 1,024 bytes on
    /// deflate.threshold = 4_096;
    /// let io = SocketIo::builder().per_message_deflate(deflate).build();
    /// ```
    pub fn per_message_deflate(mut self, deflate: Deflate) -> Self {
        self.engine.per_message_deflate = Some(deflate);
        self
    }

    /// Compresses the answers to polls for clients that accept gzip or deflate, and the files of [`Builder::serve_client`]. Defaults to
    /// none; in Node it is on.
    pub fn http_compression(mut self, compression: Deflate) -> Self {
        self.engine.http_compression = Some(compression);
        self
    }

    /// A packet that each client gets right after the handshake, before it asks for a namespace: Node's option `initialPacket`. The official
    /// client keeps an event for `/` until it is connected there. Defaults to none.
    ///
    /// ```
    /// # use roomcast_server::{Args, SocketIo};
    /// use roomcast_protocol::Packet;
    ///
    /// let motd = Packet::event("/", None, &Args::event("motd", "welcome")?)?;
    /// let io = SocketIo::builder().initial_packet(motd).build();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn initial_packet(mut self, packet: Packet) -> Self {
        self.engine.initial_packet = Some(Arc::new(packet));
        self
    }

    /// Serves the files of the JavaScript client under the path, as `/socket.io/socket.io.js`. `directory` is `dist` of the npm
    /// package `socket.io-client`, and is read now: see [`ClientFiles`]. Defaults to none; in Node it is on.
    pub fn serve_client(mut self, directory: impl AsRef<Path>) -> Self {
        self.engine.client_files = Some(ClientFiles::read(directory));
        self
    }

    /// Sets options of the engine that have no method here.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }

    /// How packets are written and read: Node's option `parser`. **All clients need the same parser**: the connection of a client
    /// that uses another one is closed. Defaults to [`Parser::Default`], which every client has. It does not change what the servers
    /// of a cluster send to one another, so each may have its own.
    ///
    /// ```
    /// use roomcast_server::{Parser, SocketIo};
    ///
    /// // The client: io(url, { parser: require("socket.io-msgpack-parser") })
    /// let io = SocketIo::builder().parser(Parser::MessagePack).build();
    /// ```
    pub fn parser(mut self, parser: Parser) -> Self {
        self.config.parser = parser;
        self
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("engine", &self.engine)
            .field("serve", &self.serve)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
