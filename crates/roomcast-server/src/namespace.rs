//! What an application does with a [`Namespace`], and with all [`Namespaces`] of a pattern.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::context::{HandlerContext, HandlerName};
use crate::error::{ConnectError, EmitError, check_event, check_server_event};
use crate::handler::{EventHandler, boxed_connect, boxed_event, boxed_middleware, boxed_told};
use crate::listeners::{EventTable, Found};
use crate::operator::BroadcastOperator;
use crate::outcome::Outcome;
use crate::parts::{Handlers, Namespace, Socket};
use crate::reason::DisconnectReason;
use parking_lot::RwLock;
use roomcast_adapter::{Answer, Room, RoomEvent};
use roomcast_protocol::{Args, ToArgs};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

impl Handlers {
    fn add_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        Arc::make_mut(&mut self.connect.write()).push(boxed_connect("connection", handler));
    }

    fn add_middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        Arc::make_mut(&mut self.middlewares.write()).push(boxed_middleware(middleware));
    }

    fn add<M>(&self, event: HandlerName, handler: impl EventHandler<Socket, M>) {
        self.events.write().add(event.clone(), boxed_event(Some(event), handler));
    }

    fn add_server_event<M>(&self, event: HandlerName, handler: impl EventHandler<Namespace, M>) {
        self.server_events.write().add(event.clone(), boxed_event(Some(event), handler));
    }
}

/// Removes or replaces handlers, of this event or of all. They are dropped after the lock: they hold values of the application, whose
/// `Drop` may use the namespace.
fn change<C: HandlerContext>(table: &RwLock<EventTable<C>>, event: &str, change: impl FnOnce(&mut EventTable<C>)) {
    let mut held = Found::default();
    let mut table = table.write();
    table.find(event, &mut held);
    change(&mut table);
    drop(table);
    drop(held);
}

