//! [`Socket`]: a client in one namespace.

use crate::ack::Ack;
use crate::client::Link;
use crate::error::{AckError, EmitError};
use crate::handler::{BoxedDisconnect, BoxedEvent, EventHandler, EventName, Outcome, boxed_disconnect, boxed_event};
use crate::handshake_json::handshake_json;
use crate::namespace::Namespace;
use crate::operator::{BroadcastOperator, Rooms};
use crate::reason::DisconnectReason;
use crate::task;
use parking_lot::Mutex;
use roomcast_adapter::{AdapterError, Details, Joined, Recipient, Room, Target, Wakes};
use roomcast_engine::{Connection, Handshake, Sent, Transport};
use roomcast_protocol::{Args, ArgsRef, Packet, RESERVED_EVENTS, SocketId, ToArgs};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// What the application keeps with the socket, as JSON.
    data: Option<Box<str>>,
    /// Most sockets have none.
    own: Option<Box<OwnHandlers>>,
}

/// Handlers of one socket alone.
#[derive(Default)]
struct OwnHandlers {
    /// Few, so a list.
    events: Vec<(EventName, BoxedEvent)>,
    any: Option<BoxedEvent>,
    disconnecting: Vec<BoxedDisconnect>,
    disconnect: Vec<BoxedDisconnect>,
}

