//! What an application does with a [`Socket`], and what the adapter does with it.

use crate::absent::Absent;
use crate::context::HandlerName;
use crate::disconnect;
use crate::error::{AckError, EmitError};
use crate::handler::{BoxedDisconnect, EventHandler, boxed_disconnect, boxed_event};
use crate::handshake_json::handshake_json;
use crate::link::EndedBy;
use crate::listener_id::ListenerId;
use crate::listeners::{Every, How, OwnEvents, Removed};
use crate::operator::BroadcastOperator;
use crate::outcome::Outcome;
use crate::outgoing::Observed;
use crate::parts::{OwnHandlers, Phase, Socket, SocketInner};
use crate::reason::DisconnectReason;
use crate::rooms::Rooms;
use crate::socket_operator::SocketOperator;
use roomcast_adapter::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use roomcast_adapter::{AdapterError, Details, Joined, Recipient, Room, Wakes};
use roomcast_engine::{CloseReason, Delivery, Handshake, Outstanding, Transport, Turn};
use roomcast_protocol::{Args, Packet, SocketId, ToArgs, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

impl Socket {
    // --- its client ---

    /// The HTTP request that opened its client's connection.
    pub fn handshake(&self) -> &Handshake {
        self.connection().handshake()
    }

    /// The auth payload of the client's CONNECT as JSON, if it sent one.
    pub fn auth_json(&self) -> Option<&str> {
        self.0.auth.as_deref()
    }

    /// The auth payload, deserialized. If the client sent none, `{}` is deserialized.
    ///
    /// # Errors
    /// The payload does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::from_str(self.auth_json().unwrap_or("{}"))
    }

    /// The transport that the client uses now.
    pub fn transport(&self) -> Transport {
        self.connection().transport()
    }

    /// Whether the socket is in its namespace: accepted, and not disconnected.
    pub fn is_connected(&self) -> bool {
        matches!(self.0.state.lock().phase, Phase::Connected)
    }

    /// Keeps data with the socket. It is stored as JSON, because `fetch_sockets` shows it on every server. For values of this server
    /// alone, such as a channel or the user that a middleware found, there is [`Socket::insert`].
    ///
    /// # Errors
    /// `data` cannot be written as JSON; the previous data stays.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), serde_json::Error> {
        let json = serde_json::to_string(data)?;
        self.0.state.lock().kept.get_or_insert_default().data = Some(json.into_boxed_str());
        Ok(())
    }

    /// The data kept with the socket, deserialized. If there is none, an `Option` is `None`, and for other types `{}` is deserialized.
    ///
    /// # Errors
    /// The data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self.own_data() {
            Some(data) => json::from_str(&data),
            None => T::deserialize(Absent),
        }
    }

    fn own_data(&self) -> Option<String> {
        self.0.state.lock().kept.as_ref()?.data.as_deref().map(str::to_owned)
    }

    /// Keeps a value with the socket, on this server only, one for each type. A second one replaces the first, which is returned. Handlers
    /// take it as [`Extension<T>`](crate::Extension). It is kept until the last clone of the socket is dropped, so that handlers of the
    /// disconnect have it too. A socket that is recovered ([`Builder::recovery`](crate::Builder::recovery)) has the values of the one
    /// before. No lock is held while a value is cloned or dropped, so its `Clone` and `Drop` may use the socket.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, value: T) -> Option<T> {
        let before = self.0.state.lock().kept.get_or_insert_default().extensions.insert(Arc::new(value));
        before.map(Arc::unwrap_or_clone)
    }

    /// A clone of the value of this type: what [`Socket::insert`] kept, or else what a layer in front of the server put into the extensions
    /// of the request that opened the connection, if the server keeps it ([`Builder::keep_extension`](crate::Builder::keep_extension)).
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let own = self.0.state.lock().kept.as_ref().and_then(|kept| kept.extensions.get::<Arc<T>>().cloned());
        own.map(Arc::unwrap_or_clone).or_else(|| self.connection().extension())
    }

    /// Removes the value of this type that [`Socket::insert`] kept, and returns it.
    pub fn remove<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let kept = self.0.state.lock().kept.as_mut()?.extensions.remove::<Arc<T>>();
        kept.map(Arc::unwrap_or_clone)
    }

    /// Names the user of this client, so that all connections of the user share the rates of users
    /// ([`RateLimits::user_events`](crate::RateLimits::user_events)). Call it where the user is known, such as in a middleware. It
    /// applies from the client's next packet on, to its whole connection with all namespaces, until another key is set; an empty key
    /// stands for no user. Without a key, and where no rate of users is set, users limit nothing.
    pub fn set_user(&self, key: &str) {
        if let Some(rates) = &self.link().rates {
            rates.set_user(key);
        }
    }

    // --- rooms ---

    /// Joins a room or rooms. On this server the join applies at once; await the result to know that the other servers' messages to
    /// the room arrive too. In a middleware the join applies when the socket is accepted. A disconnected socket joins nothing.
    ///
    /// # Errors
    /// [`AdapterError`] at a limit: no room was joined.
    pub fn join(&self, rooms: impl Rooms) -> Result<Joined, AdapterError> {
        let rooms = rooms.into_vec();
        match &mut self.0.state.lock().phase {
            Phase::Connecting(connecting) => {
                check_rooms(self.id(), &connecting.rooms, &rooms)?;
                connecting.left.retain(|left| !rooms.contains(left));
                connecting.rooms.extend(rooms);
                return Ok(Joined::confirmed());
            }
            Phase::Connected => {}
            Phase::Disconnected(_) => return Ok(Joined::confirmed()),
        }
        self.0.namespace.adapter().join(self.id(), &rooms)
    }

    /// Leaves a room. A socket never leaves the room of its own id. In a middleware it also leaves a room of the session that it
    /// continues; its client still gets what it missed in that room.
    pub fn leave(&self, room: &str) {
        match &mut self.0.state.lock().phase {
            Phase::Connecting(connecting) => {
                connecting.rooms.retain(|joined| **joined != *room);
                if !connecting.left.iter().any(|left| **left == *room) {
                    connecting.left.push(room.into());
                }
            }
            Phase::Connected => {}
            // Another socket may continue the session, with the same id.
            Phase::Disconnected(_) => return,
        }
        self.0.namespace.adapter().leave(self.id(), room);
    }

    /// The rooms that the socket is in, including the room of its own id. In a middleware, and after the socket has left, there are none.
    pub fn rooms(&self) -> Vec<Room> {
        self.0.namespace.adapter().rooms_of(self.id())
    }

    // --- sending ---

    /// Emits an event to this client. Never waits: when this returns, the event is in the client's outbox.
    ///
    /// `data` is whatever serializes, by value or by reference; a tuple is several arguments, `()` is none.
    ///
    /// ```
    /// # use roomcast_server::{EmitError, Socket};
    /// # fn run(socket: Socket) -> Result<(), EmitError> {
    /// socket.emit("hello", "world")?;
    /// socket.emit("position", (3, 4))?;
    /// socket.emit("refresh", ())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        SocketOperator::new(self.clone()).emit(event, data).map(drop)
    }

    /// Emits the event "message", as Node's `send`.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn send(&self, data: impl ToArgs) -> Result<(), EmitError> {
        self.emit("message", data)
    }

    /// Emits an event and waits for the client's answer, at most for the server's `ack_timeout`, which defaults to 10 s.
    /// [`Socket::timeout`] sets another time.
    ///
    /// Answers are read by the task that also runs this client's handlers up to their first await. So do not block the thread in a
    /// handler until *its own* client answers: that waits in vain. Nothing is read from a client either while as many of its handlers
    /// run as [`Builder::max_handlers`](crate::Builder::max_handlers) allows.
    ///
    /// Cancel safe: after the future is dropped, the answer is ignored when it comes.
    ///
    /// ```
    /// # use roomcast_server::Socket;
    /// # async fn run(socket: Socket) -> Result<(), Box<dyn std::error::Error>> {
    /// let answer = socket.emit_with_ack("which colour?", ()).await?;
    /// let colour: String = answer.parse()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AckError`]: it was not sent, not answered in time, or the socket is gone. In a middleware the client cannot be asked yet, and the
    /// error is [`AckError::Gone`].
    pub async fn emit_with_ack(&self, event: &str, data: impl ToArgs) -> Result<Args, AckError> {
        SocketOperator::new(self.clone()).emit_with_ack(event, data).await
    }

    /// Resolves when less than half of the outbox's soft bound (1 MiB by default,
    /// [`Builder::max_outbox`](crate::Builder::max_outbox)) waits for this client. Await it between events to send much data at the
    /// client's pace. The bytes of all its namespaces count.
    ///
    /// Cancel safe: dropping the future changes nothing.
    ///
    /// # Errors
    /// [`EmitError::Disconnected`]: the connection has ended.
    pub async fn ready(&self) -> Result<(), EmitError> {
        if self.connection().ready().await { Ok(()) } else { Err(EmitError::Disconnected) }
    }

    /// The packets and bytes that wait for this client, in all its namespaces.
    pub fn outstanding(&self) -> Outstanding {
        self.connection().outstanding()
    }

    /// Chooses the sockets of a room or rooms, except this one. An empty list is nobody.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Chooses all sockets of the namespace, except this one and those in the room or rooms.
    pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Chooses all sockets of the namespace on this server, except this one.
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }

    /// Chooses all sockets of the namespace, except this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.0.namespace.clone(), Some(self.id()))
    }

    // --- receiving ---

    /// Handles an event of this socket, after the handlers that its namespace has for the event ([`Namespace::on`]). An event may have
    /// several handlers; they begin in the order given. Returns what [`Socket::remove_listener`] takes.
    ///
    /// [`Namespace::on`]: crate::Namespace::on
    pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add(event.into(), handler, How::Last)
    }

    /// As [`Socket::on`], for the next such event only.
    pub fn once<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add(event.into(), handler, How::Once)
    }

    /// Removes the handlers that the socket itself has for an event.
    pub fn off(&self, event: &str) {
        self.remove_events(|events| events.remove(event));
    }

    /// Removes one handler, whatever it is for. `false` if it is gone already.
    pub fn remove_listener(&self, listener: ListenerId) -> bool {
        self.remove_events(|events| events.remove_one(listener))
    }

    /// Sees every event of this socket before its handlers do, also those that have none. The arguments begin with the event's name.
    /// It cannot answer, and several may be given. As Node's `onAny`.
    pub fn on_any<M>(&self, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add_every(Every::Observer, handler, How::Last)
    }

    /// As [`Socket::on_any`], before those that were given already.
    pub fn prepend_any<M>(&self, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add_every(Every::Observer, handler, How::First)
    }

    /// Removes all that [`Socket::on_any`] and [`Socket::prepend_any`] were given.
    pub fn off_any(&self) {
        self.remove_events(OwnEvents::remove_observers);
    }

    /// Handles the events of this socket that have no handler. The arguments then begin with the event's name. A second one replaces the
    /// first, and this one replaces the namespace's.
    pub fn on_fallback<M>(&self, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add_every(Every::Fallback, handler, How::Last)
    }

    /// Decides which events of this socket reach their handlers, after the middlewares of its namespace
    /// ([`Namespace::event_middleware`](crate::Namespace::event_middleware)). As Node's `socket.use`.
    pub fn event_middleware<M>(&self, middleware: impl EventHandler<Self, M>) -> ListenerId {
        self.add_every(Every::Middleware, middleware, How::Last)
    }

    fn add<M>(&self, event: HandlerName, handler: impl EventHandler<Self, M>, how: How) -> ListenerId {
        let handler = boxed_event(Some(event.clone()), handler);
        self.change_events(|events| (events.add(event, handler, how), Removed::default()))
    }

    fn add_every<M>(&self, every: Every, handler: impl EventHandler<Self, M>, how: How) -> ListenerId {
        let handler = boxed_event(None, handler);
        self.change_events(|events| events.add_every(every, handler, how))
    }

    /// A disconnected socket takes no more handlers.
    fn change_events(&self, change: impl FnOnce(&mut OwnEvents<Self>) -> (ListenerId, Removed<Self>)) -> ListenerId {
        let (listener, replaced) = {
            let mut state = self.0.state.lock();
            if matches!(state.phase, Phase::Disconnected(_)) {
                return ListenerId::default();
            }
            change(&mut state.own.get_or_insert_default().events)
        };
        drop(replaced);
        listener
    }

    /// Whether there was anything to remove.
    pub(crate) fn remove_events(&self, remove: impl FnOnce(&mut OwnEvents<Self>) -> Removed<Self>) -> bool {
        let removed = self.0.state.lock().own.as_mut().map(|own| remove(&mut own.events)).unwrap_or_default();
        !removed.is_empty()
    }

    /// Called once, after the socket has left its namespace and its rooms. If it has left already, the handler is called at once, so
    /// that every connect is followed by a disconnect. Several handlers may be given.
    pub fn on_disconnect<Fut, O>(&self, handler: impl FnOnce(Socket, DisconnectReason) -> Fut + Send + 'static)
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.add_disconnect_handler("disconnect", boxed_disconnect(handler), |own| &mut own.disconnect);
    }

    /// As [`Socket::on_disconnect`], but called before the socket leaves its rooms: up to its first await the handler still sees
    /// them, unless the socket had left before the handler was given.
    pub fn on_disconnecting<Fut, O>(&self, handler: impl FnOnce(Socket, DisconnectReason) -> Fut + Send + 'static)
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.add_disconnect_handler("disconnecting", boxed_disconnect(handler), |own| &mut own.disconnecting);
    }

    fn add_disconnect_handler(
        &self,
        what: &'static str,
        handler: BoxedDisconnect<Socket>,
        list: fn(&mut OwnHandlers) -> &mut Vec<BoxedDisconnect<Socket>>,
    ) {
        let mut state = self.0.state.lock();
        if let Phase::Disconnected(reason) = state.phase {
            drop(state);
            if let Some(reason) = reason {
                disconnect::run_handlers(what, vec![handler], self, reason);
            }
            return;
        }
        list(state.own.get_or_insert_default()).push(handler);
    }

    // --- inside ---

    /// What an adapter calls a recipient, if it is a socket.
    pub(crate) fn of_recipient(recipient: Arc<dyn Recipient>) -> Option<Self> {
        let recipient: Arc<dyn Any + Send + Sync> = recipient;
        match recipient.downcast::<SocketInner>() {
            Ok(inner) => Some(Self(inner)),
            Err(other) => other.downcast::<Observed>().ok().map(|observed| Self(observed.0.clone())),
        }
    }

    pub(crate) fn send_packet(&self, packet: Packet) -> Result<Delivery, EmitError> {
        let packet = Arc::new(packet);
        let (sent, observed) = {
            // A middleware may send; a disconnected socket may not. The lock orders this before the end, so that nothing follows a DISCONNECT.
            let state = self.0.state.lock();
            if matches!(state.phase, Phase::Disconnected(_)) {
                return Err(EmitError::Disconnected);
            }
            (self.connection().send(&packet), state.observed)
        };
        let delivery = sent.wake();
        if observed {
            self.show_outgoing(&packet);
        }
        match delivery {
            Delivery::Closed => Err(EmitError::Disconnected),
            Delivery::Overflowed => Err(EmitError::SlowConsumer),
            delivery => Ok(delivery),
        }
    }
}

