//! A broker with several publishing connections: one that fails holds up its own messages and nothing else.

use super::stage::{ACQUAINTED, Server, pass};
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Body, Broker, BrokerError, ClusterOptions, Count, Hears, Inbox, MemoryBroker, MemoryNetwork, Outcome, Outgoing,
    Route, SERVERS, Series, ServerId,
};
use roomcast_adapter::testkit::eventually;
use roomcast_adapter::{Action, Adapter, Emit, Target};
use roomcast_protocol::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is not held up arrives within this time.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The time that other servers have to subscribe again, and two attempts.
const LONGEST_WAIT: Duration = Duration::from_millis(1_500 + 200);

/// What becomes of messages on a road.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    AtOnce,
    /// There is never an outcome.
    Never,
}

/// A broker on which a room whose name is a number takes that road, and everything else takes road 0.
#[derive(Debug)]
struct Fork {
    inner: Arc<MemoryBroker>,
    closed: Mutex<BTreeMap<u64, Fails>>,
    batches: Mutex<BTreeMap<u64, usize>>,
}

impl Fork {
    fn server(network: &MemoryNetwork, name: &str) -> (Arc<Self>, Server) {
        let (closed, batches) = (Mutex::default(), Mutex::default());
        let fork = Arc::new(Self { inner: network.broker(), closed, batches });
        let server = Server::over(fork.inner.clone(), fork.clone(), name, ClusterOptions::default());
        (fork, server)
    }

    fn fails(&self, road: u64, how: Option<Fails>) {
        let mut closed = self.closed.lock();
        closed.remove(&road);
        closed.extend(how.map(|how| (road, how)));
    }
}

#[async_trait]
impl Broker for Fork {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.inner.open(namespace, id, inbox);
    }

    async fn close(&self, namespace: &str) {
        self.inner.close(namespace).await;
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let road = self.route(&batch[0]).road;
        assert!(batch.iter().all(|outgoing| self.route(outgoing).road == road), "one batch is one road's");
        if &*batch[0].namespace != SERVERS {
            *self.batches.lock().entry(road).or_default() += 1;
        }
        let closed = self.closed.lock().get(&road).copied();
        match closed {
            None => self.inner.publish(batch).await,
            Some(Fails::AtOnce) => vec![Outcome::Again("the road is closed".to_owned()); batch.len()],
            Some(Fails::Never) => std::future::pending().await,
        }
    }

    fn hears(&self, series: Series) -> Hears {
        if series == Series::Main { Hears::All } else { Hears::EachRoom }
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        let mut route = Route::default();
        if let Body::Broadcast { target, .. } = &outgoing.message.body
            && let Some(road) = target.rooms.first().and_then(|room| room.parse().ok())
        {
            (route.channel, route.road) = (road, road);
        }
        route
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        match self.closed.lock().get(&road) {
            Some(_) => Err(BrokerError("the road is closed".to_owned())),
            None => Ok(()),
        }
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.inner.count(namespace).await
    }
}

/// Two servers that know each other. The second one's socket is in the rooms 1 and 2.
async fn two(network: &MemoryNetwork) -> (Arc<Fork>, Server, Server) {
    let (fork, a) = Fork::server(network, "a");
    let (_, b) = Fork::server(network, "b");
    b.adapter.join(b.socket_id, &["1".into(), "2".into()]).unwrap();
    pass(ACQUAINTED).await;
    (fork, a, b)
}

fn volatile(server: &Server, room: &str) {
    let data = Args::event("a", &0).unwrap();
    let emit = Emit { data: &data, volatile: true, compress: true };
    server.adapter.apply(&Target::room(room), Action::Emit(emit)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_road_that_is_down_holds_up_only_its_own_messages() {
    for how in [Fails::AtOnce, Fails::Never] {
        let network = MemoryNetwork::new();
        let (fork, a, b) = two(&network).await;
        fork.fails(1, Some(how));
        for _ in 0..3 {
            // Numbers 1, 2, 3 and so on: on the road that is down, on another one, and on the road to everybody.
            ["1", "2"].into_iter().for_each(|room| a.emit_to(room));
            a.emit();
        }
        pass(AT_ONCE).await;
        assert_eq!((b.heard(&a), a.cluster.queued()), (vec![3, 6, 9, 2, 5, 8], 3), "{how:?}");
        // Until this is known.
        pass(Duration::from_secs(3)).await;
        let state = *a.cluster.state().borrow();
        assert!(!state.publishes && state.queued == 3, "{how:?}: {state:?}");
        volatile(&a, "1");
        volatile(&a, "2");
        pass(AT_ONCE).await;
        assert_eq!((b.heard(&a).len(), a.cluster.losses().dropped), (7, 1), "{how:?}");
        fork.fails(1, None);
        pass(Duration::from_millis(200)).await;
        assert_eq!(b.heard(&a).len(), 7, "the others have time to hear again");
        a.emit_to("2");
        pass(LONGEST_WAIT).await;
        assert_eq!(b.heard(&a), [3, 6, 9, 2, 5, 8, 0, 10, 1, 4, 7], "{how:?}");
        assert_eq!((b.lost(), a.cluster.losses().dropped, a.cluster.queued()), (0, 1, 0));
        // A message waited there and has gone out, so the road is as good as the others.
        let state = *a.cluster.state().borrow();
        assert!(state.publishes, "{state:?}");
        a.emit_to("1");
        pass(AT_ONCE).await;
        assert_eq!(b.heard(&a).last(), Some(&11));
    }
}

#[tokio::test(start_paused = true)]
async fn old_messages_are_dropped_and_a_road_that_is_back_is_noticed_though_nothing_waits() {
    let network = MemoryNetwork::new();
    let (fork, a, b) = two(&network).await;
    fork.fails(1, Some(Fails::AtOnce));
    a.emit_to("1");
    pass(Duration::from_secs(6)).await;
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (0, 1));
    volatile(&a, "1");
    assert_eq!(a.cluster.losses().dropped, 2, "it is down still");
    fork.fails(1, None);
    pass(LONGEST_WAIT).await;
    volatile(&a, "1");
    pass(AT_ONCE).await;
    assert_eq!((b.heard(&a), a.cluster.losses().dropped), (vec![0], 2));
    assert_eq!(fork.batches.lock()[&1], 2, "one that failed and one that went out");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_does_not_wait_for_a_road_that_is_down() {
    let network = MemoryNetwork::new();
    let (fork, a, b) = two(&network).await;
    fork.fails(1, Some(Fails::AtOnce));
    ["1", "2"].into_iter().for_each(|room| a.emit_to(room));
    tokio::time::timeout(Duration::from_secs(1), a.cluster.close()).await.unwrap();
    assert_eq!((b.heard(&a), a.cluster.losses().dropped), (vec![2], 1));
    assert!(eventually(|| b.cluster.servers().is_empty()).await, "it said goodbye");
}
