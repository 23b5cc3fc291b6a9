//! [`BroadcastOperator`]: whom an emit is for, and how.

use crate::error::EmitError;
use crate::namespace::Namespace;
use crate::remote::RemoteSocket;
use crate::socket::check_event;
use crate::task;
use roomcast_adapter::{Acked, Action, Answer, Emit, Room, Target};
use roomcast_protocol::{Args, SocketId, ToArgs};
use std::time::Duration;

/// Chooses sockets of a namespace, in the whole cluster, and does something to them. Each method returns the changed
/// operator; nothing happens before the last one.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `emit` or another action"]
pub struct BroadcastOperator {
    namespace: Namespace,
    target: Target,
    volatile: bool,
    compress: bool,
    timeout: Option<Duration>,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace, except: Option<SocketId>) -> Self {
        let target = Target { except: except.into_iter().map(Room::from).collect(), ..Target::default() };
        Self { namespace, target, volatile: false, compress: true, timeout: None }
    }

    /// The socket of that id, and not who else joined the room of its name.
    pub(crate) fn of_socket(namespace: Namespace, id: &str) -> Self {
        let target = Target::socket(id);
        Self { target, ..Self::new(namespace, None) }
    }

    /// Only sockets in this room, or in any of these rooms; called again it adds rooms. A socket in several of them is meant
    /// once.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        rooms.push_to(&mut self.target.rooms);
        self
    }

    /// Not those in this room or these rooms.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        rooms.push_to(&mut self.target.except);
        self
    }

    /// Only sockets of this server.
    pub fn local(mut self) -> Self {
        self.target.local = true;
        self
    }

    /// Drop the event for clients whose transport is not writable at once.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Whether the event may be compressed, where compression is on.
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// How long answers are waited for: acknowledgements 10 s, other servers 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Emits an event. It is in every outbox of this server when this returns, and on its way to the other servers; it never
    /// waits.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        check_event(event)?;
        let data = Args::event(event, data)?;
        Ok(self.namespace.adapter().apply(&self.target, Action::Emit(self.as_emit(&data)))?)
    }

    /// Emits an event and collects what the clients answer, until all have answered or the time is up. A client for which a
    /// volatile event was dropped counts as one that did not answer, as in Node.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub async fn emit_with_ack<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<Acked, EmitError> {
        check_event(event)?;
        let data = Args::event(event, data)?;
        let timeout = self.timeout.unwrap_or(self.namespace.config().ack_timeout);
        Ok(task::answer(self.namespace.adapter().emit_with_ack(&self.target, self.as_emit(&data), timeout)).await?)
    }

    /// The sockets, from all servers.
    pub async fn fetch_sockets(&self) -> Answer<Vec<RemoteSocket>> {
        let Answer { value, missing } =
            self.namespace.adapter().fetch_sockets(&self.target, self.request_timeout()).await;
        let value = value.into_iter().map(|details| RemoteSocket::new(self.namespace.clone(), details)).collect();
        Answer { value, missing }
    }

    /// Number of sockets, on all servers.
    pub async fn count(&self) -> Answer<usize> {
        self.namespace.adapter().count(&self.target, self.request_timeout()).await
    }

    /// Puts the sockets into rooms.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn sockets_join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Join(&rooms.into_vec()))?)
    }

    /// Takes the sockets out of rooms.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn sockets_leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Leave(&rooms.into_vec()))?)
    }

    /// Disconnects the sockets from the namespace, or with `close` their whole connections.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), EmitError> {
        Ok(self.namespace.adapter().apply(&self.target, Action::Disconnect { close })?)
    }

    fn as_emit<'a>(&self, data: &'a Args) -> Emit<'a> {
        Emit { data, volatile: self.volatile, compress: self.compress }
    }

    fn request_timeout(&self) -> Duration {
        self.timeout.unwrap_or(self.namespace.config().request_timeout)
    }
}

/// One room or several: text, [`Room`], a socket's id, or an array, slice or vector of them.
pub trait Rooms {
    /// Adds the rooms.
    fn push_to(self, rooms: &mut Vec<Room>);

    /// The rooms.
    fn into_vec(self) -> Vec<Room>
    where
        Self: Sized,
    {
        let mut rooms = Vec::new();
        self.push_to(&mut rooms);
        rooms
    }
}

macro_rules! one_room {
    ($($type:ty)*) => {
        $(impl Rooms for $type {
            fn push_to(self, rooms: &mut Vec<Room>) {
                rooms.push(self.into());
            }
        })*
    };
}

one_room!(&str String &String Room &Room SocketId);

impl<T: Into<Room>, const N: usize> Rooms for [T; N] {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.into_iter().map(Into::into));
    }
}

impl<T: Into<Room>> Rooms for Vec<T> {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.into_iter().map(Into::into));
    }
}

impl<T: Into<Room> + Clone> Rooms for &[T] {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.iter().cloned().map(Into::into));
    }
}
