//! How a socket enters its namespace: nothing is sent before the answer to CONNECT, and no event is handled before the handlers that
//! the connection handler registers. On several threads, because only there can the order go wrong.

use crate::common::wire::{Frame, Wire, frame};
use crate::common::{Log, PATIENCE, Server, patient, until};
use parking_lot::Mutex;
use roomcast_server::{Ack, Builder, DisconnectReason, OverRate, Rate, RateLimits, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::task::{JoinSet, block_in_place};

/// A middleware that is woken by another thread, like one that asks a database.
fn ask_elsewhere(io: &SocketIo, namespace: &str) {
    io.of(namespace).middleware(|_| async {
        // On a busy machine the other thread may be done at once. Then the thread that reads would go on by itself, and what these tests
        // do on two threads would wait for itself.
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        Ok(())
    });
}

/// Text frames in one write.
fn frames(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| frame(1, text.as_bytes())).collect()
}

/// Clients that emit as soon as they have the answer to CONNECT. The connection handler registers the event handlers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_event_finds_the_handlers_of_the_connection_handler() {
    const CLIENTS: usize = 8;
    const TRIES: usize = 50;
    let server = Server::start(|io| {
        ask_elsewhere(io, "/");
        io.of("/").on_connection(|socket: Socket| {
            socket.on("first", |_: Socket, n: usize, ack: Ack| ready(ack.send(n)));
            ready(())
        });
    })
    .await;
    let mut clients = JoinSet::new();
    let server = Arc::new(server);
    for _ in 0..CLIENTS {
        let server = server.clone();
        clients.spawn(async move {
            let mut lost = 0;
            for n in 0..TRIES {
                let mut wire = server.websocket().await;
                wire.say("40").await;
                let answer = wire.text().await;
                assert!(answer.starts_with("40{\"sid\":\""), "{answer}");
                wire.say(&format!("42{n}[\"first\",{n}]")).await;
                // When the second event was handled, the first was handled or lost.
                wire.say("42999[\"first\",999]").await;
                let mut answers = vec![wire.text().await];
                if answers[0] != "43999[999]" {
                    answers.push(wire.text().await);
                }
                lost += usize::from(answers != [format!("43{n}[{n}]"), "43999[999]".to_owned()]);
            }
            lost
        });
    }
    let lost: usize = patient("all clients are through", clients.join_all()).await.into_iter().sum();
    assert_eq!(lost, 0, "first events of {} were lost", CLIENTS * TRIES);
    Arc::into_inner(server).unwrap().finish().await;
}

/// A client's one write holds more than its CONNECT: `frames` for `/` are read while the connection handler runs its first steps on
/// another thread, which then goes on with `then`. Returns what was handled, and the client.
async fn while_entering(frames_: &[&str], close: bool, then: fn(&Socket)) -> (Log, Wire, Server) {
    while_entering_within(RateLimits::default(), frames_, close, then).await
}

