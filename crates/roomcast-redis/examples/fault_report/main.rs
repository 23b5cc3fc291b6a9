//! Measures what `tests/suite/faults.rs` and `tests/suite/failovers.rs` only check, and the same at Node's servers:
//! `cargo run --release -p roomcast-redis --example fault_report -- [runs] [--only PATTERN] [--roomcast | --node] [--long]`
//! prints two rows for each fault, of roomcast and of Node. It needs `redis-server`, and for Node what `npm ci` puts into
//! `e2e/`. A run takes about five minutes; `--long` adds faults that last half a minute and more.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test whose result is figures.

#[path = "../../tests/common/fault_proxy.rs"]
#[allow(dead_code)]
mod fault_proxy;
#[path = "../../tests/common/fault_stage.rs"]
#[allow(dead_code)]
mod fault_stage;
mod node_talk;
#[path = "../../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;
mod row;

use fault_proxy::{FaultProxy, Which};
use fault_stage::{Talk, pass};
use node_talk::NodeTalk;
use redis_process::{RedisCluster, RedisProcess, Sentinels};
use row::Row;
use std::time::Duration;
use tokio::time::Instant;

const FAULTS: [&str; 10] = [
    "none, 5 s",
    "kill -9, restart after 1 s",
    "SIGSTOP 5 s",
    "TCP cut of one server",
    "half-open subscriber",
    "half-open publisher",
    "Sentinel: primary killed",
    "Sentinel: primary frozen",
    "Cluster: none, 5 s",
    "Cluster: node in use killed",
];

/// With `--long`.
const LONG_FAULTS: [&str; 2] = ["kill -9, restart after 90 s", "SIGSTOP 30 s"];

/// Two servers of one kind that talk.
enum Stage {
    Roomcast(Talk),
    Node(NodeTalk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Roomcast,
    Node,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Roomcast => "roomcast",
            Self::Node => "Node",
        }
    }
}

impl Stage {
    async fn begin(kind: Kind, urls: [&str; 2]) -> Self {
        let stage = match kind {
            Kind::Roomcast => Self::Roomcast(Talk::begin(urls).await),
            Kind::Node => Self::Node(NodeTalk::begin(urls).await),
        };
        pass(seconds(1.0)).await;
        stage
    }

    /// One row for each way; what comes through again is what was emitted after `since`.
    async fn end(self, since: Instant) -> [Row; 2] {
        match self {
            Self::Roomcast(talk) => {
                let resumed = talk.resumes(since).await;
                pass(seconds(1.0)).await;
                talk.end(resumed).await.map(Row::from)
            }
            Self::Node(talk) => {
                let resumed = talk.resumes(since).await;
                pass(seconds(1.0)).await;
                talk.end(resumed).await
            }
        }
    }
}

fn seconds(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

async fn measure(kind: Kind, fault: &str) -> [Row; 2] {
    match fault {
        "Sentinel: primary killed" | "Sentinel: primary frozen" => {
            let mut redis = Sentinels::start().await;
            let stage = Stage::begin(kind, [&redis.url(), &redis.url()]).await;
            if fault.ends_with("killed") {
                redis.primary.kill();
            } else {
                redis.primary.freeze();
            }
            while !redis.replica.is_primary().await {
                pass(seconds(0.01)).await;
            }
            stage.end(Instant::now()).await
        }
        "Cluster: none, 5 s" => {
            let redis = RedisCluster::start().await;
            let stage = Stage::begin(kind, [&redis.url(), &redis.url()]).await;
            let since = Instant::now();
            pass(seconds(5.0)).await;
            stage.end(since).await
        }
        "Cluster: node in use killed" => {
            let mut redis = RedisCluster::start().await;
            let stage = Stage::begin(kind, [&redis.url(), &redis.url()]).await;
            let heard_by = node_that_is_heard(&redis).await;
            redis.nodes[heard_by].kill();
            stage.end(Instant::now()).await
        }
        _ => {
            let mut redis = RedisProcess::start().await;
            let proxy = FaultProxy::start(redis.port).await;
            let stage = Stage::begin(kind, [&redis.url(), &proxy.url()]).await;
            let since = strike(fault, &mut redis, &proxy).await;
            stage.end(since).await
        }
    }
}

/// Returns the moment from which messages should come through again.
async fn strike(fault: &str, redis: &mut RedisProcess, proxy: &FaultProxy) -> Instant {
    let before = Instant::now();
    let mut meant = 1;
    match fault {
        "kill -9, restart after 1 s" | "kill -9, restart after 90 s" => {
            redis.kill();
            pass(seconds(if fault.ends_with("90 s") { 90.0 } else { 1.0 })).await;
            redis.start_again().await;
            return Instant::now();
        }
        "SIGSTOP 5 s" | "SIGSTOP 30 s" => {
            redis.freeze();
            pass(seconds(if fault.ends_with("30 s") { 30.0 } else { 5.0 })).await;
            redis.thaw();
            return Instant::now();
        }
        "TCP cut of one server" => meant = proxy.cut(Which::All),
        "half-open subscriber" => meant = proxy.half_open(Which::Subscriber),
        "half-open publisher" => meant = proxy.half_open(Which::Publisher),
        _ => pass(seconds(5.0)).await,
    }
    assert!(meant > 0, "the proxy has no such connection");
    before
}

/// The first node, primaries first, that a server has subscribed at. roomcast uses one node for everything, the first that it
/// is told; Node's client hears one and publishes by all primaries.
async fn node_that_is_heard(redis: &RedisCluster) -> usize {
    for (number, node) in redis.nodes.iter().enumerate() {
        if node.ask::<usize>("PUBSUB NUMPAT").await > 0 {
            return number;
        }
    }
    panic!("no node has a subscriber");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut runs = 1;
    let (mut only, mut kinds, mut faults) = (String::new(), vec![Kind::Roomcast, Kind::Node], FAULTS.to_vec());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next().unwrap(),
            "--roomcast" => kinds = vec![Kind::Roomcast],
            "--node" => kinds = vec![Kind::Node],
            "--long" => faults.extend(LONG_FAULTS),
            number => runs = number.parse().unwrap(),
        }
    }
    println!("{}", row::HEAD);
    for fault in faults.into_iter().filter(|fault| fault.contains(&only)) {
        for kind in &kinds {
            let mut all = Vec::new();
            for _ in 0..runs {
                all.extend(measure(*kind, fault).await);
            }
            println!("| {fault} | {} {}", kind.name(), row::summed_up(&all));
            all.iter().filter_map(|it| it.died.as_ref()).for_each(|words| eprintln!("A process died:\n{words}"));
        }
    }
}