/// Handlers of events, connections and ends, for a namespace and for all namespaces of a pattern.
macro_rules! handlers {
    ($type:ty, $of:literal) => {
        /// Handlers. Each may be given several times; they begin in the order given.
        impl $type {
            #[doc = concat!("Called for each socket that has connected", $of, ".")]
            pub fn on_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
            where
                Fut: Future<Output = O> + Send + 'static,
                O: Outcome,
            {
                self.handlers().add_connection(handler);
                self
            }

            #[doc = concat!("Decides which sockets may connect", $of, ".")]
            /// Middlewares run one after another in the order given, those of a pattern before a namespace's own. The first error
            /// refuses the client, which gets it as CONNECT_ERROR, and no further middleware runs. What a middleware emits to the socket
            /// is sent before the answer to its CONNECT. Rooms that it joins are joined if the socket is accepted.
            pub fn middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
            where
                Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
            {
                self.handlers().add_middleware(middleware);
                self
            }

            #[doc = concat!("Handles an event of every socket", $of, ", at no cost per socket.")]
            /// An event may have several handlers: those of a pattern begin first, then the namespace's, then the socket's own.
            ///
            /// ```
            /// # use roomcast_server::{Socket, SocketIo};
            /// # let io = SocketIo::builder().build();
            /// io.of("/").on("add", |(a, b): (i64, i64)| a.checked_add(b).ok_or("too large"));
            /// io.of("/").on("chat", |socket: Socket, text: String| async move { socket.broadcast().emit("chat", text) });
            /// ```
            pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Socket, M>) -> &Self {
                self.handlers().add(event.into(), handler);
                self
            }

            #[doc = concat!("Removes the handlers that [`on`](Self::on) gave to an event", $of, ".")]
            pub fn off(&self, event: &str) -> &Self {
                change(&self.handlers().events, event, |events| events.remove(event));
                self
            }

            #[doc = concat!("Sees every event of every socket", $of, ", before the handlers and also where there are none.")]
            /// The arguments begin with the event's name. It cannot answer.
            pub fn on_any<M>(&self, handler: impl EventHandler<Socket, M>) -> &Self {
                self.handlers().events.write().observe(boxed_event(None, handler));
                self
            }

            /// As [`on_any`](Self::on_any), before those that were given already.
            pub fn prepend_any<M>(&self, handler: impl EventHandler<Socket, M>) -> &Self {
                self.handlers().events.write().observe_first(boxed_event(None, handler));
                self
            }

            /// Removes all that [`on_any`](Self::on_any) and [`prepend_any`](Self::prepend_any) were given.
            pub fn off_any(&self) -> &Self {
                change(&self.handlers().events, "", EventTable::observe_no_more);
                self
            }

            #[doc = concat!("Handles the events", $of, " that have no handler.")]
            /// The arguments then begin with the event's name. A second one replaces the first. That of a socket takes the place of its
            /// namespace's, and that of a namespace the place of its pattern's.
            pub fn on_fallback<M>(&self, handler: impl EventHandler<Socket, M>) -> &Self {
                let handler = boxed_event(None, handler);
                change(&self.handlers().events, "", |events| events.set_fallback(handler));
                self
            }

            #[doc = concat!("Decides which events", $of, " reach their handlers.")]
            /// It takes what handlers take; the arguments begin with the event's name. If it returns an error, the event is not handled,
            /// and the client is answered as if a handler had returned that error. Middlewares run one after another, those of sockets
            /// last. While one awaits, later events may overtake, unless the server is [`ordered`](crate::Builder::ordered).
            ///
            /// ```
            /// # use roomcast_server::{EventName, Socket, SocketIo};
            /// # let io = SocketIo::builder().build();
            /// io.of("/").event_middleware(|socket: Socket, EventName(event): EventName| async move {
            ///     if event.starts_with("admin:") && !socket.rooms().contains(&"admins".into()) {
            ///         return Err("forbidden");
            ///     }
            ///     Ok(())
            /// });
            /// ```
            pub fn event_middleware<M>(&self, middleware: impl EventHandler<Socket, M>) -> &Self {
                self.handlers().events.write().add_middleware(boxed_event(None, middleware));
                self
            }

            #[doc = concat!("Called for each socket that has left", $of, ", after it has left its rooms.")]
            /// It runs before those that the socket itself has ([`Socket::on_disconnect`]).
            pub fn on_disconnect<Fut, O>(
                &self,
                handler: impl Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
            ) -> &Self
            where
                Fut: Future<Output = O> + Send + 'static,
                O: Outcome,
            {
                self.handlers().disconnect.write().push(boxed_told("disconnect", handler));
                self
            }

            #[doc = concat!("As [`on_disconnect`](Self::on_disconnect), while the socket is still in its rooms.")]
            pub fn on_disconnecting<Fut, O>(
                &self,
                handler: impl Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
            ) -> &Self
            where
                Fut: Future<Output = O> + Send + 'static,
                O: Outcome,
            {
                self.handlers().disconnecting.write().push(boxed_told("disconnect", handler));
                self
            }

            #[doc = concat!("Called for each socket", $of, " whose session goes on over a WebSocket, after it began by polling.")]
            /// As the event "upgrade" of Node's `socket.conn`. [`Socket::transport`] says how a socket is connected.
            pub fn on_upgrade<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
            where
                Fut: Future<Output = O> + Send + 'static,
                O: Outcome,
            {
                self.handlers().upgrade.write().push(boxed_connect("upgrade", handler));
                self
            }

            #[doc = concat!("Called when a room", $of, " is created, joined, left or deleted on this server.")]
            /// As the events "create-room", "join-room", "leave-room" and "delete-room" of Node's adapter, so that something can be begun
            /// for the first member of a room and ended after the last. The rooms named after socket ids are not told, nor what happens
            /// on other servers.
            ///
            /// Up to its first await a handler runs on the thread that changed the room, before `join` or `leave` returns, unless
            /// another thread is telling of its changes at that moment: then that thread tells of this one too, so that the order is
            /// that of the changes. After an await, handlers of several events run side by side. A handler that blocks its thread
            /// lets the others wait, at most [`MAX_ROOM_EVENTS`](roomcast_adapter::limits::MAX_ROOM_EVENTS); further ones become one
            /// [`RoomEvent::Missed`].
            ///
            /// ```
            /// # use roomcast_server::{Namespace, RoomEvent, SocketIo};
            /// # let io = SocketIo::builder().build();
            /// io.of("/").on_room_event(|_: Namespace, event: RoomEvent| async move {
            ///     match event {
            ///         RoomEvent::Created { room } => println!("subscribe to {room}"),
            ///         RoomEvent::Deleted { room } => println!("unsubscribe from {room}"),
            ///         _ => {}
            ///     }
            /// });
            /// ```
            pub fn on_room_event<Fut, O>(
                &self,
                handler: impl Fn(Namespace, RoomEvent) -> Fut + Send + Sync + 'static,
            ) -> &Self
            where
                Fut: Future<Output = O> + Send + 'static,
                O: Outcome,
            {
                self.handlers().rooms.write().push(boxed_told("room event", handler));
                self.watch_rooms();
                self
            }

            /// Handles an event that another server of the cluster sent with [`Namespace::server_side_emit`].
            pub fn on_server_event<M>(
                &self,
                event: impl Into<HandlerName>,
                handler: impl EventHandler<Namespace, M>,
            ) -> &Self {
                self.handlers().add_server_event(event.into(), handler);
                self
            }

            /// Removes the handlers of another server's event.
            pub fn off_server_event(&self, event: &str) -> &Self {
                change(&self.handlers().server_events, event, |events| events.remove(event));
                self
            }

            /// Handles the events of other servers that have no handler. The arguments then begin with the event's name.
            pub fn on_server_event_fallback<M>(&self, handler: impl EventHandler<Namespace, M>) -> &Self {
                let handler = boxed_event(None, handler);
                change(&self.handlers().server_events, "", |events| events.set_fallback(handler));
                self
            }
        }
    };
}

