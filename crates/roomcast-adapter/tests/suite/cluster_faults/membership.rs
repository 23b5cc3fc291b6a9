//! Who belongs to the cluster: servers that leave, die and come back, and namespaces that are opened twice.

use super::gate::Gate;
use super::stage::{ACQUAINTED, NAMESPACE, Puppet, Server, context, pass};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterOptions, Count, MemoryNetwork, SERVERS, ServerId};
use roomcast_adapter::{Adapter, Target};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn names(server: &Server) -> Vec<String> {
    let mut names: Vec<String> = server.cluster.servers().iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_is_gone_at_once() {
    let network = MemoryNetwork::new();
    let (a, b, c) = (Server::new(&network, "a"), Server::new(&network, "b"), Server::new(&network, "c"));
    pass(ACQUAINTED).await;
    assert_eq!((names(&a), names(&c)), (vec!["b".into(), "c".into()], vec!["a".into(), "b".into()]));
    b.emit();
    drop(b);
    pass(Duration::from_millis(10)).await;
    assert_eq!((names(&a), names(&c)), (vec!["c".into()], vec!["a".into()]));
    assert_eq!(a.adapter.server_count().await.value, 2);
    // What it emitted last still went out, and nothing of it is left behind at the broker.
    assert_eq!(a.socket.packets().len(), 1);
    assert_eq!(a.broker.count(SERVERS).await, Ok(Some(Count::of(2))));
    assert_eq!(a.lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_was_lost_before_the_goodbye_is_counted() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    network.lose(2);
    (0..2).for_each(|_| b.emit());
    pass(Duration::from_millis(1)).await;
    drop(b);
    pass(Duration::from_secs(3)).await;
    assert_eq!((a.lost(), names(&a).len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_is_removed_after_ten_seconds() {
    let network = MemoryNetwork::new();
    let (a, b, c) = (Server::new(&network, "a"), Server::new(&network, "b"), Server::new(&network, "c"));
    pass(ACQUAINTED).await;
    b.die(&network);
    // The last announcement was up to a second ago.
    pass(Duration::from_millis(8_900)).await;
    assert_eq!(names(&a), ["b", "c"]);
    pass(Duration::from_millis(1_200)).await;
    assert_eq!((names(&a), names(&c)), (vec!["c".into()], vec!["a".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_closed_cluster_sends_nothing_more() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    a.emit();
    // The namespace is left first, so that an asker does not wait for this server's answer.
    assert_eq!(b.broker.count(NAMESPACE).await, Ok(Some(Count::of(2))));
    a.cluster.close().await;
    assert_eq!(b.broker.count(NAMESPACE).await, Ok(Some(Count::of(1))));
    a.emit();
    pass(Duration::from_secs(2)).await;
    assert_eq!((b.heard(&a), a.heard(&a), a.cluster.queued()), (vec![1], vec![1, 2], 0));
    assert!(names(&b).is_empty());
}

/// A namespace that is closed and opened again has two adapters for a while. Closing the old one spares the new one.
#[tokio::test(start_paused = true)]
async fn an_adapter_that_is_made_while_another_is_open_is_new_and_gets_messages() {
    let network = MemoryNetwork::new();
    let (mut a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    let (anew, _events) = context(NAMESPACE);
    let old = std::mem::replace(&mut a.adapter, a.cluster.adapter(anew));
    assert!(!Arc::ptr_eq(&a.adapter, &old));
    old.remove(a.socket_id);
    a.adapter.insert(a.socket_id, a.socket.clone(), &[], None).unwrap();
    old.close().await;
    for adapter in [&a.adapter, &b.adapter] {
        assert_eq!(adapter.server_count().await.value, 2);
    }
    b.emit();
    a.emit();
    pass(Duration::from_millis(10)).await;
    assert_eq!((a.heard(&b), b.heard(&a)), (vec![1], vec![1]));
    // Dropping it must not, either.
    drop(old);
    pass(Duration::from_secs(1)).await;
    b.emit();
    pass(Duration::from_millis(10)).await;
    assert_eq!((a.heard(&b), a.lost()), (vec![1, 2], 0));
}

/// The broker still has the namespace open, for an adapter that is gone.
#[tokio::test(start_paused = true)]
async fn an_adapter_that_is_made_after_another_was_dropped_gets_messages() {
    let network = MemoryNetwork::new();
    let (mut a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    for _ in 0..2 {
        let (unused, _events) = context("/unused");
        a.adapter = a.cluster.adapter(unused);
        let (anew, _events) = context(NAMESPACE);
        let adapter = a.cluster.adapter(anew);
        adapter.insert(a.socket_id, a.socket.clone(), &[], None).unwrap();
        a.adapter = adapter;
        pass(Duration::from_millis(10)).await;
        b.emit();
        pass(Duration::from_millis(10)).await;
        assert_eq!(b.adapter.server_count().await.value, 2);
    }
    assert_eq!(a.heard(&b), [1, 2]);
    // Once it is dropped for good, it is no longer counted.
    let (unused, _events) = context("/unused");
    a.adapter = a.cluster.adapter(unused);
    pass(Duration::from_millis(10)).await;
    assert_eq!(b.adapter.server_count().await.value, 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_opened_while_it_closes_is_open_afterwards() {
    let network = MemoryNetwork::new();
    let (mut a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    // Before and while it closes.
    let (closing, (anew, _events)) = (a.adapter.clone(), context(NAMESPACE));
    let cluster = a.cluster.clone();
    let (closing, ()) = tokio::join!(async { cluster.adapter(anew) }, closing.close());
    let (anew, _events) = context(NAMESPACE);
    let ((), adapter) = tokio::join!(closing.close(), async { cluster.adapter(anew) });
    adapter.insert(a.socket_id, a.socket.clone(), &[], None).unwrap();
    a.adapter = adapter;
    b.emit();
    pass(Duration::from_millis(10)).await;
    assert_eq!(a.heard(&b), [1]);
}

/// A server that is not subscribed yet is not among those that the broker counts, so it must not be subtracted.
#[tokio::test(start_paused = true)]
async fn before_the_first_connection_all_others_are_counted() {
    let network = MemoryNetwork::new();
    let _puppet = Puppet::new(&network, "p").await;
    let broker = network.broker();
    network.cut_off(&broker, true);
    let cluster = Cluster::with_id(ServerId::from("a"), broker.clone(), ClusterOptions::default());
    let (context, _events) = context(NAMESPACE);
    let adapter = cluster.adapter(context);
    let count = adapter.server_count().await;
    assert!(!count.is_complete() && count.value == 1, "{count:?}");
    network.cut_off(&broker, false);
    let count = adapter.server_count().await;
    assert!(count.is_complete() && count.value == 2, "{count:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_does_not_take_its_own_subscription_for_another_server() {
    let network = MemoryNetwork::new();
    let (gate, a) = Gate { late: true, ..Gate::new(&network) }.server("a");
    assert_eq!(gate.count(NAMESPACE).await, Ok(Some(Count::of(1))), "the broker counts it already");
    let adapter = a.adapter.clone();
    let count = tokio::spawn(async move { adapter.server_count().await });
    let adapter = a.adapter.clone();
    let asked = tokio::spawn(async move { adapter.fetch_sockets(&Target::everyone(), Duration::from_secs(60)).await });
    pass(Duration::from_millis(300)).await;
    assert!(!count.is_finished() && !asked.is_finished(), "it is not known whether it was counted");
    gate.tell();
    pass(Duration::from_millis(1)).await;
    assert!(count.is_finished() && asked.is_finished(), "nobody else is there to be waited for");
    let (count, sockets) = (count.await.unwrap(), asked.await.unwrap());
    assert!(count.is_complete() && count.value == 1, "{count:?}");
    assert!(sockets.is_complete() && sockets.value.len() == 1, "{sockets:?}");
    // The same when the connection breaks, and the broker does not know that yet.
    gate.lose();
    let adapter = a.adapter.clone();
    let count = tokio::spawn(async move { adapter.server_count().await });
    pass(Duration::from_millis(300)).await;
    gate.tell();
    let count = count.await.unwrap();
    assert!(count.is_complete() && count.value == 1, "{count:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_subscribed_counts_the_servers_it_knows_and_says_that_more_may_be_missing() {
    let network = MemoryNetwork::new();
    let (_gate, a) = Gate { late: true, ..Gate::new(&network) }.server("a");
    let begin = Instant::now();
    let count = a.adapter.server_count().await;
    assert_eq!((count.value, count.missing.others, begin.elapsed()), (1, 1, Duration::from_secs(1)));
    let b = Server::new(&network, "b");
    pass(ACQUAINTED).await;
    let count = a.adapter.server_count().await;
    assert_eq!((count.value, count.missing.names), (2, vec![b.cluster.id().to_string()]));
}
