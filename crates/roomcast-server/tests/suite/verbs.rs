//! The verbs on the server, its namespaces, its sockets and remote sockets: whom each reaches.

use crate::common::Server;
use crate::common::wire::Wire;
use roomcast_server::{AckError, Delivery, RemoteSocket, Socket};
use std::time::Duration;

/// A server with three clients in the main namespace: the first is in rooms `a` and `ab`, the second in `b` and `ab`.
async fn three() -> (Server, [Wire; 3], [Socket; 3]) {
    let server = Server::start(|io| drop(io.of("/"))).await;
    let mut wires = [server.websocket().await, server.websocket().await, server.websocket().await];
    let mut sockets = Vec::new();
    for wire in &mut wires {
        let id = server.join(wire, "/").await;
        let socket = server.io.socket(&id).unwrap();
        assert_eq!(socket.id().as_str(), id);
        sockets.push(socket);
    }
    sockets[0].join(["a", "ab"]).unwrap();
    sockets[1].join(["b", "ab"]).unwrap();
    (server, wires, sockets.try_into().unwrap())
}

/// Which of the clients got this event once and nothing else.
async fn got(wires: &mut [Wire; 3], event: &str) -> Vec<usize> {
    let mut reached = Vec::new();
    for (at, wire) in wires.iter_mut().enumerate() {
        match &wire.texts().await[..] {
            [] => {}
            [one] if one == event => reached.push(at),
            other => panic!("client {at} got {other:?}, not {event}"),
        }
    }
    reached
}

