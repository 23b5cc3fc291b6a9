//! An adapter of one's own in a server: one that counts what is emitted to each room, around the one in memory.
//!
//! An adapter decides who gets what. Most methods are handed on here; [`Adapter::apply`] looks at them first. The same wrapper
//! goes around the adapter of a cluster, or may refuse, delay, record or reroute what passes it.
//!
//! ```text
//! cargo run -p roomcast-server --example custom_adapter
//! ```
//!
//! Then connect Socket.IO clients to port 3000, let them emit `say` with a text, and ask with `counts`.

use roomcast_adapter::{
    Acked, Action, Adapter, AdapterError, Answer, Emit, Joined, Local, Recipient, Room, SocketDetails, Target,
    async_trait,
};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_server::{Ack, Socket, SocketIo};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many events were emitted, by room; those to everybody under `""`.
#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    fn count(&self, target: &Target) {
        // What is counted is a number, so a thread that panicked has left nothing half done.
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

/// Counts, and hands on.
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

    // From here on everything is handed on as it is. A method that is forgotten does not compile.

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

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// The server: its adapters count into `counts`.
fn server(counts: &Arc<Counts>) -> SocketIo {
    let shared = counts.clone();
    let io = SocketIo::builder()
        .adapter(move |context| {
            let inner: Arc<dyn Adapter> = Local::new(context.namespace);
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
