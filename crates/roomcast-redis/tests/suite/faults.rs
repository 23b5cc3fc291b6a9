//! Faults of one Redis server, and of the network to it, while two servers emit 100 messages a second each.
//!
//! In each test local delivery is complete and in order all the time, remote traffic resumes, the servers count exactly
//! the messages that were lost between them, and no socket gets a message twice or out of order.

use crate::common::fault_proxy::{FaultProxy, Which};
use crate::common::fault_stage::{Figures, IN_FLIGHT, Server, Talk, must_become, pass};
use crate::common::redis_process::{RedisProcess, wait_until};
use roomcast_adapter::Adapter;
use roomcast_adapter::cluster::ClusterOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the servers wait for each other after an outage (docs/limits.md).
const PEERS_PATIENCE: Duration = Duration::from_millis(1_500);

fn seconds(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

fn report(what: &str, figures: [Figures; 2]) {
    for figures in figures {
        println!("{what}: {figures}");
    }
}

/// Subscribers of the request channel, which Node takes for the number of servers.
async fn servers_that_node_counts(redis: &RedisProcess) -> usize {
    redis.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1
}

/// Node must not count a ghost for long: it would wait for the ghost's answers.
async fn must_count_two(redis: &RedisProcess) {
    let until = Instant::now() + crate::common::fault_stage::PATIENCE;
    while servers_that_node_counts(redis).await != 2 {
        assert!(Instant::now() < until, "Redis counts {} servers", servers_that_node_counts(redis).await);
        pass(seconds(0.05)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again() {
    let mut redis = RedisProcess::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    redis.kill();
    pass(seconds(1.0)).await;
    redis.start_again().await;
    let resumed = talk.resumes(Instant::now()).await;
    // The first message may be the last one for a while.
    talk.resumes(Instant::now()).await;
    must_count_two(&redis).await;
    let figures = talk.end(resumed).await;
    // The queue bridges the second; messages that Redis had taken but not yet passed on are lost.
    assert!(figures.iter().all(|figures| figures.dropped == 0), "{figures:?}");
    report("kill -9, started again after 1 s", figures);
}

/// The server that is back first must not publish until the others are back, for as long as it waits for them. On a
/// busy machine they may need longer: then the losses must be counted, and the round does not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_message_after_a_silent_outage_is_not_lost() {
    let mut redis = RedisProcess::start().await;
    let servers = ["a", "b", "c"].map(|name| Server::new(name, &redis.url(), ClusterOptions::default()));
    let all_know_all = || servers.iter().all(|server| server.cluster.servers().len() == 2);
    must_become("the servers know each other", all_know_all).await;
    let others =
        |server: &Arc<Server>| servers.iter().filter(|other| other.name() != server.name()).collect::<Vec<_>>();
    let lost = || servers.each_ref().map(|server| server.cluster.losses().lost);
    let (mut in_time, mut rounds) = (0, 0);
    while in_time < 5 {
        rounds += 1;
        assert!(rounds <= 50, "of {rounds} rounds only {in_time} had all servers back in time");
        let lost_before = lost();
        // Nothing is emitted meanwhile, so that only announcements could reveal the outage.
        redis.kill();
        let killed = Instant::now();
        redis.start_again().await;
        servers.iter().for_each(|server| server.emit());
        wait_until("Redis has all servers", async || servers_that_node_counts(&redis).await == servers.len()).await;
        if killed.elapsed() < PEERS_PATIENCE {
            in_time += 1;
            for server in &servers {
                let arrived = || others(server).iter().all(|other| server.received(other).last() == Some(&rounds));
                must_become("the message arrives", arrived).await;
            }
            assert_eq!(lost(), lost_before);
        }
        for server in &servers {
            let missing =
                || -> u64 { others(server).iter().map(|other| rounds - server.received(other).len() as u64).sum() };
            must_become("the missing messages are counted", || missing() == server.cluster.losses().lost).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_longer_than_messages_are_kept() {
    let redis = RedisProcess::start().await;
    let mut options = ClusterOptions::default();
    options.max_age = seconds(1.0);
    let talk = Talk::begin_with([&redis.url(), &redis.url()], options).await;
    redis.freeze();
    pass(seconds(4.0)).await;
    redis.thaw();
    let resumed = talk.resumes(Instant::now()).await;
    // What comes first may be the last for a while.
    talk.resumes(Instant::now()).await;
    must_count_two(&redis).await;
    let figures = talk.end(resumed).await;
    for figures in figures {
        // The messages of three seconds were older than one second; a busy machine emits fewer.
        assert!(figures.dropped > 100 && figures.lost > 100, "{figures}");
    }
    report("SIGSTOP 4 s, messages kept for 1 s", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_as_long_as_messages_are_kept() {
    let redis = RedisProcess::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    redis.freeze();
    pass(seconds(5.0)).await;
    redis.thaw();
    let resumed = talk.resumes(Instant::now()).await;
    // What comes first may be the last for a while.
    talk.resumes(Instant::now()).await;
    let figures = talk.end(resumed).await;
    for figures in figures {
        // Kept messages must not be published while Redis is back and the other server is not.
        assert!(figures.lost <= figures.dropped + IN_FLIGHT, "{figures}");
    }
    report("SIGSTOP 5 s", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_cut_again_and_again() {
    let redis = RedisProcess::start().await;
    let proxies = [FaultProxy::start(redis.port).await, FaultProxy::start(redis.port).await];
    let talk = Talk::begin([&proxies[0].url(), &proxies[1].url()]).await;
    let mut resumed = Duration::ZERO;
    for _ in 0..3 {
        assert!(proxies.iter().map(|proxy| proxy.cut(Which::All)).sum::<usize>() >= 4);
        resumed = resumed.max(talk.resumes(Instant::now()).await);
        // Only one server.
        assert!(proxies[1].cut(Which::All) >= 2);
        resumed = resumed.max(talk.resumes(Instant::now()).await);
    }
    must_count_two(&redis).await;
    report("six TCP cuts", talk.end(resumed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_subscriber_half_open() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let talk = Talk::begin([&proxy.url(), &redis.url()]).await;
    assert_eq!(proxy.half_open(Which::Subscriber), 1);
    let began = Instant::now();
    let resumed = talk.resumes(began).await;
    assert!(resumed < seconds(10.0), "noticed after {resumed:?}");
    // Redis still holds the old connection open, and must be asked to close it.
    must_count_two(&redis).await;
    let answer = talk.servers[1].adapter.server_count().await;
    assert_eq!((answer.value, answer.missing.is_empty()), (2, true));
    let answer = talk.servers[1].adapter.all_rooms(seconds(5.0)).await;
    assert!(answer.missing.is_empty(), "a question found a ghost: {:?}", answer.missing);
    let figures = talk.end(resumed).await;
    assert!(figures[1].lost > 0 && figures[0].lost == 0, "{figures:?}");
    report("subscriber of b's peer half-open", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_publisher_half_open() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let talk = Talk::begin([&proxy.url(), &redis.url()]).await;
    assert_eq!(proxy.half_open(Which::Publisher), 1);
    let resumed = talk.resumes(Instant::now()).await;
    assert!(resumed < seconds(10.0), "noticed after {resumed:?}");
    let figures = talk.end(resumed).await;
    // The fault was noticed well within the time that messages are kept.
    assert_eq!((figures[0].lost, figures[1].lost), (0, 0), "{figures:?}");
    report("publisher half-open", figures);
}

/// A floating address has moved to another Redis, while the subscriber is still connected to the previous one, which
/// lives: nothing breaks, and nothing arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_subscriber() {
    let (before, after) = (RedisProcess::start().await, RedisProcess::start().await);
    let proxy = FaultProxy::start(before.port).await;
    let talk = Talk::begin([&proxy.url(), &proxy.url()]).await;
    proxy.move_to(after.port);
    let began = Instant::now();
    assert_eq!(proxy.cut(Which::Publisher), 2);
    let resumed = talk.resumes(began).await;
    // The next announcement goes out within a second, the next PING within three more; then both connect.
    assert!(resumed < seconds(6.0), "noticed after {resumed:?}");
    assert_eq!((servers_that_node_counts(&before).await, servers_that_node_counts(&after).await), (0, 2));
    report("subscriber on another Redis than the publisher", talk.end(resumed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_cut_off_silently() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let mut options = ClusterOptions::default();
    options.max_age = seconds(1.0);
    let talk = Talk::begin_with([&proxy.url(), &redis.url()], options).await;
    assert!(proxy.blackhole() >= 2);
    pass(seconds(6.0)).await;
    proxy.pass();
    let resumed = talk.resumes(Instant::now()).await;
    // What comes first may be the last for a while.
    talk.resumes(Instant::now()).await;
    must_count_two(&redis).await;
    let figures = talk.end(resumed).await;
    assert!(figures[0].dropped > 100 && figures[0].lost > 100 && figures[1].lost > 100, "{figures:?}");
    assert_eq!(figures[1].dropped, 0, "the other server could publish: {figures:?}");
    report("one server in a black hole for 6 s", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_that_stalls() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let talk = Talk::begin([&proxy.url(), &redis.url()]).await;
    proxy.delay(Duration::from_millis(20));
    pass(seconds(1.0)).await;
    proxy.stall();
    pass(seconds(1.0)).await;
    proxy.pass();
    let resumed = talk.resumes(Instant::now()).await;
    let figures = talk.end(resumed).await;
    assert_eq!((figures[0].lost, figures[1].lost), (0, 0), "{figures:?}");
    report("20 ms of delay and a stall of 1 s", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_at_the_start() {
    let mut redis = RedisProcess::stopped(&[]);
    let mut talk = Talk::unacquainted([&redis.url(), &redis.url()], &ClusterOptions::default());
    pass(seconds(1.0)).await;
    let a = talk.servers[0].clone();
    assert!(a.emitted() > 10 && a.received(&a).len() as u64 >= a.emitted() - 1, "local delivery waits for Redis");
    redis.start_again().await;
    talk.resumes(Instant::now()).await;
    must_become("the servers know each other", || a.cluster.servers().len() == 1).await;
    must_count_two(&redis).await;
    talk.hush().await;
    for (publisher, receiver) in [(0, 1), (1, 0)].map(|(one, other)| (&talk.servers[one], &talk.servers[other])) {
        assert!(publisher.received(publisher).iter().copied().eq(1..=publisher.emitted()));
        let numbers = receiver.received(publisher);
        assert!(numbers.is_sorted_by(|one, other| one < other));
        // From the first message that arrived, as the receiver did not know the publisher before.
        let missing = publisher.emitted() + 1 - numbers[0] - numbers.len() as u64;
        must_become("the losses are counted", || receiver.cluster.losses().lost == missing).await;
    }
}
