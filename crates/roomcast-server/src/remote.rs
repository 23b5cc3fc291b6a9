//! [`RemoteSocket`]: a socket that may be on another server.

use crate::error::{AckError, EmitError};
use crate::operator::BroadcastOperator;
use crate::parts::Namespace;
use crate::rooms::Rooms;
use roomcast_adapter::{Answer, Room, SocketDetails};
use roomcast_protocol::{Args, ToArgs, json};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A socket of any server of the cluster: what its server told about it when [`BroadcastOperator::fetch_sockets`] asked, and a handle to act
/// on it.
#[derive(Debug, Clone)]
pub struct RemoteSocket {
    namespace: Namespace,
    details: SocketDetails,
}

impl BroadcastOperator {
    /// The chosen sockets, of all servers. The answer says which servers are missing in it.
    pub async fn fetch_sockets(&self) -> Answer<Vec<RemoteSocket>> {
        if self.is_nobody() {
            return Answer::complete(Vec::new());
        }
        let fetched = self.namespace.adapter().fetch_sockets(&self.target, self.request_timeout()).await;
        let Answer { value, missing } = fetched;
        let socket = |details| RemoteSocket { namespace: self.namespace.clone(), details };
        Answer { value: value.into_iter().map(socket).collect(), missing }
    }
}

impl RemoteSocket {
    /// The socket's id.
    pub fn id(&self) -> &str {
        &self.details.id
    }

    /// Its rooms, including the room of its own id.
    pub fn rooms(&self) -> &[Room] {
        &self.details.rooms
    }

    /// Its handshake as JSON, as Node's `socket.handshake`; the auth payload is under `auth`.
    pub fn handshake_json(&self) -> &str {
        &self.details.details.handshake
    }

    /// Its data as JSON.
    pub fn data_json(&self) -> &str {
        &self.details.details.data
    }

    /// Its data, deserialized.
    ///
    /// # Errors
    /// The data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::from_str(self.data_json())
    }

    /// Emits an event to it.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn emit(&self, event: &str, data: impl ToArgs) -> Result<(), EmitError> {
        self.operator().emit(event, data)
    }

    /// Emits the event "message" to it, as Node's `send`.
    ///
    /// # Errors
    /// [`EmitError`]: nothing was sent.
    pub fn send(&self, data: impl ToArgs) -> Result<(), EmitError> {
        self.operator().send(data)
    }

    /// Emits an event to it and waits for its client's answer, at most for the server's `ack_timeout`, which defaults to 10 s.
    ///
    /// # Errors
    /// [`AckError`]: it was not sent, not answered in time, or the socket is gone.
    pub async fn emit_with_ack(&self, event: &str, data: impl ToArgs) -> Result<Args, AckError> {
        self.emit_with_ack_within(self.namespace.config().ack_timeout, event, data).await
    }

    /// As [`RemoteSocket::emit_with_ack`], with a timeout of its own.
    ///
    /// # Errors
    /// As [`RemoteSocket::emit_with_ack`].
    pub async fn emit_with_ack_within(
        &self,
        timeout: Duration,
        event: &str,
        data: impl ToArgs,
    ) -> Result<Args, AckError> {
        self.operator().timeout(timeout).emit_with_its_ack(event, data).await
    }

    /// Makes it join rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn join(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.operator().sockets_join(rooms)
    }

    /// Makes it leave rooms.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn leave(&self, rooms: impl Rooms) -> Result<(), EmitError> {
        self.operator().sockets_leave(rooms)
    }

    /// Disconnects it from the namespace, or with `close` ends its client's whole connection.
    ///
    /// # Errors
    /// [`EmitError::Adapter`]: the adapter refused.
    pub fn disconnect(&self, close: bool) -> Result<(), EmitError> {
        self.operator().disconnect_sockets(close)
    }

    fn operator(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.namespace.clone(), None).only(self.id())
    }
}
