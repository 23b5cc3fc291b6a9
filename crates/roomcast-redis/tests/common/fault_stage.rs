//! Servers that talk to one another over Redis all the time, and what must hold of their talk whatever happens to Redis.

#[path = "fault_log.rs"]
pub(crate) mod fault_log;

use fault_log::{Emitted, Heard, Received};
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

/// How long anything may take that must happen at some time. It is long for busy machines; what is measured is reported.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// After this the losses are counted: a tail is known lost at the second announcement after it.
pub(crate) const COUNTED: Duration = Duration::from_secs(3);

/// Messages that may be on their way when a fault begins: a server emits one in [`TICK`], and what is with Redis is answered soon.
pub(crate) const IN_FLIGHT: u64 = 20;

/// For so long the count of losses must stay as it is: two announcements.
const STAYS: Duration = Duration::from_secs(2);

/// A server with one socket.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) adapter: Arc<ClusterAdapter>,
    socket: Arc<Recorder>,
    emitted: Mutex<Emitted>,
    _events: mpsc::Receiver<ServerEvent>,
}

/// Remembers the numbered messages that it gets.
#[derive(Debug, Default)]
struct Recorder(Mutex<Heard>);

impl Recipient for Recorder {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let at = Instant::now();
        // `42["name",number]`
        let event = packet.text().and_then(|text| Some(serde_json::from_str(&text[text.find('[')?..])));
        let (publisher, number) = event.unwrap().unwrap();
        self.0.lock().0.push(Received { publisher, number, at });
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
        let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
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
    pub(crate) fn heard(&self, publisher: &Server) -> Vec<u64> {
        self.socket.0.lock().of(publisher.name())
    }

    /// When the first message came that was emitted after `since`.
    fn heard_since(&self, publisher: &Server, since: Instant) -> Option<Instant> {
        // In this order, as in an emit.
        let emitted = publisher.emitted.lock();
        self.socket.0.lock().since(publisher.name(), &emitted, since)
    }
}

/// Two servers, each of which emits a message every 10 ms.
pub(crate) struct Talk {
    pub(crate) servers: Vec<Arc<Server>>,
    talking: Vec<JoinHandle<()>>,
}

/// What was seen of one way, from a server to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) emitted: u64,
    pub(crate) lost: u64,
    pub(crate) counted: u64,
    pub(crate) dropped: u64,
    /// Doubles that came over Redis; no socket saw one.
    pub(crate) doubles: u64,
    pub(crate) resumed: Duration,
    /// How old the oldest message was when it came.
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
    /// Two servers that know one another before they talk, and hear one another by now.
    pub(crate) async fn begin(urls: [&str; 2]) -> Self {
        Self::begin_with(urls, ClusterOptions::default()).await
    }

    pub(crate) async fn begin_with(urls: [&str; 2], options: ClusterOptions) -> Self {
        Self::begin_on(urls.map(|url| url.parse().unwrap()), options).await
    }

    pub(crate) async fn begin_on(redis: [RedisConfig; 2], options: ClusterOptions) -> Self {
        let mut talk = Self { servers: servers(redis, &options), talking: Vec::new() };
        for server in &talk.servers {
            must_become("the servers know one another", || server.cluster.servers().len() == 1).await;
        }
        talk.must_count_two().await;
        talk.talk();
        let [a, b] = [&talk.servers[0], &talk.servers[1]];
        must_become("the servers hear one another", || !a.heard(b).is_empty() && !b.heard(a).is_empty()).await;
        talk
    }

    /// Two servers that may know nothing of one another.
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

    /// Messages that are emitted after `since` come through, both ways. The time it took from there.
    pub(crate) async fn resumes(&self, since: Instant) -> Duration {
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let mut at = since;
        must_become("messages come through again", || match (a.heard_since(b, since), b.heard_since(a, since)) {
            (Some(one), Some(other)) => {
                at = one.max(other);
                true
            }
            _ => false,
        })
        .await;
        at - since
    }

    /// Both hear what the other emits.
    pub(crate) async fn messages_come(&self) {
        let (one, other) = (&self.servers[0], &self.servers[1]);
        must_become("messages come", || one.heard(other).len() > 20 && other.heard(one).len() > 20).await;
    }

    /// The servers count one another, on whatever Redis servers they are.
    pub(crate) async fn must_count_two(&self) {
        for server in &self.servers {
            let until = Instant::now() + PATIENCE;
            while server.adapter.server_count().await.value != 2 {
                assert!(Instant::now() < until, "{} counts {:?}", server.name(), server.adapter.server_count().await);
                pass(Duration::from_millis(50)).await;
            }
        }
    }

    /// Ends the talk and checks both ways.
    pub(crate) async fn end(mut self, resumed: Duration) -> [Figures; 2] {
        self.hush().await;
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let figures = [check(a, b, resumed).await, check(b, a, resumed).await];
        // The count may be right on its way to a wrong one.
        sleep(STAYS).await;
        for (figures, receiver) in figures.iter().zip([b, a]) {
            let counted = receiver.cluster.losses().lost;
            assert_eq!(counted, figures.lost, "the count went on after it was right: {figures}");
        }
        figures
    }

    /// Nothing is emitted any more, and what was lost of it must have been counted.
    pub(crate) async fn hush(&mut self) {
        self.talking.iter().for_each(JoinHandle::abort);
        for talking in self.talking.drain(..) {
            // A panic in it is one of this test.
            assert!(talking.await.is_err_and(|error| error.is_cancelled()), "the talk ended early");
        }
        sleep_until(Instant::now() + COUNTED).await;
    }
}

fn servers(redis: [RedisConfig; 2], options: &ClusterOptions) -> Vec<Arc<Server>> {
    ["a", "b"].iter().zip(redis).map(|(name, redis)| Server::on(name, redis, options.clone())).collect()
}

/// What must hold of the way from `publisher` to `receiver`, whatever happened to Redis.
async fn check(publisher: &Server, receiver: &Server, resumed: Duration) -> Figures {
    let emitted = publisher.emitted();
    let local = publisher.heard(publisher);
    assert!(
        local.iter().copied().eq(1..=emitted),
        "local delivery has a hole: {emitted} emitted, {} came",
        local.len()
    );
    // What is still on its way was neither lost nor heard.
    must_become("nothing waits", || publisher.cluster.queued() == 0).await;
    let heard = receiver.heard(publisher);
    assert!(heard.is_sorted_by(|one, other| one < other), "doubles or another order: {heard:?}");
    let lost = emitted - heard.len() as u64;
    let counted = || receiver.cluster.losses().lost;
    let what = format!("as many losses are counted as messages are missing, {lost} of {emitted}");
    must_become(&what, || counted() == lost).await;
    let emits = publisher.emitted.lock();
    let (local_p99, local_max) = emits.slowest();
    let oldest = receiver.socket.0.lock().oldest(publisher.name(), &emits);
    let (doubles, dropped) = (receiver.cluster.losses().doubles, publisher.cluster.losses().dropped);
    Figures { emitted, lost, counted: counted(), dropped, doubles, resumed, oldest, local_p99, local_max }
}

/// Polls until it holds.
pub(crate) async fn must_become(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "after {PATIENCE:?} it is still not so: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A time in which the fault lasts, or the talk goes on.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}
