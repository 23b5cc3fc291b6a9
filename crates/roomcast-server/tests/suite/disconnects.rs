//! Every way in which sockets end: one disconnect for each connect, with its reason, and nothing sent after it.

use crate::common::wire::{Frame, Wire, frame};
use crate::common::{Log, Server, until};
use parking_lot::Mutex;
use roomcast_engine::Turn;
use roomcast_server::{Builder, ConnectError, Delivery, DisconnectReason, EmitError, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

type Sockets = Arc<Mutex<Vec<Socket>>>;

/// A server with `/` and `/chat`, a log of connects and disconnects, and all sockets that ever connected.
async fn start(change: impl FnOnce(Builder) -> Builder) -> (Server, Log, Sockets) {
    let (log, sockets) = (Log::default(), Sockets::default());
    let app = |io: &SocketIo| {
        for name in ["/", "/chat"] {
            log.watch(&io.of(name));
            let sockets = sockets.clone();
            io.of(name).on_connection(move |socket: Socket| {
                sockets.lock().push(socket);
                ready(())
            });
        }
    };
    let server = Server::with(change, app).await;
    (server, log, sockets)
}

/// A WebSocket client in `/` and `/chat`.
async fn in_both(server: &Server) -> Wire {
    let mut wire = server.joined().await;
    server.join(&mut wire, "/chat").await;
    wire
}

/// Ends a client that is in both namespaces. Returns the reason, which each socket saw once.
async fn reason(change: impl FnOnce(Builder) -> Builder, end: impl AsyncFnOnce(&Server, &mut Wire)) -> String {
    let (server, log, _) = start(change).await;
    let mut wire = in_both(&server).await;
    end(&server, &mut wire).await;
    until("both sockets are gone", || log.lines().len() >= 4).await;
    for name in ["/", "/chat"] {
        assert_eq!(server.io.of(name).everyone().count().await.value, 0, "{name}");
        assert!(server.io.of(name).all_rooms().await.value.is_empty(), "{name}");
    }
    drop(wire);
    server.finish().await;
    let lines = log.lines();
    let reason = lines[2].strip_prefix("/ ").unwrap().to_owned();
    assert_eq!(lines, ["/ connected", "/chat connected", &format!("/ {reason}"), &format!("/chat {reason}")]);
    reason
}

async fn reasons_of_the_connection() {
    let usual = |builder| builder;
    let said = async |text: &str| reason(usual, async |_, wire| wire.say(text).await).await;
    assert_eq!(said("9").await, "parse error");
    assert_eq!(said("2").await, "transport error");
    assert_eq!(said("42[]").await, "forced close");
    assert_eq!(said("40").await, "forced close");
    assert_eq!(said("44").await, "forced close");
    let cut = reason(usual, async |server, wire| {
        *wire = server.connect().await;
    });
    assert_eq!(cut.await, "transport close");
    let closed = reason(usual, async |_, wire| wire.send(frame(8, b"")).await);
    assert_eq!(closed.await, "transport close");
    let large = reason(|builder| builder.max_payload(100), async |_, wire| wire.say(&"4".repeat(101)).await);
    assert_eq!(large.await, "transport error");
    // Long enough to join both, however busy the machine is.
    let quick =
        |builder: Builder| builder.ping_interval(Duration::from_millis(200)).ping_timeout(Duration::from_millis(200));
    assert_eq!(reason(quick, async |_, _| {}).await, "ping timeout");
    assert_eq!(reason(usual, async |server, _| server.io.close().await).await, "server shutting down");
    let slow = reason(
        |builder| builder.engine(|config| config.outbox.hard = 100_000),
        async |server, _| {
            // At first the kernel's buffer takes it.
            while server.io.connections() > 0 {
                server.io.emit("x", "y".repeat(100_000)).unwrap();
                tokio::task::yield_now().await;
            }
        },
    );
    assert_eq!(slow.await, "slow consumer");
}

async fn reasons_of_one_socket() {
    let (server, log, sockets) = start(|builder| builder).await;
    let mut wire = in_both(&server).await;
    wire.say("41/chat,").await;
    assert!(wire.sync().await.is_empty());
    let socket = sockets.lock()[0].clone();
    socket.disconnect(false);
    socket.disconnect(false);
    assert_eq!(wire.texts().await, ["41"]);
    // The connection stays open, and both can be joined again.
    in_both_again(&server, &mut wire).await;
    log.expect(&[
        "/ connected",
        "/chat connected",
        "/chat client namespace disconnect",
        "/ server namespace disconnect",
        "/ connected",
        "/chat connected",
    ])
    .await;
    drop(wire);
    server.finish().await;
}

async fn in_both_again(server: &Server, wire: &mut Wire) {
    server.join(wire, "/").await;
    server.join(wire, "/chat").await;
}

async fn closing_the_client_tells_every_namespace_and_then_ends() {
    let (server, log, sockets) = start(|builder| builder).await;
    let mut wire = in_both(&server).await;
    let socket = sockets.lock()[1].clone();
    socket.disconnect(true);
    assert_eq!(wire.text().await, "41");
    assert_eq!(wire.text().await, "41/chat,");
    wire.assert_closed().await;
    log.expect(&[
        "/ connected",
        "/chat connected",
        "/ server namespace disconnect",
        "/chat server namespace disconnect",
    ])
    .await;
    server.finish().await;
}

async fn a_server_that_stops_sends_no_disconnect_and_accepts_no_client() {
    let (server, log, _) = start(|builder| builder).await;
    let mut wire = in_both(&server).await;
    let mut other = server.connect().await;
    server.io.close().await;
    wire.assert_closed().await;
    other.try_send(crate::common::wire::request("GET", &server.target("EIO=4&transport=polling"), &[], "")).await;
    // It was refused, or the connection was closed before it was read.
    let answer = String::from_utf8(other.rest().await).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    log.expect(&["/ connected", "/chat connected", "/ server shutting down", "/chat server shutting down"]).await;
    server.finish().await;
}

async fn nothing_is_sent_to_a_socket_that_has_left() {
    let (server, _, sockets) = start(|builder| builder).await;
    let mut wire = in_both(&server).await;
    let socket = sockets.lock()[0].clone();
    socket.join("room").unwrap();
    wire.say("41").await;
    assert!(wire.sync().await.is_empty());
    assert!(matches!(socket.emit("x", ()), Err(EmitError::Disconnected)));
    assert!(matches!(socket.volatile().emit("x", ()), Err(EmitError::Disconnected)));
    socket.to("room").emit("x", ()).unwrap();
    server.io.to("room").emit("x", ()).unwrap();
    server.io.emit("x", ()).unwrap();
    server.io.to(socket.id()).emit("x", ()).unwrap();
    // A join has no effect now (socket.io #4067).
    drop(socket.join("late").unwrap());
    assert!(socket.rooms().is_empty());
    assert!(!socket.is_connected());
    assert!(server.io.of("/").all_rooms().await.value.is_empty());
    assert!(wire.sync().await.is_empty());
    server.finish().await;
}

/// Rooms can be read while a socket is disconnecting, and are gone afterwards (socketioxide 0.18.0).
async fn rooms_last_until_the_disconnecting_handlers() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").on_connection(move |socket: Socket| {
            socket.join(["a", "b"]).map(drop).unwrap();
            let disconnecting = seen.clone();
            socket.on_disconnecting(move |socket: Socket, _: DisconnectReason| {
                disconnecting.push(format!("{} rooms", socket.rooms().len()));
                // The others in the room get it, and so does the socket itself, before its DISCONNECT.
                ready(socket.namespace().to("a").emit("leaves", ()))
            });
            let disconnect = seen.clone();
            socket.on_disconnect(move |socket: Socket, _: DisconnectReason| {
                disconnect.push(format!("{} rooms", socket.rooms().len()));
                ready(())
            });
            ready(())
        });
        io.of("/").on("bye", |socket: Socket| async move { socket.disconnect(false) });
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("42[\"bye\"]").await;
    assert_eq!(wire.texts().await, ["42[\"leaves\"]", "41"]);
    log.expect(&["3 rooms", "0 rooms"]).await;
    server.finish().await;
}