#[derive(Default)]
enum Phase {
    /// Middlewares run. Rooms that they join are kept until the socket is connected.
    #[default]
    Connecting,
    Joining(Vec<Room>),
    Connected,
    /// With the reason, if it ever was connected.
    Disconnected(Option<DisconnectReason>),
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
        serde_json::from_str(self.auth_json().unwrap_or("{}"))
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
            phase @ Phase::Connecting => {
                *phase = Phase::Joining(rooms);
                return Ok(Joined::confirmed());
            }
            Phase::Joining(before) => {
                before.extend(rooms);
                return Ok(Joined::confirmed());
            }
            Phase::Connected => {}
            Phase::Disconnected(_) => return Ok(Joined::confirmed()),
        }
        self.0.namespace.adapter().join(self.id(), &rooms)
    }

    /// Takes the socket out of a room. It never leaves the room of its own id.
    pub fn leave(&self, room: &str) {
        if let Phase::Joining(before) = &mut self.0.state.lock().phase {
            before.retain(|joined| **joined != *room);
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
        self.send(Packet::event(self.0.namespace.name(), None, &Args::event(event, data)?)?)
    }

    /// Emits an event that is dropped if the client's transport is not writable at once.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit_volatile<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_event(event)?;
        let packet = Packet::event(self.0.namespace.name(), None, &Args::event(event, data)?)?;
        self.send(packet.with_volatile(true))
    }

    /// Emits an event and waits for the client's answer, for as long as the server's `ack_timeout` (10 s by default).
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
        let target = Target::room(self.id()).local();
        let mut acked =
            self.0.namespace.adapter().emit_with_ack(&target, &data, timeout).await.map_err(EmitError::from)?;
        match acked.answers.pop() {
            Some(answer) => Ok(answer),
            None if started.elapsed() >= timeout => Err(AckError::Timeout),
            None => Err(AckError::Gone),
        }
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
                self.run_all(what, vec![handler], reason);
            }
            return;
        }
        list(state.own.get_or_insert_default()).push(handler);
    }

    // --- the end ---

    /// Takes the socket out of its namespace; with `close`, ends the client's whole connection, all its namespaces included.
    pub fn disconnect(&self, close: bool) {
        if close {
            for socket in self.0.link.sockets() {
                socket.disconnect_from_namespace();
            }
            self.connection().close();
        } else {
            self.disconnect_from_namespace();
        }
    }

    /// A socket that is still in a middleware is not told, as Node does not.
    fn disconnect_from_namespace(&self) {
        self.end(DisconnectReason::ServerNamespace, true);
    }

    /// The one door into the namespace, with the rooms that middlewares joined: `false` if the socket was disconnected
    /// meanwhile. Refused by the adapter, it is as it was.
    pub(crate) fn enter(&self) -> Result<bool, AdapterError> {
        // Under the state's lock, so that a disconnect at this moment comes before or after, never between.
        let mut state = self.0.state.lock();
        let rooms = match &state.phase {
            Phase::Connecting => &[][..],
            Phase::Joining(rooms) => rooms,
            Phase::Connected | Phase::Disconnected(_) => return Ok(false),
        };
        let adapter = self.0.namespace.adapter();
        adapter.insert(self.id(), self.0.clone())?;
        if !rooms.is_empty()
            && let Err(error) = adapter.join(self.id(), rooms)
        {
            adapter.remove(self.id());
            return Err(error);
        }
        state.phase = Phase::Connected;
        Ok(true)
    }

    /// The one door out: each socket passes it once, whatever ends it.
    pub(crate) fn finish(&self, reason: DisconnectReason) {
        self.end(reason, false);
    }

    fn end(&self, reason: DisconnectReason, tell: bool) {
        let (entered, own) = {
            let mut state = self.0.state.lock();
            let entered = match state.phase {
                Phase::Disconnected(_) => return,
                Phase::Connected => true,
                Phase::Connecting | Phase::Joining(_) => false,
            };
            // From here on the socket itself sends nothing, and no handler is added.
            state.phase = Phase::Disconnected(entered.then_some(reason));
            (entered, state.own.take())
        };
        let OwnHandlers { disconnecting, disconnect, .. } = own.map(|own| *own).unwrap_or_default();
        if entered {
            self.run_all("disconnecting", disconnecting, reason);
            // And from here on no broadcast reaches it.
            self.0.namespace.adapter().remove(self.id());
        }
        self.0.link.forget(self);
        if entered
            && tell
            && let Ok(packet) = Packet::disconnect(self.0.namespace.name())
        {
            // The last that the client hears of the socket. It may come back at once, so the socket is forgotten by now.
            self.connection().send(&Arc::new(packet)).wake();
        }
        self.0.namespace.left();
        if entered {
            self.run_all("disconnect", disconnect, reason);
        }
    }

    fn run_all(&self, what: &'static str, handlers: Vec<BoxedDisconnect>, reason: DisconnectReason) {
        for handler in handlers {
            let socket = self.clone();
            task::run(what, move || Some(handler(socket, reason)), ());
        }
    }

    // --- inside ---

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    pub(crate) fn send(&self, packet: Packet) -> Result<(), EmitError> {
        let packet = Arc::new(packet);
        let sent = {
            // A middleware may send, a socket that has left may not: it must come before or after the end, never behind it.
            let state = self.0.state.lock();
            if matches!(state.phase, Phase::Disconnected(_)) {
                return Err(EmitError::Disconnected);
            }
            self.connection().send(&packet)
        };
        match sent {
            Sent::Closed => Err(EmitError::Disconnected),
            sent => {
                sent.wake();
                Ok(())
            }
        }
    }

    /// Runs the handler of an event.
    pub(crate) fn dispatch(&self, name: &str, args: ArgsRef<'_>, id: Option<u64>) {
        let (own, any) = {
            let state = self.0.state.lock();
            if !matches!(state.phase, Phase::Connected) {
                return;
            }
            match &state.own {
                None => (None, None),
                Some(own) => match own.events.iter().find(|(event, _)| *event == name) {
                    Some((_, handler)) => (Some(handler.clone()), None),
                    None => (None, own.any.clone()),
                },
            }
        };
        let ack = Ack::new(self.clone(), id);
        if let Some(handler) = own.or_else(|| self.0.namespace.event_handler(name)) {
            self.start(&handler, args, ack);
        } else if let Some(handler) = any.or_else(|| self.0.namespace.any_handler()) {
            let Ok(named) = Args::event(name, &()) else { return };
            let items = if args.items.is_empty() {
                named.items().to_owned()
            } else {
                format!("{},{}", named.items(), args.items)
            };
            self.start(&handler, ArgsRef { items: &items, attachments: args.attachments }, ack);
        } else {
            metrics::counter!("roomcast_events_unhandled_total").increment(1);
            tracing::debug!(socket = %self.id(), event = ?name, "no handler for this event");
        }
    }

    fn start(&self, handler: &BoxedEvent, args: ArgsRef<'_>, ack: Ack) {
        let make = || match handler(self, args, ack) {
            Ok(job) => Some(job),
            Err(error) => {
                metrics::counter!("roomcast_events_malformed_total").increment(1);
                tracing::debug!(socket = %self.id(), %error, "an event was ignored");
                None
            }
        };
        task::run("event", make, self.0.link.working());
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
        if let Sent::Queued(Some(waker)) | Sent::Full(Some(waker)) = self.connection.send(packet) {
            wakes.push(waker);
        }
    }

    fn prefetch(&self) {
        self.connection.prefetch();
    }

    fn disconnect(&self, close: bool) {
        // Between the adapter's look and this call the socket may have left, and another taken its place.
        let socket = self.link.find(&self.namespace).filter(|socket| socket.id() == self.id);
        if let Some(socket) = socket {
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
