//! [`RemoteSocket`]: a socket that may be on another server.

use crate::error::EmitError;
use crate::namespace::Namespace;
use crate::operator::{BroadcastOperator, Rooms};
use roomcast_adapter::{Room, SocketDetails};
use roomcast_protocol::{ToArgs, json};
use serde::de::DeserializeOwned;

/// A socket of some server of the cluster, as it was when it was asked for.
#[derive(Debug, Clone)]
pub struct RemoteSocket {
    namespace: Namespace,
    details: SocketDetails,
}

impl RemoteSocket {
    pub(crate) fn new(namespace: Namespace, details: SocketDetails) -> Self {
        Self { namespace, details }
    }

    /// The socket's id.
    pub fn id(&self) -> &str {
        &self.details.id
    }

    /// Its rooms, the one of its own id among them.
    pub fn rooms(&self) -> &[Room] {
        &self.details.rooms
    }

    /// Its handshake as JSON, the auth payload under `auth`.
    pub fn handshake_json(&self) -> &str {
        &self.details.details.handshake
    }

    /// Its data as JSON.
    pub fn data_json(&self) -> &str {
        &self.details.details.data
    }

    /// Its data, read into a type.
    ///
    /// # Errors
    /// The data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::from_str(self.data_json())
    }

    /// Emits to it.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.operator().emit(event, data)
    }

    /// Puts it into rooms.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.operator().sockets_join(rooms)
    }

    /// Takes it out of rooms.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.operator().sockets_leave(rooms)
    }

    /// Disconnects it from the namespace, or with `close` its whole connection.
    ///
    /// # Errors
    /// [`EmitError`] when the adapter refuses.
    pub fn disconnect(&self, close: bool) -> Result<(), EmitError> {
        self.operator().disconnect_sockets(close)
    }

    fn operator(&self) -> BroadcastOperator {
        BroadcastOperator::of_socket(self.namespace.clone(), self.id())
    }
}
