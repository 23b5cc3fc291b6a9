//! [`Socket`]: a client in one namespace.

use crate::ends::{self, Leaving, Step};
use crate::error::{AckError, ConnectError, EmitError};
use crate::handler::{BoxedDisconnect, BoxedEvent, EventHandler, EventName, Outcome, boxed_disconnect, boxed_event};
use crate::handshake_json::handshake_json;
use crate::link::Link;
use crate::namespace::Namespace;
use crate::operator::{BroadcastOperator, Rooms};
use crate::reason::DisconnectReason;
use crate::task;
use crate::way_in::{self, Stage, WayIn};
use parking_lot::{Mutex, MutexGuard};
use roomcast_adapter::{AdapterError, Details, Emit, Joined, Recipient, Room, Target, Wakes};
use roomcast_engine::{CloseReason, Connection, Delivery, Handshake, Outstanding, Transport, Turn};
use roomcast_protocol::{Args, Packet, RESERVED_EVENTS, SocketId, ToArgs, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// A client in one namespace. Cloning it is cheap; all clones are the same socket.
#[derive(Clone)]
pub struct Socket(pub(crate) Arc<SocketInner>);

pub(crate) struct SocketInner {
    id: SocketId,
    /// Milliseconds from the session's first request to the CONNECT; they fit beside the id.
    since: u32,
    namespace: Namespace,
    /// That of `link`: a broadcast comes by for each recipient, and a step through memory costs more there than 8 bytes here.
    connection: Arc<Connection>,
    link: Arc<Link>,
    /// The auth payload of the client's CONNECT: a JSON object.
    auth: Option<Box<str>>,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// What the application keeps with the socket, as JSON.
    data: Option<Box<str>>,
    /// Most sockets have none.
    pub(crate) own: Option<Box<OwnHandlers>>,
    /// Connection handlers that have not ended.
    pub(crate) greeting: u32,
}

/// Handlers of one socket alone.
#[derive(Default)]
pub(crate) struct OwnHandlers {
    /// Few, so a list.
    pub(crate) events: Vec<(EventName, BoxedEvent)>,
    pub(crate) any: Option<BoxedEvent>,
    disconnecting: Vec<BoxedDisconnect>,
    disconnect: Vec<BoxedDisconnect>,
}

pub(crate) enum Phase {
    WayIn(Box<WayIn>),
    Connected,
    /// With the reason, if it ever was connected.
    Disconnected(Option<DisconnectReason>),
}

impl Default for Phase {
    fn default() -> Self {
        Self::WayIn(Box::default())
    }
}

impl State {
    /// Whether it is not decided yet that the socket may connect, so that the client has to wait.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(&self.phase, Phase::WayIn(way) if way.stage == Stage::Middlewares)
    }
}

/// Who ends a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The client, or its connection.
    Client,
    /// The application; the client is told.
    Server,
    /// The server that stops; the client is not told, as in Node.
    Shutdown,
}

/// A connection handler that has not ended.
pub(crate) struct Greeted(Socket);

impl Drop for Greeted {
    fn drop(&mut self) {
        self.0.0.state.lock().greeting -= 1;
    }
}

impl Socket {
    pub(crate) fn new(id: SocketId, namespace: Namespace, link: Arc<Link>, auth: Option<&str>) -> Self {
        let auth = auth.map(Box::from);
        let connection = link.connection.clone();
        let since = connection.handshake().time().elapsed().unwrap_or_default().as_millis();
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        Self(Arc::new(SocketInner { id, since, namespace, connection, link, auth, state: Mutex::default() }))
    }

    // --- who ---

    /// The socket's id: public, and the name of the room that it is always in.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The first request of its connection.
    pub fn handshake(&self) -> &Handshake {
        self.connection().handshake()
    }

    /// The auth payload of its CONNECT as JSON, if the client sent one.
    pub fn auth_json(&self) -> Option<&str> {
        self.0.auth.as_deref()
    }

