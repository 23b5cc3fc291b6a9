//! The Redis server in use is replaced, by Sentinels or in a Redis Cluster. As in `faults.rs` two servers talk all the
//! time, and the same must hold.

use crate::common::fault_proxy::FaultProxy;
use crate::common::fault_stage::{Figures, IN_FLIGHT, PATIENCE, Server, Talk, must_become, pass};
use crate::common::redis_process::{RedisCluster, RedisProcess, Sentinels, free_port, wait_until};
use roomcast_adapter::cluster::ClusterOptions;
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::time::Duration;
use tokio::time::Instant;

fn report(what: &str, figures: [Figures; 2]) {
    for figures in figures {
        println!("{what}: {figures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_killed_and_sentinels_replace_it() {
    let mut redis = Sentinels::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    redis.primary.kill();
    redis.replica.must_be_promoted().await;
    let promoted = Instant::now();
    let resumed = talk.resumes(promoted).await;
    talk.must_count_two().await;
    // The old primary comes back, at first still as a primary, and no server may use it.
    redis.primary.start_again().await;
    pass(Duration::from_secs(1)).await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    report("Sentinel, primary killed", talk.end(resumed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_frozen_and_sentinels_replace_it() {
    let redis = Sentinels::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    redis.primary.freeze();
    redis.replica.must_be_promoted().await;
    let promoted = Instant::now();
    let resumed = talk.resumes(promoted).await;
    talk.must_count_two().await;
    redis.primary.thaw();
    pass(Duration::from_secs(1)).await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    let figures = talk.end(resumed).await;
    for figures in figures {
        // The subscriber connection is frozen too, and must not be waited for once the publisher has found the new
        // primary.
        assert!(figures.lost <= figures.dropped + IN_FLIGHT, "{figures}");
    }
    report("Sentinel, primary frozen", figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_by_sentinel() {
    let redis = Sentinels::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    redis.sentinels[0].ask::<()>("SENTINEL FAILOVER main").await;
    redis.replica.must_be_promoted().await;
    let promoted = Instant::now();
    let resumed = talk.resumes(promoted).await;
    // No server may stay on the old primary, which becomes a replica: it delivers only what the new primary passes to
    // it.
    let until = Instant::now() + PATIENCE;
    while redis.replica.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1 != 2 {
        assert!(Instant::now() < until, "not all have moved to the new primary");
        pass(Duration::from_millis(50)).await;
    }
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    report("SENTINEL FAILOVER", talk.end(resumed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_in_use_of_a_cluster_is_killed() {
    let mut redis = RedisCluster::start().await;
    let talk = Talk::begin([&redis.url(), &redis.url()]).await;
    let subscribers: usize = redis.nodes[0].ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1;
    assert_eq!(subscribers, 2, "the first node is the one in use");
    redis.nodes[0].kill();
    let killed = Instant::now();
    let resumed = talk.resumes(killed).await;
    talk.must_count_two().await;
    redis.nodes[3].must_be_promoted().await;
    talk.must_count_two().await;
    // Now both seeds are gone; they have named the other nodes.
    redis.nodes[1].kill();
    let resumed = resumed.max(talk.resumes(Instant::now()).await);
    talk.must_count_two().await;
    redis.nodes[0].start_again().await;
    pass(Duration::from_secs(1)).await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    report("Cluster, two nodes in use killed", talk.end(resumed).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_different_nodes_of_a_cluster() {
    let redis = RedisCluster::start().await;
    let node = |number: usize| format!("redis+cluster://127.0.0.1:{}", redis.nodes[number].port);
    let talk = Talk::begin([&node(1), &node(5)]).await;
    must_become("messages arrive", || talk.servers[0].received(&talk.servers[1]).len() > 20).await;
    // The frozen replica is replaced by a node that the server knows.
    redis.nodes[5].freeze();
    let resumed = talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    redis.nodes[5].thaw();
    report("Cluster, the replica in use frozen", talk.end(resumed).await);
}

/// A node that was cut off silently still counts the server, which uses another node by now. As soon as the node can be
/// reached, it is asked to close the old connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ghost_on_a_node_that_was_cut_off_is_ended() {
    let redis = RedisCluster::start().await;
    let proxy = FaultProxy::start(redis.nodes[0].port).await;
    let url = format!(
        "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
        proxy.url().rsplit_once(':').unwrap().1,
        redis.nodes[1].port
    );
    let _server = Server::new("a", &url, ClusterOptions::default());
    let counts = async |node: &RedisProcess| node.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1;
    wait_until("the first node counts the server", async || counts(&redis.nodes[0]).await == 1).await;
    proxy.blackhole();
    wait_until("the second node counts the server", async || counts(&redis.nodes[1]).await == 1).await;
    assert_eq!(counts(&redis.nodes[0]).await, 1, "there is a ghost");
    proxy.pass();
    wait_until("the ghost is gone", async || counts(&redis.nodes[0]).await == 0).await;
    assert_eq!(counts(&redis.nodes[1]).await, 1);
}

/// A node that was taken out of the Cluster still runs and answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_is_alone_is_not_used_if_another_knows_more() {
    let bus = free_port().to_string();
    let alone = RedisProcess::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    let check = async |url: &str| ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default()).check().await;
    // If there is no other node, it is the whole Cluster.
    check(&format!("redis+cluster://127.0.0.1:{}", alone.port)).await.unwrap();
    let redis = RedisCluster::start().await;
    let first = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", alone.port, redis.nodes[0].port);
    let talk = Talk::begin([&first, &format!("redis+cluster://127.0.0.1:{}", redis.nodes[1].port)]).await;
    must_become("messages arrive", || talk.servers[1].received(&talk.servers[0]).len() > 20).await;
    assert_eq!(alone.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1, 0);
}
