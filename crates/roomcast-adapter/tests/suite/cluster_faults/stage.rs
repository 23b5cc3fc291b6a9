//! Servers on a memory network, each with a socket that records; and a puppet that acts as a server.

use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Alive, Arrival, Body, Broker, Cluster, ClusterAdapter, ClusterOptions, Inbox, MemoryBroker, MemoryNetwork, Message,
    Outcome, Outgoing, SERVERS, ServerId, Trailer,
};
use roomcast_adapter::testkit::FakeRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Emit, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// The namespace of these tests.
pub(crate) const NAMESPACE: &str = "/faults";

/// The time in which servers find and start to follow each other. It ends between two announcements.
pub(crate) const ACQUAINTED: Duration = Duration::from_millis(2_100);

/// A server with one socket.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) broker: Arc<MemoryBroker>,
    pub(crate) adapter: Arc<ClusterAdapter>,
    pub(crate) events: mpsc::Receiver<ServerEvent>,
    pub(crate) socket: Arc<FakeRecipient>,
    pub(crate) socket_id: SocketId,
    emitted: AtomicU64,
}

impl Server {
    pub(crate) fn new(network: &MemoryNetwork, name: &str) -> Self {
        Self::with(network, name, ClusterOptions::default())
    }

    pub(crate) fn with(network: &MemoryNetwork, name: &str, options: ClusterOptions) -> Self {
        let broker = network.broker();
        Self::over(broker.clone(), broker, name, options)
    }

    /// A server whose messages go through `through`, which wraps `broker`.
    pub(crate) fn over(
        broker: Arc<MemoryBroker>,
        through: Arc<dyn Broker>,
        name: &str,
        options: ClusterOptions,
    ) -> Self {
        let cluster = Cluster::with_id(ServerId::from(name), through, options);
        let (context, events) = context(NAMESPACE);
        let adapter = cluster.adapter(context);
        let (socket, socket_id) = (FakeRecipient::new(), SocketId::random().unwrap());
        adapter.insert(socket_id, socket.clone(), &[], None).unwrap();
        Self { cluster, broker, adapter, events, socket, socket_id, emitted: AtomicU64::new(0) }
    }

    /// Emits the next number to everybody: 1, 2, 3 ...
    pub(crate) fn emit(&self) {
        self.emit_with(false);
    }

    pub(crate) fn emit_with(&self, volatile: bool) {
        let number = self.emitted.fetch_add(1, Ordering::Relaxed) + 1;
        let data = Args::event(self.cluster.id().as_str(), &number).unwrap();
        let emit = Emit { data: &data, volatile, compress: true };
        self.adapter.apply(&Target::everyone(), Action::Emit(emit)).unwrap();
    }

    /// As [`Server::emit`], to a room. The numbers continue.
    pub(crate) fn emit_to(&self, room: &str) {
        let number = self.emitted.fetch_add(1, Ordering::Relaxed) + 1;
        let data = Args::event(self.cluster.id().as_str(), &number).unwrap();
        self.adapter.apply(&Target::room(room), Action::emit(&data)).unwrap();
    }

    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.load(Ordering::Relaxed)
    }

    /// The numbers that this server's socket got from `publisher`, in order of arrival.
    pub(crate) fn heard(&self, publisher: &Server) -> Vec<u64> {
        let events = self.socket.events().into_iter().filter(|event| event.name == publisher.cluster.id().as_str());
        events.map(|event| event.args.parse().unwrap()).collect()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.cluster.losses().lost
    }

    /// Dies silently: its last announcement does not get through.
    pub(crate) fn die(self, network: &MemoryNetwork) {
        network.cut_off(&self.broker, true);
    }
}

pub(crate) fn context(namespace: &str) -> (AdapterContext, mpsc::Receiver<ServerEvent>) {
    let (server_events, events) = mpsc::channel(64);
    (AdapterContext::new(namespace, server_events), events)
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A server that does only what the test says.
#[derive(Debug)]
pub(crate) struct Puppet {
    pub(crate) id: ServerId,
    broker: Arc<MemoryBroker>,
    heard: Arc<HeardMessages>,
    living: AbortHandle,
    process: u64,
    serial: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct HeardMessages(Mutex<Vec<Message>>);

impl Inbox for HeardMessages {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let message = |arrival| match arrival {
            Arrival::Message(message) => Some(message),
            _ => None,
        };
        self.0.lock().extend(arrivals.into_iter().filter_map(message));
    }

    fn connected(&self) {}

    fn lost(&self) {}
}

impl Puppet {
    /// It announces itself, so that it is known by name.
    pub(crate) async fn new(network: &MemoryNetwork, name: &str) -> Self {
        let (id, broker, heard) = (ServerId::from(name), network.broker(), Arc::<HeardMessages>::default());
        broker.open(&SERVERS.into(), &id, Arc::new(HeardMessages::default()));
        broker.open(&NAMESPACE.into(), &id, heard.clone());
        let (to, mut alive) = (broker.clone(), Alive::default());
        alive.opened = vec![(NAMESPACE.into(), 1)];
        let alive = Body::Alive(alive);
        let process = Trailer::random_process();
        let serial = Arc::<AtomicU64>::default();
        let serials = serial.clone();
        let mut message = Message { sender: Some(id.clone()), to: None, trailer: None, body: alive };
        let living = tokio::spawn(async move {
            loop {
                let next = serials.fetch_add(1, Ordering::Relaxed) + 1;
                message.trailer = Some(Trailer::new(SERVERS, process, next, 0));
                let _ = to.publish(&[Outgoing { namespace: SERVERS.into(), message: message.clone() }]).await;
                pass(Duration::from_secs(1)).await;
            }
        });
        tokio::task::yield_now().await;
        Self { id, broker, heard, living: living.abort_handle(), process, serial }
    }

    /// Publishes as a roomcast process does. `number` is the message's number in its series.
    pub(crate) async fn publish(&self, namespace: &str, number: Option<u64>, body: Body) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let trailer = Some(Trailer::new(namespace, self.process, serial, number.unwrap_or_default()));
        let message = Message { sender: Some(self.id.clone()), to: None, trailer, body };
        let outcomes = self.broker.publish(&[Outgoing { namespace: namespace.into(), message }]).await;
        assert_eq!(outcomes, [Outcome::Sent]);
    }

    /// Publishes as servers of other software do.
    pub(crate) async fn publish_as_others_do(&self, namespace: &str, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: None, trailer: None, body };
        let outcomes = self.broker.publish(&[Outgoing { namespace: namespace.into(), message }]).await;
        assert_eq!(outcomes, [Outcome::Sent]);
    }

    /// What has arrived in the namespace so far.
    pub(crate) fn heard(&self) -> Vec<Message> {
        self.heard.0.lock().clone()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.living.abort();
    }
}
