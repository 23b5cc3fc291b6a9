//! What the socket tests share: a server that echoes and keeps a log, and a client that writes its bytes by hand.
//!
//! The test runtime has one thread, so the server runs only while a test waits. No test sleeps to let things settle: it
//! waits for a condition or for bytes, each wait with a bound ([`PATIENCE`]).
#![allow(dead_code, unreachable_pub, reason = "no test file needs all of it")]

pub mod counting;
pub mod over;
pub mod streams;
pub mod wire;

use http::{Request, Response};
use over::Over;
use parking_lot::Mutex;
use roomcast_engine::{CloseReason, Connection, Engine, EngineConfig, PeerAddr, ServeOptions, SessionHandler, bind};
use roomcast_protocol::{EngineKind, Packet};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use streams::over;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_service::Service;
use wire::{Answer, Wire, request};

/// The longest time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition that becomes true by the server's work alone.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// As [`until`], with a condition that asks the server.
pub async fn until_async(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}

/// Waits until what waits for a client stays the same for a hundred turns of the runtime, as its stream takes no more.
/// A stream that takes a little at a time lags for a while although its kernel is not full.
pub async fn stuck(connection: &Connection) {
    let (mut before, mut turns) = (connection.outstanding(), 0);
    while turns < 100 {
        tokio::task::yield_now().await;
        let now = connection.outstanding();
        turns = if now == before { turns + 1 } else { 0 };
        before = now;
    }
}

/// What a client sent, and how its session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Text(String),
    Binary(Vec<u8>),
    Closed(CloseReason),
}

/// What all sessions of a server did.
#[derive(Default)]
pub struct Log {
    connections: Mutex<Vec<Arc<Connection>>>,
    events: Mutex<Vec<Vec<Event>>>,
    /// While set, handlers take no messages.
    paused: AtomicBool,
    resumed: Mutex<Vec<Waker>>,
    /// Requests that the service has begun to work on.
    requests: AtomicUsize,
}

impl Log {
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        self.resumed.lock().drain(..).for_each(Waker::wake);
    }

    pub fn opened(&self) -> usize {
        self.connections.lock().len()
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The events of the session that was opened as number `index`.
    pub fn events(&self, index: usize) -> Vec<Event> {
        self.events.lock()[index].clone()
    }

    /// The messages of a session, as text.
    pub fn texts(&self, index: usize) -> Vec<String> {
        let events = self.events(index).into_iter();
        events.filter_map(|event| if let Event::Text(text) = event { Some(text) } else { None }).collect()
    }

    /// Why a session was closed; more than once is a failure.
    pub fn closed(&self, index: usize) -> Option<CloseReason> {
        let events = self.events(index);
        let mut reasons =
            events.iter().filter_map(|event| if let Event::Closed(reason) = event { Some(*reason) } else { None });
        let reason = reasons.next();
        assert_eq!(reasons.next(), None, "`closed` was called twice");
        if reason.is_some() {
            assert!(matches!(events.last(), Some(Event::Closed(_))), "`closed` was not called last: {events:?}");
        }
        reason
    }

    fn push(&self, index: usize, event: Event) {
        self.events.lock()[index].push(event);
    }
}

/// Sends every message back, except those that begin with `!`.
struct Echo {
    index: usize,
    connection: Arc<Connection>,
    log: Arc<Log>,
}

impl SessionHandler for Echo {
    fn text(&mut self, text: &str) {
        self.log.push(self.index, Event::Text(text.to_owned()));
        if !text.starts_with('!') {
            say(&self.connection, text);
        }
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.log.push(self.index, Event::Binary(bytes.to_vec()));
        self.connection.send(&Arc::new(Packet::binary(bytes).unwrap())).wake();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.log.push(self.index, Event::Closed(reason));
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.log.paused.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.log.resumed.lock().push(cx.waker().clone());
        Poll::Pending
    }
}

/// Sends a text message.
pub fn say(connection: &Arc<Connection>, text: &str) {
    connection.send(&Arc::new(message(text))).wake();
}

pub fn message(text: &str) -> Packet {
    Packet::engine(EngineKind::Message, text).unwrap()
}

