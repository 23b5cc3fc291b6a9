//! The Socket.IO side of one connection: its packets in, its sockets, and the work that they have under way.

use crate::error::ConnectError;
use crate::io::IoInner;
use crate::limits::{ATTACHMENT_TIMEOUT, HANDLERS_PER_CONNECTION, NAMESPACES_PER_CONNECTION};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::socket::Socket;
use crate::task;
use parking_lot::Mutex;
use roomcast_engine::{Client as EngineClient, CloseReason, Connection};
use roomcast_protocol::{DecodeError, Decoder, Packet, Received, SocketId};
use smallvec::SmallVec;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// The receiving side: only the task that reads touches it.
pub(crate) struct Client {
    io: Arc<IoInner>,
    link: Arc<Link>,
    decoder: Decoder,
    /// Until then a namespace must have been joined, and once one was, the attachments that are awaited must have come.
    due: Option<Instant>,
    /// `due` is for attachments.
    joined: bool,
}

/// What the sockets of one connection share.
pub(crate) struct Link {
    pub(crate) connection: Arc<Connection>,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    /// Sockets that are connected or connecting, at most one per namespace.
    sockets: SmallVec<[Socket; 1]>,
    /// A namespace was joined once.
    joined: bool,
    /// The connection is over.
    closed: bool,
    /// Handlers under way.
    handlers: usize,
    /// The task that waits for a handler to end.
    waiting: Option<Waker>,
}

/// One handler under way.
pub(crate) struct Working(Arc<Link>);

impl Drop for Working {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.state.lock();
            state.handlers -= 1;
            state.waiting.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Link {
    pub(crate) fn sockets(&self) -> Vec<Socket> {
        self.state.lock().sockets.to_vec()
    }

    pub(crate) fn find(&self, namespace: &Namespace) -> Option<Socket> {
        self.state.lock().sockets.iter().find(|socket| socket.namespace() == namespace).cloned()
    }

    pub(crate) fn forget(&self, socket: &Socket) {
        let mut state = self.state.lock();
        state.sockets.retain(|other| other != socket);
        if state.sockets.is_empty() {
            state.sockets = SmallVec::new();
        }
    }

    pub(crate) fn working(self: &Arc<Self>) -> Working {
        self.state.lock().handlers += 1;
        Working(self.clone())
    }

    fn named(&self, namespace: &str) -> Option<Socket> {
        self.state.lock().sockets.iter().find(|socket| socket.namespace().name() == namespace).cloned()
    }

    /// Takes a socket in; `false` if the connection is over.
    fn admit(&self, socket: &Socket) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.sockets.push(socket.clone());
        true
    }
}

impl Client {
    pub(crate) fn new(io: Arc<IoInner>, connection: Arc<Connection>) -> Self {
        let due = Some(Instant::now() + io.config.connect_timeout);
        let decoder = Decoder::new(io.config.decoder);
        let link = Arc::new(Link { connection, state: Mutex::default() });
        Self { io, link, decoder, due, joined: false }
    }

    fn decoded(io: &Arc<IoInner>, link: &Arc<Link>, decoded: Result<Option<Received<'_>>, DecodeError>) {
        match decoded {
            Ok(None) => {}
            Ok(Some(packet)) => receive(io, link, packet),
            Err(error) => {
                metrics::counter!("roomcast_packets_malformed_total").increment(1);
                tracing::debug!(%error, "a client sent what is no packet; its connection is closed");
                link.connection.close_at_fault(CloseReason::ForcedClose);
            }
        }
    }

    fn await_attachments(&mut self) {
        if !self.joined {
            if !self.has_joined() {
                return;
            }
            (self.joined, self.due) = (true, None);
        }
        self.due = match (self.decoder.is_awaiting(), self.due) {
            (false, _) => None,
            (true, Some(by)) => Some(by),
            (true, None) => Some(Instant::now() + ATTACHMENT_TIMEOUT),
        };
    }

    /// Whether a namespace was joined once.
    fn has_joined(&self) -> bool {
        self.joined || self.link.state.lock().joined
    }
}

impl EngineClient for Client {
    fn text(&mut self, text: &str) {
        Self::decoded(&self.io, &self.link, self.decoder.text(text));
        self.await_attachments();
    }

    fn binary(&mut self, bytes: &[u8]) {
        Self::decoded(&self.io, &self.link, self.decoder.binary(bytes));
        self.await_attachments();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.link.state.lock().closed = true;
        for socket in self.link.sockets() {
            socket.finish(DisconnectReason::Connection(reason));
        }
    }

    fn is_established_by_a_message(&self) -> bool {
        // By its first namespace: see `welcome`.
        false
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.state.lock();
        if state.handlers < HANDLERS_PER_CONNECTION {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.decoder.is_awaiting() || !self.has_joined())
    }

    fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        let missing = if self.has_joined() { "the attachments of a packet" } else { "a namespace to join" };
        tracing::debug!(missing, "what a client had to send did not come in time; its connection is closed");
        self.link.connection.close_at_fault(CloseReason::ForcedServerClose);
        self.due = None;
    }
}

/// A whole packet.
fn receive(io: &Arc<IoInner>, link: &Arc<Link>, packet: Received<'_>) {
    let (Received::Connect { namespace, .. }
    | Received::Disconnect { namespace }
    | Received::Event { namespace, .. }
    | Received::Ack { namespace, .. }
    | Received::ConnectError { namespace }) = &packet;
    let socket = link.named(namespace);
    match (packet, socket) {
        (Received::Connect { namespace, auth }, None) => connect(io, link, namespace, auth),
        (Received::Event { id, event, .. }, Some(socket)) if socket.is_connected() => {
            socket.dispatch(&event.name, event.args, id);
        }
        (Received::Ack { id, args, .. }, Some(socket)) if socket.is_connected() => {
            if let Some(id) = id {
                socket.namespace().adapter().ack(socket.id(), id, args.to_owned());
            }
        }
        (Received::Disconnect { .. }, Some(socket)) if socket.is_connected() => {
            socket.finish(DisconnectReason::ClientNamespace);
        }
        // A second CONNECT, anything for a namespace that is not joined, and CONNECT_ERROR, which only servers send.
        _ => {
            metrics::counter!("roomcast_packets_unexpected_total").increment(1);
            tracing::debug!("a client sent a packet out of turn; its connection is closed");
            link.connection.close_at_fault(CloseReason::ForcedServerClose);
        }
    }
}

/// A CONNECT for a namespace that the connection is not in.
fn connect(io: &Arc<IoInner>, link: &Arc<Link>, name: &str, auth: Option<&str>) {
    if link.state.lock().sockets.len() >= NAMESPACES_PER_CONNECTION {
        tracing::debug!("a client asks for too many namespaces; its connection is closed");
        link.connection.close_at_fault(CloseReason::ForcedServerClose);
        return;
    }
    let Some(namespace) = io.enter(name) else {
        refuse(link, name, &ConnectError::new("Invalid namespace"));
        return;
    };
    let Ok(id) = SocketId::random() else {
        namespace.left();
        refuse(link, name, &ConnectError::new("Server error"));
        return;
    };
    let socket = Socket::new(id, namespace, link.clone(), auth);
    if !link.admit(&socket) {
        socket.finish(DisconnectReason::Connection(CloseReason::TransportClose));
        return;
    }
    let working = link.working();
    let mut entering = Entering(Some(socket.clone()));
    let middlewares = socket.namespace().middlewares();
    let job = async move {
        for middleware in &*middlewares {
            if let Err(error) = middleware(socket.clone()).await {
                entering.refuse(&error);
                return;
            }
        }
        match socket.enter() {
            Ok(entered) => {
                // From here on the socket ends by its own door.
                entering.0.take();
                if entered {
                    welcome(&socket);
                }
            }
            Err(error) => {
                tracing::error!(%error, namespace = socket.namespace().name(), "the adapter refused a socket");
                entering.refuse(&ConnectError::new("Server error"));
            }
        }
    };
    task::run("middleware", || Some(Box::pin(job)), working);
}

/// A socket that is not in its namespace yet. Whatever ends the way in, a panic too, leaves nothing behind.
struct Entering(Option<Socket>);

impl Entering {
    fn refuse(&mut self, error: &ConnectError) {
        if let Some(socket) = self.0.take() {
            // Forgotten first: the client may ask again as soon as it is told.
            socket.finish(DisconnectReason::ServerNamespace);
            refuse(socket.0.link(), socket.namespace().name(), error);
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        // Neither let in nor refused: the middleware panicked, or the runtime ends.
        self.refuse(&ConnectError::new("Server error"));
    }
}

/// The socket is in its namespace.
fn welcome(socket: &Socket) {
    let link = socket.0.link();
    link.state.lock().joined = true;
    link.connection.establish();
    let json = format!(r#"{{"sid":"{}"}}"#, socket.id());
    if let Ok(packet) = Packet::connect(socket.namespace().name(), &json) {
        link.connection.send(&Arc::new(packet)).wake();
    }
    metrics::counter!("roomcast_sockets_connected_total").increment(1);
    for handler in &*socket.namespace().connect_handlers() {
        let (handler, socket) = (handler.clone(), socket.clone());
        task::run("connection", move || Some(handler(socket)), link.working());
    }
}

fn refuse(link: &Link, namespace: &str, error: &ConnectError) {
    if let Ok(packet) = Packet::connect_error(namespace, &error.to_json()) {
        link.connection.send(&Arc::new(packet)).wake();
    }
}