/// Refuses what every adapter refuses. A connecting socket asks for its rooms when it enters, and a refusal then would be one of the socket.
fn check_rooms(id: SocketId, asked: &[Room], rooms: &[Room]) -> Result<(), AdapterError> {
    if let Some(room) = rooms.iter().find(|room| room.len() > MAX_ROOM_BYTES) {
        return Err(AdapterError::RoomName(room.len()));
    }
    if asked.len().saturating_add(rooms.len()) > MAX_ROOMS_PER_SOCKET {
        // Each name counts once, and the socket's own room not at all.
        let names: HashSet<&Room> = asked.iter().chain(rooms).filter(|room| room[..] != *id.as_str()).collect();
        if names.len() > MAX_ROOMS_PER_SOCKET {
            return Err(AdapterError::TooManyRooms);
        }
    }
    Ok(())
}

impl SocketInner {
    pub(crate) fn data_json(&self) -> String {
        let state = self.state.lock();
        state.kept.as_ref().and_then(|kept| kept.data.as_deref()).unwrap_or("{}").to_owned()
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
        // Since the adapter looked, this socket may have left, and another one of its client may have taken its place.
        let found = self.link.named(self.namespace.name()).filter(|socket| socket.id() == self.id);
        let Some(socket) = found else { return };
        if self.namespace.0.lifetime.is_closed() {
            socket.end(DisconnectReason::Connection(CloseReason::ServerShutdown), EndedBy::Shutdown);
        } else {
            socket.disconnect(close);
        }
    }

    fn supersede(&self) {
        let found = self.link.named(self.namespace.name()).filter(|socket| socket.id() == self.id);
        // While it enters, it cannot be kept. Who waits for it looks again.
        let Some(socket) = found.filter(Socket::is_connected) else { return };
        tracing::debug!(socket = %self.id, namespace = self.namespace.name(), "its client has come back over another connection");
        metrics::counter!("roomcast_recovery_superseded_total").increment(1);
        socket.finish(DisconnectReason::Connection(CloseReason::TransportClose));
        // The client has left this connection with all its namespaces.
        self.connection.close_as(CloseReason::TransportClose);
    }

    fn details(&self) -> Details {
        Details {
            handshake: handshake_json(self.connection.handshake(), self.since, self.auth.as_deref()),
            data: self.data_json(),
        }
    }
}
