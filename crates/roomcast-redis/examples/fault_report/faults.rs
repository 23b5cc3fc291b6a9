//! [`Site`]: the Redis of a run, and the fault of it or of the network to it.

use crate::fault_proxy::{FaultProxy, Which};
use crate::fault_stage::pass;
use crate::redis_process::{RedisCluster, RedisProcess, Sentinels};
use std::time::Duration;
use tokio::time::Instant;

/// The longest that one server's connections are slow or stopped.
const SLOW: Duration = Duration::from_secs(10);

/// Bytes a second that a slow subscriber takes: more than none, so that it is not taken for dead, but less than it is
/// sent.
const SLOW_RATE: u64 = 50_000;

/// Arguments for a Redis that cuts off a subscriber which is 1 MB behind, and logs it.
const SMALL_BUFFERS: [&str; 7] =
    ["--client-output-buffer-limit", "pubsub", "1mb", "1mb", "0", "--logfile", "redis.log"];

/// By which subscription the node in use of a Cluster is recognized.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SubscribedBy {
    Pattern,
    Channel(&'static str),
    Sharded(&'static str),
}

pub(crate) struct Site {
    fault: String,
    redis: Redis,
}

enum Redis {
    /// With a proxy for the one server that some faults affect.
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

    /// The URL for most servers, and the URL for the one server that some faults affect.
    pub(crate) fn urls(&self) -> [String; 2] {
        match &self.redis {
            Redis::One(redis, proxy) => [redis.url(), proxy.url()],
            Redis::Sentinels(redis) => [redis.url(), redis.url()],
            Redis::Cluster(redis) => [redis.url(), redis.url()],
        }
    }

    /// Causes the fault. Returns the moment from which messages should arrive again.
    pub(crate) async fn strike(&mut self, subscribed_by: SubscribedBy) -> Instant {
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
                let node = subscribed_node(redis, subscribed_by).await;
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
            assert!(cut > 0, "Redis has not cut off any connection");
            eprintln!("Redis has cut off {cut} connections");
            proxy.slow(0);
            return Instant::now();
        }
        _ => pass(Duration::from_secs(5)).await,
    }
    assert!(meant > 0, "the proxy has no such connection");
    before
}

/// The first node, primaries first, on which a server has subscribed. roomcast uses one node for everything except
/// sharded channels, the first in its URL; Node's client subscribes on one node and publishes on all primaries.
async fn subscribed_node(redis: &RedisCluster, subscribed_by: SubscribedBy) -> usize {
    for (number, node) in redis.nodes.iter().enumerate() {
        let subscribers = match subscribed_by {
            SubscribedBy::Pattern => node.ask("PUBSUB NUMPAT").await,
            SubscribedBy::Channel(name) => node.ask::<(String, usize)>(&format!("PUBSUB NUMSUB {name}")).await.1,
            SubscribedBy::Sharded(name) => node.ask::<(String, usize)>(&format!("PUBSUB SHARDNUMSUB {name}")).await.1,
        };
        if subscribers > 0 {
            return number;
        }
    }
    panic!("no node has a subscriber");
}
