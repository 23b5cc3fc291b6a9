//! What the tests over TCP share: a server, a log of what its handlers see, and a client that writes its bytes by hand.
//!
//! On a current-thread runtime the server runs only while the test awaits something; [`runtime`] has a second kind of runtime. No test
//! sleeps to let things settle: it waits for bytes or for a condition, each with a limit ([`PATIENCE`]).
#![allow(dead_code, unreachable_pub, reason = "no test file needs all of it")]

pub mod adapters;
pub mod in_process;
#[path = "../../../roomcast-engine/tests/common/over/mod.rs"]
pub mod over;
pub mod runtime;
pub mod wire;

use over::Over;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_protocol::Sid;
use roomcast_server::{Builder, DisconnectReason, Namespace, Socket, SocketIo, engine};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::{Answer, Wire, request, upgrade};

/// The limit of every wait.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition that the server brings about by itself. Works while the clock is frozen.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited without success: {what}");
        std::thread::sleep(Duration::from_micros(100));
        tokio::task::yield_now().await;
    }
}

thread_local! {
    /// Whether a [`Frozen`] exists.
    static IS_FROZEN: Cell<bool> = const { Cell::new(false) };
}

/// Awaits a future for at most [`PATIENCE`]. Works while the clock is frozen.
pub async fn patient<T>(what: &str, wait: impl Future<Output = T>) -> T {
    if !IS_FROZEN.get() {
        let Ok(result) = tokio::time::timeout(PATIENCE, wait).await else { panic!("waited without success: {what}") };
        return result;
    }
    let mut wait = pin!(wait);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx))).await {
            return result;
        }
        assert!(Instant::now() < deadline, "waited without success: {what}");
        std::thread::sleep(Duration::from_micros(100));
        tokio::task::yield_now().await;
    }
}

/// Until this is dropped, tokio's clock stands still and moves only by [`Frozen::advance`].
pub struct Frozen(Option<std::sync::mpsc::Sender<()>>);

impl Frozen {
    pub fn new() -> Self {
        tokio::time::pause();
        IS_FROZEN.set(true);
        // tokio advances a paused clock when the runtime is idle, even if bytes are in flight. It does not while a blocking task runs.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || receiver.recv()));
        Self(Some(sender))
    }

    pub async fn advance(&self, milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.take());
        IS_FROZEN.set(false);
        tokio::time::resume();
    }
}

/// A log to which handlers write.
#[derive(Debug, Default, Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// Waits until the log consists of exactly these lines.
    pub async fn expect(&self, lines: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines() != lines && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
            tokio::task::yield_now().await;
        }
        assert_eq!(self.lines(), lines);
    }

    /// Logs connects and disconnects of a namespace's sockets.
    pub fn watch(&self, namespace: &Namespace) {
        let log = self.clone();
        namespace.on_connection(move |socket: Socket| {
            log.push(format!("{} connected", socket.namespace().name()));
            let log = log.clone();
            socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| {
                log.push(format!("{} {reason}", socket.namespace().name()));
                std::future::ready(())
            });
            std::future::ready(())
        });
    }
}

