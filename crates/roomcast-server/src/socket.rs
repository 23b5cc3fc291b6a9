//! What an application does with a [`Socket`], and what the adapter does with it.

use crate::context::HandlerName;
use crate::disconnect;
use crate::error::{AckError, EmitError, check_event};
use crate::handler::{BoxedDisconnect, EventHandler, boxed_disconnect, boxed_event};
use crate::handshake_json::handshake_json;
use crate::link::EndedBy;
use crate::operator::BroadcastOperator;
use crate::outcome::Outcome;
use crate::parts::{OwnHandlers, Phase, Socket, SocketInner};
use crate::reason::DisconnectReason;
use crate::recovered::without_offset;
use crate::rooms::Rooms;
use crate::task;
use roomcast_adapter::{AdapterError, Details, Emit, Joined, Recipient, Room, Target, Wakes};
use roomcast_engine::{CloseReason, Delivery, Handshake, Outstanding, Transport, Turn};
use roomcast_protocol::{Args, Packet, ToArgs, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

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

    /// Keeps data with the socket. It is stored as JSON, because `fetch_sockets` shows it on every server.
    ///
    /// # Errors
    /// `data` cannot be written as JSON; the previous data stays.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), serde_json::Error> {
        let json = serde_json::to_string(data)?;
        self.0.state.lock().data = Some(json.into_boxed_str());
        Ok(())
    }

    /// The data kept with the socket, deserialized. If there is none, `{}` is deserialized.
    ///
    /// # Errors
    /// The data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data_json())
    }

    fn data_json(&self) -> String {
        self.0.state.lock().data.as_deref().unwrap_or("{}").to_owned()
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
                connecting.rooms.extend(rooms);
                return Ok(Joined::confirmed());
            }
            Phase::Connected => {}
            Phase::Disconnected(_) => return Ok(Joined::confirmed()),
        }
        self.0.namespace.adapter().join(self.id(), &rooms)
    }

    /// Leaves a room. A socket never leaves the room of its own id.
    pub fn leave(&self, room: &str) {
        match &mut self.0.state.lock().phase {
            Phase::Connecting(connecting) => connecting.rooms.retain(|joined| **joined != *room),
            Phase::Connected => {}
            // Another socket may continue the session, with the same id.
            Phase::Disconnected(_) => return,
        }
        self.0.namespace.adapter().leave(self.id(), room);
    }

    /// The rooms that the socket is in, including the room of its own id.
    pub fn rooms(&self) -> Vec<Room> {
        self.0.namespace.adapter().rooms_of(self.id())
    }

    // --- sending ---

    /// Emits an event to this client. Never waits: when this returns, the event is in the client's outbox.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_event(event)?;
        let data = Args::event(event, data)?;
        if self.0.namespace.0.recovers {
            return self.emit_recoverable(&data);
        }
        self.send(Packet::event(self.0.namespace.name(), None, &data)?).map(drop)
    }

    /// Emits an event that is dropped if the client's transport cannot take it at once. Returns [`Delivery::Dropped`] then, and
    /// [`Delivery::Queued`] otherwise.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit_volatile<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Delivery, EmitError> {
        check_event(event)?;
        let mut data = Args::event(event, data)?;
        if self.0.namespace.0.recovers {
            data = without_offset(&data).into_owned();
        }
        let packet = Packet::event(self.0.namespace.name(), None, &data)?;
        self.send(packet.with_volatile(true))
    }

    /// Emits an event and waits for the client's answer, at most for the server's `ack_timeout`, which defaults to 10 s.
    ///
    /// Answers are read by the task that also runs this client's handlers up to their first await. So a handler that blocks its
    /// thread until *its own* client answers waits in vain. And while as many handlers of one client run as
    /// [`Builder::max_handlers`](crate::Builder::max_handlers) allows, nothing is read from that client.
    ///
    /// Cancel safe: after the future is dropped, the answer is ignored when it comes.
    ///
    /// # Errors
    /// [`AckError`]: it was not sent, not answered in time, or the socket is gone.
    pub async fn emit_with_ack<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Args, AckError> {
        self.emit_with_ack_within(self.0.namespace.config().ack_timeout, event, data).await
    }

    /// As [`Socket::emit_with_ack`], with a timeout of its own.
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
        // This socket, and not others that joined the room of its id.
        let target = Target::socket(self.id()).local();
        let asked = self.0.namespace.adapter().emit_with_ack(&target, Emit::of(&data), timeout);
        let mut acked = task::answer(asked).await.map_err(EmitError::from)?;
        match acked.answers.pop() {
            Some(answer) => Ok(answer),
            None if started.elapsed() >= timeout => Err(AckError::Timeout),
            None => Err(AckError::Gone),
        }
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

    /// Chooses the sockets of a room or rooms, except this one.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Chooses all sockets of the namespace, except this one and those in the room or rooms.
    pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Chooses all sockets of the namespace, except this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.0.namespace.clone(), Some(self.id()))
    }

    // --- receiving ---

    /// Handles an event of this socket alone. It is called in place of the namespace's handler of the event
    /// ([`Namespace::on`](crate::Namespace::on)), and replaces an earlier one of this socket.
    pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Self, M>) {
        let event = event.into();
        let handler = boxed_event(Some(event.clone()), handler);
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

    /// Handles the events of this socket that have no other handler. The arguments then begin with the event's name.
    pub fn on_any<M>(&self, handler: impl EventHandler<Self, M>) {
        let mut state = self.0.state.lock();
        if !matches!(state.phase, Phase::Disconnected(_)) {
            state.own.get_or_insert_default().any = Some(boxed_event(None, handler));
        }
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

    pub(crate) fn send(&self, packet: Packet) -> Result<Delivery, EmitError> {
        let packet = Arc::new(packet);
        let sent = {
            // A middleware may send; a disconnected socket may not. The lock orders this before the end, so that nothing follows a DISCONNECT.
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
            data: self.state.lock().data.as_deref().unwrap_or("{}").to_owned(),
        }
    }
}