/// As [`while_entering`], with rates.
async fn while_entering_within(
    limits: RateLimits,
    frames_: &[&str],
    close: bool,
    then: fn(&Socket),
) -> (Log, Wire, Server) {
    let (log, (greets, greeted), (reads, read)) = (Log::default(), channel::<()>(), channel::<()>());
    let (seen, greeted, read) = (log.clone(), Mutex::new(greeted), Mutex::new(read));
    let limited = |builder: Builder| builder.rate_limits(limits);
    let server = Server::with(limited, |io| {
        ask_elsewhere(io, "/");
        io.of("/").on_connection(move |socket: Socket| {
            seen.push("connection");
            let (event, end) = (seen.clone(), seen.clone());
            if seen.lines().len() == 1 {
                greets.send(()).unwrap();
                block_in_place(|| read.lock().recv_timeout(PATIENCE)).unwrap();
            }
            socket.on("n", move |_: Socket, n: u32| {
                event.push(format!("event {n}"));
                ready(())
            });
            socket.on_disconnect(move |_: Socket, reason: DisconnectReason| {
                end.push(reason.as_str());
                ready(())
            });
            then(&socket);
            ready(())
        });
        // The reading thread waits here until the connection handler has begun, and tells it when everything was read.
        io.of("/gate").on("wait", move |_: Socket| {
            block_in_place(|| greeted.lock().recv_timeout(PATIENCE)).unwrap();
            ready(())
        });
        let ends = reads.clone();
        io.of("/gate").on_connection(move |socket: Socket| {
            let ends = ends.clone();
            socket.on_disconnect(move |_: Socket, _: DisconnectReason| {
                // Nobody waits any more if "read" was handled.
                let _ = ends.send(());
                ready(())
            });
            ready(())
        });
        io.of("/gate").on("read", move |_: Socket| {
            reads.send(()).unwrap();
            ready(())
        });
    })
    .await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/gate").await;
    let mut bytes = frames(&["40", "42/gate,[\"wait\"]"]);
    bytes.extend(frames(frames_));
    bytes.extend(frames(&["42/gate,[\"read\"]"]));
    if close {
        bytes.extend(frame(8, b""));
    }
    wire.send(bytes).await;
    let answer = wire.text().await;
    assert!(answer.starts_with("40{\"sid\":\""), "{answer}");
    (log, wire, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_while_a_socket_enters_is_handled_after_it_in_order() {
    let (log, mut wire, server) = while_entering(&["42[\"n\",1]", "42[\"n\",2]", "41", "40"], false, |_| {}).await;
    assert!(wire.text().await.starts_with("40{\"sid\":\""), "it came back in the same read");
    log.expect(&["connection", "event 1", "event 2", "client namespace disconnect", "connection"]).await;
    wire.say("42[\"n\",3]").await;
    until("what is not kept is handled at once", || log.lines().len() == 6).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_connection_while_a_socket_enters_is_handled_last() {
    let (log, wire, server) = while_entering(&["42[\"n\",1]"], true, |_| {}).await;
    log.expect(&["connection", "event 1", "transport close"]).await;
    drop(wire);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_by_the_server_drops_what_was_kept() {
    let frames = ["42[\"n\",1]", "41", "40"];
    let (log, mut wire, server) = while_entering(&frames, false, |socket| socket.disconnect(false)).await;
    assert_eq!(wire.texts().await, ["41"]);
    log.expect(&["connection", "server namespace disconnect"]).await;
    // The connection is open, and the namespace can be joined again.
    wire.say("40").await;
    assert_eq!(wire.text().await.get(..2), Some("40"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_while_a_socket_enters_closes_the_connection_after_it() {
    let (log, mut wire, server) = while_entering(&["42[\"n\",1]", "40", "42[\"n\",2]"], false, |_| {}).await;
    wire.assert_closed().await;
    until("all is handled", || log.lines().len() == 4).await;
    let (last, before) = (log.lines().pop().unwrap(), log.lines()[..3].to_vec());
    assert_eq!(before, ["connection", "event 1", "event 2"]);
    // As in Node, the reason depends on whether the answer to CONNECT was written already, which another thread may do.
    assert!(["forced close", "forced server close"].contains(&last.as_str()), "{last}");
    server.finish().await;
}

/// What is kept counts when it is received: an event over a rate is not kept, and nothing counts a second time when it is handled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_a_rate_while_a_socket_enters_is_dropped() {
    let long = format!("42[\"n\",{}2]", " ".repeat(100));
    // 47 bytes without the long event.
    let mut limits = RateLimits::default();
    limits.bytes = Rate::new(1, Duration::from_secs(86_400)).map(|rate| rate.burst(60));
    let frames = ["42[\"n\",1]", &long, "42[\"n\",3]"];
    let (log, wire, server) = while_entering_within(limits, &frames, false, |_| {}).await;
    log.expect(&["connection", "event 1", "event 3"]).await;
    drop(wire);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnect_for_a_rate_while_a_socket_enters_comes_after_what_was_kept() {
    // The CONNECT, "wait" and two events are within it.
    let mut limits = RateLimits::default();
    limits.events = Rate::new(1, Duration::from_secs(86_400)).map(|rate| rate.burst(4));
    limits.over = OverRate::Disconnect;
    let frames = ["42[\"n\",1]", "42[\"n\",2]", "42[\"n\",3]", "42[\"n\",4]"];
    let (log, mut wire, server) = while_entering_within(limits, &frames, false, |_| {}).await;
    wire.assert_closed().await;
    log.expect(&["connection", "event 1", "event 2", "rate limit exceeded"]).await;
    server.finish().await;
}

/// A thread that repeats an action without pause, until this is dropped.
struct Without(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Without {
    fn pause(mut action: impl FnMut() + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(SeqCst) {
                action();
            }
        });
        Self(over, Some(thread))
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        self.1.take().unwrap().join().unwrap();
    }
}

/// The first and the second text that each of many clients gets after its CONNECT.
async fn firsts(server: &Arc<Server>, clients: usize, tries: usize) -> Vec<(String, String)> {
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let server = server.clone();
        all.spawn(async move {
            let mut firsts = Vec::new();
            for _ in 0..tries {
                let mut wire = server.websocket().await;
                wire.say("40").await;
                firsts.push((wire.text().await, wire.text().await));
            }
            firsts
        });
    }
    patient("all clients are through", all.join_all()).await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_broadcast_comes_before_the_answer_to_connect() {
    let server = Arc::new(Server::start(|io| ask_elsewhere(io, "/")).await);
    let io = server.io.clone();
    let emitting = Without::pause(move || io.emit("x", 1).unwrap());
    let firsts = firsts(&server, 4, 250).await;
    drop(emitting);
    let early = firsts.iter().filter(|(first, _)| !first.starts_with("40{\"sid\":\"")).count();
    assert_eq!(early, 0, "of {} clients got an event before the answer", firsts.len());
    Arc::into_inner(server).unwrap().finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_disconnect_comes_before_the_answer_to_connect() {
    let server = Arc::new(Server::start(|io| ask_elsewhere(io, "/")).await);
    let io = server.io.clone();
    let disconnecting = Without::pause(move || io.of("/").everyone().disconnect_sockets(false).unwrap());
    let firsts = firsts(&server, 4, 250).await;
    drop(disconnecting);
    let wrong: Vec<_> =
        firsts.iter().filter(|(first, second)| !first.starts_with("40{\"sid\":\"") || second != "41").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(server.io.of("/").everyone().count().await.value, 0);
    assert!(server.io.of("/").all_rooms().await.value.is_empty());
    Arc::into_inner(server).unwrap().finish().await;
}

/// A disconnect in a middleware refuses the client at once, with a reason. The client may ask again.
async fn a_disconnect_in_a_middleware_refuses() {
    let log = Log::default();
    let server = Server::start(|io| {
        log.watch(&io.of("/"));
        io.of("/").middleware(|socket: Socket| async move {
            socket.disconnect(false);
            socket.disconnect(false);
            assert!(socket.emit("late", ()).is_err());
            tokio::task::yield_now().await;
            Ok(())
        });
        io.of("/close").middleware(|socket: Socket| async move {
            socket.disconnect(true);
            Ok(())
        });
        io.of("/fine");
    })
    .await;
    let mut wire = server.websocket().await;
    for _ in 0..2 {
        wire.say("40").await;
        assert_eq!(wire.texts().await, ["44{\"message\":\"server namespace disconnect\"}"]);
    }
    server.join(&mut wire, "/fine").await;
    wire.say("40/close,").await;
    assert_eq!(wire.text().await, "41/fine,");
    assert_eq!(wire.text().await, "44/close,{\"message\":\"server namespace disconnect\"}");
    wire.assert_closed().await;
    assert!(log.lines().is_empty());
    assert_eq!(server.io.of("/").everyone().count().await.value, 0);
    server.finish().await;
}

/// A client emits until it has read that it was disconnected. That ends neither its connection nor its other namespaces.
async fn what_comes_after_a_disconnect_by_the_server_is_ignored() {
    let server = Server::start(|io| {
        io.of("/").on("ping", |_: Socket, (): (), ack: Ack| ready(ack.send(())));
        io.of("/chat").on("bye", |socket: Socket| async move { socket.disconnect(false) });
    })
    .await;
    let mut wire = server.joined().await;
    server.join(&mut wire, "/chat").await;
    wire.send(frames(&["42/chat,[\"bye\"]", "42/chat,[\"x\"]", "43/chat,0[]", "41/chat,", "420[\"ping\"]"])).await;
    assert_eq!(wire.texts().await, ["41/chat,", "430[]"]);
    // It may join again. Then the usual rule applies: a packet after its own DISCONNECT is a fault.
    server.join(&mut wire, "/chat").await;
    wire.say("41/chat,").await;
    wire.say("42/chat,[\"x\"]").await;
    wire.assert_closed().await;
    server.finish().await;
}

/// How many namespaces are remembered for that, at the limit and one past it.
async fn left_namespaces_at_the_limit_and_one_past_it() {
    const LIMIT: usize = 16;
    let server = Server::start(|io| {
        for n in 0..=LIMIT {
            io.of(&format!("/{n}")).on("bye", |socket: Socket| async move { socket.disconnect(false) });
        }
    })
    .await;
    let leave = async |wire: &mut Wire, n: usize| {
        server.join(wire, &format!("/{n}")).await;
        wire.say(&format!("42/{n},[\"bye\"]")).await;
        assert_eq!(wire.text().await, format!("41/{n},"));
    };
    let mut wire = server.websocket().await;
    for n in 0..LIMIT {
        leave(&mut wire, n).await;
    }
    for n in 0..LIMIT {
        wire.say(&format!("42/{n},[\"x\"]")).await;
    }
    assert_eq!(wire.sync().await, []);
    leave(&mut wire, LIMIT).await;
    wire.say("42/1,[\"x\"]").await;
    assert_eq!(wire.sync().await, []);
    wire.say("42/0,[\"x\"]").await;
    assert_eq!(wire.sync().await, [Frame::Close(None, String::new())]);
    server.finish().await;
}

/// After a client leaves and joins a namespace in one read, rooms, broadcasts and handlers work.
async fn a_namespace_that_is_left_and_joined_in_one_read() {
    let server = Server::start(|io| {
        io.of_matching(|name| name == "/room").on_connection(|socket: Socket| ready(socket.join("r").map(drop)));
    })
    .await;
    let mut wire = server.websocket().await;
    let before = server.join(&mut wire, "/room").await;
    wire.send(frames(&["41/room,", "40/room,"])).await;
    let answer = wire.text().await;
    assert!(answer.starts_with("40/room,{\"sid\":\"") && !answer.contains(&before), "{answer}");
    server.io.of("/room").to("r").emit("x", 1).unwrap();
    assert_eq!(wire.texts().await, ["42/room,[\"x\",1]"]);
    assert_eq!(server.io.of("/room").everyone().count().await.value, 1);
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    a_disconnect_in_a_middleware_refuses,
    what_comes_after_a_disconnect_by_the_server_is_ignored,
    left_namespaces_at_the_limit_and_one_past_it,
    a_namespace_that_is_left_and_joined_in_one_read,
}
