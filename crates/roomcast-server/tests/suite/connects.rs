//! Connecting: middlewares, namespaces that are made and removed, limits and deadlines. A connect that fails leaves nothing behind.

use crate::common::adapters::{Adapters, REFUSED};
use crate::common::{Frozen, Log, Server, until};
use parking_lot::Mutex;
use roomcast_server::limits::NAMESPACES_PER_CONNECTION;
use roomcast_server::{Ack, Builder, ConnectError, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::watch;

/// No socket and no room is left of a failed connect.
async fn assert_empty(io: &SocketIo, namespace: &str) {
    assert_eq!(io.of(namespace).everyone().count().await.value, 0);
    assert!(io.of(namespace).all_rooms().await.value.is_empty());
}

async fn middlewares_run_in_order_until_one_refuses() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        let step = |name: &'static str, ok: bool| {
            let log = seen.clone();
            move |_: Socket| {
                let log = log.clone();
                async move {
                    tokio::task::yield_now().await;
                    log.push(name);
                    if ok { Ok(()) } else { Err(ConnectError::new("second").with_data(&[1, 2])) }
                }
            }
        };
        io.of("/").middleware(step("first", true)).middleware(step("second", false)).middleware(step("third", true));
        log.watch(&io.of("/"));
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40").await;
    assert_eq!(wire.text().await, "44{\"message\":\"second\",\"data\":[1,2]}");
    assert_eq!(log.lines(), ["first", "second"]);
    assert_empty(&server.io, "/").await;
    server.finish().await;
}

