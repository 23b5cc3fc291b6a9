//! [`Adapters`]: counts the adapters that a server creates and closes.

use roomcast_adapter::{
    Acked, Action, Adapter, AdapterError, Answer, Emit, Joined, Local, LocalSizes, Recipient, Room, SocketDetails,
    Target, async_trait,
};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_server::Builder;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// The numbers of adapters that were created and closed.
#[derive(Clone, Default)]
pub struct Adapters {
    made: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Adapters {
    pub fn builder(&self) -> impl FnOnce(Builder) -> Builder + use<> {
        let adapters = self.clone();
        move |builder| {
            builder.adapter(move |context| {
                adapters.made.fetch_add(1, SeqCst);
                Closing::new(Local::of(&context), adapters.closed.clone())
            })
        }
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.made.load(SeqCst), self.closed.load(SeqCst))
    }
}

/// A room with which no socket gets in.
pub const REFUSED: &str = "refused";

/// An adapter that counts its close.
#[derive(Debug)]
struct Closing(Arc<Local>, Arc<AtomicUsize>);

impl Closing {
    fn new(local: Arc<Local>, closed: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self(local, closed))
    }
}

#[async_trait]
impl Adapter for Closing {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        if rooms.iter().any(|room| **room == *REFUSED) {
            return Err(AdapterError::TooManyRooms);
        }
        self.0.insert(id, recipient, rooms, welcome)
    }
    fn remove(&self, id: SocketId) {
        self.0.remove(id);
    }
    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        self.0.replace(id, recipient);
    }
    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.0.join(id, rooms)
    }
    fn leave(&self, id: SocketId, room: &str) {
        self.0.leave(id, room);
    }
    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.0.rooms_of(id)
    }
    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        self.0.apply(target, action)
    }
    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.0.ack(from, id, args);
    }
    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, time: Duration) -> Result<Acked, AdapterError> {
        self.0.emit_with_ack(target, emit, time).await
    }
    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        self.0.fetch_sockets(target, timeout).await
    }
    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        self.0.count(target, timeout).await
    }
    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        self.0.all_rooms(timeout).await
    }
    async fn server_count(&self) -> Answer<usize> {
        self.0.server_count().await
    }
    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        self.0.server_side_emit(data)
    }
    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        self.0.server_side_emit_with_ack(data, timeout).await
    }
    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.0.local_recipients(target)
    }
    fn local_sizes(&self) -> LocalSizes {
        self.0.local_sizes()
    }
    async fn close(&self) {
        self.1.fetch_add(1, SeqCst);
        self.0.close().await;
    }
}
