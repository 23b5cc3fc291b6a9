//! Which handlers an event has: several in order, those for one event, observers, middlewares, the fallback, and the order of events.

use crate::common::in_process::join_with;
use crate::common::{Log, Server, until};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_server::{Ack, Args, DisconnectReason, EventName, Extension, Namespace, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tokio::sync::{Semaphore, mpsc};

/// A handler that notes what it is and what it got.
fn note(log: &Log, what: &'static str) -> impl Fn(Args) + Send + Sync + 'static {
    let log = log.clone();
    move |args: Args| log.push(format!("{what} {}", args.items()))
}

/// Sends these packets and waits until all were handled.
async fn say(server: &Server, packets: &[&str]) -> Vec<String> {
    let mut wire = server.joined().await;
    for packet in packets {
        wire.say(packet).await;
    }
    wire.texts().await
}

#[tokio::test]
async fn handlers_of_an_event_begin_in_order_pattern_namespace_socket() {
    let log = Log::default();
    let server = Server::start(|io| {
        let pattern = io.of_matching(|name| name == "/room");
        pattern.on("a", note(&log, "pattern")).on("a", note(&log, "pattern again"));
        let room = io.of("/room");
        room.on("a", note(&log, "namespace")).on("b", note(&log, "only namespace"));
        let own = log.clone();
        room.on_connection(move |socket: Socket| {
            socket.on("a", note(&own, "socket"));
            socket.on("a", note(&own, "socket again"));
            ready(())
        });
    })
    .await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/room").await;
    wire.say(r#"42/room,["a",1]"#).await;
    wire.say(r#"42/room,["b"]"#).await;
    assert!(wire.texts().await.is_empty());
    log.expect(&["pattern 1", "pattern again 1", "namespace 1", "socket 1", "socket again 1", "only namespace "]).await;
    server.finish().await;
}

#[tokio::test]
async fn once_off_and_remove_listener() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.on_connection(move |socket: Socket| {
            socket.once("x", note(&seen, "once"));
            let listener = socket.on("x", note(&seen, "on"));
            socket.on("x", note(&seen, "kept"));
            socket.on("remove", move |socket: Socket| socket.remove_listener(listener));
            socket.on("off", |socket: Socket| async move { socket.off("x") });
            ready(())
        });
    })
    .await;
    let ask = [
        r#"42["x",1]"#,
        r#"42["x",2]"#,
        r#"421["remove"]"#,
        r#"42["x",3]"#,
        r#"422["remove"]"#,
        r#"42["off"]"#,
        r#"42["x",4]"#,
    ];
    assert_eq!(say(&server, &ask).await, ["431[true]", "432[false]"]);
    log.expect(&["once 1", "on 1", "kept 1", "on 2", "kept 2", "kept 3"]).await;
    server.finish().await;
}

#[tokio::test]
async fn observers_see_every_event_first_and_the_fallback_only_the_others() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        let main = io.of("/");
        main.on_any(note(&log, "any")).prepend_any(note(&log, "first")).on("a", note(&log, "a"));
        main.on_fallback(note(&log, "replaced")).on_fallback(note(&log, "fallback"));
        // It can neither answer nor take the answer.
        main.on_any(|| 7);
        main.on_connection(move |socket: Socket| {
            socket.on_any(note(&seen, "own any"));
            socket.prepend_any(note(&seen, "own first"));
            let fallback = socket.on_fallback(note(&seen, "own fallback"));
            socket.on("drop", move |socket: Socket| {
                socket.off_any();
                assert!(socket.remove_listener(fallback));
                socket.namespace().off_any();
            });
            ready(())
        });
    })
    .await;
    assert!(say(&server, &[r#"421["a",1]"#, r#"42["b",[2]]"#, r#"42["drop"]"#, r#"42["b"]"#]).await.is_empty());
    let both = |event: &str| ["first", "any", "own first", "own any"].map(|what| format!("{what} {event}"));
    let mut lines = both(r#""a",1"#).to_vec();
    lines.push("a 1".to_owned());
    lines.extend(both(r#""b",[2]"#));
    lines.push(r#"own fallback "b",[2]"#.to_owned());
    lines.extend(both(r#""drop""#));
    lines.push(r#"fallback "b""#.to_owned());
    log.expect(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.finish().await;
}

#[tokio::test]
async fn the_first_answer_of_several_handlers_counts() {
    let server = Server::start(|io| {
        let main = io.of("/");
        main.on("x", |n: u32| n).on("x", |_: u32| "second").on("x", |_: u32, ack: Ack| ack.send("third").is_ok());
        main.on("late", || async {
            tokio::task::yield_now().await;
            "late"
        });
        main.on("late", || "at once");
        main.on("mismatch", |n: u32| n).on("mismatch", |_: String| "text");
    })
    .await;
    let mut wire = server.joined().await;
    for say in [r#"421["x",1]"#, r#"422["late"]"#, r#"423["mismatch",1]"#, r#"42["x",1]"#] {
        wire.say(say).await;
    }
    assert_eq!(wire.texts().await, ["431[1]", r#"432["at once"]"#, "433[1]"]);
    server.finish().await;
}

#[tokio::test]
async fn middlewares_of_events_let_pass_refuse_and_panic() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        let main = io.of("/");
        main.on_any(note(&log, "seen")).on("a", note(&log, "a")).on("b", |_: Args| "b");
        let first = log.clone();
        main.event_middleware(move |EventName(event): EventName, args: Args| {
            first.push(format!("namespace {}", args.items()));
            if event == "refused" { Err("not you") } else { Ok(()) }
        });
        main.on_connection(move |socket: Socket| {
            let seen = seen.clone();
            socket.event_middleware(move |(event, _): (String, Option<u32>)| {
                let seen = seen.clone();
                async move {
                    tokio::task::yield_now().await;
                    seen.push(format!("socket {event}"));
                    assert_ne!(event, "panic", "a bug");
                }
            });
            socket.once("a", |_: Args| {});
            ready(())
        });
    })
    .await;
    let mut wire = server.joined().await;
    let answers = [
        (r#"421["refused"]"#, Some(r#"431[{"error":"not you","ok":false}]"#)),
        (r#"422["b",1]"#, Some(r#"432["b"]"#)),
        // The socket's middleware wants a number or nothing.
        (
            r#"423["b","x"]"#,
            Some(r#"433[{"error":"invalid type: string \"x\", expected u32 at argument 2","ok":false}]"#),
        ),
        (r#"424["panic"]"#, Some(r#"434[{"error":"Server error","ok":false}]"#)),
        (r#"42["a",5]"#, None),
    ];
    for (event, answer) in answers {
        wire.say(event).await;
        if let Some(answer) = answer {
            let got = wire.text().await;
            // The text of a mismatch is tested elsewhere.
            let same = got == answer || (event.contains('x') && got.starts_with(r#"433[{"error":"#));
            assert!(same, "{event}: {got}");
        }
    }
    until("the last event is handled", || log.lines().last().is_some_and(|line| line == "a 5")).await;
    let lines = log.lines();
    assert!(!lines.iter().any(|line| line == "socket refused"), "refused by the first: {lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("seen")).count(), 5, "observers see refused events too");
    server.finish().await;
}

/// With `ordered` an event waits until all handlers of the one before have ended, also those that await; acknowledgements of the client
/// do not wait.
#[tokio::test]
async fn one_event_at_a_time() {
    let log = Log::default();
    let gate = Arc::new(Semaphore::new(0));
    let server = Server::with(
        |builder| builder.ordered(true).max_handlers(8),
        |io| {
            for part in ["a", "b"] {
                let (log, gate) = (log.clone(), gate.clone());
                io.on("n", move |n: u32| {
                    let (log, gate) = (log.clone(), gate.clone());
                    async move {
                        log.push(format!("{part}{n} begins"));
                        // Every third is over at once.
                        if !n.is_multiple_of(3) {
                            gate.acquire().await.unwrap().forget();
                        }
                        log.push(format!("{part}{n} ends"));
                        n
                    }
                });
            }
            io.on("ask", |socket: Socket| async move { socket.emit_with_ack("which?", ()).await });
            io.on("panic", || async {
                tokio::task::yield_now().await;
                assert!(std::hint::black_box(false), "a bug");
            });
        },
    )
    .await;
    let mut wire = server.joined().await;
    for n in 0..6 {
        wire.say(&format!(r#"42["n",{n}]"#)).await;
    }
    wire.say(r#"42["panic"]"#).await;
    wire.say(r#"426["ask"]"#).await;
    log.expect(&["a0 begins", "a0 ends", "b0 begins", "b0 ends", "a1 begins", "b1 begins"]).await;
    gate.add_permits(8);
    assert_eq!(wire.text().await, r#"420["which?"]"#);
    wire.say(r#"430["this"]"#).await;
    assert_eq!(wire.text().await, r#"436["this"]"#);
    let lines = log.lines();
    for n in 0..6_u32 {
        let of = |line: &String| line[1..].starts_with(&format!("{n} "));
        let (first, last) = (lines.iter().position(of).unwrap(), lines.iter().rposition(of).unwrap());
        assert_eq!(last - first, 3, "the four lines of event {n} are together: {lines:?}");
        assert_eq!(first, 4 * n as usize, "{lines:?}");
    }
    drop(wire);
    server.finish().await;
}

/// Thousands of events that wait and whose handlers end at once need no deep stack; those of a socket that has left are not handled.
#[tokio::test]
async fn many_events_wait_for_their_turn() {
    const EVENTS: usize = 3_000;
    let gate = Arc::new(Semaphore::new(0));
    let handled = Arc::<AtomicU32>::default();
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = Server::with(
        |builder| builder.ordered(true),
        |io| {
            let gate = gate.clone();
            io.on("wait", move || {
                let gate = gate.clone();
                async move { drop(gate.acquire().await) }
            });
            let handled = handled.clone();
            io.on("n", move || {
                handled.fetch_add(1, SeqCst);
            });
            io.on("end", move || tell.send(()).is_ok());
        },
    )
    .await;
    let mut wire = server.joined().await;
    // One read of the server takes all of it.
    let frames = |events: &[&str]| -> Vec<u8> {
        events.iter().flat_map(|event| crate::common::wire::frame(1, event.as_bytes())).collect()
    };
    let mut events = vec![r#"42["wait"]"#];
    events.extend(std::iter::repeat_n(r#"42["n"]"#, EVENTS));
    events.push(r#"42["end"]"#);
    wire.send(frames(&events)).await;
    gate.add_permits(1);
    told.recv().await.unwrap();
    assert_eq!(handled.load(SeqCst), EVENTS as u32);
    server.finish().await;
}

#[tokio::test]
async fn handlers_of_disconnects_of_a_namespace_come_before_those_of_the_socket() {
    let log = Log::default();
    let server = Server::start(|io| {
        let main = io.of("/");
        for (kind, what) in [("disconnecting", "namespace"), ("disconnect", "namespace")] {
            let log = log.clone();
            let handler = move |socket: Socket, reason: DisconnectReason| {
                log.push(format!("{kind} {what} {} {reason}", socket.rooms().len()));
                ready(())
            };
            if kind == "disconnect" {
                main.on_disconnect(handler)
            } else {
                main.on_disconnecting(handler)
            };
        }
        let own = log.clone();
        main.on_connection(move |socket: Socket| {
            socket.join("a").unwrap();
            let (one, two) = (own.clone(), own.clone());
            socket.on_disconnecting(move |_, _| {
                one.push("disconnecting socket");
                ready(())
            });
            socket.on_disconnect(move |_, _| {
                two.push("disconnect socket");
                ready(())
            });
            ready(())
        });
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("41").await;
    log.expect(&[
        "disconnecting namespace 2 client namespace disconnect",
        "disconnecting socket",
        "disconnect namespace 0 client namespace disconnect",
        "disconnect socket",
    ])
    .await;
    drop(wire);
    server.finish().await;
}

#[tokio::test]
async fn an_upgrade_is_told_to_each_socket_of_the_session() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").on_upgrade(move |socket: Socket| {
            seen.push(format!("{} {}", socket.namespace().name(), socket.transport().as_str()));
            ready(())
        });
    })
    .await;
    let sid = server.join_by_polling().await;
    let mut wire = server.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await;
    wire.say("2probe").await;
    assert_eq!(wire.text().await, "3probe");
    assert!(log.lines().is_empty());
    wire.say("5").await;
    log.expect(&["/ websocket"]).await;
    drop(server.joined().await);
    assert_eq!(log.lines().len(), 1);
    server.finish().await;
}

#[derive(Clone, Debug, PartialEq)]
struct User(&'static str);

#[tokio::test]
async fn values_of_a_socket_reach_its_handlers_until_its_end() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.middleware(|socket: Socket| {
            assert_eq!(socket.insert(User("Ann")), None);
            ready(Ok(()))
        });
        io.on("name", |Extension(User(name)): Extension<User>| name);
        io.on("none", |_: Extension<u8>| "never");
        io.on("rename", |socket: Socket| socket.insert(User("Bea")).map(|User(name)| name));
        io.on("data", |socket: Socket| async move {
            let absent: Option<u8> = socket.data()?;
            socket.set_data(&5)?;
            Ok::<_, serde_json::Error>((absent, socket.data::<Option<u8>>()?))
        });
        io.of("/").on_disconnect(move |socket: Socket, _| {
            seen.push(format!("{:?} {:?}", socket.get::<User>(), socket.remove::<User>()));
            ready(())
        });
    })
    .await;
    let asked = [r#"421["name"]"#, r#"422["rename"]"#, r#"423["name"]"#, r#"424["data"]"#, r#"425["none"]"#];
    let answers = say(&server, &asked).await;
    assert_eq!(answers[..4], [r#"431["Ann"]"#, r#"432["Ann"]"#, r#"433["Bea"]"#, r#"434[null,5]"#]);
    assert_eq!(answers[4], r#"435[{"error":"Server error","ok":false}]"#);
    log.expect(&[r#"Some(User("Bea")) Some(User("Bea"))"#]).await;
    server.finish().await;
}

/// A value whose `Clone` and `Drop` use its socket.
struct Sly {
    namespace: Namespace,
    id: String,
}

impl Sly {
    fn use_socket(&self) {
        if let Some(socket) = self.namespace.socket(&self.id) {
            let _ = (socket.is_connected(), socket.data::<Option<u8>>(), socket.get::<User>());
        }
    }
}

impl Clone for Sly {
    fn clone(&self) -> Self {
        self.use_socket();
        Self { namespace: self.namespace.clone(), id: self.id.clone() }
    }
}

impl Drop for Sly {
    fn drop(&mut self) {
        self.use_socket();
    }
}

/// Otherwise a thread would wait for itself.
#[tokio::test]
async fn a_value_may_use_its_socket_where_it_is_cloned_and_dropped() {
    let server = Server::start(|io| {
        io.on("keep", |socket: Socket| {
            let sly = || Sly { namespace: socket.namespace().clone(), id: socket.id().to_string() };
            (socket.insert(sly()).is_none(), socket.insert(sly()).is_some())
        });
        io.on("get", |socket: Socket, _: Extension<Sly>| {
            (socket.get::<Sly>().is_some(), socket.remove::<Sly>().is_some())
        });
    })
    .await;
    let answers = say(&server, &[r#"421["keep"]"#, r#"422["get"]"#, r#"423["keep"]"#]).await;
    assert_eq!(answers, [r#"431[true,true]"#, r#"432[true,true]"#, r#"433[true,true]"#]);
    server.finish().await;
}

/// As with values: what a handler holds is dropped when no lock is held.
#[tokio::test]
async fn a_handler_that_is_removed_may_hold_what_uses_its_socket() {
    let server = Server::start(|io| {
        io.on("change", |socket: Socket| {
            let holding = || {
                let sly = Sly { namespace: socket.namespace().clone(), id: socket.id().to_string() };
                move || sly.use_socket()
            };
            socket.on("a", holding());
            socket.off("a");
            let listener = socket.on("b", holding());
            socket.on_any(holding());
            socket.off_any();
            socket.on_any_outgoing(holding());
            socket.off_any_outgoing();
            socket.on_fallback(holding());
            socket.on_fallback(holding());
            socket.remove_listener(listener)
        });
    })
    .await;
    assert_eq!(say(&server, &[r#"421["change"]"#]).await, ["431[true]"]);
    server.finish().await;
}

/// What a layer in front of the server put into the request, if the server was told to keep it. Values of the socket come first.
#[tokio::test]
async fn extensions_of_the_request_reach_the_socket() {
    let log = Log::default();
    let seen = log.clone();
    let token = Arc::new(());
    let builder = SocketIo::builder().keep_extension::<User>().keep_extension::<u8>();
    let io = builder.keep_extension::<Arc<()>>().build();
    io.on_connection(move |socket: Socket| {
        let before = (socket.get::<User>(), socket.get::<u8>(), socket.get::<u16>());
        socket.insert(User("own"));
        seen.push(format!("{before:?} {:?}", socket.get::<User>()));
        ready(())
    });
    let service = io.clone().into_service();
    join_with(&service, |extensions| {
        extensions.insert(User("Ann"));
        extensions.insert(token.clone());
        extensions.insert(7_u16);
    })
    .await;
    assert_eq!(Arc::strong_count(&token), 2);
    log.expect(&[r#"(Some(User("Ann")), None, None) Some(User("own"))"#]).await;
    io.close().await;
    drop(service);
    until("nothing is kept of a session that is over", || Arc::strong_count(&token) == 1).await;
}

#[tokio::test]
async fn server_events_have_several_handlers_and_the_first_answer_counts() {
    let network = MemoryNetwork::new();
    let server = || {
        let cluster = Cluster::new(network.broker(), ClusterOptions::default());
        SocketIo::builder().cluster(&cluster).build()
    };
    let log = Log::default();
    let (here, there) = (server(), server());
    there.on_server_event("load", || 1).on_server_event("load", |_: Args| 2).on_server_event("gone", || 3);
    there.of("/").on_server_event_fallback(note(&log, "fallback")).off_server_event("gone");
    // The main namespaces know each other.
    let asked = here.of("/");
    while asked.server_count().await.value < 2 {
        tokio::task::yield_now().await;
    }
    let answer = here.server_side_emit_with_ack("load", 5).await.unwrap();
    assert_eq!(answer.value.iter().map(Args::items).collect::<Vec<_>>(), ["1"]);
    here.server_side_emit("gone", (1, "b")).unwrap();
    log.expect(&[r#"fallback "gone",1,"b""#]).await;
    here.close().await;
    there.close().await;
}