/// What a middleware sends arrives before the answer to CONNECT; the connection handler sees the rooms that it joined.
async fn a_middleware_may_send_and_join() {
    let server = Server::start(|io| {
        io.of("/").middleware(|socket: Socket| async move {
            socket.emit("before", 1).unwrap();
            assert!(!socket.is_connected());
            socket.join(["a", "b"]).unwrap().await;
            tokio::task::yield_now().await;
            socket.leave("a");
            socket.join("c").unwrap().await;
            socket.emit("before", 2).unwrap();
            Ok(())
        });
        io.of("/").on_connection(|socket: Socket| {
            let mut rooms = socket.rooms();
            rooms.retain(|room| room.len() == 1);
            rooms.sort();
            ready(socket.emit("rooms", &rooms))
        });
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40").await;
    assert_eq!(wire.text().await, "42[\"before\",1]");
    assert_eq!(wire.text().await, "42[\"before\",2]");
    assert!(wire.text().await.starts_with("40{\"sid\":\""));
    assert_eq!(wire.text().await, "42[\"rooms\",[\"b\",\"c\"]]");
    server.finish().await;
}

/// A middleware that joins rooms and then refuses leaves no room behind (socketioxide 0.18.8).
async fn a_refused_socket_is_in_no_room() {
    let server = Server::start(|io| {
        io.of("/").middleware(|socket: Socket| async move {
            socket.join("room").unwrap().await;
            Err(ConnectError::new("no"))
        });
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40").await;
    assert_eq!(wire.text().await, "44{\"message\":\"no\"}");
    assert_empty(&server.io, "/").await;
    server.io.to("room").emit("x", ()).unwrap();
    assert!(wire.sync().await.is_empty());
    server.finish().await;
}

/// A middleware that panics, before or after its first await, refuses its client and leaves nothing behind.
async fn a_middleware_that_panics_refuses() {
    let server = Server::start(|io| {
        io.of("/at-once").middleware(|_| -> std::future::Ready<Result<(), ConnectError>> { panic!("at once") });
        io.of("/later").middleware(|socket: Socket| async move {
            socket.join("room").unwrap().await;
            tokio::task::yield_now().await;
            panic!("later")
        });
        io.of_matching(|name| if name == "/pattern" { panic!("in a pattern") } else { false });
    })
    .await;
    let mut wire = server.websocket().await;
    for name in ["/at-once", "/later"] {
        // Twice, because the first time may leave nothing behind.
        for _ in 0..2 {
            wire.say(&format!("40{name},")).await;
            assert_eq!(wire.text().await, format!("44{name},{{\"message\":\"Server error\"}}"));
        }
        assert_empty(&server.io, name).await;
    }
    wire.say("40/pattern,").await;
    assert_eq!(wire.text().await, "44/pattern,{\"message\":\"Invalid namespace\"}");
    server.finish().await;
}

/// The adapter refuses the socket, as the last step (socketioxide #627).
async fn a_connect_that_fails_late_leaves_no_socket() {
    let log = Log::default();
    let server = Server::with(Adapters::default().builder(), |io| {
        log.watch(&io.of("/"));
        io.of("/").middleware(|socket: Socket| async move {
            socket.join("fine").unwrap().await;
            socket.join(REFUSED).unwrap().await;
            Ok(())
        });
    })
    .await;
    let mut wire = server.websocket().await;
    for _ in 0..2 {
        wire.say("40").await;
        assert_eq!(wire.text().await, "44{\"message\":\"Server error\"}");
        assert_empty(&server.io, "/").await;
    }
    assert!(log.lines().is_empty());
    server.finish().await;
}

/// The client closes its connection, or leaves the namespace, while a middleware runs (socketioxide #627).
async fn a_client_that_goes_while_its_middleware_runs_leaves_no_socket() {
    let log = Log::default();
    let (go, wait) = watch::channel(false);
    let done = Arc::new(AtomicUsize::new(0));
    let count = done.clone();
    let server = Server::start(|io| {
        io.of("/");
        log.watch(&io.of("/slow"));
        io.of("/slow").middleware(move |socket: Socket| {
            let (mut wait, count) = (wait.clone(), count.clone());
            async move {
                socket.join("room").unwrap().await;
                wait.wait_for(|go| *go).await.unwrap();
                count.fetch_add(1, SeqCst);
                Ok(())
            }
        });
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("40/slow,").await;
    assert!(wire.sync().await.is_empty());
    drop(wire);
    let sid = server.join_by_polling().await;
    server.post(&sid, "40/slow,").await;
    server.post(&sid, "1").await;
    until("both clients are gone", || server.io.connections() == 0).await;
    go.send_replace(true);
    until("both middlewares have ended", || done.load(SeqCst) == 2).await;
    assert_empty(&server.io, "/slow").await;
    assert!(log.lines().is_empty());
    server.finish().await;
}

/// A second CONNECT runs no handler and replaces no socket; it closes the connection, as in Node (socketioxide #801).
async fn a_second_connect_closes_the_connection() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").middleware(move |_| {
            seen.push("middleware");
            ready(Ok(()))
        });
        log.watch(&io.of("/"));
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("40").await;
    wire.assert_closed().await;
    log.expect(&["middleware", "/ connected", "/ forced close"]).await;
    assert_empty(&server.io, "/").await;
    server.finish().await;
}

/// The same while middlewares decide about the first CONNECT; an event before the answer is a fault too.
async fn nothing_may_come_before_the_answer_to_a_connect() {
    for early in ["40", "42[\"x\"]", "430[]", "41"] {
        let log = Log::default();
        let server = Server::start(|io| {
            log.watch(&io.of("/"));
            io.of("/").middleware(|_| std::future::pending());
        })
        .await;
        let mut wire = server.websocket().await;
        wire.say("40").await;
        wire.say(early).await;
        wire.assert_closed().await;
        until("nothing is left", || server.io.connections() == 0).await;
        assert_empty(&server.io, "/").await;
        assert!(log.lines().is_empty());
        server.finish().await;
    }
}

/// Namespaces made by patterns are removed with their last socket.
fn at_once(builder: Builder) -> Builder {
    builder.namespace_linger(Duration::ZERO)
}

async fn namespaces_of_a_connection_at_the_limit_and_one_past_it() {
    let server = Server::with(at_once, |io| {
        io.of_matching(|name| name.starts_with("/n-"));
    })
    .await;
    let mut wire = server.websocket().await;
    for n in 0..NAMESPACES_PER_CONNECTION {
        // A refused CONNECT does not count.
        wire.say("40/unknown,").await;
        assert_eq!(wire.text().await, "44/unknown,{\"message\":\"Invalid namespace\"}");
        server.join(&mut wire, &format!("/n-{n}")).await;
    }
    assert_eq!(server.io.namespaces(), NAMESPACES_PER_CONNECTION);
    // When one is left, another one can be joined.
    wire.say("41/n-0,").await;
    server.join(&mut wire, "/n-another").await;
    assert_eq!(server.io.namespaces(), NAMESPACES_PER_CONNECTION);
    wire.say("40/n-more,").await;
    wire.assert_closed().await;
    until("they have gone with their client", || server.io.namespaces() == 0).await;
    server.finish().await;
}

/// Sockets that are still connecting count.
async fn namespaces_that_are_being_joined_count() {
    let server = Server::start(|io| {
        io.of_matching(|name| name.starts_with("/n-")).middleware(|_| std::future::pending());
    })
    .await;
    let mut wire = server.websocket().await;
    for n in 0..NAMESPACES_PER_CONNECTION {
        wire.say(&format!("40/n-{n},")).await;
    }
    assert!(wire.sync().await.is_empty());
    wire.say("40/n-more,").await;
    wire.assert_closed().await;
    until("they have gone with their client", || server.io.namespaces() == 0).await;
    server.finish().await;
}

async fn namespaces_of_a_pattern_come_and_go() {
    let server = Server::with(at_once, |io| {
        io.of("/");
        let inner = Arc::new(Mutex::new(None::<SocketIo>));
        let asks = inner.clone();
        *inner.lock() = Some(io.clone());
        // The first pattern that accepts the name gives the handlers. A pattern may call the server.
        let dynamic = io.of_matching(move |name| {
            let io = asks.lock().clone().unwrap();
            name.starts_with("/room-") && io.namespaces() < 4
        });
        dynamic.on("which", |socket: Socket, (): (), ack: Ack| {
            let name = socket.namespace().name().to_owned();
            ready(ack.send(&name))
        });
        dynamic.middleware(|socket: Socket| {
            ready(if socket.namespace().name() == "/room-no" { Err("no".into()) } else { Ok(()) })
        });
        io.of_matching(|name| name.starts_with("/room"))
            .on("which", |_: Socket, (): (), ack: Ack| ready(ack.send("second")));
    })
    .await;
    let mut wire = server.websocket().await;
    let mut other = server.websocket().await;
    assert_eq!(server.io.namespaces(), 1);
    server.join(&mut wire, "/room-1").await;
    server.join(&mut other, "/room-1").await;
    server.join(&mut wire, "/room").await;
    assert_eq!(server.io.namespaces(), 3);
    wire.say("42/room-1,1[\"which\"]").await;
    wire.say("42/room,2[\"which\"]").await;
    assert_eq!(wire.texts().await, ["43/room-1,1[\"/room-1\"]", "43/room,2[\"second\"]"]);
    // A namespace is removed when its only socket was refused.
    wire.say("40/room-no,").await;
    assert_eq!(wire.text().await, "44/room-no,{\"message\":\"no\"}");
    assert_eq!(server.io.namespaces(), 3);
    // It is removed with its last socket, however that ends.
    wire.say("41/room-1,").await;
    assert!(wire.sync().await.is_empty());
    assert_eq!(server.io.namespaces(), 3);
    server.io.of("/").emit("x", ()).unwrap();
    drop(other);
    until("the namespace is gone", || server.io.namespaces() == 2).await;
    // One that the application has asked for by name is kept.
    let kept = server.io.of("/room");
    wire.say("41/room,").await;
    assert!(wire.sync().await.is_empty());
    assert_eq!(server.io.namespaces(), 2);
    server.join(&mut wire, "/room").await;
    kept.emit("still", ()).unwrap();
    assert_eq!(wire.text().await, "42/room,[\"still\"]");
    server.finish().await;
}

/// No ping is due in the time of these tests.
fn quiet(builder: Builder) -> Builder {
    builder.ping_interval(Duration::from_secs(3_600))
}

/// By WebSocket and by polling. Timers end at whole milliseconds, so one or two more are allowed.
#[tokio::test]
async fn a_client_has_45_seconds_to_join() {
    let server = Server::with(quiet, |io| {
        io.of("/");
        io.of("/never").middleware(|_| std::future::pending());
    })
    .await;
    let clock = Frozen::new();
    let mut idle = server.websocket().await;
    let mut refused = server.websocket().await;
    let mut joined = server.joined().await;
    let mut left = server.joined().await;
    left.say("41").await;
    refused.say("40/nope,").await;
    refused.say("40/never,").await;
    let polling = server.handshake().await;
    let mut held = server.hold(&polling).await;
    clock.advance(44_998).await;
    assert_eq!(refused.texts().await, ["44/nope,{\"message\":\"Invalid namespace\"}"]);
    assert!(idle.sync().await.is_empty() && left.sync().await.is_empty());
    assert_eq!(server.io.connections(), 5);
    clock.advance(4).await;
    idle.assert_closed().await;
    refused.assert_closed().await;
    assert_eq!(held.answer("GET").await.text(), "1");
    // A client that has joined once has no deadline.
    clock.advance(100_000).await;
    assert!(joined.sync().await.is_empty() && left.sync().await.is_empty());
    assert_eq!(server.io.connections(), 2);
    drop((idle, refused, joined, left, clock));
    server.finish().await;
}

/// 30 s from the packet's text, however many of its attachments have arrived.
#[tokio::test]
async fn attachments_have_30_seconds() {
    let log = Log::default();
    let server = Server::with(quiet, |io| {
        log.watch(&io.of("/"));
        let seen = log.clone();
        io.of("/").on("b", move |_: Socket, (a, b): (bytes::Bytes, bytes::Bytes)| {
            seen.push(format!("{a:?} {b:?}"));
            ready(())
        });
    })
    .await;
    let header = "452-[\"b\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    // In time, and the next packet has its own time.
    for _ in 0..2 {
        wire.say(header).await;
        wire.say_bytes(b"x").await;
        assert!(wire.sync().await.is_empty());
        clock.advance(29_998).await;
        wire.say_bytes(b"y").await;
        assert!(wire.sync().await.is_empty());
    }
    clock.advance(60_000).await;
    wire.say(header).await;
    assert!(wire.sync().await.is_empty());
    clock.advance(29_998).await;
    wire.say_bytes(b"x").await;
    assert!(wire.sync().await.is_empty());
    clock.advance(4).await;
    wire.assert_closed().await;
    log.expect(&["/ connected", "b\"x\" b\"y\"", "b\"x\" b\"y\"", "/ forced close"]).await;
    drop(clock);
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    middlewares_run_in_order_until_one_refuses,
    a_middleware_may_send_and_join,
    a_refused_socket_is_in_no_room,
    a_middleware_that_panics_refuses,
    a_connect_that_fails_late_leaves_no_socket,
    a_client_that_goes_while_its_middleware_runs_leaves_no_socket,
    a_second_connect_closes_the_connection,
    nothing_may_come_before_the_answer_to_a_connect,
    namespaces_of_a_connection_at_the_limit_and_one_past_it,
    namespaces_that_are_being_joined_count,
    namespaces_of_a_pattern_come_and_go,
}
