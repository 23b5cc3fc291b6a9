//! A broker of one's own, over plain TCP: how to bring a message system that roomcast does not know.
//!
//! The message system is the [`Hub`], a small process that passes frames on to whoever has their namespace open; put NATS,
//! Kafka or Postgres in its place. [`TcpBroker`] is what you write: a connection that is made again when it ends, and the
//! methods of [`Broker`]. Everything else is done already: the messages' bytes by [`codec`], retries, order, numbers, losses
//! and questions by [`Cluster`]. `tests/tcp_broker.rs` checks it with the suite that our own brokers run.
//!
//! ```text
//! cargo run -p roomcast-adapter --example tcp_broker
//! ```

use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Broker, BrokerError, Cluster, ClusterOptions, Inbox, Outgoing, PublishError, ServerId, codec,
};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// Time that the hub has to answer; then the connection is thought dead, and made again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two attempts to connect.
const RETRY: Duration = Duration::from_millis(50);

/// Frames that wait for one connection. The hub cuts off who does not read them; its broker connects again.
const MAX_WAITING: usize = 100_000;

// What frames are. A broker's request has an id, and is answered by a frame of the same kind and id.
const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const COUNT: u8 = 3;
const SYNC: u8 = 4;
/// Not answered: one SYNC is, for all that was published before it.
const PUBLISH: u8 = 5;
const MESSAGE: u8 = 6;

/// Length, kind, id, length of the namespace, namespace, body.
struct Frame {
    kind: u8,
    id: u64,
    namespace: Arc<str>,
    body: Vec<u8>,
}

impl Frame {
    fn bytes(kind: u8, id: u64, namespace: &str, body: &[u8]) -> Vec<u8> {
        let length = 1 + 8 + 2 + namespace.len() + body.len();
        let mut bytes = Vec::with_capacity(4 + length);
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&(namespace.len() as u16).to_be_bytes());
        bytes.extend_from_slice(namespace.as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let length = u64::from(from.read_u32().await?);
        if length > codec::MAX_BYTES as u64 + 1_024 {
            return Err(malformed());
        }
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes).await?;
        let mut rest = &bytes[..];
        let (kind, id, name) = (rest.read_u8().await?, rest.read_u64().await?, rest.read_u16().await?);
        let (namespace, body) = rest.split_at_checked(usize::from(name)).ok_or_else(malformed)?;
        let namespace = std::str::from_utf8(namespace).map_err(|_| malformed())?.into();
        Ok(Self { kind, id, namespace, body: body.to_vec() })
    }
}

