//! A server in numbers, by namespace.

use crate::common::Server;
use roomcast_server::{NamespaceStatistics, Socket};

fn of(namespaces: usize, sockets: usize, rooms: usize, events_received: u64) -> NamespaceStatistics {
    let mut statistics = NamespaceStatistics::default();
    (statistics.namespaces, statistics.sockets) = (namespaces, sockets);
    (statistics.rooms, statistics.events_received) = (rooms, events_received);
    statistics
}

async fn namespaces_whose_names_clients_choose_stand_together() {
    let server = Server::start(|io| {
        for namespaces in ["/", "/shop"] {
            io.of(namespaces)
                .on("join", |socket: Socket, room: String| async move { socket.join(room.as_str()).map(drop) });
        }
        io.of_matching(|name| name.starts_with("/tenant-"));
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("42[\"join\",\"a\"]").await;
    wire.say("42[\"join\",\"b\"]").await;
    wire.say("42[\"nobody handles it\"]").await;
    for namespace in ["/shop", "/tenant-1", "/tenant-2"] {
        server.join(&mut wire, namespace).await;
    }
    wire.say("42/tenant-1,[\"x\"]").await;
    wire.say("42/tenant-2,[\"x\"]").await;
    // It is answered after everything before it was handled.
    server.join(&mut wire, "/tenant-3").await;
    let expected = |other| {
        [("/", of(1, 1, 2, 3)), ("/shop", of(1, 1, 0, 0)), ("other", other)].map(|(name, of)| (name.to_owned(), of))
    };
    assert_eq!(server.io.statistics().namespaces, expected(of(3, 3, 0, 2)).into());

    // The application now knows one of them by name; what it counts for stays.
    drop(server.io.of("/tenant-1"));
    assert!(server.io.remove("/tenant-2").await);
    assert_eq!(server.io.statistics().namespaces, expected(of(2, 2, 0, 2)).into());
    assert!(server.io.remove("/shop").await);
    let left = server.io.statistics().namespaces;
    assert_eq!(left.get("/shop"), Some(&of(0, 0, 0, 0)), "its counter must not vanish");
    assert_eq!(server.io.outboxes().await.largest_bytes, 0);
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    namespaces_whose_names_clients_choose_stand_together,
}
