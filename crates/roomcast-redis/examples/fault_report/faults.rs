//! [`Site`]: the Redis of a run, and the fault that strikes it or the way to it.

use crate::fault_proxy::{FaultProxy, Which};
use crate::fault_stage::pass;
use crate::redis_process::{RedisCluster, RedisProcess, Sentinels};
use std::time::Duration;
use tokio::time::Instant;

/// The longest that one server's connections are slow or stopped.
const SLOW: Duration = Duration::from_secs(10);

/// Bytes a second that a slow consumer takes: more than none, so that it is not taken for dead, and less than it is sent.
const SLOW_RATE: u64 = 50_000;

/// Redis that cuts off who is behind by so much, and tells it in its log.
const SMALL_BUFFERS: [&str; 7] =
    ["--client-output-buffer-limit", "pubsub", "1mb", "1mb", "0", "--logfile", "redis.log"];

/// What tells the node of a Cluster that is heard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HeardBy {
    /// A pattern.
    Pattern,
    /// This channel.
    Channel(&'static str),
    /// This sharded channel.
    Sharded(&'static str),
}

pub(crate) struct Site {
    fault: String,
    redis: Redis,
}

enum Redis {
    /// And the way to it of the one server that some faults are for.
    One(RedisProcess, FaultProxy),
    Sentinels(Sentinels),
    Cluster(RedisCluster),
}

impl Site {
    pub(crate) async fn start(fault: &str) -> Self {
        let redis = if fault.starts_with("Sentinel") {
            Redis::Sentinels(Sentinels::start().await)
        } else if fault.starts_with("Cluster") {
            Redis::Cluster(RedisCluster::start().await)
        } else {
            let small: &[&str] = if fault.contains("pubsub 1mb") { &SMALL_BUFFERS } else { &[] };
            let redis = RedisProcess::start_with(small).await;
            let proxy = FaultProxy::start(redis.port).await;
            Redis::One(redis, proxy)
        };
        Self { fault: fault.to_owned(), redis }
    }

    /// What most servers use, and what the one uses that some faults are for.
    pub(crate) fn urls(&self) -> [String; 2] {
        match &self.redis {
            Redis::One(redis, proxy) => [redis.url(), proxy.url()],
            Redis::Sentinels(redis) => [redis.url(), redis.url()],
            Redis::Cluster(redis) => [redis.url(), redis.url()],
        }
    }

    /// Returns the moment from which messages should come through again.
    pub(crate) async fn strike(&mut self, heard_by: HeardBy) -> Instant {
        let (fault, before) = (self.fault.as_str(), Instant::now());
        match &mut self.redis {
            Redis::One(redis, proxy) => return strike_one(fault, redis, proxy).await,
            Redis::Sentinels(redis) => {
                if fault.ends_with("killed") {
                    redis.primary.kill();
                } else {
                    redis.primary.freeze();
                }
                while !redis.replica.is_primary().await {
                    pass(Duration::from_millis(10)).await;
                }
                return Instant::now();
            }
            Redis::Cluster(redis) if fault.ends_with("killed") => {
                let node = node_that_is_heard(redis, heard_by).await;
                redis.nodes[node].kill();
                return Instant::now();
            }
            Redis::Cluster(_) => pass(Duration::from_secs(5)).await,
        }
        before
    }
}

async fn strike_one(fault: &str, redis: &mut RedisProcess, proxy: &FaultProxy) -> Instant {
    let before = Instant::now();
    let mut meant = 1;
    match fault {
        "kill -9, restart after 1 s" | "kill -9, restart after 90 s" => {
            redis.kill();
            pass(Duration::from_secs(if fault.ends_with("90 s") { 90 } else { 1 })).await;
            redis.start_again().await;
            return Instant::now();
        }
        "SIGSTOP 5 s" | "SIGSTOP 30 s" => {
            redis.freeze();
            pass(Duration::from_secs(if fault.ends_with("30 s") { 30 } else { 5 })).await;
            redis.thaw();
            return Instant::now();
        }
        "TCP cut of one server" => meant = proxy.cut(Which::All),
        "half-open subscriber" => meant = proxy.half_open(Which::Subscriber),
        "half-open publisher" => meant = proxy.half_open(Which::Publisher),
        "subscriber stopped for 10 s" => {
            meant = proxy.stop(Which::Subscriber);
            pass(SLOW).await;
            proxy.pass();
        }
        "slow subscriber, pubsub 1mb" => {
            proxy.slow(SLOW_RATE);
            pass(SLOW).await;
            let cut = redis.file("redis.log").matches("overcoming of output buffer limits").count();
            assert!(cut > 0, "Redis has cut nobody off");
            eprintln!("Redis has cut off {cut} connections");
            proxy.slow(0);
            return Instant::now();
        }
        _ => pass(Duration::from_secs(5)).await,
    }
    assert!(meant > 0, "the proxy has no such connection");
    before
}

/// The first node, primaries first, that a server has subscribed at. roomcast uses one node for everything but sharded channels,
/// the first that it is told; Node's client hears one and publishes by all primaries.
async fn node_that_is_heard(redis: &RedisCluster, heard_by: HeardBy) -> usize {
    for (number, node) in redis.nodes.iter().enumerate() {
        let subscribers = match heard_by {
            HeardBy::Pattern => node.ask("PUBSUB NUMPAT").await,
            HeardBy::Channel(name) => node.ask::<(String, usize)>(&format!("PUBSUB NUMSUB {name}")).await.1,
            HeardBy::Sharded(name) => node.ask::<(String, usize)>(&format!("PUBSUB SHARDNUMSUB {name}")).await.1,
        };
        if subscribers > 0 {
            return number;
        }
    }
    panic!("no node has a subscriber");
}