/// A connection handler that awaits something before it registers a disconnect handler misses no disconnect.
async fn a_disconnect_handler_that_is_given_late_is_called_at_once() {
    let log = Log::default();
    let seen = log.clone();
    let (go, wait) = tokio::sync::watch::channel(false);
    let server = Server::start(|io| {
        io.of("/").on_connection(move |socket: Socket| {
            let (mut wait, seen) = (wait.clone(), seen.clone());
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                socket.on_disconnect(move |_: Socket, reason: DisconnectReason| {
                    seen.push(reason.as_str());
                    ready(())
                });
            }
        });
    })
    .await;
    drop(server.joined().await);
    until("the client is gone", || server.io.connections() == 0).await;
    go.send_replace(true);
    log.expect(&["transport close"]).await;
    server.finish().await;
}

/// A socket that was never connected has no disconnect.
async fn a_socket_that_was_refused_has_no_disconnect() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").middleware(move |socket: Socket| {
            let early = seen.clone();
            socket.on_disconnect(move |_: Socket, _: DisconnectReason| {
                early.push("early");
                ready(())
            });
            let seen = seen.clone();
            // It has ended by the time that the handler is given.
            tokio::spawn(async move {
                until("it is refused", || socket.emit("x", ()).is_err()).await;
                let late = seen.clone();
                socket.on_disconnect(move |_: Socket, _: DisconnectReason| {
                    late.push("late");
                    ready(())
                });
                seen.push("done");
            });
            ready(Err(ConnectError::new("no")))
        });
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40").await;
    assert_eq!(wire.text().await, "44{\"message\":\"no\"}");
    log.expect(&["done"]).await;
    drop(wire);
    server.finish().await;
    assert_eq!(log.lines(), ["done"]);
}