    /// The auth payload, read into a type; without one, an empty object is read.
    ///
    /// # Errors
    /// The payload does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::from_str(self.auth_json().unwrap_or("{}"))
    }

    /// How the client is connected now.
    pub fn transport(&self) -> Transport {
        self.connection().transport()
    }

    /// Whether the socket is in its namespace.
    pub fn is_connected(&self) -> bool {
        matches!(self.0.state.lock().phase, Phase::Connected)
    }

    /// Keeps data with the socket. It is written as JSON, as `fetch_sockets` on any server tells it.
    ///
    /// # Errors
    /// `data` cannot be written as JSON; what was kept stays.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), serde_json::Error> {
        let json = serde_json::to_string(data)?;
        self.0.state.lock().data = Some(json.into_boxed_str());
        Ok(())
    }

    /// The data kept with the socket; an empty object if nothing was kept.
    ///
    /// # Errors
    /// The data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data_json())
    }

    fn data_json(&self) -> String {
        self.0.state.lock().data.as_deref().unwrap_or("{}").to_owned()
    }

    // --- rooms ---

    /// Puts the socket into a room or rooms, at once on this server; what is returned may be awaited for the cluster's
    /// confirmation. In a middleware it takes effect if the socket is accepted. A disconnected socket joins nothing.
    ///
    /// # Errors
    /// [`AdapterError`] at a limit: no room was joined.
    pub fn join(&self, rooms: impl Rooms) -> Result<Joined, AdapterError> {
        let rooms = rooms.into_vec();
        match &mut self.0.state.lock().phase {
            Phase::WayIn(way) => {
                way.rooms.extend(rooms);
                return Ok(Joined::confirmed());
            }
            Phase::Connected => {}
            Phase::Disconnected(_) => return Ok(Joined::confirmed()),
        }
        self.0.namespace.adapter().join(self.id(), &rooms)
    }

    /// Takes the socket out of a room. It never leaves the room of its own id.
    pub fn leave(&self, room: &str) {
        if let Phase::WayIn(way) = &mut self.0.state.lock().phase {
            way.rooms.retain(|joined| **joined != *room);
        }
        self.0.namespace.adapter().leave(self.id(), room);
    }

    /// The rooms that the socket is in, the one of its own id among them.
    pub fn rooms(&self) -> Vec<Room> {
        self.0.namespace.adapter().rooms_of(self.id())
    }

    // --- sending ---

    /// Emits an event to this client. Never waits: the event is in the client's outbox when this returns.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_event(event)?;
        self.send(Packet::event(self.0.namespace.name(), None, &Args::event(event, data)?)?).map(drop)
    }

    /// Emits an event that is dropped if the client's transport is not writable at once: then [`Delivery::Dropped`] is
    /// returned, otherwise [`Delivery::Queued`].
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit_volatile<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Delivery, EmitError> {
        check_event(event)?;
        let packet = Packet::event(self.0.namespace.name(), None, &Args::event(event, data)?)?;
        self.send(packet.with_volatile(true))
    }

    /// Emits an event and waits for the client's answer, for as long as the server's `ack_timeout` (10 s by default).
    ///
    /// The answer is read by the task that runs the first steps of this client's handlers: a handler that blocks its thread
    /// for an answer of *its own* client waits in vain (for another client's it does not). And while
    /// [`Builder::max_handlers`](crate::Builder::max_handlers) handlers of one client wait, nothing is read from it.
    ///
    /// Cancel safe: dropping the future gives the answer up.
    ///
    /// # Errors
    /// [`AckError`]: it was not sent, not answered in time, or the socket is gone.
    pub async fn emit_with_ack<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Args, AckError> {
        self.emit_with_ack_within(self.0.namespace.config().ack_timeout, event, data).await
    }

    /// As [`Socket::emit_with_ack`], with a time of its own.
    ///
    /// # Errors
    /// As [`Socket::emit_with_ack`].
    pub async fn emit_with_ack_within<T: ToArgs + ?Sized>(
        &self,
        timeout: Duration,
        event: &str,
        data: &T,
    ) -> Result<Args, AckError> {
        check_event(event)?;
        let data = Args::event(event, data).map_err(EmitError::from)?;
        if !self.is_connected() {
            return Err(AckError::Gone);
        }
        let started = tokio::time::Instant::now();
        // This socket, and not who else joined the room of its id.
        let target = Target::socket(self.id()).local();
        let asked = self.0.namespace.adapter().emit_with_ack(&target, Emit::of(&data), timeout);
        let mut acked = task::answer(asked).await.map_err(EmitError::from)?;
        match acked.answers.pop() {
            Some(answer) => Ok(answer),
            None if started.elapsed() >= timeout => Err(AckError::Timeout),
            None => Err(AckError::Gone),
        }
    }

    /// Resolves when less than half of the soft bound (1 MiB; [`Builder::max_outbox`](crate::Builder::max_outbox)) waits for
    /// this client, so that whoever has much to send can go at the client's pace. Bytes of all its namespaces count.
    ///
    /// Cancel safe: dropping the future gives up waiting, no more.
    ///
    /// # Errors
    /// [`EmitError::Disconnected`]: the connection has ended, before or meanwhile.
    pub async fn ready(&self) -> Result<(), EmitError> {
        if self.connection().ready().await { Ok(()) } else { Err(EmitError::Disconnected) }
    }

    /// What waits for this client, over all its namespaces.
    pub fn outstanding(&self) -> Outstanding {
        self.connection().outstanding()
    }

    /// Chooses the sockets of a room or rooms, this one left out.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Chooses all sockets of the namespace but this one and those in the room or rooms.
    pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Chooses all sockets of the namespace but this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.0.namespace.clone(), Some(self.id()))
    }

    // --- receiving ---

    /// Handles an event of this socket alone; it comes before the namespace's handler of that event
    /// ([`Namespace::on`]), and replaces an earlier one of the socket.
    pub fn on<M>(&self, event: impl Into<EventName>, handler: impl EventHandler<M>) {
        let (event, handler) = (event.into(), boxed_event(handler));
        let mut state = self.0.state.lock();
        if matches!(state.phase, Phase::Disconnected(_)) {
            return;
        }
        let events = &mut state.own.get_or_insert_default().events;
        match events.iter_mut().find(|(name, _)| *name == event) {
            Some((_, replaced)) => *replaced = handler,
            None => events.push((event, handler)),
        }
    }

    /// Removes the socket's own handler of an event.
    pub fn off(&self, event: &str) {
        if let Some(own) = &mut self.0.state.lock().own {
            own.events.retain(|(name, _)| *name != event);
        }
    }

    /// Handles the socket's events that no other handler takes. The arguments then begin with the event's name.
    pub fn on_any<M>(&self, handler: impl EventHandler<M>) {
        let mut state = self.0.state.lock();
        if !matches!(state.phase, Phase::Disconnected(_)) {
            state.own.get_or_insert_default().any = Some(boxed_event(handler));
        }
    }

    /// Called once when the socket has left its namespace, and its rooms with it; at once if it has left already, so that
    /// whoever saw a connect sees its disconnect. Several handlers may be given.
    pub fn on_disconnect<Fut, O>(&self, handler: impl FnOnce(Socket, DisconnectReason) -> Fut + Send + 'static)
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.at_the_end("disconnect", boxed_disconnect(handler), |own| &mut own.disconnect);
    }

    /// As [`Socket::on_disconnect`], but up to its first wait the handler still sees the socket's rooms, unless the socket has
    /// left already.
    pub fn on_disconnecting<Fut, O>(&self, handler: impl FnOnce(Socket, DisconnectReason) -> Fut + Send + 'static)
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.at_the_end("disconnecting", boxed_disconnect(handler), |own| &mut own.disconnecting);
    }

    fn at_the_end(
        &self,
        what: &'static str,
        handler: BoxedDisconnect,
        list: fn(&mut OwnHandlers) -> &mut Vec<BoxedDisconnect>,
    ) {
        let mut state = self.0.state.lock();
        if let Phase::Disconnected(reason) = state.phase {
            drop(state);
            if let Some(reason) = reason {
                ends::run_all(what, vec![handler], self, reason);
            }
            return;
        }
        list(state.own.get_or_insert_default()).push(handler);
    }

    // --- the end ---

    /// Takes the socket out of its namespace; with `close`, ends the client's whole connection, all its namespaces included.
    ///
    /// In a middleware it refuses the socket: the client gets a CONNECT_ERROR, "server namespace disconnect". From a handler
    /// of another socket's end it takes effect when that handler has taken its first steps.
    pub fn disconnect(&self, close: bool) {
        if close {
            for socket in self.0.link.sockets() {
                socket.end(DisconnectReason::ServerNamespace, By::Server);
            }
            ends::take([Step::Close(self.connection().clone())]);
        } else {
            self.end(DisconnectReason::ServerNamespace, By::Server);
        }
    }

    /// The client has left, or its connection has ended. Each socket ends once, whatever ends it.
    pub(crate) fn finish(&self, reason: DisconnectReason) {
        self.end(reason, By::Client);
    }

    fn end(&self, reason: DisconnectReason, by: By) {
        let mut state = self.0.state.lock();
        match &mut state.phase {
            Phase::Disconnected(_) => {}
            Phase::Connected => self.end_connected(state, reason, by),
            Phase::WayIn(way) if way.stage != Stage::Middlewares => way.stage = Stage::PutOut,
            Phase::WayIn(_) => {
                drop(state);
                if self.turn_away() && by == By::Server {
                    let error = ConnectError::new(reason.as_str());
                    way_in::refuse(&self.0.link, self.0.namespace.name(), &error);
                }
            }
        }
    }

    fn end_connected(&self, mut state: MutexGuard<'_, State>, reason: DisconnectReason, by: By) {
        // From here on the socket itself sends nothing, and no handler is added.
        state.phase = Phase::Disconnected(Some(reason));
        let own = state.own.take();
        drop(state);
        let OwnHandlers { disconnecting, disconnect, .. } = own.map(|own| *own).unwrap_or_default();
        let socket = self.clone();
        ends::take([Step::Leave(Leaving { socket, reason, disconnecting, disconnect, by })]);
    }

    /// Ends a socket that was never connected; `false` if it had ended already.
    pub(crate) fn turn_away(&self) -> bool {
        let away = self.leave_the_way();
        if away {
            ends::depart(self, By::Client);
        }
        away
    }

    /// The server has disconnected the socket while it was taken in: it goes again, unseen by handlers.
    pub(crate) fn take_out_again(&self) {
        if self.leave_the_way() {
            ends::depart(self, if self.0.namespace.is_stopping() { By::Shutdown } else { By::Server });
        }
    }

    fn leave_the_way(&self) -> bool {
        let mut state = self.0.state.lock();
        let Phase::WayIn(way) = &state.phase else { return false };
        let entered = way.stage != Stage::Middlewares;
        let before = mem::replace(&mut state.phase, Phase::Disconnected(None));
        let own = state.own.take();
        drop(state);
        drop((before, own));
        if entered {
            self.0.namespace.adapter().remove(self.id());
        }
        true
    }

    // --- inside ---

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    pub(crate) fn send(&self, packet: Packet) -> Result<Delivery, EmitError> {
        let packet = Arc::new(packet);
        let sent = {
            // A middleware may send, a socket that has left may not: it must come before or after the end, never behind it.
            let state = self.0.state.lock();
            if matches!(state.phase, Phase::Disconnected(_)) {
                return Err(EmitError::Disconnected);
            }
            self.connection().send(&packet)
        };
        match sent.wake() {
            Delivery::Closed => Err(EmitError::Disconnected),
            Delivery::Overflowed => Err(EmitError::SlowConsumer),
            delivery => Ok(delivery),
        }
    }

    /// A connection handler begins.
    pub(crate) fn greeted(&self) -> Greeted {
        self.0.state.lock().greeting += 1;
        Greeted(self.clone())
    }
}

