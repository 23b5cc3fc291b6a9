//! What an application does with a [`Namespace`], and with all [`Namespaces`] of a pattern.

use crate::context::HandlerName;
use crate::error::{ConnectError, EmitError, check_server_event};
use crate::handler::{EventHandler, boxed_connect, boxed_event, boxed_middleware};
use crate::operator::BroadcastOperator;
use crate::outcome::Outcome;
use crate::parts::{Handlers, Namespace, Socket};
use crate::rooms::Rooms;
use roomcast_adapter::{Answer, Room};
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
        Arc::make_mut(&mut self.connect.write()).push(boxed_connect(handler));
    }

    fn add_middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        Arc::make_mut(&mut self.middlewares.write()).push(boxed_middleware(middleware));
    }

    fn set<M>(&self, event: HandlerName, handler: impl EventHandler<Socket, M>) {
        self.events.write().insert(event.clone(), boxed_event(Some(event), handler));
    }

    fn set_any<M>(&self, handler: impl EventHandler<Socket, M>) {
        *self.any.write() = Some(boxed_event(None, handler));
    }

    fn set_server_event<M>(&self, event: HandlerName, handler: impl EventHandler<Namespace, M>) {
        self.server_events.write().insert(event.clone(), boxed_event(Some(event), handler));
    }

    fn set_any_server_event<M>(&self, handler: impl EventHandler<Namespace, M>) {
        *self.any_server_event.write() = Some(boxed_event(None, handler));
    }
}

impl Namespace {
    // --- handlers ---

    /// Called for each socket that has connected. Several handlers may be given; they begin in the order given.
    pub fn on_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.handlers().add_connection(handler);
        self
    }

    /// Decides which sockets may connect. Middlewares run one after another in the order given; the first error ends that, and
    /// is told to the client as CONNECT_ERROR. What a middleware emits to the socket is sent before the answer to its CONNECT;
    /// rooms that a middleware joins are joined if the socket is accepted.
    pub fn middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        self.handlers().add_middleware(middleware);
        self
    }

    /// Handles an event of every socket, at no cost per socket. A later handler of the same event replaces this one.
    pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Socket, M>) -> &Self {
        self.handlers().set(event.into(), handler);
        self
    }

    /// Handles the events that have no other handler. The arguments then begin with the event's name.
    pub fn on_any<M>(&self, handler: impl EventHandler<Socket, M>) -> &Self {
        self.handlers().set_any(handler);
        self
    }

    /// Handles an event that another server of the cluster sent with [`Namespace::server_side_emit`].
    pub fn on_server_event<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Self, M>) -> &Self {
        self.handlers().set_server_event(event.into(), handler);
        self
    }

    /// Handles the events of other servers that have no other handler. The arguments then begin with the event's name.
    pub fn on_any_server_event<M>(&self, handler: impl EventHandler<Self, M>) -> &Self {
        self.handlers().set_any_server_event(handler);
        self
    }

    // --- clients ---

    /// Chooses the sockets of a room or rooms.
    pub fn to(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.everyone().to(rooms)
    }

    /// Chooses all sockets except those in the room or rooms.
    pub fn except(&self, rooms: impl Rooms) -> BroadcastOperator {
        self.everyone().except(rooms)
    }

    /// Chooses all sockets of this server.
    pub fn local(&self) -> BroadcastOperator {
        self.everyone().local()
    }

    /// Chooses all sockets.
    pub fn everyone(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.clone(), None)
    }

    /// Emits an event to all sockets.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.everyone().emit(event, data)
    }

    // --- servers ---

    /// Sends an event to this namespace on all *other* servers, never to clients.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn server_side_emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_server_event(event)?;
        Ok(self.0.adapter.server_side_emit(&Args::event(event, data)?)?)
    }

    /// Sends an event to this namespace on all other servers, and collects one answer from each. Waits at most for the server's
    /// `request_timeout`, which defaults to 5 s.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn server_side_emit_with_ack<T: ToArgs + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<Answer<Vec<Args>>, EmitError> {
        check_server_event(event)?;
        let data = Args::event(event, data)?;
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
pub struct Namespaces(pub(crate) Arc<Handlers>);

impl Namespaces {
    /// As [`Namespace::on_connection`], for every namespace of the pattern.
    pub fn on_connection<Fut, O>(&self, handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = O> + Send + 'static,
        O: Outcome,
    {
        self.0.add_connection(handler);
        self
    }

    /// As [`Namespace::middleware`], for every namespace of the pattern. These run before a namespace's own.
    pub fn middleware<Fut>(&self, middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> &Self
    where
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        self.0.add_middleware(middleware);
        self
    }

    /// As [`Namespace::on`], for every namespace of the pattern. A namespace's own handler of the event comes first.
    pub fn on<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Socket, M>) -> &Self {
        self.0.set(event.into(), handler);
        self
    }

    /// As [`Namespace::on_any`], for every namespace of the pattern.
    pub fn on_any<M>(&self, handler: impl EventHandler<Socket, M>) -> &Self {
        self.0.set_any(handler);
        self
    }

    /// As [`Namespace::on_server_event`], for every namespace of the pattern.
    pub fn on_server_event<M>(&self, event: impl Into<HandlerName>, handler: impl EventHandler<Namespace, M>) -> &Self {
        self.0.set_server_event(event.into(), handler);
        self
    }

    /// As [`Namespace::on_any_server_event`], for every namespace of the pattern.
    pub fn on_any_server_event<M>(&self, handler: impl EventHandler<Namespace, M>) -> &Self {
        self.0.set_any_server_event(handler);
        self
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespaces").finish()
    }
}