/// Counts the requests on which work has begun: the count moves when a request's future was polled once, so that a GET
/// is held and a POST is being read by then.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    log: Arc<Log>,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(request.extensions().get::<PeerAddr>().is_some_and(|peer| peer.0.ip().is_loopback()));
        let mut answer = Box::pin(self.inner.call(request));
        let log = self.log.clone();
        let mut begun = false;
        Box::pin(poll_fn(move |cx| {
            let answered = answer.as_mut().poll(cx);
            if !std::mem::replace(&mut begun, true) {
                log.requests.fetch_add(1, Ordering::SeqCst);
            }
            answered
        }))
    }
}

/// A server on a port of its own.
pub struct Server {
    pub address: SocketAddr,
    pub engine: Engine,
    pub log: Arc<Log>,
    over: Over,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Serves an engine with an application of the test's own, on a port of its own, until the test ends.
pub async fn serve_alone(engine: &Engine) -> SocketAddr {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Counted { inner: engine.clone().into_service(), log: Arc::default() };
    tokio::spawn(over().serve(listener, service, ServeOptions::default(), Box::pin(std::future::pending())));
    address
}

/// An engine whose handlers echo, and write to the log.
pub fn engine(config: EngineConfig, log: &Arc<Log>) -> Engine {
    let log = log.clone();
    Engine::new(config, move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
        let index = {
            let mut connections = log.connections.lock();
            connections.push(connection.clone());
            log.events.lock().push(Vec::new());
            connections.len() - 1
        };
        Box::new(Echo { index, connection: connection.clone(), log: log.clone() })
    })
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with other options.
    pub async fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        Self::serving(change, |_| {}).await
    }

    pub async fn serving(change: impl FnOnce(&mut EngineConfig), serving: impl FnOnce(&mut ServeOptions)) -> Self {
        let listener = bind("127.0.0.1:0").await.unwrap();
        Self::over(over(), listener, change, serving).await
    }

    /// A server over a stream that the test chooses.
    pub async fn over(
        over: Over,
        listener: TcpListener,
        change: impl FnOnce(&mut EngineConfig),
        serving: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        let mut config = EngineConfig::default();
        // The connections left at the end of a test are not worth a wait of five seconds.
        config.close_timeout = Duration::from_millis(200);
        change(&mut config);
        let mut options = ServeOptions::default();
        serving(&mut options);
        Self::launch(over, listener, config, options)
    }

    /// Separate from the generic function, as hyper, axum and rustls would be compiled again for each closure that
    /// changes options.
    fn launch(over: Over, listener: TcpListener, config: EngineConfig, options: ServeOptions) -> Self {
        let log = Arc::new(Log::default());
        let engine = engine(config, &log);
        let address = listener.local_addr().unwrap();
        let service = Counted { inner: engine.clone().into_service(), log: log.clone() };
        let (stop, stopped) = oneshot::channel();
        let stopped = Box::pin(async { drop(stopped.await) });
        let task = tokio::spawn(over.serve(listener, service, options, stopped));
        Self { address, engine, log, over, stop: Some(stop), task }
    }

    /// The session that was opened last.
    pub fn connection(&self) -> Arc<Connection> {
        self.log.connections.lock().last().unwrap().clone()
    }

    /// The session that was opened as number `index`.
    pub fn opened(&self, index: usize) -> Arc<Connection> {
        self.log.connections.lock()[index].clone()
    }

    /// Sends a message to the session that was opened last.
    pub fn say(&self, text: &str) {
        say(&self.connection(), text);
    }

    /// Waits for the end of the session that was opened as number `index`.
    pub async fn closed(&self, index: usize) -> CloseReason {
        until("a session is closed", || self.log.closed(index).is_some()).await;
        self.log.closed(index).unwrap()
    }

    /// Ends `serve`, and waits until it has returned.
    pub async fn stop(&mut self) {
        if self.stop.take().is_none() {
            return;
        }
        tokio::time::timeout(PATIENCE, &mut self.task).await.expect("`serve` returns").unwrap();
    }

    /// Closes the remaining sessions. Every session must have been closed exactly once.
    pub async fn finish(mut self) {
        self.engine.close();
        self.stop().await;
        until("no session is left", || self.engine.sessions() == 0).await;
        for index in 0..self.log.opened() {
            // A task that has the handler when its session is removed calls `closed` as soon as it releases it.
            until("each session is told its end", || self.log.closed(index).is_some()).await;
        }
    }

    pub async fn connect(&self) -> Wire {
        Wire::over(self.over, self.address, false).await
    }

    /// A client whose kernel buffers little for it.
    pub async fn narrow(&self) -> Wire {
        Wire::over(self.over, self.address, true).await
    }

    /// A WebSocket of such a client. Its `open` packet was read.
    pub async fn narrow_websocket(&self) -> Wire {
        let mut wire = self.narrow().await;
        wire.send(wire::upgrade("/engine.io/?EIO=4&transport=websocket", &[])).await;
        assert_eq!(wire.answer().await.status, 101);
        assert!(wire.text().await.starts_with("0{\"sid\":\""));
        wire
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut wire = self.connect().await;
        wire.send(request(method, target, headers, body)).await;
        wire.answer_to(method).await
    }

    pub async fn get(&self, query: &str) -> Answer {
        self.ask("GET", &format!("/engine.io/?{query}"), &[], "").await
    }

    /// Opens a polling session, and returns its sid.
    pub async fn handshake(&self) -> String {
        let answer = self.get("EIO=4&transport=polling").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.sid()
    }

    pub async fn poll(&self, sid: &str) -> Answer {
        self.get(&format!("EIO=4&transport=polling&sid={sid}")).await
    }

    pub async fn post(&self, sid: &str, body: &str) -> Answer {
        self.ask("POST", &polling(sid), &[], body).await
    }

    /// A GET that is held when this returns.
    pub async fn hold(&self, sid: &str) -> Wire {
        self.begin(request("GET", &polling(sid), &[], "")).await
    }

    /// Sends bytes on a connection of their own, and waits until the server works on the request in them.
    pub async fn begin(&self, bytes: impl AsRef<[u8]>) -> Wire {
        let before = self.log.requests();
        let mut wire = self.connect().await;
        wire.send(bytes).await;
        until("the server has the request", || self.log.requests() > before).await;
        wire
    }

    /// Opens a WebSocket session. Its `open` packet was read.
    pub async fn websocket(&self) -> Wire {
        let mut wire = self.upgrade("EIO=4&transport=websocket").await;
        let open = wire.text().await;
        assert!(open.starts_with("0{\"sid\":\""), "{open}");
        wire
    }

    /// An upgrade that is accepted.
    pub async fn upgrade(&self, query: &str) -> Wire {
        let mut wire = self.connect().await;
        wire.send(wire::upgrade(&format!("/engine.io/?{query}"), &[])).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        wire
    }

    /// A WebSocket that is to take over a polling session.
    pub async fn probing(&self, sid: &str) -> Wire {
        self.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await
    }

    /// An upgrade request that is not accepted.
    pub async fn refused(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut wire = self.connect().await;
        wire.send(wire::upgrade(target, headers)).await;
        let answer = wire.answer().await;
        assert_ne!(answer.status, 101, "{answer:?}");
        answer
    }

    /// The connection ends, where Node ends it without an answer. axum cannot do that: it answers an empty 400 first.
    pub async fn assert_unanswered(&self, mut wire: Wire) {
        if matches!(self.over, Over::Axum | Over::AxumAwkward(_)) {
            wire.answer().await.assert_refused("");
        }
        wire.assert_ended().await;
    }

    /// The request is refused because its head is over the bounds of [`serve`](roomcast_engine::serve). axum has other
    /// bounds.
    pub async fn assert_too_large(&self, bytes: impl AsRef<[u8]>) {
        if matches!(self.over, Over::Axum | Over::AxumAwkward(_)) {
            return;
        }
        let mut wire = self.connect().await;
        wire.try_send(bytes).await;
        assert_eq!(wire.answer().await.status, 431);
    }

    /// Requests for this sid are answered with "Session ID unknown".
    pub async fn assert_unknown(&self, sid: &str) {
        assert_eq!(self.poll(sid).await.error(), (400, 1, "Session ID unknown".to_owned()));
    }
}

pub fn polling(sid: &str) -> String {
    format!("/engine.io/?EIO=4&transport=polling&sid={sid}")
}