/// The library's own names cannot be emitted.
pub(crate) fn check_event(event: &str) -> Result<(), EmitError> {
    if RESERVED_EVENTS.contains(&event) { Err(EmitError::ReservedEvent(event.to_owned())) } else { Ok(()) }
}

impl SocketInner {
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Recipient for SocketInner {
    fn deliver(&self, packet: &Arc<Packet>, wakes: &mut Wakes) {
        if let (_, Some(waker)) = self.connection.send(packet).split() {
            wakes.push_within(waker, Turn::around);
        }
    }

    fn prefetch(&self) {
        self.connection.prefetch();
    }

    fn disconnect(&self, close: bool) {
        // Between the adapter's look and this call the socket may have left, and another taken its place.
        let Some(socket) = self.link.find(&self.namespace).filter(|socket| socket.id() == self.id) else { return };
        if self.namespace.is_stopping() {
            socket.end(DisconnectReason::Connection(CloseReason::ServerShutdown), By::Shutdown);
        } else {
            socket.disconnect(close);
        }
    }

    fn details(&self) -> Details {
        Details {
            handshake: handshake_json(self.connection.handshake(), self.since, self.auth.as_deref()),
            data: self.state.lock().data.as_deref().unwrap_or("{}").to_owned(),
        }
    }
}

impl fmt::Debug for SocketInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("namespace", &self.namespace.name()).finish()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Socket {}
