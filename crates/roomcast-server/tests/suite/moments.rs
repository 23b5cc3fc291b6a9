//! Methods that are called too early or too late: in a middleware, while a namespace is made or removed, and after the end of a socket, a
//! namespace or a server.

use crate::common::{Server, pair, patient, until};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_adapter::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use roomcast_server::{
    AckError, AdapterError, ConnectError, DisconnectReason, EmitError, NamespaceRequest, Socket, SocketIo,
};
use serde_json::Value;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A handler for upgrades is one that concerns clients, so asynchronous patterns do not decide about the namespace.
#[tokio::test]
async fn every_handler_that_concerns_clients_makes_a_namespace_ones_own() {
    let server = Server::start(|io| {
        io.of_matching_async(|_: NamespaceRequest| ready(false));
        io.of("/none");
        io.of("/connection").on_connection(|_: Socket| ready(()));
        io.of("/middleware").middleware(|_: Socket| ready(Ok(())));
        io.of("/event").on("x", || {});
        io.of("/fallback").on_fallback(|| {});
        io.of("/disconnect").on_disconnect(|_: Socket, _: DisconnectReason| ready(()));
        io.of("/disconnecting").on_disconnecting(|_: Socket, _: DisconnectReason| ready(()));
        io.of("/upgrade").on_upgrade(|_: Socket| ready(()));
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40/none,").await;
    assert_eq!(wire.text().await, r#"44/none,{"message":"Invalid namespace"}"#);
    for name in ["connection", "middleware", "event", "fallback", "disconnect", "disconnecting", "upgrade"] {
        server.join(&mut wire, &format!("/{name}")).await;
    }
    server.finish().await;
}

/// What a middleware joins is refused at the call, as for a connected socket, and the socket is not refused for it.
#[tokio::test]
async fn joins_of_a_middleware_at_the_limits_and_one_past_them() {
    let server = Server::start(|io| {
        io.middleware(|socket: Socket| async move {
            let longest = "x".repeat(MAX_ROOM_BYTES);
            let refused = socket.join(vec!["a".to_owned(), format!("{longest}y")]);
            assert!(matches!(refused, Err(AdapterError::RoomName(length)) if length == MAX_ROOM_BYTES + 1));
            socket.join(longest)?;
            let rooms = |count: usize| (1..count).map(|number| number.to_string()).collect::<Vec<_>>();
            assert!(matches!(socket.join(rooms(MAX_ROOMS_PER_SOCKET + 1)), Err(AdapterError::TooManyRooms)));
            socket.join(rooms(MAX_ROOMS_PER_SOCKET))?;
            // Neither a room that was asked for already nor its own is one more.
            socket.join(["1", "2"])?;
            socket.join(socket.id())?;
            assert!(matches!(socket.join("one more"), Err(AdapterError::TooManyRooms)));
            Ok(())
        });
    })
    .await;
    let mut wire = server.websocket().await;
    let id = server.join(&mut wire, "/").await;
    let rooms = server.io.socket(&id).unwrap().rooms();
    assert_eq!(rooms.len(), 1 + MAX_ROOMS_PER_SOCKET);
    assert!(!rooms.contains(&"a".into()) && !rooms.contains(&"one more".into()));
    server.finish().await;
}

/// A clone of a socket that has left does no harm to what its client has made of the connection since.
#[tokio::test]
async fn a_socket_that_has_left_does_not_end_the_connection() {
    let server = Server::start(|io| {
        io.of("/other");
    })
    .await;
    let mut wire = server.websocket().await;
    let id = server.join(&mut wire, "/").await;
    let left = server.io.socket(&id).unwrap();
    server.join(&mut wire, "/other").await;
    wire.say("41").await;
    assert!(wire.sync().await.is_empty());
    let id = server.join(&mut wire, "/").await;
    left.disconnect(true);
    left.disconnect(false);
    assert!(wire.sync().await.is_empty());
    let socket = server.io.socket(&id).unwrap();
    // While it leaves, its handlers may still end the connection, as in Node.
    socket.on_disconnecting(|socket: Socket, _: DisconnectReason| async move { socket.disconnect(true) });
    wire.say("41").await;
    assert_eq!(wire.text().await, "41/other,");
    wire.assert_closed().await;
    server.finish().await;
}

/// Two clients ask for a namespace that does not exist yet, on two threads. It gets its middlewares before either connects.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_namespace_is_told_before_any_client_connects() {
    let (go, wait) = channel::<()>();
    let (wait, begun) = (Mutex::new(wait), Arc::<AtomicUsize>::default());
    let seen = begun.clone();
    let server = Server::start(|io| {
        io.of_matching(|name| name.starts_with("/t-"));
        io.on_new_namespace(move |namespace| {
            if namespace.name() == "/t-1" {
                seen.fetch_add(1, SeqCst);
                let _ = wait.lock().recv();
                namespace.middleware(|_: Socket| ready(Err(ConnectError::new("members only"))));
            }
        });
    })
    .await;
    let mut wires = [server.websocket().await, server.websocket().await];
    wires[0].say("40/t-1,").await;
    until("the namespace is told", || begun.load(SeqCst) == 1).await;
    wires[1].say("40/t-1,").await;
    assert!(wires[1].sync().await.is_empty(), "it waits");
    go.send(()).unwrap();
    for wire in &mut wires {
        assert_eq!(wire.text().await, r#"44/t-1,{"message":"members only"}"#);
    }
    assert_eq!(begun.load(SeqCst), 1);
    server.finish().await;
}

/// A member of this name would be parsed again by serde_json, without end: it is refused wherever a client's JSON is read.
#[tokio::test]
async fn auth_payloads_are_read_with_care_in_every_place() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let server = Server::start(|io| {
        io.of_matching_async(move |request: NamespaceRequest| {
            seen.lock().push(request.auth::<Value>().is_ok());
            ready(true)
        });
        io.middleware(|socket: Socket| ready(socket.auth::<Value>().map(drop).map_err(|_| ConnectError::new("no"))));
    })
    .await;
    let mut wire = server.websocket().await;
    let hostile = r#"{"a":{"$serde_json::private::RawValue":"[1]"}}"#;
    for auth in [r#"{"a":[1]}"#, hostile] {
        wire.say(&format!("40/{},{auth}", auth.len())).await;
        assert!(wire.text().await.starts_with(&format!("40/{},", auth.len())));
    }
    assert_eq!(*asked.lock(), [true, false]);
    wire.say(&format!("40{hostile}")).await;
    assert_eq!(wire.text().await, r#"44{"message":"no"}"#);
    server.finish().await;
}

/// All methods of a socket after its end: they reach nobody, and say so where they can.
#[tokio::test]
async fn a_socket_after_its_end() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    let (mut wire, mut other) = (server.websocket().await, server.joined().await);
    let id = server.join(&mut wire, "/").await;
    let socket = server.io.socket(&id).unwrap();
    let listener = socket.on("x", || {});
    socket.set_data("kept").unwrap();
    socket.disconnect(false);
    assert_eq!(wire.texts().await, ["41"]);
    for emitted in [
        socket.emit("e", ()),
        socket.send(1),
        socket.volatile().emit("e", ()).map(drop),
        socket.compress(false).send(1).map(drop),
    ] {
        assert!(matches!(emitted, Err(EmitError::Disconnected)), "{emitted:?}");
    }
    let asked = [socket.emit_with_ack("q", ()).await, socket.timeout(Duration::MAX).emit_with_ack("q", ()).await];
    assert!(asked.iter().all(|asked| matches!(asked, Err(AckError::Gone))), "{asked:?}");
    drop(socket.join(["r", ""]).unwrap());
    socket.leave("r");
    assert!(socket.rooms().is_empty() && !socket.is_connected() && !socket.recovered());
    assert_eq!(socket.data::<String>().unwrap(), "kept");
    socket.set_data(&1).unwrap();
    assert_eq!((socket.insert(1_u8), socket.get::<u8>(), socket.remove::<u8>()), (None, Some(1), Some(1)));
    assert!(!socket.remove_listener(listener) && !socket.remove_listener(socket.on("x", || {})));
    assert!(!socket.remove_listener(socket.on_any(|| {})) && !socket.remove_listener(socket.event_middleware(|| {})));
    socket.off("x");
    socket.off_any();
    socket.set_user("ann");
    socket.disconnect(true);
    // The connection is still there, and so are the others.
    socket.ready().await.unwrap();
    assert_eq!(socket.outstanding().packets, 0);
    socket.broadcast().emit("e", ()).unwrap();
    socket.to(socket.id()).emit("nobody", ()).unwrap();
    assert_eq!(other.texts().await, [r#"42["e"]"#]);
    assert!(wire.sync().await.is_empty());
    drop(wire);
    until("its connection is gone", || server.io.connections() == 1).await;
    assert!(matches!(socket.ready().await, Err(EmitError::Disconnected)));
    server.finish().await;
}

/// In a middleware a socket may be given everything, and cannot be asked yet.
#[tokio::test]
async fn a_socket_in_a_middleware() {
    let server = Server::start(|io| {
        io.middleware(|socket: Socket| async move {
            assert!(socket.rooms().is_empty() && !socket.is_connected());
            let asked = socket.emit_with_ack("q", ()).await;
            assert!(matches!(asked, Err(AckError::Gone)), "{asked:?}");
            assert!(socket.namespace().socket(socket.id().as_str()).is_none());
            socket.on("x", || "own");
            socket.once("once", || "once");
            let removed = socket.on_fallback(|| "fallback");
            assert!(socket.remove_listener(removed));
            socket.join("r")?;
            socket.to("r").emit("to the room", ())?;
            socket.broadcast().emit("to the others", ())?;
            socket.ready().await?;
            Ok(())
        });
    })
    .await;
    let (mut first, mut wire) = (server.joined().await, server.joined().await);
    assert_eq!(first.texts().await, [r#"42["to the room"]"#, r#"42["to the others"]"#]);
    for say in [r#"421["x"]"#, r#"422["once"]"#, r#"423["once"]"#] {
        wire.say(say).await;
    }
    assert_eq!(wire.texts().await, [r#"431["own"]"#, r#"432["once"]"#]);
    server.finish().await;
}

/// A namespace that was removed emits to nobody, and every question about it is answered at once.
#[tokio::test]
async fn a_namespace_after_its_end() {
    let [one, two] = pair().await;
    two.io.of("/news");
    let mut wire = two.websocket().await;
    two.join(&mut wire, "/news").await;
    let removed = one.io.of("/news");
    assert!(one.io.remove("/news").await);
    removed.emit("e", ()).unwrap();
    removed.to("r").send(1).unwrap();
    removed.server_side_emit("e", ()).unwrap();
    removed.sockets_join("r").unwrap();
    removed.disconnect_sockets(true).unwrap();
    assert!(removed.local_sockets().is_empty());
    let questions = async {
        let asked = removed.emit_with_ack("q", ()).await.unwrap();
        assert!(asked.answers.is_empty() && asked.missing.is_empty() && asked.missing_sockets == 0);
        assert!(removed.fetch_sockets().await.value.is_empty() && removed.all_rooms().await.value.is_empty());
        assert_eq!(removed.count().await.value, 0);
        assert!(removed.server_side_emit_with_ack("q", ()).await.unwrap().value.is_empty());
        removed.server_count().await;
    };
    patient("all questions are answered", questions).await;
    assert!(wire.sync().await.is_empty());
    assert_ne!(removed.of("/news"), Some(removed.clone()), "its name is another's now");
    drop(wire);
    one.finish().await;
    two.finish().await;
}

/// All methods of a server after its close.
#[tokio::test]
async fn a_server_after_its_end() {
    let network = MemoryNetwork::new();
    let cluster = Cluster::new(network.broker(), ClusterOptions::default());
    let io = SocketIo::builder().cluster(&cluster).drain(Duration::from_millis(1), Duration::from_millis(1)).build();
    io.on("x", || {});
    let ends = async {
        tokio::join!(io.close(), io.close());
        for namespace in [io.of("/"), io.of("/late")] {
            namespace.emit("e", ()).unwrap();
            namespace.on("x", || {}).server_side_emit("e", ()).unwrap();
            namespace.sockets_join("r").unwrap();
            let asked = namespace.emit_with_ack("q", ()).await.unwrap();
            assert!(asked.answers.is_empty() && asked.missing_sockets == 0);
            assert!(namespace.fetch_sockets().await.value.is_empty());
            assert_eq!((namespace.count().await.value, namespace.local_sockets().len()), (0, 0));
            assert!(namespace.server_side_emit_with_ack("q", ()).await.unwrap().value.is_empty());
            assert!(namespace.all_rooms().await.value.is_empty());
        }
        assert!(io.remove("/late").await && !io.health().is_ready());
        io.drain().await;
        io.close().await;
        io.listen("127.0.0.1:0").await.unwrap();
        assert_eq!(io.connections(), 0);
    };
    patient("all of it ends", ends).await;
}

/// Whoever is called back may end what called it.
#[tokio::test(start_paused = true)]
async fn a_handler_may_close_the_server() {
    let io = SocketIo::builder().build();
    let closes = io.clone();
    let ended = Arc::<AtomicUsize>::default();
    let count = ended.clone();
    io.of("/").on_disconnect(move |_: Socket, _: DisconnectReason| {
        let (io, count) = (closes.clone(), count.clone());
        async move {
            // The close waits for this handler for at most 3 s.
            io.close().await;
            count.fetch_add(1, SeqCst);
        }
    });
    crate::common::in_process::join(&io.clone().into_service()).await;
    let begun = tokio::time::Instant::now();
    io.close().await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    until("the handler has ended", || ended.load(SeqCst) == 1).await;
}

/// A namespace is removed by its own middleware and connection handler.
#[tokio::test]
async fn a_handler_may_remove_its_namespace() {
    let server = Server::start(|io| {
        let removes = io.clone();
        io.of("/middleware").middleware(move |_: Socket| {
            let io = removes.clone();
            async move { io.remove("/middleware").await.then_some(()).ok_or(ConnectError::new("gone already")) }
        });
        let removes = io.clone();
        io.of("/connection").on_connection(move |_: Socket| {
            let io = removes.clone();
            async move { io.remove("/connection").await }
        });
    })
    .await;
    let mut wire = server.websocket().await;
    for name in ["/middleware", "/connection"] {
        server.join(&mut wire, name).await;
        assert_eq!(wire.text().await, format!("41{name},"));
        assert!(server.io.namespace(name).is_none());
        wire.say(&format!("40{name},")).await;
        assert_eq!(wire.text().await, format!("44{name},{{\"message\":\"Invalid namespace\"}}"));
    }
    server.finish().await;
}