handlers!(Namespace, "");
handlers!(Namespaces, " in a namespace of the pattern");

impl Namespace {
    /// Chooses all sockets.
    pub fn everyone(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.clone(), None)
    }

    // --- servers ---

    /// Sends an event to this namespace on all *other* servers, never to clients.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn server_side_emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        check_server_event(event)?;
        Ok(self.0.adapter.server_side_emit(&Args::event(event, &data)?)?)
    }

    /// Sends an event to this namespace on all other servers, and collects one answer from each. Waits at most for the server's
    /// `request_timeout`, which defaults to 5 s.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn server_side_emit_with_ack(
        &self,
        event: &str,
        data: impl ToArgs,
    ) -> Result<Answer<Vec<Args>>, EmitError> {
        check_server_event(event)?;
        let data = Args::event(event, &data)?;
        Ok(self.0.adapter.server_side_emit_with_ack(&data, self.0.config.request_timeout).await?)
    }

    /// Number of servers in the cluster, including this one.
    pub async fn server_count(&self) -> Answer<usize> {
        self.0.adapter.server_count().await
    }

    /// Names of all rooms that have members in the cluster, including the rooms of socket ids.
    pub async fn all_rooms(&self) -> Answer<Vec<Room>> {
        self.0.adapter.all_rooms(self.0.config.request_timeout).await
    }
}

/// The namespaces whose names match a pattern. Each is made with its first socket, and removed some seconds after its last socket has
/// left (`Builder::namespace_linger`). Handlers given here apply to all of them; a [`Namespace`] may have more of its own.
#[derive(Clone)]
pub struct Namespaces {
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) existing: Existing,
}

/// Returns the namespaces of the pattern that exist.
pub(crate) type Existing = Arc<dyn Fn(&Arc<Handlers>) -> Vec<Namespace> + Send + Sync>;

impl Namespaces {
    fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    fn watch_rooms(&self) {
        self.existing().iter().for_each(Namespace::watch_rooms);
    }

    /// The namespaces of the pattern that exist on this server, sorted by name.
    pub fn existing(&self) -> Vec<Namespace> {
        (self.existing)(&self.handlers)
    }

    /// Emits an event to all sockets of all namespaces of the pattern that exist on this server; their sockets on other servers get it
    /// too. As `emit` of Node's parent namespace.
    ///
    /// # Errors
    /// [`EmitError`] of the first namespace that refused; those before it got the event.
    pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        check_event(event)?;
        let args = Args::of(&data)?;
        self.existing().iter().try_for_each(|namespace| namespace.emit(event, &args))
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespaces").finish()
    }
}
