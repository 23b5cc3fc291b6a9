//! Methods where nobody calls them: from within `Drop` and `Serialize`, without a runtime, twice at once, and with names and options at their
//! extremes. `moments.rs` has those that are called too early or too late.

use crate::common::adapters::Adapters;
use crate::common::{PATIENCE, Server, pair, patient, until};
use parking_lot::Mutex;
use roomcast_adapter::limits::MAX_ROOM_BYTES;
use roomcast_server::{
    Ack, AdapterError, Builder, DisconnectReason, EmitError, Failure, Namespace, RecoveryOptions, Socket, SocketIo,
    State,
};
use serde::{Serialize, Serializer};
use serde_json::json;
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
            move || {
                let _ = &used;
            }
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
            io.on("panics", || -> () { panic!("a bug") })
                .on("fails", || Err::<(), _>("a secret"))
                .on("number", |_: u8| {});
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
    for (event, answer) in
        [("one first", "first"), ("one second", "second"), ("none", "handler"), ("two second", "second")]
    {
        wire.say(&format!(r#"421["{event}"]"#)).await;
        assert_eq!(wire.text().await, format!(r#"431["{answer}"]"#), "{event}");
        assert!(wire.texts().await.is_empty(), "{event}");
    }
    server.finish().await;
}

thread_local! {
    static KEPT: RefCell<Option<Leaves>> = const { RefCell::new(None) };
}

/// Emits and disconnects its socket when it is dropped.
struct Leaves(Socket);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.emit("bye", ()).unwrap();
        self.0.namespace().to(self.0.id()).emit("broadcast", ()).unwrap();
        self.0.disconnect(false);
    }
}

/// What a thread kept is dropped when much else of the thread is gone.
#[tokio::test]
async fn a_thread_that_ends_may_emit_and_disconnect() {
    let ends = Arc::<AtomicUsize>::default();
    let count = ends.clone();
    let server = Server::start(|io| {
        io.of("/").on_disconnect(move |_: Socket, _: DisconnectReason| {
            count.fetch_add(1, SeqCst);
            ready(())
        });
    })
    .await;
    let mut wires = [server.websocket().await, server.websocket().await];
    let mut sockets = Vec::new();
    for wire in &mut wires {
        let id = server.join(wire, "/").await;
        let socket = server.io.socket(&id).unwrap();
        socket.on_any_outgoing(|| {});
        sockets.push(socket);
    }
    let thread = std::thread::spawn(move || {
        KEPT.set(sockets.pop().map(Leaves));
        // What the thread needs for these is made after what it kept, and so is gone before it.
        drop(Leaves(sockets.pop().unwrap()));
    });
    thread.join().unwrap();
    for wire in &mut wires {
        assert_eq!(wire.texts().await, [r#"42["bye"]"#, r#"42["broadcast"]"#, "41"]);
    }
    assert_eq!(ends.load(SeqCst), 2);
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
        io.on_new_namespace(move |_| {
            tells.fetch_add(1, SeqCst);
        });
        io.of("/").on_disconnect(move |_: Socket, _: DisconnectReason| {
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
