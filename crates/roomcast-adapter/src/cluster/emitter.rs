//! [`Emitter`]: emits to the clients of a cluster from a program that is not a server.

use crate::cluster::seam::broker::{Broker, BrokerError, Outcome, Outgoing};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::trailer::Trailer;
use crate::seam::room::Room;
use crate::seam::target::Target;
use roomcast_protocol::{Args, RESERVED_EVENTS, ToArgs, ToArgsError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sender's name in messages of emitters.
const SENDER: &str = "emitter";

/// Emits to clients and servers of a cluster over a broker, without being a server: it receives nothing and is not
/// counted. Each method returns a changed emitter; nothing is sent before the last call.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `emit` or another action"]
pub struct Emitter {
    broker: Arc<dyn Broker>,
    namespace: Arc<str>,
    target: Target,
    volatile: bool,
    compress: bool,
    /// Receivers see this emitter and its clones as one process.
    process: u64,
    serial: Arc<AtomicU64>,
}

/// Why an emitter sent nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitterError {
    /// The library's own event names cannot be emitted.
    #[error("{0:?} is a reserved event name")]
    ReservedEvent(String),
    /// The value cannot be written as arguments, or is too large.
    #[error(transparent)]
    Value(#[from] ToArgsError),
    /// The broker could not publish it. Trying again may help.
    #[error(transparent)]
    Publish(#[from] BrokerError),
}

impl Emitter {
    /// An emitter for the main namespace.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        let (process, serial) = (Trailer::random_process(), Arc::default());
        let (namespace, target) = ("/".into(), Target::default());
        Self { broker, namespace, target, volatile: false, compress: true, process, serial }
    }

    /// The same emitter for another namespace. The slash may be omitted.
    pub fn of(mut self, namespace: &str) -> Self {
        self.namespace =
            if namespace.starts_with('/') { namespace.into() } else { format!("/{namespace}").as_str().into() };
        self
    }

    /// Emits only to sockets in this room. Each further call adds a room.
    pub fn to(mut self, room: impl Into<Room>) -> Self {
        self.target.rooms.push(room.into());
        self
    }

    /// Leaves out sockets in this room.
    pub fn except(mut self, room: impl Into<Room>) -> Self {
        self.target.except.push(room.into());
        self
    }

    /// Drops the event for clients whose transport cannot be written to at once.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Whether the event may be compressed.
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// Emits an event to the clients. Resolves when the broker has taken it.
    ///
    /// # Errors
    /// [`EmitterError`].
    pub async fn emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitterError> {
        if RESERVED_EVENTS.contains(&event) {
            return Err(EmitterError::ReservedEvent(event.to_owned()));
        }
        let (volatile, compress) = (self.volatile, self.compress);
        let data = Args::event(event, data)?;
        self.publish(true, Body::Broadcast { data, target: self.target.clone(), volatile, compress }).await
    }

    /// Puts the sockets into rooms.
    ///
    /// # Errors
    /// [`EmitterError::Publish`].
    pub async fn sockets_join(&self, rooms: &[Room]) -> Result<(), EmitterError> {
        self.publish(false, Body::Join { target: self.target.clone(), rooms: rooms.to_vec(), request: None }).await
    }

    /// Takes the sockets out of rooms.
    ///
    /// # Errors
    /// [`EmitterError::Publish`].
    pub async fn sockets_leave(&self, rooms: &[Room]) -> Result<(), EmitterError> {
        self.publish(false, Body::Leave { target: self.target.clone(), rooms: rooms.to_vec(), request: None }).await
    }

    /// Disconnects the sockets from the namespace, or with `close` their whole connections.
    ///
    /// # Errors
    /// [`EmitterError::Publish`].
    pub async fn disconnect_sockets(&self, close: bool) -> Result<(), EmitterError> {
        self.publish(false, Body::Disconnect { target: self.target.clone(), close, request: None }).await
    }

    /// Sends an event to the servers themselves. There is no variant with answers, as an emitter receives nothing.
    ///
    /// # Errors
    /// [`EmitterError`].
    pub async fn server_side_emit<T: ToArgs + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitterError> {
        if matches!(event, "connect" | "connection" | "new_namespace") {
            return Err(EmitterError::ReservedEvent(event.to_owned()));
        }
        self.publish(true, Body::ServerSideEmit { request: None, data: Args::event(event, data)? }).await
    }

    /// As with the JavaScript emitter, only events are marked as coming from an emitter.
    async fn publish(&self, signed: bool, body: Body) -> Result<(), EmitterError> {
        let sender = signed.then(|| ServerId::from(SENDER));
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let trailer = Some(Trailer::new(&self.namespace, self.process, serial, 0));
        let message = Message { sender, to: None, trailer, body };
        let batch = [Outgoing { namespace: self.namespace.clone(), message }];
        match self.broker.publish(&batch).await.pop() {
            Some(Outcome::Sent) => Ok(()),
            Some(Outcome::Again(reason) | Outcome::Never(reason)) => Err(BrokerError(reason).into()),
            None => Err(BrokerError("the broker did not try to publish it".to_owned()).into()),
        }
    }
}