/// Writes what is put into the queue, until it is closed or the connection ends.
async fn write(mut stream: impl AsyncWriteExt + Unpin, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// The message system: it passes frames on, and does not look into them.
#[derive(Debug, Default)]
pub struct Hub(Mutex<HashMap<u64, Client>>);

#[derive(Debug)]
struct Client {
    queue: mpsc::Sender<Vec<u8>>,
    open: HashSet<Arc<str>>,
}

impl Hub {
    /// Serves brokers, until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let mut connections = tokio::task::JoinSet::new();
        for number in 0.. {
            let (stream, _) = listener.accept().await?;
            connections.spawn(self.clone().connection(number, stream));
            while connections.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn connection(self: Arc<Self>, number: u64, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let (queue, frames) = mpsc::channel(MAX_WAITING);
        self.0.lock().insert(number, Client { queue, open: HashSet::new() });
        let reading = async {
            while let Ok(frame) = Frame::read(&mut reader).await {
                if self.take(number, frame).is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = write(writer, frames) => {}
        }
        self.0.lock().remove(&number);
    }

    /// `None`: the client was cut off.
    fn take(&self, number: u64, frame: Frame) -> Option<()> {
        let Frame { kind, id, namespace, body } = frame;
        let mut clients = self.0.lock();
        if kind == PUBLISH {
            let message = Frame::bytes(MESSAGE, 0, &namespace, &body);
            // Who does not keep up is cut off.
            clients.retain(|_, it| !it.open.contains(&namespace) || it.queue.try_send(message.clone()).is_ok());
            return clients.contains_key(&number).then_some(());
        }
        let count = clients.values().filter(|it| it.open.contains(&namespace)).count() as u64;
        let client = clients.get_mut(&number)?;
        match kind {
            OPEN => drop(client.open.insert(namespace.clone())),
            CLOSE => drop(client.open.remove(&namespace)),
            _ => {}
        }
        client.queue.try_send(Frame::bytes(kind, id, &namespace, &count.to_be_bytes())).ok()
    }
}

/// The broker of one server.
#[derive(Debug)]
pub struct TcpBroker {
    shared: Arc<Shared>,
    connection: tokio::task::AbortHandle,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    next_id: u64,
    /// Where frames go, while there is a connection.
    link: Option<mpsc::Sender<Vec<u8>>>,
    open: HashMap<Arc<str>, Opened>,
    waiting: HashMap<u64, oneshot::Sender<u64>>,
}

struct Opened {
    /// The request that opened it; answers to earlier ones do not count.
    id: u64,
    connected: bool,
    inbox: Arc<dyn Inbox>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("open", &self.open.keys()).finish_non_exhaustive()
    }
}

impl TcpBroker {
    /// A broker that connects to the hub at `hub`, and again whenever the connection ends.
    pub fn new(hub: SocketAddr) -> Arc<Self> {
        let shared = Arc::<Shared>::default();
        let connection = tokio::spawn(shared.clone().stay_connected(hub)).abort_handle();
        Arc::new(Self { shared, connection })
    }
}

impl Drop for TcpBroker {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Shared {
    async fn stay_connected(self: Arc<Self>, hub: SocketAddr) {
        loop {
            if let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(hub)).await {
                let _ = stream.set_nodelay(true);
                let (reader, writer) = stream.into_split();
                let (link, frames) = mpsc::channel(MAX_WAITING);
                self.0.lock().connect(link);
                tokio::select! {
                    () = self.hear(reader) => {}
                    () = write(writer, frames) => {}
                }
                let lost = self.0.lock().disconnect();
                lost.iter().for_each(|inbox| inbox.lost());
            }
            sleep(RETRY).await;
        }
    }

    async fn hear(&self, mut reader: impl AsyncRead + Unpin) {
        while let Ok(frame) = Frame::read(&mut reader).await {
            // Inboxes are called outside the lock.
            match frame.kind {
                MESSAGE => {
                    let inbox = self.0.lock().open.get(&frame.namespace).map(|opened| opened.inbox.clone());
                    match (inbox, codec::decode(&frame.body)) {
                        (Some(inbox), Ok(message)) => inbox.receive(message),
                        (Some(inbox), Err(error)) => inbox.malformed(&error.to_string()),
                        (None, _) => {}
                    }
                }
                OPEN => {
                    let inbox = self.0.lock().opened(&frame);
                    if let Some(inbox) = inbox {
                        inbox.connected();
                    }
                }
                _ => {
                    let number = frame.body.try_into().map_or(0, u64::from_be_bytes);
                    if let Some(waiting) = self.0.lock().waiting.remove(&frame.id) {
                        let _ = waiting.send(number);
                    }
                }
            }
        }
    }

    /// Asks the hub, after the frames that are given.
    async fn ask(&self, kind: u8, namespace: &str, before: Vec<u8>) -> Result<u64, String> {
        let answer = {
            let mut state = self.0.lock();
            let (id, (answered, answer)) = (state.next_id(), oneshot::channel());
            let frame = [before, Frame::bytes(kind, id, namespace, b"")].concat();
            let link = state.link.as_ref().ok_or("not connected to the hub")?;
            link.try_send(frame).map_err(|_| "the hub does not keep up".to_owned())?;
            state.waiting.insert(id, answered);
            answer
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(number)) => Ok(number),
            Ok(Err(_)) => Err("the connection to the hub ended".to_owned()),
            Err(_) => {
                // Without a link nothing is written any more, which ends the connection.
                self.0.lock().link = None;
                Err("the hub does not answer".to_owned())
            }
        }
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Opens at the hub what is open here.
    fn connect(&mut self, link: mpsc::Sender<Vec<u8>>) {
        for (namespace, Opened { id, .. }) in &self.open {
            let _ = link.try_send(Frame::bytes(OPEN, *id, namespace, b""));
        }
        self.link = Some(link);
    }

    /// The inboxes to which messages came until now.
    fn disconnect(&mut self) -> Vec<Arc<dyn Inbox>> {
        self.link = None;
        self.waiting.clear();
        let connected = self.open.values_mut().filter_map(|opened| {
            let was_connected = std::mem::take(&mut opened.connected);
            was_connected.then(|| opened.inbox.clone())
        });
        connected.collect()
    }

    /// The hub has opened a namespace.
    fn opened(&mut self, frame: &Frame) -> Option<Arc<dyn Inbox>> {
        let opened = self.open.get_mut(&frame.namespace).filter(|opened| opened.id == frame.id)?;
        opened.connected = true;
        Some(opened.inbox.clone())
    }
}

#[async_trait]
impl Broker for TcpBroker {
    fn open(&self, namespace: &Arc<str>, _: &ServerId, inbox: Arc<dyn Inbox>) {
        let mut state = self.shared.0.lock();
        if state.open.contains_key(namespace) {
            return;
        }
        let id = state.next_id();
        state.open.insert(namespace.clone(), Opened { id, connected: false, inbox });
        let frame = Frame::bytes(OPEN, id, namespace, b"");
        if state.link.as_ref().is_some_and(|link| link.try_send(frame).is_err()) {
            // The hub does not keep up: on the next connection everything is opened anew.
            state.link = None;
        }
    }

    async fn close(&self, namespace: &str) {
        if self.shared.0.lock().open.remove(namespace).is_some() {
            // Without a connection there is nothing to close.
            let _ = self.shared.ask(CLOSE, namespace, Vec::new()).await;
        }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), PublishError> {
        let mut frames = Vec::new();
        let mut too_large = None;
        for (position, outgoing) in batch.iter().enumerate() {
            let message = codec::encode(&outgoing.message);
            if message.len() > codec::MAX_BYTES {
                too_large = Some(position);
                break;
            }
            frames.extend(Frame::bytes(PUBLISH, 0, &outgoing.namespace, &message));
        }
        let sent = self.shared.ask(SYNC, "", frames).await;
        sent.map_err(|reason| PublishError { sent: 0, reason, permanent: false })?;
        match too_large {
            Some(sent) => Err(PublishError { sent, reason: "the message is too large".to_owned(), permanent: true }),
            None => Ok(()),
        }
    }

    fn channel_of(&self, outgoing: &Outgoing) -> Arc<str> {
        // All of a namespace comes on one connection, in order.
        outgoing.namespace.clone()
    }

    async fn peers(&self, namespace: &str) -> Result<usize, BrokerError> {
        let count = self.shared.ask(COUNT, namespace, Vec::new()).await.map_err(BrokerError)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn max_age(&self) -> Option<Duration> {
        Some(Duration::MAX)
    }
}

/// A socket that prints what it is sent.
#[derive(Debug)]
struct Printer(&'static str, mpsc::UnboundedSender<String>);

impl Recipient for Printer {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let _ = self.1.send(format!("{} got {}", self.0, packet.text().unwrap_or("something binary")));
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

/// Two servers, a socket on each; the first emits to everybody. What the sockets got.
pub async fn two_servers() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let hub = listener.local_addr()?;
    let serving = tokio::spawn(Arc::<Hub>::default().serve(listener));
    let (got, mut lines) = mpsc::unbounded_channel();
    let mut servers = Vec::new();
    for name in ["a socket of the first server", "a socket of the second server"] {
        let cluster = Cluster::new(TcpBroker::new(hub), ClusterOptions::default());
        // With roomcast-server: SocketIo::builder().adapter(cluster.factory())
        let (server_events, _) = mpsc::channel(1);
        let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
        adapter.insert(SocketId::random()?, Arc::new(Printer(name, got.clone())))?;
        servers.push(adapter);
    }
    while servers[0].server_count().await.value < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    servers[0].apply(&Target::everyone(), Action::emit(&Args::event("hello", "world")?))?;
    let both = [lines.recv().await, lines.recv().await].into_iter().flatten().collect();
    serving.abort();
    Ok(both)
}

#[allow(dead_code)] // As a module of a test it has no main.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in two_servers().await? {
        println!("{line}");
    }
    Ok(())
}
