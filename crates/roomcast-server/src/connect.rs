//! How a socket gets into its namespace: patterns, middlewares, the adapter's insert, and the connection handlers.
//!
//! No lock of the socket is held while other code runs, including the adapter's. What the client sends meanwhile is kept by the
//! [`Link`](crate::link::Link) and handled in order after the first steps of the connection handlers, so that no event arrives before the
//! handlers that these register.

use crate::durations;
use crate::error::ConnectError;
use crate::failures::shown;
use crate::limits::NAMESPACES_PER_CONNECTION;
use crate::link::{InputHold, Link};
use crate::names::{INVALID, NamespaceRequest, Pattern};
use crate::parts::{Namespace, Phase, Socket, Stage};
use crate::reason::DisconnectReason;
use crate::registry::{IoInner, Lookup};
use crate::task;
use roomcast_engine::CloseReason;
use roomcast_protocol::{Packet, SocketId};
use std::mem;
use std::sync::Arc;
use tokio::time::Instant;

/// Handles the input that was kept for a namespace, until none is left.
pub(crate) type Replay = fn(&Arc<IoInner>, &Arc<Link<Socket>>, &str, &InputHold<Socket>);

/// A CONNECT for a namespace that the client is not in; `false` if the client may not send it now. `replay` handles what the client
/// sent while the socket entered.
pub(crate) fn connect(
    io: &Arc<IoInner>,
    link: &Arc<Link<Socket>>,
    name: &str,
    auth: Option<&str>,
    replay: Replay,
) -> bool {
    if link.is_undecided(name) {
        return false;
    }
    if link.namespaces() >= NAMESPACES_PER_CONNECTION {
        tracing::debug!("a client asks for too many namespaces; its connection is closed");
        return false;
    }
    link.forget_left(name);
    let began = durations::connect();
    match io.find(name) {
        Lookup::Closed => {}
        Lookup::Refused(error) => link.refuse(name, &error),
        Lookup::Namespace(namespace) => {
            if let Some(pending) = PendingConnect::begin(io, link, namespace, auth, replay, began) {
                task::run("middleware", || Some(Box::pin(pending.run())), link.handler());
            }
        }
        Lookup::Ask(patterns) => {
            let request = NamespaceRequest::new(name, auth, link.connection.clone());
            let decision = PatternDecision::begin(io.clone(), link.clone(), request, replay, began);
            let job = async move {
                if let Some(pending) = decision.ask(&patterns).await {
                    pending.run().await;
                }
            };
            task::run("namespace pattern", || Some(Box::pin(job)), link.handler());
        }
    }
    true
}

/// What a client is told of a fault that is not its own.
const FAILED: &str = "Server error";

/// Patterns are deciding whether the namespace exists for this client. If the decision is dropped (a pattern panicked, the runtime
/// ends), the client is refused.
struct PatternDecision {
    io: Arc<IoInner>,
    link: Arc<Link<Socket>>,
    request: NamespaceRequest,
    replay: Replay,
    /// When the CONNECT came, if that is timed.
    began: Option<Instant>,
    over: bool,
}

impl PatternDecision {
    fn begin(
        io: Arc<IoInner>,
        link: Arc<Link<Socket>>,
        request: NamespaceRequest,
        replay: Replay,
        began: Option<Instant>,
    ) -> Self {
        link.begin_decision(request.shared_name().clone());
        Self { io, link, request, replay, began, over: false }
    }

    async fn ask(mut self, patterns: &[Pattern]) -> Option<PendingConnect> {
        let mut found = Lookup::Refused(ConnectError::new(INVALID));
        for pattern in patterns {
            if pattern.accepts(&self.request).await {
                found = self.io.enter_by(self.request.shared_name(), pattern);
                break;
            }
        }
        let pending = match &found {
            Lookup::Namespace(namespace) => {
                let auth = self.request.auth_json();
                PendingConnect::begin(&self.io, &self.link, namespace.clone(), auth, self.replay, self.began)
            }
            _ => None,
        };
        // The link has the socket by now, so a second CONNECT finds either the decision or the socket.
        self.end();
        if let Lookup::Refused(error) = &found {
            self.link.refuse(self.request.name(), error);
        }
        pending
    }

    fn end(&mut self) {
        self.over = true;
        self.link.end_decision(self.request.name());
    }
}

impl Drop for PatternDecision {
    fn drop(&mut self) {
        if !self.over {
            self.end();
            self.link.refuse(self.request.name(), &ConnectError::new(FAILED));
        }
    }
}

/// A socket that is not in its namespace yet. If it is dropped before (a middleware panicked, the runtime ends), the client is refused.
struct PendingConnect {
    io: Arc<IoInner>,
    /// `None` once it is in its namespace.
    socket: Option<Socket>,
    replay: Replay,
    /// When the CONNECT came, if that is timed.
    began: Option<Instant>,
}

impl PendingConnect {
    /// `namespace` counts the socket already.
    fn begin(
        io: &Arc<IoInner>,
        link: &Arc<Link<Socket>>,
        namespace: Namespace,
        auth: Option<&str>,
        replay: Replay,
        began: Option<Instant>,
    ) -> Option<Self> {
        let Ok(id) = SocketId::random() else {
            namespace.left();
            link.refuse(namespace.name(), &ConnectError::new(FAILED));
            return None;
        };
        let socket = Socket::new(id, namespace, link.clone(), auth);
        if !link.add(&socket) {
            socket.finish(DisconnectReason::Connection(CloseReason::TransportClose));
            return None;
        }
        Some(Self { io: io.clone(), socket: Some(socket), replay, began })
    }

