//! [`Talk`]: servers that send each other messages over Redis all the time, and what must hold whatever happens to
//! Redis.

#[path = "fault_log.rs"]
pub(crate) mod fault_log;

use fault_log::{Emitted, Receipt, Receipts};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, ServerEvent, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// Between two messages of a server.
const TICK: Duration = Duration::from_millis(10);

/// How long anything may take that must happen eventually. It is long for busy machines; the times are measured and
/// reported.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// After this all losses are counted: the last messages are known to be lost at the second announcement after them.
pub(crate) const COUNTED: Duration = Duration::from_secs(3);

/// Messages that may be in flight when a fault begins: a server emits one per [`TICK`], and Redis answers soon.
pub(crate) const IN_FLIGHT: u64 = 20;

/// The count of losses must not change for this long: two announcements.
const STAYS: Duration = Duration::from_secs(2);

/// A server with one socket.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) adapter: Arc<ClusterAdapter>,
    socket: Arc<Recorder>,
    emitted: Mutex<Emitted>,
    _events: mpsc::Receiver<ServerEvent>,
}

/// Records the numbered messages that it gets.
#[derive(Debug, Default)]
struct Recorder(Mutex<Receipts>);

impl Recipient for Recorder {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let at = Instant::now();
        // `42["name",number]`
        let event = packet.text().and_then(|text| Some(serde_json::from_str(&text[text.find('[')?..])));
        let (publisher, number) = event.unwrap().unwrap();
        self.0.lock().0.push(Receipt { publisher, number, at });
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

impl Server {
    pub(crate) fn new(name: &str, url: &str, options: ClusterOptions) -> Arc<Self> {
        Self::on(name, url.parse().unwrap(), options)
    }

    pub(crate) fn on(name: &str, redis: RedisConfig, options: ClusterOptions) -> Arc<Self> {
        let broker = ClassicBroker::new(redis, ClassicOptions::default());
        let cluster = Cluster::with_id(name.into(), broker, options);
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let socket = Arc::<Recorder>::default();
        adapter.insert(SocketId::random().unwrap(), socket.clone(), &[], None).unwrap();
        Arc::new(Self { cluster, adapter, socket, emitted: Mutex::default(), _events: events })
    }

    pub(crate) fn name(&self) -> &str {
        self.cluster.id().as_str()
    }

    /// Emits the next number to everybody: 1, 2, 3 ...
    pub(crate) fn emit(&self) {
        let mut emitted = self.emitted.lock();
        let (number, began) = (emitted.count() + 1, Instant::now());
        let data = Args::event(self.name(), &number).unwrap();
        self.adapter.apply(&Target::everyone(), Action::emit(&data)).unwrap();
        emitted.0.push((began, began.elapsed()));
    }

    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.lock().count()
    }

    /// The numbers that the socket got from a server, in order of arrival.
    pub(crate) fn received(&self, publisher: &Server) -> Vec<u64> {
        self.socket.0.lock().of(publisher.name())
    }

    /// When the first message arrived that was emitted after `since`.
    fn received_since(&self, publisher: &Server, since: Instant) -> Option<Instant> {
        // Locked in the same order as in an emit.
        let emitted = publisher.emitted.lock();
        self.socket.0.lock().since(publisher.name(), &emitted, since)
    }
}

/// Two servers, each of which emits a message every 10 ms.
pub(crate) struct Talk {
    pub(crate) servers: Vec<Arc<Server>>,
    talking: Vec<JoinHandle<()>>,
}

/// What was measured in one direction, from one server to the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) emitted: u64,
    pub(crate) lost: u64,
    pub(crate) counted: u64,
    pub(crate) dropped: u64,
    /// Duplicates that arrived over Redis; no socket got one.
    pub(crate) doubles: u64,
    pub(crate) resumed: Duration,
    /// The age of the oldest message when it arrived.
    pub(crate) oldest: Duration,
    pub(crate) local_p99: Duration,
    pub(crate) local_max: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{} emitted, {} lost, {} counted, {} dropped by the sender, {} doubles kept back, resumed after {:.0} ms, the oldest was {:.0} ms old, local p99 {:.2} ms, max {:.2} ms",
            self.emitted,
            self.lost,
            self.counted,
            self.dropped,
            self.doubles,
            milliseconds(self.resumed),
            milliseconds(self.oldest),
            milliseconds(self.local_p99),
            milliseconds(self.local_max)
        )
    }
}

impl Talk {
    /// Two servers that know each other before they talk, and whose messages arrive.
    pub(crate) async fn begin(urls: [&str; 2]) -> Self {
        Self::begin_with(urls, ClusterOptions::default()).await
    }

    pub(crate) async fn begin_with(urls: [&str; 2], options: ClusterOptions) -> Self {
        Self::begin_on(urls.map(|url| url.parse().unwrap()), options).await
    }

