//! The way of a socket into its namespace: patterns, middlewares, the one step in, and the connection handlers.
//!
//! No lock of the socket is held while somebody else's code runs, the adapter's included. What the client sends meanwhile is
//! kept in its order by the [`Link`], and handled after the first steps of the connection handlers: no event comes before the
//! handlers that these give.

use crate::client::catch_up;
use crate::error::ConnectError;
use crate::io::{Found, IoInner};
use crate::limits::NAMESPACES_PER_CONNECTION;
use crate::link::{Held, Link};
use crate::names::{NamespaceRequest, Pattern};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::socket::{Phase, Socket};
use crate::task;
use roomcast_adapter::Room;
use roomcast_engine::CloseReason;
use roomcast_protocol::{Packet, SocketId};
use std::mem;
use std::sync::Arc;

/// A socket that is on its way in.
#[derive(Default)]
pub(crate) struct WayIn {
    pub(crate) stage: Stage,
    /// Rooms that it joins once it is in.
    pub(crate) rooms: Vec<Room>,
}

/// How far a socket has come.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Middlewares decide. The client has to wait.
    #[default]
    Middlewares,
    /// The adapter takes it in. The client may hear of it, and go on, before the adapter has returned.
    Entering,
    /// As before, and the server has disconnected it: who takes it in takes it out again.
    PutOut,
}

/// A CONNECT for a namespace that the connection is not in; `false` if it is out of turn.
pub(crate) fn connect(io: &Arc<IoInner>, link: &Arc<Link>, name: &str, auth: Option<&str>) -> bool {
    if link.is_undecided(name) {
        return false;
    }
    if link.asked() >= NAMESPACES_PER_CONNECTION {
        tracing::debug!("a client asks for too many namespaces; its connection is closed");
        return false;
    }
    link.asks(name);
    match io.find(name) {
        Found::Over => {}
        Found::Refused(error) => refuse(link, name, &error),
        Found::Namespace(namespace) => {
            if let Some(entering) = Entering::begin(io, link, namespace, auth) {
                task::run("middleware", || Some(Box::pin(entering.run())), link.working());
            }
        }
        Found::Ask(patterns) => {
            let request = NamespaceRequest::new(name, auth, link.connection.clone());
            let deciding = Deciding::begin(io.clone(), link.clone(), request);
            let job = async move {
                if let Some(entering) = deciding.ask(&patterns).await {
                    entering.run().await;
                }
            };
            task::run("namespace pattern", || Some(Box::pin(job)), link.working());
        }
    }
    true
}

/// Patterns decide whether there is such a namespace for this client. Whatever ends that, a panic too, leaves nothing behind.
struct Deciding {
    io: Arc<IoInner>,
    link: Arc<Link>,
    request: NamespaceRequest,
    over: bool,
}

impl Deciding {
    fn begin(io: Arc<IoInner>, link: Arc<Link>, request: NamespaceRequest) -> Self {
        link.decide(request.shared_name().clone());
        Self { io, link, request, over: false }
    }

    async fn ask(mut self, patterns: &[Pattern]) -> Option<Entering> {
        let mut found = Found::Refused(ConnectError::new(INVALID));
        for pattern in patterns {
            if pattern.accepts(&self.request).await {
                found = self.io.enter_by(self.request.shared_name(), pattern);
                break;
            }
        }
        let entering = match &found {
            Found::Namespace(namespace) => {
                Entering::begin(&self.io, &self.link, namespace.clone(), self.request.auth_json())
            }
            _ => None,
        };
        // The socket is there by now, so that a second CONNECT meets either of the two.
        self.end();
        if let Found::Refused(error) = &found {
            refuse(&self.link, self.request.name(), error);
        }
        entering
    }

    fn end(&mut self) {
        self.over = true;
        self.link.decided(self.request.name());
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        if !self.over {
            self.end();
            refuse(&self.link, self.request.name(), &ConnectError::new(FAILED));
        }
    }
}

/// Node's word for a namespace that does not exist.
pub(crate) const INVALID: &str = "Invalid namespace";

/// What a client is told of a fault that is not its own.
const FAILED: &str = "Server error";

/// A socket that is not in its namespace yet. Whatever ends the way in, a panic too, leaves nothing behind.
struct Entering {
    io: Arc<IoInner>,
    /// Until it is in.
    socket: Option<Socket>,
}

