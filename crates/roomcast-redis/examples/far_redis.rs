//! Two servers whose Redis is 3 ms away in each direction: one emits at a steady rate, the other delivers. `cargo run
//! --release -p roomcast-redis --example far_redis -- [messages a second, 60000] [seconds, 10] [cut]`. With `cut` the
//! connections of both servers are reset halfway. It needs `redis-server`; `cargo xtask long` runs it with and without
//! `cut`.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test that takes long.

#[path = "../tests/common/fault_proxy.rs"]
#[allow(dead_code)]
mod fault_proxy;
#[path = "../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;

use fault_proxy::{FaultProxy, Which};
use parking_lot::Mutex;
use redis_process::RedisProcess;
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, ServerEvent, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};

/// The delay to Redis, and the same back.
const ONE_WAY: Duration = Duration::from_millis(3);

/// Records when each event arrives.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(u64, Instant)>>);

impl Recipient for Recorder {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        // `42["e",17,"xxx…"]`: the number is the first argument.
        let number = packet
            .text()
            .unwrap_or_default()
            .split(',')
            .nth(1)
            .and_then(|number| number.parse().ok())
            .unwrap_or(u64::MAX);
        self.0.lock().push((number, Instant::now()));
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    proxy: FaultProxy,
    _events: mpsc::Receiver<ServerEvent>,
}

impl Server {
    async fn new(name: &str, redis: &RedisProcess) -> Self {
        let proxy = FaultProxy::start(redis.port).await;
        proxy.delay(ONE_WAY);
        let broker = ClassicBroker::new(proxy.url().parse().unwrap(), ClassicOptions::default());
        let cluster = Cluster::with_id(name.into(), broker, ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        Self { cluster, adapter, proxy, _events: events }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let rate: u64 = arguments.next().map_or(60_000, |rate| rate.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(10, |seconds| seconds.parse().unwrap());
    let cut = arguments.next().is_some_and(|word| word == "cut");
    let redis = RedisProcess::start().await;
    let (from, to) = (Server::new("from", &redis).await, Server::new("to", &redis).await);
    let recorder = Arc::<Recorder>::default();
    to.adapter.insert(SocketId::random().unwrap(), recorder.clone(), &[], None).unwrap();
    while from.adapter.server_count().await.value < 2 || from.cluster.servers().is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(2)).await;

    let all = rate * seconds;
    let (mut sent, mut ticks, each) = (Vec::new(), interval(Duration::from_millis(1)), rate / 1_000);
    while (sent.len() as u64) < all {
        ticks.tick().await;
        for _ in 0..each {
            let event = Args::event("e", &(sent.len() as u64, "x".repeat(64))).unwrap();
            sent.push(Instant::now());
            from.adapter.apply(&Target::everyone(), Action::emit(&event)).unwrap();
        }
        if cut && sent.len() as u64 == all / 2 {
            println!("cut: {} connections", from.proxy.cut(Which::All) + to.proxy.cut(Which::All));
        }
    }
    let ended = Instant::now();
    while from.cluster.queued() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    // Lost messages at the end are known at the second announcement after them.
    sleep(Duration::from_secs(4)).await;

    let arrived = recorder.0.lock().clone();
    let in_order = arrived.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let mut took: Vec<Duration> = arrived.iter().map(|(number, at)| *at - sent[*number as usize]).collect();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let (losses, dropped) = (to.cluster.losses(), from.cluster.losses().dropped);
    let real = ended - sent[0];
    println!(
        "{all} messages in {real:?} ({:.0} a second), {ONE_WAY:?} to Redis and the same back",
        all as f64 / real.as_secs_f64()
    );
    println!(
        "{} arrived, in order and none twice: {in_order}; {} counted as lost, {dropped} dropped",
        arrived.len(),
        losses.lost
    );
    println!("p50 {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.99), at(1.0));
    assert!(in_order, "out of order, or twice");
    assert_eq!(losses.lost, all - arrived.len() as u64, "the count of losses differs from the missing messages");
    if !cut {
        assert_eq!((arrived.len() as u64, dropped), (all, 0), "messages are missing");
        assert!(at(0.99) <= 2 * ONE_WAY + Duration::from_millis(30), "p99 exceeds the round trip by more than 30 ms");
    }
}
