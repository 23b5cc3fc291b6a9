//! How a socket gets into its namespace: patterns, middlewares, the adapter's insert, and the connection handlers.
//!
//! No lock of the socket is held while other code runs, including the adapter's (but for `Adapter::replace`, see `outgoing.rs`). What the
//! client sends meanwhile is kept by the [`Link`](crate::link::Link) and handled in order after the first steps of the connection handlers,
//! so that no event arrives before the handlers that these register.

use crate::durations;
use crate::error::ConnectError;
use crate::failures::shown;
use crate::limits::NAMESPACES_PER_CONNECTION;
use crate::link::{InputHold, Link};
use crate::names::{INVALID, NamespaceRequest, Pattern};
use crate::parts::{Namespace, Phase, Socket, Stage};
use crate::reason::DisconnectReason;
use crate::recovery::{self, Asked, RecoveryOutcome};
use crate::registry::{IoInner, Lookup};
use crate::task;
use roomcast_adapter::{AdapterError, Found, NotRecovered, Room};
use roomcast_engine::CloseReason;
use roomcast_protocol::{Packet, Pid, SocketId};
use std::borrow::Cow;
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
        Lookup::Refused(error) => link.refuse(io.config.parser, name, &error),
        Lookup::Namespace(namespace) => {
            let (asked, auth) = asked(&namespace, auth);
            let asks = Ask { io: io.clone(), link: link.clone(), namespace, replay, began };
            match asked {
                None => {
                    if let Some(pending) = asks.begin(auth.as_deref(), None, RecoveryOutcome::NotAsked) {
                        task::run("middleware", || Some(Box::pin(pending.run())), link.handler());
                    }
                }
                Some(asked) => {
                    let (looking, auth) = (Looking::begin(asks), auth.map(Cow::into_owned));
                    let job = async move {
                        if let Some(pending) = looking.look(asked, auth.as_deref()).await {
                            pending.run().await;
                        }
                    };
                    task::run("recovery", || Some(Box::pin(job)), link.handler());
                }
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
                let (asked, auth) = asked(namespace, self.request.auth_json());
                let (io, link, namespace) = (self.io.clone(), self.link.clone(), namespace.clone());
                let asks = Ask { io, link, namespace, replay: self.replay, began: self.began };
                match asked {
                    None => asks.begin(auth.as_deref(), None, RecoveryOutcome::NotAsked),
                    Some(asked) => Looking::begin(asks).look(asked, auth.as_deref()).await,
                }
            }
            _ => None,
        };
        // The link has the socket by now, so a second CONNECT finds either the decision or the socket.
        self.end();
        if let Lookup::Refused(error) = &found {
            self.link.refuse(self.io.config.parser, self.request.name(), error);
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
            self.link.refuse(self.io.config.parser, self.request.name(), &ConnectError::new(FAILED));
        }
    }
}

/// What the client asks for beside the namespace, and the auth payload for the application.
fn asked<'a>(namespace: &Namespace, auth: Option<&'a str>) -> (Option<Asked>, Option<Cow<'a, str>>) {
    match auth {
        Some(auth) if namespace.0.recovers => {
            let (asked, rest) = recovery::asked(auth);
            (asked, Some(rest.map_or(Cow::Borrowed(auth), Cow::Owned)))
        }
        _ => (None, auth.map(Cow::Borrowed)),
    }
}

/// A client asks for a namespace, which counts its socket already.
struct Ask {
    io: Arc<IoInner>,
    link: Arc<Link<Socket>>,
    namespace: Namespace,
    replay: Replay,
    /// When the CONNECT came, if that is timed.
    began: Option<Instant>,
}

impl Ask {
    fn begin(self, auth: Option<&str>, found: Option<Found>, outcome: RecoveryOutcome) -> Option<PendingConnect> {
        let Self { io, link, namespace, replay, began } = self;
        // The private id is drawn for itself, so it is not the public one.
        let ids = match &found {
            Some(found) => Ok((found.id(), None)),
            None if namespace.0.recovers => Pid::random().and_then(|pid| Ok((SocketId::random()?, Some(pid)))),
            None => SocketId::random().map(|id| (id, None)),
        };
        let Ok((id, pid)) = ids else {
            namespace.left();
            link.refuse(io.config.parser, namespace.name(), &ConnectError::new(FAILED));
            return None;
        };
        let socket = Socket::new(id, namespace, link, auth);
        {
            let kept_values = socket.namespace().0.kept_values.lock();
            let mut state = socket.0.state.lock();
            state.recovery = outcome;
            // `{}` stands for none.
            if let Some(data) = found.as_ref().map(Found::data).filter(|data| *data != "{}") {
                state.kept.get_or_insert_default().data = Some(data.into());
            }
            // A copy, as the session is kept on if this socket is refused.
            if let Some(values) = found.as_ref().and_then(|found| kept_values.get(&found.id())) {
                state.kept.get_or_insert_default().extensions = values.clone();
            }
        }
        if !socket.link().add(&socket) {
            socket.finish(DisconnectReason::Connection(CloseReason::TransportClose));
            return None;
        }
        Some(PendingConnect { io, socket: Some(socket), pid, found, replay, began })
    }
}

