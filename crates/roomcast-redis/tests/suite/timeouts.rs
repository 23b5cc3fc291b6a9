//! The options of [`RedisTimeouts`]. (What the defaults allow is tested in `certificates.rs` and `sentinels.rs`.)

use crate::common::fault_proxy::FaultProxy;
use crate::common::redis_process::{Extras, RedisProcess, wait_until};
use roomcast_adapter::cluster::Broker;
use roomcast_redis::{ClassicBroker, ClassicOptions, Credentials, RedisConfig, RedisError, RedisTimeouts};
use std::sync::Arc;
use std::time::Duration;

/// The delay in one direction: half a round trip.
const ONE_WAY: Duration = Duration::from_millis(100);

/// Less than a round trip.
const SHORT: Duration = Duration::from_millis(50);

/// Long enough for a round trip on any machine.
const LONG: Duration = Duration::from_secs(60);

fn broker(url: &str, change: impl FnOnce(&mut RedisTimeouts)) -> Arc<ClassicBroker> {
    let mut timeouts = RedisTimeouts::default();
    (timeouts.connect, timeouts.command, timeouts.sentinel, timeouts.node) = (LONG, LONG, LONG, LONG);
    change(&mut timeouts);
    let config = url.parse::<RedisConfig>().unwrap().with_timeouts(timeouts);
    ClassicBroker::new(config, ClassicOptions::default())
}

async fn far_away(port: u16) -> FaultProxy {
    let proxy = FaultProxy::start(port).await;
    proxy.delay(ONE_WAY);
    proxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_timeout_is_an_option() {
    let redis = RedisProcess::start().await;
    let sentinel = RedisProcess::sentinel("127.0.0.1", &redis.port.to_string(), &Extras::default()).await;
    let (near, far) = (redis.url(), far_away(redis.port).await);
    let far_sentinel = far_away(sentinel.port).await;
    let by_sentinel = format!("redis+sentinel://{}/main", far_sentinel.address());
    for url in [&near, &far.url(), &by_sentinel] {
        broker(url, |_| {}).check().await.unwrap();
    }
    for too_short in [|it: &mut RedisTimeouts| it.connect = SHORT, |it: &mut RedisTimeouts| it.command = SHORT] {
        let error = broker(&far.url(), too_short).check().await.unwrap_err();
        assert_eq!(error, RedisError::Timeout);
    }
    let error = broker(&by_sentinel, |it| it.sentinel = SHORT).check().await.unwrap_err();
    let RedisError::NoPrimary { said, .. } = &error else { panic!("{error:?}") };
    assert!(said.contains(&far_sentinel.address()) && said.contains("did not answer in time"), "{said}");
    // Timeouts of operations that do not occur do not matter.
    let others = |it: &mut RedisTimeouts| (it.sentinel, it.node, it.credentials) = (SHORT, SHORT, SHORT);
    broker(&far.url(), others).check().await.unwrap();
}

/// A cluster waits one second for a count; TLS to a distant server, or fetching a token, may take longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_too_late_for_one_question_serves_the_next() {
    let redis = RedisProcess::start().await;
    let config = redis.url().parse::<RedisConfig>().unwrap().with_credentials(|| async {
        tokio::time::sleep(ONE_WAY * 5).await;
        Ok::<_, std::io::Error>(Credentials::default())
    });
    let asking = ClassicBroker::new(config, ClassicOptions::default());
    let in_time = || tokio::time::timeout(ONE_WAY * 2, asking.count("/"));
    assert!(in_time().await.is_err());
    wait_until("a count is in time", async || in_time().await.is_ok_and(|count| count.is_ok())).await;
}