    async fn run(mut self) {
        let Some(socket) = self.socket.clone() else { return };
        for middlewares in socket.namespace().middlewares().into_iter().flatten() {
            for middleware in &*middlewares {
                if let Err(error) = middleware(socket.clone()).await {
                    tell_refused(&socket, &error);
                    self.refuse(&error);
                    return;
                }
            }
        }
        let hold = socket.link().hold(socket.namespace().shared_name());
        let entry = Entry { io: self.io.clone(), socket, hold, replay: self.replay };
        match entry.socket.enter() {
            // It was disconnected meanwhile, and the client was told.
            Ok(false) => {}
            Ok(true) => {
                self.answered(&entry.socket);
                // From here on the socket ends as every connected socket does.
                self.socket.take();
                entry.run_connection_handlers();
            }
            Err(error) => {
                tracing::error!(%error, namespace = entry.socket.namespace().name(), "the adapter refused a socket");
                self.refuse(&ConnectError::new(FAILED));
            }
        }
    }

    fn refuse(&mut self, error: &ConnectError) {
        if let Some(socket) = self.socket.take() {
            // Removed before the client is told, as it may ask again at once.
            if socket.abort_connect() {
                socket.link().refuse(socket.namespace().name(), error);
                self.answered(&socket);
            }
        }
    }

    /// The client's CONNECT has been answered.
    fn answered(&self, socket: &Socket) {
        durations::connect_answered(self.began, || socket.namespace().0.counted.label());
    }
}

impl Drop for PendingConnect {
    fn drop(&mut self) {
        self.refuse(&ConnectError::new(FAILED));
    }
}

/// A middleware has refused a socket.
fn tell_refused(socket: &Socket, error: &ConnectError) {
    metrics::counter!("roomcast_sockets_refused_total").increment(1);
    let handshake = socket.handshake();
    tracing::debug!(
        socket = %socket.id(),
        namespace = socket.namespace().name(),
        client = ?handshake.client_address(),
        origin = handshake.header("origin").map(shown),
        error = error.message(),
        "a middleware refused a socket"
    );
}

/// A socket that enters its namespace. When it is dropped, what the client sent meanwhile is handled.
struct Entry {
    io: Arc<IoInner>,
    socket: Socket,
    hold: InputHold<Socket>,
    replay: Replay,
}

impl Drop for Entry {
    fn drop(&mut self) {
        (self.replay)(&self.io, self.socket.link(), self.socket.namespace().name(), &self.hold);
    }
}

impl Entry {
    /// The socket is in its namespace and the client has been told: runs the connection handlers' first steps.
    fn run_connection_handlers(&self) {
        let (socket, link) = (&self.socket, self.socket.link());
        link.joined();
        if !socket.become_connected() {
            return;
        }
        metrics::counter!("roomcast_sockets_connected_total").increment(1);
        for handlers in socket.namespace().connect_handlers().into_iter().flatten() {
            for handler in &*handlers {
                let (handler, socket) = (handler.clone(), socket.clone());
                let guard = (ConnectionHandlerGuard::new(&socket), link.handler());
                task::run("connection", move || Some(handler(socket)), guard);
            }
        }
    }
}

/// A connection handler that has not ended.
struct ConnectionHandlerGuard(Socket);

impl ConnectionHandlerGuard {
    fn new(socket: &Socket) -> Self {
        socket.0.state.lock().connection_handlers += 1;
        Self(socket.clone())
    }
}

impl Drop for ConnectionHandlerGuard {
    fn drop(&mut self) {
        self.0.0.state.lock().connection_handlers -= 1;
    }
}

impl Socket {
    /// Inserts the socket into the namespace in one step: the adapter takes the socket, its rooms and the answer to CONNECT, or
    /// nothing. `false` if the socket was disconnected before.
    fn enter(&self) -> Result<bool, roomcast_adapter::AdapterError> {
        let rooms = {
            let mut state = self.0.state.lock();
            let Phase::Connecting(connecting) = &mut state.phase else { return Ok(false) };
            connecting.stage = Stage::Inserting;
            mem::take(&mut connecting.rooms)
        };
        let json = format!(r#"{{"sid":"{}"}}"#, self.id());
        let welcome = Arc::new(Packet::connect(self.namespace().name(), &json)?);
        self.namespace().adapter().insert(self.id(), self.0.clone(), &rooms, Some(&welcome))?;
        Ok(true)
    }

    /// The adapter has inserted the socket. `false`: the server disconnected it meanwhile, and it is removed again.
    fn become_connected(&self) -> bool {
        let late_rooms = {
            let mut state = self.0.state.lock();
            let Phase::Connecting(connecting) = &mut state.phase else { return false };
            if connecting.stage == Stage::Evicted || self.namespace().is_closed() {
                drop(state);
                self.evict();
                return false;
            }
            let rooms = mem::take(&mut connecting.rooms);
            state.phase = Phase::Connected;
            rooms
        };
        if !late_rooms.is_empty()
            && let Err(error) = self.namespace().adapter().join(self.id(), &late_rooms)
        {
            tracing::debug!(socket = %self.id(), %error, "a join was refused");
        }
        true
    }
}
