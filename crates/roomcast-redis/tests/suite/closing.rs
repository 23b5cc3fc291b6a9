//! Thousands of namespaces are closed at once, as when a process ends.

use crate::common::redis_process::{RedisProcess, wait_until};
use futures_util::future::join_all;
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::{Adapter, AdapterContext};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use std::time::Instant;

const NAMESPACES: usize = 2_000;

async fn open(cluster: &Cluster) -> Vec<Arc<ClusterAdapter>> {
    let open = |number: usize| {
        let (server_events, _) = tokio::sync::mpsc::channel(1);
        cluster.adapter(AdapterContext::new(format!("/{number}"), server_events))
    };
    (0..NAMESPACES).map(open).collect()
}

async fn calls(redis: &RedisProcess) -> Vec<(String, usize)> {
    let stats: String = redis.ask("INFO commandstats").await;
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_namespaces_close_at_once() {
    let redis = RedisProcess::start().await;
    let clusters = [(); 2].map(|()| {
        Cluster::new(
            ClassicBroker::new(redis.url().parse().unwrap(), ClassicOptions::default()),
            ClusterOptions::default(),
        )
    });
    let (closing, stays) = (open(&clusters[0]).await, open(&clusters[1]).await);
    wait_until("all are subscribed", async || redis.ask::<usize>("PUBSUB NUMPAT").await == NAMESPACES).await;
    wait_until("all are counted", async || {
        let last = &stays[NAMESPACES - 1];
        last.server_count().await.value == 2
    })
    .await;
    redis.ask::<()>("CONFIG RESETSTAT").await;
    let began = Instant::now();
    join_all(closing.iter().map(|adapter| adapter.close())).await;
    let took = began.elapsed();
    let calls = calls(&redis).await;
    println!("{NAMESPACES} namespaces closed in {took:?}: {calls:?}");
    // Some 85. With a command for each name, and a question for each namespace, there would be 12,000.
    let commands: usize = calls.iter().map(|(_, calls)| calls).sum();
    assert!(commands < 400, "{calls:?}");
    let counted: usize = calls.iter().filter(|(name, _)| name == "pubsub|numsub").map(|(_, calls)| *calls).sum();
    assert!((NAMESPACES / 512..100).contains(&counted), "{calls:?}");
    wait_until("nothing of them is left", async || redis.ask::<usize>("PUBSUB NUMPAT").await == NAMESPACES).await;
    let channels: Vec<String> = redis.ask("PUBSUB CHANNELS socket.io-request#*").await;
    let subscribers = redis.ask::<(String, usize)>(&format!("PUBSUB NUMSUB {}", channels[0])).await.1;
    assert_eq!((channels.len(), subscribers), (NAMESPACES, 1));
}
