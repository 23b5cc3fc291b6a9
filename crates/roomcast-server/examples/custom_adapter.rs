//! A server with a custom adapter, which counts the events that are emitted to each room and wraps the in-memory adapter.
//!
//! An adapter decides which sockets receive an event. Here [`Adapter::apply`] and [`Adapter::emit_with_ack`] count, and all methods call the
//! wrapped adapter. The same wrapper can be used around the adapter of a cluster, and could also refuse, delay, record or reroute events.
//!
//! ```text
//! cargo run -p roomcast-server --example custom_adapter
//! ```
//!
//! Then connect Socket.IO clients to port 3000, let them emit `say` with a text, and emit `counts` with an acknowledgement.

use roomcast_adapter::{
    Acked, Action, Adapter, AdapterError, Answer, Emit, Joined, Local, LocalSizes, Recipient, Room, SocketDetails,
    Target, async_trait,
};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_server::{Ack, Socket, SocketIo};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The number of emitted events by room, with events to all sockets under `""`.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn count(&self, target: &Target) {
        // A poisoned lock can be used: a thread that panicked cannot have left a number half written.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if target.rooms.is_empty() {
            *counts.entry(String::new()).or_default() += 1;
        }
        for room in &target.rooms {
            *counts.entry(room.to_string()).or_default() += 1;
        }
    }

    fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An adapter that counts events and calls `inner`.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Adapter>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Adapter for Counting {
    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        if let Action::Emit(_) = action {
            self.counts.count(target);
        }
        self.inner.apply(target, action)
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        self.counts.count(target);
        self.inner.emit_with_ack(target, emit, timeout).await
    }

    // The other methods only call `inner`. The compiler reports a method that is missing here.

    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        self.inner.insert(id, recipient, rooms, welcome)
    }

    fn remove(&self, id: SocketId) {
        self.inner.remove(id);
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        self.inner.replace(id, recipient);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.inner.join(id, rooms)
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.inner.leave(id, room);
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.inner.rooms_of(id)
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.inner.ack(from, id, args);
    }

    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        self.inner.fetch_sockets(target, timeout).await
    }

    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        self.inner.count(target, timeout).await
    }

    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        self.inner.all_rooms(timeout).await
    }

    async fn server_count(&self) -> Answer<usize> {
        self.inner.server_count().await
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        self.inner.server_side_emit(data)
    }

    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        self.inner.server_side_emit_with_ack(data, timeout).await
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.inner.local_recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        self.inner.local_sizes()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A server whose adapters count into `counts`.
fn server(counts: &Arc<Counts>) -> SocketIo {
    let shared = counts.clone();
    let io = SocketIo::builder()
        .adapter(move |context| {
            let inner: Arc<dyn Adapter> = Local::of(&context);
            Arc::new(Counting { inner, counts: shared.clone() })
        })
        .build();
    let counts = counts.clone();
    io.of("/").on_connection(move |socket: Socket| {
        let counts = counts.clone();
        async move {
            let _joined = socket.join("lobby")?;
            socket.on("say", |socket: Socket, text: String| async move { socket.to("lobby").emit("said", &text) });
            socket.on("counts", move |_: Socket, (): (), ack: Ack| {
                let all = counts.all();
                async move { ack.send(&all) }
            });
            Ok::<(), AdapterError>(())
        }
    });
    io
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counts = Arc::<Counts>::default();
    let io = server(&counts);
    println!("http://127.0.0.1:3000");
    io.listen("127.0.0.1:3000").await?;
    Ok(())
}
