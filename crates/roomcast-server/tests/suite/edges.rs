//! Methods where nobody calls them: after an end, in a middleware, from within `Drop` and `Serialize`, without a runtime, twice at once, and
//! with names and options at their extremes.

use crate::common::adapters::Adapters;
use crate::common::{PATIENCE, Server, patient, until};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_adapter::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use roomcast_server::{
    Ack, AckError, AdapterError, Builder, ConnectError, DisconnectReason, EmitError, Failure, Namespace,
    NamespaceRequest, RecoveryOptions, Socket, SocketIo, State,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Runs code on a thread of its own, which must come to its end: a lock that is taken twice would hold it up for ever.
fn ends(what: &str, code: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        code();
        done.send(()).unwrap();
    });
    assert!(ended.recv_timeout(PATIENCE).is_ok(), "{what} does not come to its end");
    thread.join().unwrap();
}

/// Does the same on eight threads at once, and returns what came of it.
fn at_once<T: Send + 'static>(code: impl Fn() -> T + Send + Sync + Clone + 'static) -> Vec<T> {
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let start = |_| {
        let (barrier, code) = (barrier.clone(), code.clone());
        std::thread::spawn(move || {
            barrier.wait();
            code()
        })
    };
    let threads: Vec<_> = (0..8).map(start).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// A value of an application that uses the namespace when it is dropped.
struct Used(Namespace, Arc<AtomicUsize>);

impl Drop for Used {
    fn drop(&mut self) {
        self.0.off("another").off_server_event("another");
        self.1.fetch_add(1, SeqCst);
    }
}

#[tokio::test]
async fn handlers_of_a_namespace_are_dropped_outside_its_locks() {
    let io = SocketIo::builder().build();
    let (namespace, dropped) = (io.of("/"), Arc::<AtomicUsize>::default());
    let count = dropped.clone();
    ends("to remove and replace handlers", move || {
        let holds = || {
            let used = Used(namespace.clone(), dropped.clone());
            move || drop(&used)
        };
        namespace.on("x", holds()).off("x");
        namespace.on_any(holds()).prepend_any(holds()).off_any();
        namespace.on_fallback(holds()).on_fallback(|| {});
        namespace.on_server_event("x", holds()).off_server_event("x");
        namespace.on_server_event_fallback(holds()).on_server_event_fallback(|| {});
    });
    assert_eq!(count.load(SeqCst), 6);
}

/// A panic during an unwind ends the process.
#[tokio::test]
async fn an_answer_to_failures_that_panics_is_the_usual_refusal() {
    let server = Server::with(
        |builder| {
            builder.answer_failures(|failure| match failure {
                Failure::Extract(_) => json!("does not fit"),
                _ => panic!("a bug in the answer"),
            })
        },
        |io| {
            io.on("panics", || panic!("a bug")).on("fails", || Err::<(), _>("a secret")).on("number", |_: u8| {});
        },
    )
    .await;
    let mut wire = server.joined().await;
    for event in ["panics", "fails"] {
        wire.say(&format!(r#"421["{event}"]"#)).await;
        assert_eq!(wire.text().await, r#"431[{"error":"Server error","ok":false}]"#, "{event}");
    }
    wire.say(r#"422["number","x"]"#).await;
    assert_eq!(wire.text().await, r#"432["does not fit"]"#);
    server.finish().await;
}

/// Of all that may answer an event, middlewares included, the first counts.
#[tokio::test]
async fn an_event_is_answered_once_by_middlewares_and_handlers() {
    let server = Server::start(|io| {
        let main = io.of("/");
        let middleware = |answer: &'static str, awaits: bool| {
            move |(event,): (String,), ack: Ack| async move {
                if awaits {
                    tokio::task::yield_now().await;
                }
                if event.ends_with(answer) { ack.send(answer) } else { Ok(()) }
            }
        };
        main.event_middleware(middleware("first", false)).event_middleware(middleware("second", true));
        main.on("one first", || "handler").on("one second", || "handler").on("none", || "handler");
        main.on("two second", || "handler").on("two second", || "another");
    })
    .await;
    let mut wire = server.joined().await;
    for (event, answer) in [("one first", "first"), ("one second", "second"), ("none", "handler"), ("two second", "second")]
    {
        wire.say(&format!(r#"421["{event}"]"#)).await;
        assert_eq!(wire.text().await, format!(r#"431["{answer}"]"#), "{event}");
        assert!(wire.texts().await.is_empty(), "{event}");
    }
    server.finish().await;
}

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
    socket.on_disconnecting(|socket: Socket, _: DisconnectReason| ready(socket.disconnect(true)));
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
                drop(wait.lock().recv());
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

thread_local! {
    static KEPT: RefCell<Option<Leaves>> = const { RefCell::new(None) };
}

/// Disconnects its socket when it is dropped.
struct Leaves(Socket);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.disconnect(false);
    }
}

/// What a thread kept is dropped when much else of the thread is gone.
#[tokio::test]
async fn a_thread_that_ends_may_disconnect() {
    let ends = Arc::<AtomicUsize>::default();
    let count = ends.clone();
    let server = Server::start(|io| {
        io.on_disconnect(move |_: Socket, _: DisconnectReason| {
            count.fetch_add(1, SeqCst);
            ready(())
        });
    })
    .await;
    let mut wires = [server.websocket().await, server.websocket().await];
    let mut sockets = Vec::new();
    for wire in &mut wires {
        let id = server.join(wire, "/").await;
        sockets.push(server.io.socket(&id).unwrap());
    }
    let thread = std::thread::spawn(move || {
        KEPT.set(sockets.pop().map(Leaves));
        sockets.pop().unwrap().disconnect(false);
    });
    thread.join().unwrap();
    for wire in &mut wires {
        assert_eq!(wire.texts().await, ["41"]);
    }
    assert_eq!(ends.load(SeqCst), 2);
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

#[tokio::test]
async fn a_reserved_name_is_refused_whoever_is_there() {
    let io = SocketIo::builder().build();
    let pattern = io.of_matching(|name| name == "/t");
    let nobody: [&str; 0] = [];
    for emitted in [
        pattern.emit("connect", ()),
        io.emit("disconnect", ()),
        io.to(nobody).emit("connect_error", ()),
        io.to(nobody).emit_with_ack("connect", ()).await.map(drop),
        io.server_side_emit("connection", ()),
    ] {
        assert!(matches!(emitted, Err(EmitError::ReservedEvent(_))), "{emitted:?}");
    }
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
    (socket.off("x"), socket.off_any(), socket.set_user("ann"), socket.disconnect(true));
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
            socket.to("r").emit("nobody is there", ())?;
            socket.broadcast().emit("to the others", ())?;
            socket.ready().await?;
            Ok(())
        });
    })
    .await;
    let (mut first, mut wire) = (server.joined().await, server.joined().await);
    assert_eq!(first.texts().await, [r#"42["to the others"]"#]);
    for say in [r#"421["x"]"#, r#"422["once"]"#, r#"423["once"]"#] {
        wire.say(say).await;
    }
    assert_eq!(wire.texts().await, [r#"431["own"]"#, r#"432["once"]"#]);
    server.finish().await;
}

/// Two servers of one cluster.
async fn pair() -> [Server; 2] {
    let network = MemoryNetwork::new();
    let server = async || {
        let cluster = Cluster::new(network.broker(), ClusterOptions::default());
        Server::with(|builder| builder.cluster(&cluster), |io| drop(io.of("/"))).await
    };
    let servers = [server().await, server().await];
    for server in &servers {
        let namespace = server.io.of("/");
        while namespace.server_count().await.value < 2 {
            tokio::task::yield_now().await;
        }
    }
    servers
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

/// Rooms may have any name, on all servers.
#[tokio::test]
async fn rooms_of_odd_names() {
    let servers = pair().await;
    let mut wires = [servers[0].websocket().await, servers[1].websocket().await];
    let mut sockets = Vec::new();
    for (server, wire) in servers.iter().zip(&mut wires) {
        let id = server.join(wire, "/").await;
        sockets.push(server.io.socket(&id).unwrap());
    }
    let other = sockets[1].id().to_string();
    let long = "é".repeat(MAX_ROOM_BYTES / 2);
    for name in ["", "#", "a#b#", "/#/", "*", "?", "\0", "\u{2028}", "[\"x\"]", &long] {
        for socket in &sockets {
            drop(socket.join(name).unwrap());
        }
        servers[0].io.to(name).except("no such").emit("e", name).unwrap();
        let event = format!("42[\"e\",{}]", json!(name));
        for wire in &mut wires {
            assert_eq!(patient("the event", wire.text()).await, event);
        }
        assert_eq!(servers[1].io.to(name).count().await.value, 2, "{name:?}");
        servers[0].io.except(name).emit("nobody", ()).unwrap();
        servers[0].io.sockets_leave(name).unwrap();
        until("both have left", || sockets.iter().all(|socket| socket.rooms().len() == 1)).await;
    }
    // Nobody is in a room whose name is too long.
    let huge = "x".repeat(1_000_000);
    assert!(matches!(sockets[0].join(&huge), Err(AdapterError::RoomName(1_000_000))));
    sockets[0].leave(&huge);
    servers[0].io.to(&huge).emit("nobody", ()).unwrap();
    servers[0].io.sockets_join(&huge).unwrap();
    assert_eq!(servers[0].io.to(&huge).count().await.value, 0);
    servers[0].io.except(&huge).emit("all", ()).unwrap();
    for wire in &mut wires {
        assert_eq!(patient("the event", wire.text()).await, r#"42["all"]"#);
    }
    // The room of an id has its socket in it for ever, whoever joins and leaves.
    drop(sockets[0].join(&other).unwrap());
    sockets[1].leave(&other);
    servers[0].io.sockets_leave(&other).unwrap();
    servers[0].io.to(&other).emit("private", ()).unwrap();
    assert_eq!(patient("the event", wires[1].text()).await, r#"42["private"]"#);
    assert!(wires[0].sync().await.is_empty() && wires[1].sync().await.is_empty());
    drop(wires);
    let [one, two] = servers;
    one.finish().await;
    two.finish().await;
}

/// What does not wait needs no runtime.
#[tokio::test]
async fn a_thread_without_a_runtime() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    let mut wire = server.websocket().await;
    let id = server.join(&mut wire, "/").await;
    let (io, socket) = (server.io.clone(), server.io.socket(&id).unwrap());
    ends("a plain thread", move || {
        drop(socket.join("r").unwrap());
        io.to("r").emit("e", 1).unwrap();
        socket.emit("e", 2).unwrap();
        io.of("/new").on("x", || {}).emit("e", ()).unwrap();
        io.sockets_join("s").unwrap();
        assert_eq!(io.to("s").local_sockets(), std::slice::from_ref(&socket));
        socket.leave("r");
        io.to("r").emit("nobody", ()).unwrap();
        io.volatile().emit("e", 3).unwrap();
        assert!(io.health().is_ready() && io.statistics().namespaces["/"].sockets == 1);
        let built = SocketIo::builder().build();
        drop((built.of("/x"), built.clone().into_service(), built.into_layer()));
    });
    assert_eq!(wire.texts().await, [r#"42["e",1]"#, r#"42["e",2]"#, r#"42["e",3]"#]);
    server.finish().await;
}

/// The same call on eight threads: one of them does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twice_at_once() {
    let adapters = Adapters::default();
    let (told, ends) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (tells, count) = (told.clone(), ends.clone());
    let server = Server::with(adapters.builder(), |io| {
        io.on_new_namespace(move |_| drop(tells.fetch_add(1, SeqCst)));
        io.on_disconnect(move |_: Socket, _: DisconnectReason| {
            count.fetch_add(1, SeqCst);
            ready(())
        });
    })
    .await;
    let io = server.io.clone();
    let namespaces = at_once(move || io.of("/x"));
    assert!(namespaces.iter().all(|namespace| *namespace == namespaces[0]));
    assert_eq!((adapters.counts(), told.load(SeqCst)), ((2, 0), 2), "of this one and the main one");
    let (io, runtime) = (server.io.clone(), tokio::runtime::Handle::current());
    let removed = at_once(move || runtime.block_on(io.remove("/x")));
    assert_eq!((removed.iter().filter(|removed| **removed).count(), adapters.counts()), (1, (2, 1)));
    let mut wire = server.websocket().await;
    let id = server.join(&mut wire, "/").await;
    let socket = server.io.socket(&id).unwrap();
    at_once(move || socket.disconnect(false));
    assert_eq!(wire.texts().await, ["41"]);
    assert_eq!(ends.load(SeqCst), 1);
    let (io, runtime) = (server.io.clone(), tokio::runtime::Handle::current());
    at_once(move || runtime.block_on(io.close()));
    server.finish().await;
}

/// Several tasks wait until little is queued for one client.
#[tokio::test]
async fn all_that_await_ready_are_woken() {
    let server = Server::with(|builder| builder.max_outbox(1_000), |io| drop(io.of("/"))).await;
    let sid = server.join_by_polling().await;
    let socket = server.io.local_sockets().pop().unwrap();
    socket.emit("e", "x".repeat(5_000)).unwrap();
    let wait = |socket: Socket| tokio::spawn(async move { socket.ready().await.is_ok() });
    let waiting = [wait(socket.clone()), wait(socket.clone()), wait(socket)];
    tokio::task::yield_now().await;
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    assert_eq!(server.poll(&sid).await.status(), 200);
    for waiting in waiting {
        assert!(patient("each is woken", waiting).await.unwrap());
    }
    server.finish().await;
}

/// A value that uses its socket while it is written.
struct Writes(Socket);

impl Serialize for Writes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.emit("within", ()).unwrap();
        drop(self.0.join("within").unwrap());
        self.0.namespace().on("within", || {}).off("within");
        serializer.serialize_bool(self.0.is_connected())
    }
}

/// A state that uses the server while it is cloned and dropped.
struct Uses(Arc<Mutex<Option<SocketIo>>>);

impl Clone for Uses {
    fn clone(&self) -> Self {
        if let Some(io) = &*self.0.lock() {
            io.emit("cloned", ()).unwrap();
        }
        Self(self.0.clone())
    }
}

#[tokio::test]
async fn values_may_use_the_server_while_they_are_written_or_cloned() {
    let kept = Arc::<Mutex<Option<SocketIo>>>::default();
    let uses = Uses(kept.clone());
    let server = Server::with(
        |builder| builder.state(uses),
        |io| {
            io.on("state", |_: State<Uses>| {});
        },
    )
    .await;
    *kept.lock() = Some(server.io.clone());
    let mut wire = server.websocket().await;
    let id = server.join(&mut wire, "/").await;
    let (io, socket) = (server.io.clone(), server.io.socket(&id).unwrap());
    ends("to write a value", move || {
        let value = || Writes(socket.clone());
        socket.emit("e", value()).unwrap();
        io.to("within").emit("e", value()).unwrap();
        io.server_side_emit("e", value()).unwrap();
        socket.set_data(&value()).unwrap();
    });
    let (within, event) = (r#"42["within"]"#, r#"42["e",true]"#);
    assert_eq!(wire.texts().await, [within, event, within, event, within, within]);
    wire.say(r#"42["state"]"#).await;
    assert_eq!(wire.texts().await, [r#"42["cloned"]"#]);
    drop(kept.lock().take());
    server.finish().await;
}

/// Whoever is called back may end what called it.
#[tokio::test(start_paused = true)]
async fn a_handler_may_close_the_server() {
    let io = SocketIo::builder().build();
    let closes = io.clone();
    let ended = Arc::<AtomicUsize>::default();
    let count = ended.clone();
    io.on_disconnect(move |_: Socket, _: DisconnectReason| {
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

/// No option makes a server panic, and where it leaves room for a client, one connects.
#[tokio::test]
async fn options_at_their_extremes() {
    type Change = fn(Builder) -> Builder;
    const MOST: usize = usize::MAX;
    const NEVER: Duration = Duration::MAX;
    let works: [(&str, Change); 19] = [
        ("max_connections", |b| b.max_connections(MOST)),
        ("max_payload", |b| b.max_payload(MOST)),
        ("max_handlers", |b| b.max_handlers(MOST)),
        ("no handlers", |b| b.max_handlers(0)),
        ("max_namespaces", |b| b.max_namespaces(MOST)),
        ("no namespaces", |b| b.max_namespaces(0)),
        ("max_attachments", |b| b.max_attachments(MOST)),
        ("no attachments", |b| b.max_attachments(0)),
        ("max_depth", |b| b.max_depth(MOST)),
        ("max_outbox", |b| b.max_outbox(MOST)),
        ("no outbox", |b| b.max_outbox(0)),
        ("linger", |b| b.namespace_linger(NEVER)),
        ("no linger", |b| b.namespace_linger(Duration::ZERO)),
        ("ack_timeout", |b| b.ack_timeout(NEVER).request_timeout(NEVER)),
        ("no ack_timeout", |b| b.ack_timeout(Duration::ZERO).request_timeout(Duration::ZERO)),
        ("body and close", |b| b.engine(|config| (config.body_timeout, config.close_timeout) = (NEVER, NEVER))),
        ("recovery", |b| {
            let options = RecoveryOptions::new().max_disconnection(NEVER).packets(MOST).bytes(MOST);
            b.recovery(options.sessions(MOST, MOST).replay_bytes(MOST))
        }),
        ("no recovery", |b| {
            let options = RecoveryOptions::new().max_disconnection(Duration::ZERO).packets(0).bytes(0);
            b.recovery(options.sessions(0, 0).replay_bytes(0))
        }),
        ("budgets", |b| {
            b.engine(|config| {
                config.inbox_budget = Some(MOST);
                config.outbox.budget = Some(0);
                config.max_unjoined_sessions = MOST;
                config.max_polling_sessions = MOST;
            })
        }),
    ];
    for (what, change) in works {
        let server = Server::with(change, |io| {
            io.on("x", |n: u32| n + 1);
        })
        .await;
        let mut wire = server.joined().await;
        server.io.emit("e", ()).unwrap();
        wire.say(r#"421["x",1]"#).await;
        for _ in 0..2 {
            let text = wire.text().await;
            assert!(text.starts_with(r#"42["e""#) || text == "431[2]", "{what}: {text}");
        }
        drop(wire);
        until(what, || server.io.connections() == 0).await;
        server.finish().await;
    }
    let refuses: [(&str, Change); 2] =
        [("no sessions", |b| b.engine(|config| config.max_sessions = 0)), ("no transports", |b| b.transports([]))];
    for (what, change) in refuses {
        let server = Server::with(change, |_| {}).await;
        let status = server.get("EIO=4&transport=polling").await.status();
        assert!(status == 503 || status == 400, "{what}: {status}");
        server.finish().await;
    }
}
