//! Measures the cluster layer without a network: `cargo bench -p roomcast-benches --bench cluster`.
//!
//! `receive` measures from the message that a broker hands over to the recipients. `across` measures the whole path: from the emit on one
//! server through its queue and a [`MemoryNetwork`] to the recipients of another server.

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Cluster, ClusterAdapter, ClusterOptions, Count, Inbox, MemoryNetwork, Message,
    Outcome, Outgoing, ServerId, Trailer,
};
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter as _, AdapterContext, Room, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Size of the event's argument in bytes.
const PAYLOAD: usize = 128;

/// Members of the room on the receiving server.
const MEMBERS: [usize; 3] = [1, 10, 1_000];

/// Messages that are published before the first is awaited, as in the queue of a busy server.
const BURSTS: [u64; 2] = [1, 100];

fn cluster(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be made");
    let _entered = runtime.enter();
    receive(criterion);
    across(criterion, &runtime);
}

/// Messages that a broker has already decoded, with the numbers of a roomcast server.
fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cluster/receive");
    for members in MEMBERS {
        let broker = Arc::<Hand>::default();
        let place = Place::new(broker.clone(), members);
        let inbox = broker.0.lock().expect("nothing panics").clone().expect("the adapter has opened its namespace");
        let (sender, data) = (ServerId::from("another"), event());
        let mut number = 0;
        let mut message = |room: &str| {
            number += 1;
            let body =
                Body::Broadcast { data: data.clone(), target: Target::room(room), volatile: false, compress: true };
            let trailer = Trailer::new("/", 7, number, number);
            if room != "one" {
                return vec![Arrival::PassedOver(trailer)];
            }
            vec![Arrival::Message(Message { sender: Some(sender.clone()), to: None, trailer: Some(trailer), body })]
        };
        inbox.receive(message("one"));
        assert_eq!(place.delivered(), members as u64, "a message does not reach its recipients");
        group.throughput(Throughput::Elements(members as u64));
        group.bench_function(BenchmarkId::new("room_of", members), |bencher| {
            bencher.iter(|| inbox.receive(message("one")));
        });
        if members == 1 {
            group.bench_function("room of nobody here", |bencher| bencher.iter(|| inbox.receive(message("none"))));
        }
    }
}

fn across(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("cluster/across");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for members in MEMBERS {
        let network = MemoryNetwork::new();
        let (from, to) = (Place::new(network.broker(), 0), Place::new(network.broker(), members));
        let (target, data) = (Target::room("one"), event());
        let publish = |count: u64| {
            runtime.block_on(async {
                // Only the recipient that gets a message last is polled, because polling all of them would slow them down.
                let last = &to.recipients[members - 1];
                let until = last.count() + count;
                for _ in 0..count {
                    from.adapter.apply(&target, Action::emit(&data)).expect("a small event is not refused");
                }
                while last.count() < until {
                    tokio::task::yield_now().await;
                }
            });
        };
        publish(1);
        assert_eq!(to.delivered(), members as u64, "a message does not reach its recipients");
        for burst in BURSTS {
            group.throughput(Throughput::Elements(burst));
            let name = BenchmarkId::new(format!("room_of_{members}"), format!("{burst}_at_once"));
            group.bench_function(name, |bencher| bencher.iter(|| publish(burst)));
        }
    }
}

/// A server of a cluster, with recipients in a room.
struct Place {
    adapter: Arc<ClusterAdapter>,
    recipients: Vec<Arc<CountingRecipient>>,
    /// Kept open, as a namespace does.
    _server_events: mpsc::Receiver<ServerEvent>,
}

impl Place {
    fn new(broker: Arc<dyn Broker>, members: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = ServerId::from(&*format!("server-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let (server_events, events) = mpsc::channel(MAX_SERVER_EVENTS);
        let cluster = Cluster::with_id(id, broker, ClusterOptions::default());
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let recipients: Vec<_> = (0..members).map(|_| CountingRecipient::new()).collect();
        for recipient in &recipients {
            let id = SocketId::random().expect("the system has random bytes");
            adapter.insert(id, recipient.clone(), &[], None).expect("a new id is not taken");
            adapter.join(id, &[Room::from("one")]).expect("a handful of rooms is allowed");
        }
        Self { adapter, recipients, _server_events: events }
    }

    /// The number of messages that the last recipient has received, which gets each message after all others.
    fn delivered(&self) -> u64 {
        self.recipients.iter().map(|recipient| recipient.count()).sum()
    }
}

/// A broker that sends nothing, and keeps the inbox of its last namespace for the bench.
#[derive(Default)]
struct Hand(Mutex<Option<Arc<dyn Inbox>>>);

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hand")
    }
}

#[async_trait]
impl Broker for Hand {
    fn open(&self, _: &Arc<str>, _: &ServerId, inbox: Arc<dyn Inbox>) {
        inbox.connected();
        *self.0.lock().expect("nothing panics") = Some(inbox);
    }

    async fn close(&self, _: &str) {}

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        vec![Outcome::Sent; batch.len()]
    }

    async fn count(&self, _: &str) -> Result<Option<Count>, BrokerError> {
        Ok(Some(Count::of(1)))
    }
}

fn event() -> Args {
    Args::event("message", &"x".repeat(PAYLOAD)).expect("text can be emitted")
}

criterion_group!(benches, cluster);
criterion_main!(benches);
