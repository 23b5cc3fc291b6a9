//! A plain `redis://` that leads to a replica, and servers whose roles are swapped while connections stay open.

use crate::common::fault_stage::{Talk, must_become};
use crate::common::log::log;
use crate::common::redis_process::{RedisProcess, wait_until};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisError, ShardedBroker, ShardedOptions};
use tokio::time::Instant;

async fn with_replica() -> (RedisProcess, RedisProcess) {
    let primary = RedisProcess::start().await;
    let port = primary.port.to_string();
    let replica = RedisProcess::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    replica.must_replicate().await;
    (primary, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_not_used() {
    let log = log();
    let (primary, replica) = with_replica().await;
    let broker = ClassicBroker::new(replica.url().parse().unwrap(), ClassicOptions::default());
    let error = broker.check().await.unwrap_err();
    assert_eq!(error, RedisError::NotPrimary);
    assert!(error.to_string().contains("REDIS_URL"), "{error}");
    let counted = broker.count("/").await;
    assert!(counted.is_err(), "a replica does not know its primary's subscribers: {counted:?}");
    let talk = Talk::unacquainted([&primary.url(), &replica.url()], &ClusterOptions::default());
    let port = format!(":{}", replica.port);
    must_become("the log says so", || log.has(&[&port, "WARN", "is a replica, not the primary"])).await;
    // The replica becomes a primary, as when a managed service swaps the two and the name leads to the other.
    let (a, b) = (&talk.servers[0], &talk.servers[1]);
    assert!(a.received(b).is_empty() && b.received(a).is_empty());
    let subscribers = async || replica.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1;
    assert_eq!(subscribers().await, 0);
    replica.ask::<()>("REPLICAOF NO ONE").await;
    wait_until("it is used now", async || subscribers().await == 1).await;
    must_become("the queue is published", || b.cluster.queued() == 0).await;
}

/// In the sharded dialect too: on a replica a server would hear its own messages, and take itself for connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_not_used_in_the_sharded_dialect() {
    let log = log();
    let (_primary, replica) = with_replica().await;
    let broker = ShardedBroker::new(replica.url().parse().unwrap(), ShardedOptions::default());
    assert_eq!(broker.check().await.unwrap_err(), RedisError::NotPrimary);
    let cluster = Cluster::new(broker, ClusterOptions::default());
    let port = format!(":{}", replica.port);
    let state = || *cluster.state().borrow();
    must_become("the log says so", || log.has(&[&port, "WARN", "is a replica, not the primary"])).await;
    assert!(!state().hears && !state().publishes, "{:?}", state());
    replica.ask::<()>("REPLICAOF NO ONE").await;
    must_become("it is used now", || state().hears && state().publishes).await;
    // It becomes a replica again, while the connections stay open.
    let other = RedisProcess::start().await;
    replica.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", other.port)).await;
    must_become("it is used no more", || !state().hears && !state().publishes).await;
}

/// The name leads to the primary; connections are not cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_swapped_while_connections_stay_open() {
    let (one, other) = with_replica().await;
    let talk = Talk::begin([&one.url(), &one.url()]).await;
    // Both are on one server, which becomes a replica and then a primary again.
    other.ask::<()>("REPLICAOF NO ONE").await;
    one.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", other.port)).await;
    one.must_replicate().await;
    // Neither server may stay subscribed to the replica or publish on it: nothing would reach servers on the new
    // primary.
    let ours = async || {
        let clients = one.ask::<String>("CLIENT LIST").await;
        (clients.matches("-hears ").count(), clients.matches("-publishes ").count())
    };
    let until = Instant::now() + crate::common::fault_stage::PATIENCE;
    let mut least = (2, 2);
    while least != (0, 0) {
        assert!(Instant::now() < until, "connections stay on the replica: {least:?}");
        let now = ours().await;
        least = (least.0.min(now.0), least.1.min(now.1));
        crate::common::fault_stage::pass(std::time::Duration::from_millis(5)).await;
    }
    one.ask::<()>("REPLICAOF NO ONE").await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
}
