//! What is told of rooms: created, joined, left, deleted, in the order of the changes.

use crate::common::{Log, Server, until};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_server::{Namespace, RecoveryOptions, RoomEvent, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn told(log: &Log) -> impl Fn(Namespace, RoomEvent) -> std::future::Ready<()> + Send + Sync + 'static {
    let log = log.clone();
    move |namespace, event| {
        let what = match event {
            RoomEvent::Created { room } => format!("created {room}"),
            RoomEvent::Joined { room, .. } => format!("joined {room}"),
            RoomEvent::Left { room, .. } => format!("left {room}"),
            RoomEvent::Deleted { room } => format!("deleted {room}"),
            other => format!("{other:?}"),
        };
        log.push(format!("{} {what}", namespace.name()));
        ready(())
    }
}

#[tokio::test]
async fn a_room_is_told_from_its_first_member_to_its_last() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        io.middleware(|socket: Socket| {
            let _ = socket.join("lobby");
            ready(Ok(()))
        });
        io.of("/").on_room_event(told(&noted));
        io.on("join", |socket: Socket, room: String| socket.join(room).map(drop));
        // What a handler of the event does, an answer can rely on.
        let seen = noted.clone();
        io.on("leave", move |socket: Socket, room: String| {
            socket.leave(&room);
            seen.lines().len()
        });
    })
    .await;
    let (mut one, two) = (server.joined().await, server.joined().await);
    for packet in [r#"42["join","a"]"#, r#"42["join","a"]"#, r#"421["leave","a"]"#] {
        one.say(packet).await;
    }
    assert_eq!(one.text().await, "431[7]");
    drop(one);
    until("the first has left", || log.lines().len() == 8).await;
    drop(two);
    let lines = ["created lobby", "joined lobby", "joined lobby", "created a", "joined a", "left a", "deleted a"];
    let end = ["left lobby", "left lobby", "deleted lobby"];
    let lines: Vec<String> = lines.into_iter().chain(end).map(|line| format!("/ {line}")).collect();
    log.expect(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.finish().await;
}

/// Handlers of a pattern apply to namespaces that exist and to those that are made later.
#[tokio::test]
async fn handlers_of_a_pattern_are_told_of_all_its_namespaces() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        let pattern = io.of_matching(|name| name.starts_with("/game"));
        let early = io.of("/game1");
        pattern.on_room_event(told(&noted)).on_connection(join_table);
        assert_eq!(pattern.existing(), [early]);
    })
    .await;
    let mut wire = server.websocket().await;
    for (number, name) in ["/game1", "/game2"].into_iter().enumerate() {
        server.join(&mut wire, name).await;
        until("both are told", || log.lines().len() == 2 * number + 2).await;
        assert_eq!(log.lines()[2 * number..], [format!("{name} created table"), format!("{name} joined table")]);
    }
    server.finish().await;
}

async fn join_table(socket: Socket) {
    let _ = socket.join("table");
}

/// A namespace that is there before its pattern belongs to it from the first client on that the pattern accepts.
#[tokio::test]
async fn a_namespace_that_a_pattern_adopts_is_told_too() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        drop(io.of("/known"));
        io.of_matching_async(|_| ready(true)).on_room_event(told(&noted)).on_connection(join_table);
    })
    .await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/known").await;
    log.expect(&["/known created table", "/known joined table"]).await;
    server.finish().await;
}

/// A handler that changes rooms itself, such as one that puts the first member of a room into another one.
#[tokio::test]
async fn what_a_handler_changes_is_told_after_it() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        io.of("/").on_room_event(|namespace: Namespace, event| {
            if let RoomEvent::Created { room } = &event
                && room.len() < 3
            {
                let _ = namespace.sockets_join(format!("{}x", &**room));
            }
            ready(())
        });
        io.of("/").on_room_event(told(&noted));
        io.on("join", |socket: Socket, room: String| socket.join(room).map(drop));
    })
    .await;
    let mut wire = server.joined().await;
    wire.say(r#"42["join","r"]"#).await;
    let lines = ["created r", "joined r", "created rx", "joined rx", "created rxx", "joined rxx"];
    log.expect(&lines.map(|line| format!("/ {line}")).each_ref().map(String::as_str)).await;
    server.finish().await;
}

/// Another server's `socketsJoin` is told where the sockets are. Nothing is told of sockets elsewhere.
#[tokio::test]
async fn each_server_tells_of_its_own_sockets() {
    let network = MemoryNetwork::new();
    let cluster = Cluster::new(network.broker(), ClusterOptions::default());
    let there = SocketIo::builder().cluster(&Cluster::new(network.broker(), ClusterOptions::default())).build();
    let (log, elsewhere) = (Log::default(), Log::default());
    there.of("/").on_room_event(told(&elsewhere));
    let noted = log.clone();
    let server = Server::with(
        |builder| builder.cluster(&cluster),
        |io| {
            io.of("/").on_room_event(told(&noted));
        },
    )
    .await;
    let wire = server.joined().await;
    let from = there.of("/");
    while from.server_count().await.value < 2 {
        tokio::task::yield_now().await;
    }
    from.sockets_join(["a", "b"]).unwrap();
    from.sockets_leave("a").unwrap();
    log.expect(&["/ created a", "/ joined a", "/ created b", "/ joined b", "/ left a", "/ deleted a"]).await;
    assert!(elsewhere.lines().is_empty());
    drop(wire);
    there.close().await;
    server.finish().await;
}

/// A socket whose session is kept has left its rooms, and is in them again when its client comes back.
#[tokio::test]
async fn a_lost_client_leaves_and_a_recovered_one_joins() {
    let log = Log::default();
    let (noted, connects) = (log.clone(), Arc::<AtomicUsize>::default());
    let counted = connects.clone();
    let server = Server::with(
        |builder| builder.recovery(RecoveryOptions::new()),
        |io| {
            io.of("/").on_room_event(told(&noted));
            io.middleware(move |socket: Socket| {
                if counted.fetch_add(1, SeqCst) == 0 {
                    let _ = socket.join("a");
                }
                ready(Ok(()))
            });
        },
    )
    .await;
    let mut wire = server.websocket().await;
    wire.say("40").await;
    let welcome = wire.text().await;
    log.expect(&["/ created a", "/ joined a"]).await;
    let pid = welcome.split_once(r#""pid":""#).unwrap().1.trim_end_matches("\"}").to_owned();
    drop(wire);
    log.expect(&["/ created a", "/ joined a", "/ left a", "/ deleted a"]).await;
    let mut wire = server.websocket().await;
    wire.say(&format!(r#"40{{"pid":"{pid}"}}"#)).await;
    assert!(wire.text().await.contains(&pid));
    assert_eq!(log.lines()[4..], ["/ created a", "/ joined a"]);
    server.finish().await;
}
