//! Measures what `tests/faults.rs` and `tests/failovers.rs` only check: `cargo run --release -p roomcast-redis --example
//! fault_report [runs]` prints a row for each fault, the worst of all runs and both ways. It needs `redis-server` and takes about a
//! minute for each run.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test whose result is figures.

#[path = "../tests/common/fault_proxy.rs"]
#[allow(dead_code)]
mod fault_proxy;
#[path = "../tests/common/fault_stage.rs"]
#[allow(dead_code)]
mod fault_stage;
#[path = "../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;

use fault_proxy::{FaultProxy, Which};
use fault_stage::{Figures, Talk, pass};
use redis_process::{RedisCluster, RedisProcess, Sentinels};
use std::time::Duration;
use tokio::time::Instant;

const FAULTS: [&str; 9] = [
    "none, 5 s",
    "kill -9, restart after 1 s",
    "SIGSTOP 5 s",
    "TCP cut of one server",
    "half-open subscriber",
    "half-open publisher",
    "Sentinel: primary killed",
    "Sentinel: primary frozen",
    "Cluster: node in use killed",
];

fn seconds(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

async fn measure(fault: &str) -> [Figures; 2] {
    match fault {
        "Sentinel: primary killed" | "Sentinel: primary frozen" => {
            let mut redis = Sentinels::start().await;
            let talk = Talk::begin([&redis.url(), &redis.url()]).await;
            pass(seconds(1.0)).await;
            if fault.ends_with("killed") {
                redis.primary.kill();
            } else {
                redis.primary.freeze();
            }
            while !redis.replica.ask::<String>("INFO replication").await.contains("role:master") {
                pass(seconds(0.01)).await;
            }
            return end(talk, Instant::now()).await;
        }
        "Cluster: node in use killed" => {
            let mut redis = RedisCluster::start().await;
            let talk = Talk::begin([&redis.url(), &redis.url()]).await;
            pass(seconds(1.0)).await;
            redis.nodes[0].kill();
            return end(talk, Instant::now()).await;
        }
        _ => {}
    }
    let mut redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let talk = Talk::begin([&redis.url(), &proxy.url()]).await;
    pass(seconds(1.0)).await;
    let mut since = Instant::now();
    match fault {
        "kill -9, restart after 1 s" => {
            redis.kill();
            pass(seconds(1.0)).await;
            redis.start_again().await;
            since = Instant::now();
        }
        "SIGSTOP 5 s" => {
            redis.freeze();
            pass(seconds(5.0)).await;
            redis.thaw();
            since = Instant::now();
        }
        "TCP cut of one server" => drop(proxy.cut(Which::All)),
        "half-open subscriber" => drop(proxy.half_open(Which::Subscriber)),
        "half-open publisher" => drop(proxy.half_open(Which::Publisher)),
        _ => pass(seconds(5.0)).await,
    }
    end(talk, since).await
}

async fn end(talk: Talk, since: Instant) -> [Figures; 2] {
    let resumed = talk.resumes(since).await;
    pass(seconds(1.0)).await;
    talk.end(resumed).await
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let runs = std::env::args().nth(1).map_or(1, |runs| runs.parse().unwrap());
    println!(
        "| fault | emitted | lost = counted | doubles kept back | resumed after, worst (ms) | local p99, worst (ms) | local max (ms) |"
    );
    println!("|---|---|---|---|---|---|---|");
    for fault in FAULTS {
        let mut all = Vec::new();
        for _ in 0..runs {
            all.extend(measure(fault).await);
        }
        let lost: Vec<String> = all.iter().map(|it| it.lost.to_string()).collect();
        let emitted: u64 = all.iter().map(|it| it.emitted).sum();
        let doubles: u64 = all.iter().map(|it| it.doubles).sum();
        let worst = |time: fn(&Figures) -> Duration| all.iter().map(time).max().unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "| {fault} | {emitted} | {} | {doubles} | {:.0} | {:.2} | {:.2} |",
            lost.join(", "),
            worst(|it| it.resumed),
            worst(|it| it.local_p99),
            worst(|it| it.local_max)
        );
    }
}