impl Entering {
    /// `namespace` counts the socket already.
    fn begin(io: &Arc<IoInner>, link: &Arc<Link>, namespace: Namespace, auth: Option<&str>) -> Option<Self> {
        let Ok(id) = SocketId::random() else {
            namespace.left();
            refuse(link, namespace.name(), &ConnectError::new(FAILED));
            return None;
        };
        let socket = Socket::new(id, namespace, link.clone(), auth);
        if !link.admit(&socket) {
            socket.finish(DisconnectReason::Connection(CloseReason::TransportClose));
            return None;
        }
        Some(Self { io: io.clone(), socket: Some(socket) })
    }

    async fn run(mut self) {
        let Some(socket) = self.socket.clone() else { return };
        for middlewares in socket.namespace().middlewares().into_iter().flatten() {
            for middleware in &*middlewares {
                if let Err(error) = middleware(socket.clone()).await {
                    self.refuse(&error);
                    return;
                }
            }
        }
        let held = socket.0.link().hold(socket.namespace().shared_name());
        let welcome = Welcome { io: self.io.clone(), socket, held };
        match welcome.socket.enter() {
            // It was disconnected meanwhile, and the client told of it.
            Ok(false) => {}
            Ok(true) => {
                // From here on the socket ends by its own door.
                self.socket.take();
                welcome.begin();
            }
            Err(error) => {
                tracing::error!(%error, namespace = welcome.socket.namespace().name(), "the adapter refused a socket");
                self.refuse(&ConnectError::new(FAILED));
            }
        }
    }

    fn refuse(&mut self, error: &ConnectError) {
        if let Some(socket) = self.socket.take() {
            // Forgotten first: the client may ask again as soon as it is told.
            if socket.turn_away() {
                refuse(socket.0.link(), socket.namespace().name(), error);
            }
        }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        // Neither let in nor refused: a middleware panicked, or the runtime ends.
        self.refuse(&ConnectError::new(FAILED));
    }
}

/// A socket that steps into its namespace. Whatever ends the step, what the client sent meanwhile is handled then.
struct Welcome {
    io: Arc<IoInner>,
    socket: Socket,
    held: Held,
}

impl Drop for Welcome {
    fn drop(&mut self) {
        catch_up(&self.io, self.socket.0.link(), self.socket.namespace().name(), &self.held);
    }
}

impl Welcome {
    /// The socket is in its namespace, and the client was told: the connection handlers take their first steps.
    fn begin(&self) {
        let (socket, link) = (&self.socket, self.socket.0.link());
        link.joined();
        if !socket.begin_welcome() {
            return;
        }
        metrics::counter!("roomcast_sockets_connected_total").increment(1);
        for handlers in socket.namespace().connect_handlers().into_iter().flatten() {
            for handler in &*handlers {
                let (handler, socket) = (handler.clone(), socket.clone());
                let guard = (socket.greeted(), link.working());
                task::run("connection", move || Some(handler(socket)), guard);
            }
        }
    }
}

pub(crate) fn refuse(link: &Link, namespace: &str, error: &ConnectError) {
    if let Ok(packet) = Packet::connect_error(namespace, &error.to_json()) {
        link.connection.send(&Arc::new(packet)).wake();
    }
}

impl Socket {
    /// The one step into the namespace: the adapter takes the socket, its rooms and the answer to CONNECT, or nothing. `false`
    /// if the socket was disconnected meanwhile.
    fn enter(&self) -> Result<bool, roomcast_adapter::AdapterError> {
        let rooms = {
            let mut state = self.0.state.lock();
            let Phase::WayIn(way) = &mut state.phase else { return Ok(false) };
            way.stage = Stage::Entering;
            mem::take(&mut way.rooms)
        };
        let json = format!(r#"{{"sid":"{}"}}"#, self.id());
        let welcome = Arc::new(Packet::connect(self.namespace().name(), &json)?);
        self.namespace().adapter().insert(self.id(), self.0.clone(), &rooms, Some(&welcome))?;
        Ok(true)
    }

    /// From the adapter's step to the connection handlers. `false`: the server has disconnected the socket meanwhile, and it is
    /// out again.
    fn begin_welcome(&self) -> bool {
        let late_rooms = {
            let mut state = self.0.state.lock();
            let Phase::WayIn(way) = &mut state.phase else { return false };
            if way.stage == Stage::PutOut || self.namespace().is_closed() {
                drop(state);
                self.take_out_again();
                return false;
            }
            let rooms = mem::take(&mut way.rooms);
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
