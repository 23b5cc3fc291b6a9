//! Closing a server, alone and in a cluster, and namespaces that are removed and made again.

use crate::common::adapters::Adapters;
use crate::common::{Frozen, Log, Server, patient, until};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork, ServerId};
use roomcast_server::{DisconnectReason, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

fn join(network: &MemoryNetwork, name: &str) -> Cluster {
    Cluster::with_id(ServerId::from(name), network.broker(), ClusterOptions::default())
}

async fn acquainted(server: &Server, namespace: &str, servers: usize) {
    let namespace = server.io.of(namespace);
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while namespace.server_count().await.value != servers {
        assert!(std::time::Instant::now() < deadline, "the servers do not find each other");
        tokio::task::yield_now().await;
    }
}

/// What disconnect handlers emit reaches the other servers, even when the whole server closes.
async fn what_disconnect_handlers_emit_at_the_close_reaches_the_cluster() {
    let network = MemoryNetwork::new();
    let (a, b) = (join(&network, "a"), join(&network, "b"));
    let app = |io: &SocketIo| {
        io.of("/").on_connection(|socket: Socket| async move {
            socket.on_disconnecting(|socket: Socket, reason: DisconnectReason| async move {
                socket.broadcast().emit("leaving", reason.as_str())
            });
            socket.on_disconnect(|socket: Socket, _: DisconnectReason| async move {
                tokio::task::yield_now().await;
                socket.broadcast().emit("left", ())
            });
        });
    };
    let one = Server::with(|builder| builder.adapter_factory(a.factory()), app).await;
    let other = Server::with(|builder| builder.adapter_factory(b.factory()), app).await;
    let (_leaver, mut stayer) = (one.joined().await, other.joined().await);
    acquainted(&other, "/", 2).await;
    one.finish().await;
    assert_eq!(stayer.text().await, "42[\"leaving\",\"server shutting down\"]");
    assert_eq!(stayer.text().await, "42[\"left\"]");
    other.finish().await;
}

/// `close` does everything in order: afterwards the others neither count the server nor know it.
async fn a_server_that_closes_leaves_its_cluster() {
    let network = MemoryNetwork::new();
    let (a, b) = (join(&network, "a"), join(&network, "b"));
    let one = Server::with(|builder| builder.cluster(&a), |io| drop(io.of("/"))).await;
    let other = Server::with(|builder| builder.cluster(&b), |io| drop(io.of("/"))).await;
    acquainted(&other, "/", 2).await;
    until("they know each other", || b.servers().len() == 1).await;
    one.finish().await;
    assert_eq!(other.io.of("/").server_count().await.value, 1);
    until("the goodbye is heard", || b.servers().is_empty()).await;
    other.finish().await;
}

/// A namespace of a pattern that is removed and made again within one read is part of the cluster.
async fn a_namespace_that_is_left_and_joined_in_one_read_stays_in_the_cluster() {
    for linger in [Duration::ZERO, Duration::from_secs(5)] {
        let network = MemoryNetwork::new();
        let (a, b) = (join(&network, "a"), join(&network, "b"));
        let log = Log::default();
        let app = |io: &SocketIo| {
            log.watch(&io.of("/"));
            io.of_matching(|name| name == "/room");
        };
        let one = Server::with(|builder| builder.cluster(&a).namespace_linger(linger), app).await;
        let other = Server::with(|builder| builder.cluster(&b).namespace_linger(linger), app).await;
        let mut here = one.websocket().await;
        let mut there = other.websocket().await;
        one.join(&mut here, "/room").await;
        other.join(&mut there, "/room").await;
        acquainted(&other, "/room", 2).await;
        let mut bytes = crate::common::wire::frame(1, b"41/room,");
        bytes.extend(crate::common::wire::frame(1, b"40/room,"));
        here.send(bytes).await;
        assert!(here.text().await.starts_with("40/room,{\"sid\":\""));
        // The old adapter's close has begun by now; it must not affect the new adapter.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        acquainted(&one, "/room", 2).await;
        other.io.of("/room").emit("to one", ()).unwrap();
        assert_eq!(here.text().await, "42/room,[\"to one\"]");
        assert_eq!(there.text().await, "42/room,[\"to one\"]");
        one.io.of("/room").emit("to other", ()).unwrap();
        assert_eq!(there.text().await, "42/room,[\"to other\"]");
        one.finish().await;
        other.finish().await;
    }
}

/// A disconnect handler waits for a permit, and the close waits for the handler.
#[tokio::test]
async fn the_close_waits_for_disconnect_handlers_for_a_limited_time() {
    for gives in [true, false] {
        let (permits, log) = (Arc::new(Semaphore::new(0)), Log::default());
        let (waits, seen) = (permits.clone(), log.clone());
        let adapters = Adapters::default();
        let server = Server::with(adapters.builder(), |io| {
            io.of("/").on_connection(move |socket: Socket| {
                let (waits, seen) = (waits.clone(), seen.clone());
                socket.on_disconnect(move |_: Socket, reason: DisconnectReason| async move {
                    seen.push(format!("begins: {reason}"));
                    waits.acquire().await.unwrap().forget();
                    seen.push("ends");
                });
                ready(())
            });
        })
        .await;
        let wire = server.joined().await;
        let clock = Frozen::new();
        let io = server.io.clone();
        let closing = tokio::spawn(async move { io.close().await });
        log.expect(&["begins: server shutting down"]).await;
        // Meanwhile no client is accepted, and the connection is closed.
        until("no connection is left", || server.io.connections() == 0).await;
        until("nobody listens", || std::net::TcpStream::connect(server.address).is_err()).await;
        clock.advance(2_990).await;
        assert!(!closing.is_finished());
        assert_eq!(adapters.counts(), (1, 0), "adapters go after the handlers");
        if gives {
            permits.add_permits(1);
        } else {
            clock.advance(20).await;
        }
        patient("the server ends", closing).await.unwrap();
        assert_eq!(adapters.counts(), (1, 1));
        assert_eq!(log.lines().len(), if gives { 2 } else { 1 });
        drop((wire, clock));
        server.finish().await;
    }
}

crate::common::runtime::on_both_runtimes! {
    what_disconnect_handlers_emit_at_the_close_reaches_the_cluster,
    a_server_that_closes_leaves_its_cluster,
    a_namespace_that_is_left_and_joined_in_one_read_stays_in_the_cluster,
}
