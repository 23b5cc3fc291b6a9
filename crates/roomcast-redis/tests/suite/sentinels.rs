//! Sentinels that do not agree: more than half of those that are configured decide.

use crate::common::fault_proxy::FaultProxy;
use crate::common::fault_stage::{Talk, must_become};
use crate::common::redis_process::{Extras, RedisProcess, Sentinels, wait_until};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisError};
use std::time::Duration;
use tokio::time::Instant;

async fn check(url: &str) -> Result<(), RedisError> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default()).check().await
}

/// Two servers that know nothing of one another, and Sentinels that each watch one of them.
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
    // The primary of the majority does not answer, and the other one would.
    split.servers[0].kill();
    let error = check(&split.url()).await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable(_)), "{error:?}");
    split.servers[0].start_again().await;
    check(&split.url()).await.unwrap();
    // The stale one is the only one left that can be asked.
    split.sentinels[0].kill();
    split.sentinels[1].kill();
    let error = check(&split.url()).await.unwrap_err();
    assert!(matches!(error, RedisError::NoPrimary { .. }), "{error:?}");
    let (stale, named) = (split.sentinels[2].port, split.servers[1].port);
    let error = error.to_string();
    assert!(error.contains(&format!("127.0.0.1:{stale}: names 127.0.0.1:{named}")), "{error}");
    assert!(error.contains("more than half of the Sentinels"), "{error}");
}

/// A primary that was cut off from Sentinels and replicas, and not from us, says for ever that it is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_works_on_a_server_that_sentinels_have_replaced_leaves_it() {
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
    must_become("messages come", || talk.servers[0].heard(&talk.servers[1]).len() > 20).await;
}