#[tokio::test]
async fn each_verb_reaches_whom_it_chooses() {
    let (server, mut wires, [one, two, three]) = three().await;
    let (io, main) = (&server.io, server.io.of("/"));
    let all = vec![0, 1, 2];
    let nobody: [&str; 0] = [];
    type Emit<'a> = Box<dyn Fn() + 'a>;
    let emits: Vec<(&str, Emit<'_>, Vec<usize>)> = vec![
        ("io", Box::new(|| io.emit("e", (1, 2)).unwrap()), all.clone()),
        ("namespace", Box::new(|| main.emit("e", (1, 2)).unwrap()), all.clone()),
        ("io.to", Box::new(|| io.to("ab").emit("e", (1, 2)).unwrap()), vec![0, 1]),
        ("to two rooms", Box::new(|| main.to(["a", "b", "ab"]).emit("e", (1, 2)).unwrap()), vec![0, 1]),
        ("to and to", Box::new(|| io.to("a").to("b").emit("e", (1, 2)).unwrap()), vec![0, 1]),
        ("except", Box::new(|| io.except("a").emit("e", (1, 2)).unwrap()), vec![1, 2]),
        ("to and except", Box::new(|| main.to("ab").except("b").emit("e", (1, 2)).unwrap()), vec![0]),
        ("local", Box::new(|| io.local().emit("e", (1, 2)).unwrap()), all.clone()),
        ("volatile", Box::new(|| main.volatile().emit("e", (1, 2)).unwrap()), all.clone()),
        ("compress", Box::new(|| io.compress(false).emit("e", (1, 2)).unwrap()), all.clone()),
        ("timeout", Box::new(|| io.timeout(Duration::from_secs(1)).emit("e", (1, 2)).unwrap()), all),
        ("to nobody", Box::new(|| io.to(nobody).emit("e", (1, 2)).unwrap()), vec![]),
        ("to nobody but one", Box::new(|| io.to(nobody).to("a").emit("e", (1, 2)).unwrap()), vec![0]),
        ("socket", Box::new(|| one.emit("e", (1, 2)).unwrap()), vec![0]),
        ("socket.to", Box::new(|| one.to("ab").emit("e", (1, 2)).unwrap()), vec![1]),
        ("socket.to nobody", Box::new(|| one.to(Vec::<String>::new()).emit("e", (1, 2)).unwrap()), vec![]),
        ("socket.except", Box::new(|| one.except("b").emit("e", (1, 2)).unwrap()), vec![2]),
        ("socket.local", Box::new(|| two.local().emit("e", (1, 2)).unwrap()), vec![0, 2]),
        ("broadcast", Box::new(|| three.broadcast().emit("e", (1, 2)).unwrap()), vec![0, 1]),
        (
            "socket.volatile",
            Box::new(|| assert_eq!(two.volatile().emit("e", (1, 2)).unwrap(), Delivery::Queued)),
            vec![1],
        ),
        ("socket.volatile.to", Box::new(|| three.volatile().to("a").emit("e", (1, 2)).unwrap()), vec![0]),
        (
            "socket.compress",
            Box::new(|| assert_eq!(two.compress(false).emit("e", (1, 2)).unwrap(), Delivery::Queued)),
            vec![1],
        ),
        ("a socket's room", Box::new(|| io.to(three.id()).emit("e", (1, 2)).unwrap()), vec![2]),
    ];
    for (what, emit, reached) in emits {
        emit();
        assert_eq!(got(&mut wires, r#"42["e",1,2]"#).await, reached, "{what}");
    }
    io.send("hi").unwrap();
    assert_eq!(got(&mut wires, r#"42["message","hi"]"#).await, [0, 1, 2]);
    one.send("hi").unwrap();
    assert_eq!(got(&mut wires, r#"42["message","hi"]"#).await, [0]);
    server.finish().await;
}

#[tokio::test]
async fn an_empty_list_of_rooms_is_nobody_for_every_action() {
    let (server, mut wires, _sockets) = three().await;
    let nobody = || server.io.to(Vec::<String>::new());
    assert_eq!(nobody().count().await.value, 0);
    assert!(nobody().fetch_sockets().await.value.is_empty() && nobody().local_sockets().is_empty());
    let asked = nobody().emit_with_ack("q", ()).await.unwrap();
    assert!(asked.answers.is_empty() && asked.missing_sockets == 0);
    nobody().sockets_join("x").unwrap();
    nobody().sockets_leave("ab").unwrap();
    nobody().disconnect_sockets(true).unwrap();
    assert_eq!(server.io.to("x").count().await.value, 0);
    assert_eq!(server.io.to("ab").count().await.value, 2);
    assert_eq!(got(&mut wires, "").await, [0; 0]);
    server.finish().await;
}

#[tokio::test]
async fn sockets_of_this_server_by_id_by_room_and_all() {
    let (server, _wires, [one, two, three]) = three().await;
    let ids = |mut sockets: Vec<Socket>| {
        sockets.sort_by_key(|socket| socket.id().to_string());
        sockets
    };
    let io = &server.io;
    assert_eq!(ids(io.local_sockets()), ids(vec![one.clone(), two.clone(), three.clone()]));
    assert_eq!(ids(io.to("ab").local_sockets()), ids(vec![one.clone(), two.clone()]));
    assert_eq!(io.of("/").except("ab").local_sockets(), std::slice::from_ref(&three));
    assert_eq!(io.socket(two.id().as_str()), Some(two.clone()));
    // A room of that name is not a socket.
    three.join("aaaaaaaaaaaaaaaaaaaa").unwrap();
    assert_eq!(io.socket("aaaaaaaaaaaaaaaaaaaa"), None);
    assert_eq!((io.socket(""), io.socket("no id")), (None, None));
    two.disconnect(false);
    assert_eq!(io.socket(two.id().as_str()), None);
    server.finish().await;
}

#[tokio::test]
async fn a_remote_socket_is_asked_alone() {
    let (server, mut wires, [one, two, _]) = three().await;
    // Another member of its room.
    two.join(one.id()).unwrap();
    let fetched = server.io.fetch_sockets().await.value;
    let remote: RemoteSocket = fetched.into_iter().find(|socket| socket.id() == one.id().as_str()).unwrap();
    let (asked, ()) = tokio::join!(remote.emit_with_ack("q", ("a", 1)), async {
        assert_eq!(wires[0].text().await, r#"420["q","a",1]"#);
        wires[0].say(r#"430["yes"]"#).await;
    });
    assert_eq!(asked.unwrap().items(), r#""yes""#);
    remote.send("hi").unwrap();
    assert_eq!(got(&mut wires, r#"42["message","hi"]"#).await, [0]);
    let silent = remote.emit_with_ack_within(Duration::from_millis(20), "q", ()).await;
    assert!(matches!(silent, Err(AckError::Timeout)), "{silent:?}");
    one.disconnect(true);
    let gone = remote.emit_with_ack("q", ()).await;
    assert!(matches!(gone, Err(AckError::Gone)), "{gone:?}");
    server.finish().await;
}

#[tokio::test]
async fn the_namespaces_of_a_pattern_are_emitted_to_together() {
    let server = Server::start(|_| {}).await;
    let (tell, told) = std::sync::mpsc::channel();
    server.io.on_new_namespace(move |namespace| drop(tell.send(namespace.name().to_owned())));
    let tenants = server.io.of_matching(|name| name.starts_with("/t-"));
    assert!(tenants.existing().is_empty());
    let (mut a, mut b) = (server.websocket().await, server.websocket().await);
    server.join(&mut a, "/t-2").await;
    server.join(&mut b, "/t-1").await;
    server.join(&mut b, "/").await;
    drop(server.io.of("/other"));
    let names: Vec<_> = tenants.existing().iter().map(|namespace| namespace.name().to_owned()).collect();
    assert_eq!(names, ["/t-1", "/t-2"]);
    assert_eq!(tenants.existing()[0].of("t-2"), server.io.namespace("/t-2"));
    tenants.emit("news", "x").unwrap();
    assert_eq!(a.texts().await, [r#"42/t-2,["news","x"]"#]);
    assert_eq!(b.texts().await, [r#"42/t-1,["news","x"]"#]);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["/t-2", "/t-1", "/", "/other"]);
    server.finish().await;
}

#[tokio::test]
async fn refused_requests_and_failures_are_told() {
    let (refused, refusals) = std::sync::mpsc::channel();
    let (failed, failures) = std::sync::mpsc::channel();
    let server = Server::with(
        |builder| {
            let builder = builder.on_connection_error(move |error, request| {
                drop(refused.send(format!("{} {} {}", error.code(), error.name(), request.uri.path())));
            });
            builder.on_failure(move |told| {
                let socket = told.socket.map_or(0, |socket| socket.as_str().len());
                drop(failed.send(format!("{socket} {} {}: {}", told.namespace, told.event, told.failure)));
                assert_ne!(told.event, "bug in the hook");
            })
        },
        |io| {
            io.on("fails", || Err::<(), _>("no luck")).on("n", |_: u8| {}).on("bug in the hook", || Err::<(), _>("x"));
        },
    )
    .await;
    assert_eq!(server.get("EIO=4&transport=none").await.status(), 400);
    assert_eq!(refusals.recv().unwrap(), "0 UNKNOWN_TRANSPORT /socket.io/");
    let mut wire = server.joined().await;
    for event in ["fails", "bug in the hook"] {
        wire.say(&format!(r#"421["{event}"]"#)).await;
        assert!(wire.text().await.starts_with("431[{\"error\":"));
    }
    wire.say(r#"42["n",300]"#).await;
    assert!(wire.texts().await.is_empty());
    let told: Vec<String> = failures.try_iter().collect();
    assert_eq!(told[..2], ["20 / fails: no luck", "20 / bug in the hook: x"]);
    assert!(told[2].starts_with("20 / n: argument 1: invalid value"), "{told:?}");
    server.finish().await;
}
