//! Two servers whose Redis is 3 ms away in each direction: one emits at a steady rate, the other delivers.
//! `cargo run --release -p roomcast-redis --example far_redis -- [messages a second, 60000] [seconds, 10] [cut]`. With `cut` the connections
//! of both are reset in the middle. It needs `redis-server`; `cargo xtask long` runs both.

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

/// To Redis, and as long back.
const AWAY: Duration = Duration::from_millis(3);

/// Notes when each event came.
#[derive(Debug, Default)]
struct Watch(Mutex<Vec<(u64, Instant)>>);

impl Recipient for Watch {
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
        proxy.delay(AWAY);
        let broker = ClassicBroker::new(proxy.url().parse().unwrap(), ClassicOptions::default());
        let cluster = Cluster::with_id(name.into(), broker, ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
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
    let watch = Arc::<Watch>::default();
    to.adapter.insert(SocketId::random().unwrap(), watch.clone(), &[], None).unwrap();
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
    // A lost tail is told by the second announcement after it.
    sleep(Duration::from_secs(4)).await;

    let came = watch.0.lock().clone();
    let in_order = came.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let mut took: Vec<Duration> = came.iter().map(|(number, at)| *at - sent[*number as usize]).collect();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let (losses, dropped) = (to.cluster.losses(), from.cluster.losses().dropped);
    let real = ended - sent[0];
    println!(
        "{all} messages in {real:?} ({:.0} a second), {AWAY:?} to Redis and as long back",
        all as f64 / real.as_secs_f64()
    );
    println!(
        "{} came, in order and none twice: {in_order}; lost by count {}, dropped {dropped}",
        came.len(),
        losses.lost
    );
    println!("p50 {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.99), at(1.0));
    assert!(in_order, "order, and none twice");
    assert_eq!(losses.lost, all - came.len() as u64, "what is counted as lost is what did not come");
    if !cut {
        assert_eq!((came.len() as u64, dropped), (all, 0), "all came");
        assert!(at(0.99) <= 2 * AWAY + Duration::from_millis(30), "p99 is the round trip and 30 ms at most");
    }
}
