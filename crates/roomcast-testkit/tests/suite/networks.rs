//! The faults of a network do what they say, and end.

use roomcast_server::Socket;
use roomcast_testkit::{Client, Network, Server, settle};
use std::time::Duration;
use tokio::time::Instant;

/// Two servers with a client each.
async fn two() -> (Network, [Server; 2], [Client; 2]) {
    let network = Network::new();
    let server = || {
        let server = network.server(|builder| builder);
        server.of("/").on_connection(|socket: Socket| async move { socket.join("all") });
        server
    };
    let servers = [server(), server()];
    let connect = async |server: &Server, name: &str| Client::builder(server).name(name).connect().await.unwrap();
    let clients = [connect(&servers[0], "ann").await, connect(&servers[1], "bob").await];
    network.ready().await;
    (network, servers, clients)
}

#[tokio::test(start_paused = true)]
async fn servers_are_one_cluster() {
    let (_network, [a, b], [ann, bob]) = two().await;
    a.emit("news", 1).unwrap();
    assert_eq!(ann.next::<u32>("news").await, 1);
    assert_eq!(bob.next::<u32>("news").await, 1);
    assert_eq!(b.of("/").to("all").count().await.value, 2);
    a.to("all").disconnect_sockets(false).unwrap();
    bob.disconnected().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_noticed_and_healed() {
    let (network, [a, b], [ann, bob]) = two().await;
    network.cut(&a);
    assert!(!a.cluster().state().borrow().hears);
    b.emit("news", 1).unwrap();
    a.emit("news", 2).unwrap();
    assert_eq!(bob.all::<u32>("news").await, [1]);
    assert_eq!(ann.all::<u32>("news").await, [2]);
    network.heal(&a);
    network.ready().await;
    assert_eq!(bob.all::<u32>("news").await, [2], "what waited is sent");
    ann.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_of_one_server_and_keeps_the_order() {
    let (network, [a, b], [ann, bob]) = two().await;
    network.delay(&b, Duration::from_millis(200));
    let began = Instant::now();
    a.emit("news", 1).unwrap();
    network.delay(&b, Duration::from_millis(100));
    a.emit("news", 2).unwrap();
    assert_eq!(ann.all::<u32>("news").await, [1, 2]);
    bob.expect_nothing("news").await;
    assert_eq!(bob.next::<u32>("news").await, 1);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(bob.next::<u32>("news").await, 2);
    network.delay(&b, Duration::ZERO);
    settle().await;
    let began = Instant::now();
    a.emit("news", 3).unwrap();
    assert_eq!(bob.next::<u32>("news").await, 3);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn lost_messages_are_lost_and_counted() {
    let (network, [a, b], [_ann, bob]) = two().await;
    a.emit("news", ()).unwrap();
    bob.next::<()>("news").await;
    network.lose(&a, 2);
    for n in 0..4 {
        a.emit("news", n).unwrap();
    }
    assert_eq!(bob.all::<u32>("news").await, [2, 3]);
    // They are counted when it is certain that they do not only come late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(b.cluster().losses().lost, 2);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_told_nothing_and_gets_what_waited() {
    let (network, [a, b], [ann, bob]) = two().await;
    network.freeze(&a);
    assert!(a.cluster().state().borrow().hears);
    b.emit("news", 1).unwrap();
    a.emit("news", 2).unwrap();
    assert_eq!(ann.all::<u32>("news").await, [2], "its own clients are served");
    assert_eq!(bob.all::<u32>("news").await, [1]);
    network.thaw(&a);
    assert_eq!(ann.next::<u32>("news").await, 1);
    assert_eq!(bob.next::<u32>("news").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_closed_does_not_count() {
    let (network, [a, b], [ann, bob]) = two().await;
    a.close().await;
    ann.disconnected().await;
    network.ready().await;
    ann.reconnect_to(&b).await.unwrap();
    b.emit("news", 1).unwrap();
    assert_eq!(ann.next::<u32>("news").await, 1);
    assert_eq!(bob.next::<u32>("news").await, 1);
}