/// A client's session is looked up. If this is dropped (the runtime ends), the client is refused.
struct Looking {
    asks: Option<Ask>,
    link: Arc<Link<Socket>>,
    name: Arc<str>,
}

impl Looking {
    fn begin(asks: Ask) -> Self {
        let (link, name) = (asks.link.clone(), asks.namespace.shared_name().clone());
        link.begin_decision(name.clone());
        Self { asks: Some(asks), link, name }
    }

    async fn look(mut self, asked: Asked, auth: Option<&str>) -> Option<PendingConnect> {
        let namespace = self.asks.as_ref()?.namespace.clone();
        let found = match namespace.adapter().recovery() {
            Some(recovery) => recovery.find(asked.pid, asked.offset.as_deref()).await,
            None => Err(NotRecovered::Unknown),
        };
        let (found, outcome) = match found {
            Ok(found) => (Some(found), RecoveryOutcome::Recovered),
            Err(why) => {
                count(why.as_str());
                tracing::debug!(namespace = namespace.name(), %why, "a client was not recovered; it gets a new session");
                (None, RecoveryOutcome::NotRecovered(why))
            }
        };
        // The link has the socket before the decision ends, so a second CONNECT finds either of them.
        self.asks.take()?.begin(auth, found, outcome)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.link.end_decision(&self.name);
        if let Some(asks) = self.asks.take() {
            asks.namespace.left();
            self.link.refuse(asks.io.config.parser, &self.name, &ConnectError::new(FAILED));
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("roomcast_recoveries_total", "outcome" => outcome).increment(1);
}

/// A socket that is not in its namespace yet. If it is dropped before (a middleware panicked, the runtime ends), the client is refused.
struct PendingConnect {
    io: Arc<IoInner>,
    /// `None` once it is in its namespace.
    socket: Option<Socket>,
    /// The private id of a new session that can be recovered.
    pid: Option<Pid>,
    /// The session that it continues.
    found: Option<Found>,
    replay: Replay,
    /// When the CONNECT came, if that is timed.
    began: Option<Instant>,
}

impl PendingConnect {
    async fn run(mut self) {
        let Some(socket) = self.socket.clone() else { return };
        // Another client's CONNECT may be making the namespace on another thread: it is to get its middlewares first.
        socket.namespace().0.told.wait().await;
        let options = socket.namespace().config().recovery.as_ref();
        let skips = self.found.is_some() && options.is_some_and(|options| options.skip_middlewares);
        for middlewares in socket.namespace().middlewares().into_iter().flatten().filter(|_| !skips) {
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
        let entered = match self.found.take() {
            Some(found) => entry.socket.enter_again(found).await,
            None => entry.socket.enter(self.pid),
        };
        match entered {
            // It was disconnected meanwhile, and the client was told.
            Ok(false) => {}
            Ok(true) => {
                self.answered(&entry.socket);
                // From here on the socket ends as every connected socket does.
                self.socket.take();
                entry.run_connection_handlers();
            }
            Err(Refused::NotRecovered(why)) => {
                count(why.as_str());
                tracing::debug!(namespace = entry.socket.namespace().name(), %why, "a client was found but not recovered; it has to connect again");
                self.socket.take();
                entry.socket.abort_connect();
                // The middlewares saw a socket that was to be recovered. The client comes back, and gets a new session.
                entry.socket.connection().close_as(CloseReason::TransportClose);
            }
            Err(Refused::Adapter(error)) => {
                tracing::error!(%error, namespace = entry.socket.namespace().name(), "the adapter refused a socket");
                self.refuse(&ConnectError::new(FAILED));
            }
        }
    }

    fn refuse(&mut self, error: &ConnectError) {
        if let Some(socket) = self.socket.take() {
            // Removed before the client is told, as it may ask again at once.
            if socket.abort_connect() {
                socket.link().refuse(socket.parser(), socket.namespace().name(), error);
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

/// Why a socket did not get into its namespace.
enum Refused {
    Adapter(AdapterError),
    NotRecovered(NotRecovered),
}

/// The answer to CONNECT.
fn welcome(socket: &Socket, pid: Option<Pid>) -> Result<Arc<Packet>, AdapterError> {
    let json = match pid {
        Some(pid) => format!(r#"{{"sid":"{}","pid":"{}"}}"#, socket.id(), pid.reveal()),
        None => format!(r#"{{"sid":"{}"}}"#, socket.id()),
    };
    Ok(Arc::new(socket.parser().connect(socket.namespace().name(), &json)?))
}

impl Socket {
    /// The socket is being inserted from now on. Returns the rooms of the middlewares; `None` if it was disconnected before.
    fn begin_insert(&self, takes_rooms: bool) -> Option<Vec<Room>> {
        let mut state = self.0.state.lock();
        let Phase::Connecting(connecting) = &mut state.phase else { return None };
        connecting.stage = Stage::Inserting;
        if !takes_rooms {
            return Some(Vec::new());
        }
        // A new socket is in no room that it could have left before.
        connecting.left = Vec::new();
        Some(mem::take(&mut connecting.rooms))
    }

    /// It was not inserted: there is nothing to remove.
    fn undo_insert(&self) {
        if let Phase::Connecting(connecting) = &mut self.0.state.lock().phase {
            connecting.stage = Stage::Middlewares;
        }
    }

    /// Inserts the socket into the namespace in one step: the adapter takes the socket, its rooms and the answer to CONNECT, or
    /// nothing. With a `pid` its session can be recovered. `false` if the socket was disconnected before.
    fn enter(&self, pid: Option<Pid>) -> Result<bool, Refused> {
        let Some(rooms) = self.begin_insert(true) else { return Ok(false) };
        let (id, adapter) = (self.id(), self.namespace().adapter());
        let inserted = match (pid, adapter.recovery()) {
            (Some(pid), Some(recovery)) => welcome(self, Some(pid))
                .and_then(|welcome| recovery.begin(pid, id, self.recipient(), &rooms, Some(&welcome))),
            _ => welcome(self, None).and_then(|welcome| adapter.insert(id, self.recipient(), &rooms, Some(&welcome))),
        };
        inserted.map(|()| true).map_err(Refused::Adapter).inspect_err(|_| self.undo_insert())
    }

    /// As [`Socket::enter`], for a socket that continues a session: it gets what its client missed before the answer to CONNECT. It
    /// joins the rooms of the middlewares afterwards.
    async fn enter_again(&self, found: Found) -> Result<bool, Refused> {
        if self.begin_insert(false).is_none() {
            return Ok(false);
        }
        let entered = match (welcome(self, Some(found.pid())), self.namespace().adapter().recovery()) {
            (Ok(welcome), Some(recovery)) => recovery.enter(found, self.recipient(), Some(&welcome)).await,
            _ => Err(NotRecovered::Unknown),
        };
        entered.map_err(Refused::NotRecovered).inspect_err(|_| self.undo_insert())?;
        count("recovered");
        let kept_values = self.namespace().0.kept_values.lock().remove(&self.id());
        // Outside the lock: values are the application's.
        drop(kept_values);
        // The namespace has counted the session while it was kept; from now on it counts the socket.
        self.namespace().left();
        Ok(true)
    }

    /// The adapter has inserted the socket. `false`: the server disconnected it meanwhile, and it is removed again.
    fn become_connected(&self) -> bool {
        let (left, late_rooms) = {
            let mut state = self.0.state.lock();
            let Phase::Connecting(connecting) = &mut state.phase else { return false };
            if connecting.stage == Stage::Evicted || self.namespace().is_closed() {
                drop(state);
                self.evict();
                return false;
            }
            let rooms = (mem::take(&mut connecting.left), mem::take(&mut connecting.rooms));
            state.phase = Phase::Connected;
            if state.observed {
                // Perhaps only since it was inserted.
                self.show_to_adapter();
            }
            rooms
        };
        let adapter = self.namespace().adapter();
        left.iter().for_each(|room| adapter.leave(self.id(), room));
        if !late_rooms.is_empty()
            && let Err(error) = adapter.join(self.id(), &late_rooms)
        {
            metrics::counter!("roomcast_joins_refused_total").increment(1);
            tracing::debug!(socket = %self.id(), %error, "a join was refused");
        }
        true
    }
}
