//! Sentinels that disagree: more than half of the configured ones decide.

use crate::common::fault_proxy::FaultProxy;
use crate::common::fault_stage::{Talk, must_become};
use crate::common::redis_process::{Extras, RedisProcess, Sentinels, wait_until};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisError};
use std::time::Duration;
use tokio::time::Instant;

async fn check(url: &str) -> Result<(), RedisError> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default()).check().await
}

/// Two servers that do not know each other, and Sentinels that each watch one of them.
struct Split {
    servers: [RedisProcess; 2],
    sentinels: Vec<RedisProcess>,
}

impl Split {
    async fn start(watched: &[usize]) -> Self {
        let servers = [RedisProcess::start().await, RedisProcess::start().await];
        let mut sentinels = Vec::new();
        for server in watched {
            let port = servers[*server].port.to_string();
            sentinels.push(RedisProcess::sentinel("127.0.0.1", &port, &Extras::default()).await);
        }
        Self { servers, sentinels }
    }

    fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_sentinel_is_outvoted_and_never_decides() {
    let mut split = Split::start(&[0, 0, 1]).await;
    check(&split.url()).await.unwrap();
    // The majority's primary does not answer; the other one would.
    split.servers[0].kill();
    let error = check(&split.url()).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable(_)), "{error:?}");
    split.servers[0].start_again().await;
    check(&split.url()).await.unwrap();
    // Only the stale Sentinel is left.
    split.sentinels[0].kill();
    split.sentinels[1].kill();
    let error = check(&split.url()).await.unwrap_err();
    assert!(matches!(error, RedisError::NoPrimary { .. }), "{error:?}");
    let (stale, named) = (split.sentinels[2].port, split.servers[1].port);
    let error = error.to_string();
    assert!(error.contains(&format!("127.0.0.1:{stale}: names 127.0.0.1:{named}")), "{error}");
    assert!(error.contains("more than half of the Sentinels"), "{error}");
}

/// A primary that is cut off from its Sentinels and replicas, but not from us, says forever that it is the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_leave_a_primary_that_sentinels_have_replaced() {
    let split = Split::start(&[0, 0, 0]).await;
    let talk = Talk::begin([&split.url(), &split.url()]).await;
    for sentinel in &split.sentinels {
        sentinel.ask::<()>("SENTINEL REMOVE main").await;
        sentinel.ask::<()>(&format!("SENTINEL MONITOR main 127.0.0.1 {} 2", split.servers[1].port)).await;
    }
    wait_until("both have moved", async || {
        split.servers[1].ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1 == 2
    })
    .await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    let clients = split.servers[0].ask::<String>("CLIENT LIST").await;
    assert!(!clients.contains("-publishes ") && !clients.contains("-hears "), "{clients}");
}

/// A round trip of 300 ms to the Sentinels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_are_far_away() {
    let redis = Sentinels::start().await;
    let (mut hosts, mut proxies) = (Vec::new(), Vec::new());
    for sentinel in &redis.sentinels {
        let proxy = FaultProxy::start(sentinel.port).await;
        proxy.delay(Duration::from_millis(150));
        hosts.push(proxy.address());
        proxies.push(proxy);
    }
    let url = format!("redis+sentinel://{}/main", hosts.join(","));
    check(&url).await.unwrap();
    let talk = Talk::begin([&url, &url]).await;
    must_become("messages arrive", || talk.servers[0].received(&talk.servers[1]).len() > 20).await;
}