    pub(crate) async fn begin_on(redis: [RedisConfig; 2], options: ClusterOptions) -> Self {
        let mut talk = Self { servers: servers(redis, &options), talking: Vec::new() };
        for server in &talk.servers {
            must_become("the servers know each other", || server.cluster.servers().len() == 1).await;
        }
        talk.must_count_two().await;
        talk.talk();
        let [a, b] = [&talk.servers[0], &talk.servers[1]];
        must_become("messages arrive at both servers", || !a.received(b).is_empty() && !b.received(a).is_empty()).await;
        talk
    }

    /// Two servers that may not know each other.
    pub(crate) fn unacquainted(urls: [&str; 2], options: &ClusterOptions) -> Self {
        Self::unacquainted_on(urls.map(|url| url.parse().unwrap()), options)
    }

    pub(crate) fn unacquainted_on(redis: [RedisConfig; 2], options: &ClusterOptions) -> Self {
        let mut talk = Self { servers: servers(redis, options), talking: Vec::new() };
        talk.talk();
        talk
    }

    fn talk(&mut self) {
        let talking = self.servers.iter().map(|server| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut ticks = interval(TICK);
                loop {
                    ticks.tick().await;
                    server.emit();
                }
            })
        });
        self.talking = talking.collect();
    }

    /// Waits until messages that were emitted after `since` arrive in both directions. Returns the time from `since`.
    pub(crate) async fn resumes(&self, since: Instant) -> Duration {
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let mut at = since;
        must_become("messages arrive again", || match (a.received_since(b, since), b.received_since(a, since)) {
            (Some(one), Some(other)) => {
                at = one.max(other);
                true
            }
            _ => false,
        })
        .await;
        at - since
    }

    /// Waits until messages arrive at both servers.
    pub(crate) async fn messages_come(&self) {
        let (one, other) = (&self.servers[0], &self.servers[1]);
        must_become("messages arrive", || one.received(other).len() > 20 && other.received(one).len() > 20).await;
    }

    /// Waits until the servers count each other, whichever Redis servers they are on.
    pub(crate) async fn must_count_two(&self) {
        for server in &self.servers {
            let until = Instant::now() + PATIENCE;
            while server.adapter.server_count().await.value != 2 {
                assert!(Instant::now() < until, "{} counts {:?}", server.name(), server.adapter.server_count().await);
                pass(Duration::from_millis(50)).await;
            }
        }
    }

    /// Ends the talk and checks both directions.
    pub(crate) async fn end(mut self, resumed: Duration) -> [Figures; 2] {
        self.hush().await;
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let figures = [check(a, b, resumed).await, check(b, a, resumed).await];
        // The count may pass through the right value on its way to a wrong one.
        sleep(STAYS).await;
        for (figures, receiver) in figures.iter().zip([b, a]) {
            let counted = receiver.cluster.losses().lost;
            assert_eq!(counted, figures.lost, "the count changed after it was right: {figures}");
        }
        figures
    }

    /// Stops emitting, and waits until all losses must have been counted.
    pub(crate) async fn hush(&mut self) {
        self.talking.iter().for_each(JoinHandle::abort);
        for talking in self.talking.drain(..) {
            // A panic in the task fails this test.
            assert!(talking.await.is_err_and(|error| error.is_cancelled()), "the talk ended early");
        }
        sleep_until(Instant::now() + COUNTED).await;
    }
}

fn servers(redis: [RedisConfig; 2], options: &ClusterOptions) -> Vec<Arc<Server>> {
    ["a", "b"].iter().zip(redis).map(|(name, redis)| Server::on(name, redis, options.clone())).collect()
}

/// Checks what must hold from `publisher` to `receiver`, whatever happened to Redis.
async fn check(publisher: &Server, receiver: &Server, resumed: Duration) -> Figures {
    let emitted = publisher.emitted();
    let local = publisher.received(publisher);
    assert!(
        local.iter().copied().eq(1..=emitted),
        "local delivery has a gap: {emitted} emitted, {} arrived",
        local.len()
    );
    // A message that is still in flight is neither lost nor received.
    must_become("nothing waits", || publisher.cluster.queued() == 0).await;
    let numbers = receiver.received(publisher);
    assert!(numbers.is_sorted_by(|one, other| one < other), "duplicates, or out of order: {numbers:?}");
    let lost = emitted - numbers.len() as u64;
    let counted = || receiver.cluster.losses().lost;
    let what = format!("as many losses are counted as messages are missing, {lost} of {emitted}");
    must_become(&what, || counted() == lost).await;
    let emits = publisher.emitted.lock();
    let (local_p99, local_max) = emits.slowest();
    let oldest = receiver.socket.0.lock().oldest(publisher.name(), &emits);
    let (doubles, dropped) = (receiver.cluster.losses().doubles, publisher.cluster.losses().dropped);
    Figures { emitted, lost, counted: counted(), dropped, doubles, resumed, oldest, local_p99, local_max }
}

pub(crate) async fn must_become(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "after {PATIENCE:?} this is still not so: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Lets the fault last, or the talk go on, for some time.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}