/// A server on a free port.
pub struct Server {
    pub io: SocketIo,
    pub address: SocketAddr,
    /// The path of the server's requests.
    pub path: String,
    over: Over,
    /// Stops a server other than [`SocketIo::serve`], which [`SocketIo::close`] does not stop.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start(app: impl FnOnce(&SocketIo)) -> Self {
        Self::with(|builder| builder, app).await
    }

    /// A server with changed options.
    pub async fn with(change: impl FnOnce(Builder) -> Builder, app: impl FnOnce(&SocketIo)) -> Self {
        Self::over(Over::Serve, change, app).await
    }

    /// A server that is served in the way `over`. Its session ids are `eio1----------------`, `eio2----------------` and so on.
    pub async fn over(over: Over, change: impl FnOnce(Builder) -> Builder, app: impl FnOnce(&SocketIo)) -> Self {
        let count = AtomicU32::new(0);
        let mut path = String::new();
        let builder = SocketIo::builder().engine(|config| {
            config.close_timeout = Duration::from_millis(500);
            config.generate_id = Some(Arc::new(move |_| {
                format!("{:-<20}", format!("eio{}", count.fetch_add(1, Ordering::SeqCst) + 1)).parse::<Sid>()
            }));
        });
        let io = change(builder).engine(|config| path.clone_from(&config.path)).build();
        app(&io);
        Self::launch(over, io, path).await
    }

    /// Not generic, because otherwise hyper, axum and rustls would be compiled again for each closure that builds a server.
    async fn launch(over: Over, io: SocketIo, path: String) -> Self {
        let listener = engine::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = io.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            if let Over::Serve = over {
                return serving.serve(listener, std::future::pending()).await.unwrap();
            }
            let stopped = Box::pin(async { drop(stopped.await) });
            over.serve(listener, serving.into_service(), engine::ServeOptions::default(), stopped).await;
        });
        Self { io, address, path, over, stop: Some(stop), task }
    }

    /// Closes the server. `serve` must return, and no connection may be left.
    pub async fn finish(mut self) {
        self.io.close().await;
        drop(self.stop.take());
        patient("`serve` returns", self.task).await.unwrap();
        until("no connection is left", || self.io.connections() == 0).await;
    }

    pub async fn connect(&self) -> Wire {
        Wire::over(self.over, self.address).await
    }

    /// The target of a request with this query.
    pub fn target(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// Sends a request on a connection of its own.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut wire = self.connect().await;
        wire.send(request(method, target, headers, body)).await;
        wire.answer(method).await
    }

    pub async fn get(&self, query: &str) -> Answer {
        self.ask("GET", &self.target(query), &[], "").await
    }

    /// Opens a polling session and returns its id.
    pub async fn handshake(&self) -> String {
        let answer = self.get("EIO=4&transport=polling").await;
        let body = answer.text();
        body.strip_prefix("0{\"sid\":\"").expect(&body)[..20].to_owned()
    }

    pub fn polling(&self, sid: &str) -> String {
        self.target(&format!("EIO=4&transport=polling&sid={sid}"))
    }

    pub async fn poll(&self, sid: &str) -> Answer {
        self.ask("GET", &self.polling(sid), &[], "").await
    }

    pub async fn post(&self, sid: &str, body: &str) -> Answer {
        self.ask("POST", &self.polling(sid), &[], body).await
    }

    /// Opens a polling session, joins `/`, and returns the session's id.
    pub async fn join_by_polling(&self) -> String {
        let sid = self.handshake().await;
        assert_eq!(self.post(&sid, "40").await.text(), "ok");
        assert!(self.poll(&sid).await.text().starts_with("40{\"sid\":\""));
        sid
    }

    /// Sends a request, or only its beginning. When this returns, the server has read it: it is sent in the same segment as another request
    /// before it, which is refused immediately, and whose answer is awaited.
    pub async fn begin(&self, bytes: &str) -> Wire {
        let mut wire = self.connect().await;
        let refused = request("GET", &self.target("transport=none"), &[], "");
        wire.send(format!("{refused}{bytes}")).await;
        assert_eq!(wire.answer("GET").await.status(), 400);
        wire
    }

    /// Sends a GET of a session. When this returns, the GET is pending at the server.
    pub async fn hold(&self, sid: &str) -> Wire {
        self.begin(&request("GET", &self.polling(sid), &[], "")).await
    }

    /// Opens a WebSocket, which the server must accept.
    pub async fn upgrade(&self, query: &str) -> Wire {
        let mut wire = self.connect().await;
        wire.send(upgrade(&self.target(query), "13", &[])).await;
        let answer = wire.answer("GET").await;
        assert_eq!(answer.status(), 101, "{answer:?}");
        wire
    }

    /// Opens a WebSocket session and reads its `open` packet.
    pub async fn websocket(&self) -> Wire {
        let mut wire = self.upgrade("EIO=4&transport=websocket").await;
        let open = wire.text().await;
        assert!(open.starts_with("0{\"sid\":\""), "{open}");
        wire
    }

    /// Opens a WebSocket session and joins `/`.
    pub async fn joined(&self) -> Wire {
        let mut wire = self.websocket().await;
        self.join(&mut wire, "/").await;
        wire
    }

    /// Joins a namespace and returns the socket's id.
    pub async fn join(&self, wire: &mut Wire, namespace: &str) -> String {
        let prefix = if namespace == "/" { "40".to_owned() } else { format!("40{namespace},") };
        wire.say(&prefix).await;
        let answer = wire.text().await;
        answer.strip_prefix(&format!("{prefix}{{\"sid\":\"")).expect(&answer)[..20].to_owned()
    }
}

/// Two servers of one cluster, which know one another.
pub async fn pair() -> [Server; 2] {
    let network = MemoryNetwork::new();
    let server = async || {
        let cluster = Cluster::new(network.broker(), ClusterOptions::default());
        Server::with(|builder| builder.cluster(&cluster), |io| drop(io.of("/"))).await
    };
    let servers = [server().await, server().await];
    for server in &servers {
        let namespace = server.io.of("/");
        while namespace.server_count().await.value < 2 {
            tokio::task::yield_now().await;
        }
    }
    servers
}