/// A client may connect again as soon as it knows that it was disconnected or refused, and must not find its old socket. On many
/// threads, so that the client is as quick as it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_may_connect_again_at_once() {
    let server = Server::start(|io| {
        io.of("/").on("bye", |socket: Socket| async move {
            tokio::task::yield_now().await;
            socket.disconnect(false);
        });
        io.of("/no").middleware(|_| async {
            tokio::task::yield_now().await;
            Err(ConnectError::new("no"))
        });
    })
    .await;
    let mut wire = server.websocket().await;
    for _ in 0..200 {
        server.join(&mut wire, "/").await;
        wire.say("42[\"bye\"]").await;
        assert_eq!(wire.text().await, "41");
        wire.say("40/no,").await;
        assert_eq!(wire.text().await, "44/no,{\"message\":\"no\"}");
    }
    server.finish().await;
}

async fn volatile_events_are_dropped_while_the_transport_is_not_writable() {
    // On a machine that is busy a ping would come in between.
    let (server, _, sockets) = start(|builder| builder.ping_interval(Duration::from_secs(3_600))).await;
    let sid = server.join_by_polling().await;
    let socket = sockets.lock()[0].clone();
    // There is no held GET.
    socket.volatile().emit("lost", 1).unwrap();
    server.io.of("/").everyone().volatile().emit("lost", 2).unwrap();
    let mut held = server.hold(&sid).await;
    // Another thread may still be about to hold it.
    until("the GET is held", || socket.volatile().emit("heard", 3).unwrap() == Delivery::Queued).await;
    assert_eq!(held.answer("GET").await.text(), "42[\"heard\",3]");

    let mut wire = server.joined().await;
    until("the second socket is there", || sockets.lock().len() == 2).await;
    let socket = sockets.lock()[1].clone();
    // The thread that has written the answer to CONNECT may not have let go of the transport yet, although the client has the answer.
    until("the transport is free", || socket.volatile().emit("heard", 3).unwrap() == Delivery::Queued).await;
    server.io.of("/").everyone().volatile().emit("heard", 4).unwrap();
    assert_eq!(wire.texts().await, ["42[\"heard\",3]", "42[\"heard\",4]"]);
    // The first event is in the outbox until the turn ends, so the transport is not writable for the next one.
    let turn = Turn::begin();
    socket.emit("first", 5).unwrap();
    assert_eq!(socket.volatile().emit("lost", 6).unwrap(), Delivery::Dropped);
    drop(turn);
    assert_eq!(wire.texts().await, ["42[\"first\",5]"]);
    // Outside of a turn a small event has been written already.
    socket.emit("second", 7).unwrap();
    socket.volatile().emit("heard", 8).unwrap();
    assert_eq!(wire.texts().await, ["42[\"second\",7]", "42[\"heard\",8]"]);
    server.finish().await;
}

/// A socket may be disconnected on any thread. Without a runtime its handlers run up to their first await.
async fn a_thread_without_a_runtime_may_disconnect() {
    let (server, log, sockets) = start(|builder| builder).await;
    let mut wire = server.joined().await;
    let socket = sockets.lock()[0].clone();
    socket.on_disconnect(|_: Socket, _: DisconnectReason| std::future::pending::<()>());
    std::thread::spawn(move || socket.disconnect(false)).join().unwrap();
    assert_eq!(wire.sync().await, [Frame::Text("41".to_owned())]);
    log.expect(&["/ connected", "/ server namespace disconnect"]).await;
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    reasons_of_the_connection,
    reasons_of_one_socket,
    closing_the_client_tells_every_namespace_and_then_ends,
    a_server_that_stops_sends_no_disconnect_and_accepts_no_client,
    nothing_is_sent_to_a_socket_that_has_left,
    rooms_last_until_the_disconnecting_handlers,
    a_disconnect_handler_that_is_given_late_is_called_at_once,
    a_socket_that_was_refused_has_no_disconnect,
    volatile_events_are_dropped_while_the_transport_is_not_writable,
    a_thread_without_a_runtime_may_disconnect,
}
