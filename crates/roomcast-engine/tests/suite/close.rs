//! Sessions that the server ends, over real sockets.

use crate::common::over::Over;
use crate::common::streams::over_streams;
use crate::common::wire::{CLOSE, Frame, Wire, head, upgrade};
use crate::common::{Server, polling, say, until};
use roomcast_engine::{CloseReason, Delivery, OutboxLimits, Turn, bind};
use roomcast_protocol::{EngineKind, Packet};
use std::sync::Arc;
use std::time::Duration;

async fn a_websocket_takes_what_is_queued_and_then_a_close_frame() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    let connection = server.connection();
    for number in 0..100 {
        say(&connection, &number.to_string());
    }
    connection.close();
    connection.close();
    assert!(!connection.is_open());
    let late = connection.send(&Arc::new(Packet::engine(EngineKind::Message, "late").unwrap()));
    assert_eq!(late.wake(), Delivery::Closed);
    for number in 0..100 {
        assert_eq!(wire.text().await, format!("4{number}"));
    }
    wire.assert_closed(None).await;
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    assert_eq!(server.engine.sessions(), 0);
    server.finish().await;
}

async fn messages_that_come_after_the_close_are_ignored() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    server.connection().close();
    wire.try_send(crate::common::wire::frame(crate::common::wire::TEXT, b"4late")).await;
    wire.assert_closed(None).await;
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    assert_eq!(server.log.texts(0), [""; 0]);
    server.finish().await;
}

async fn a_held_get_takes_what_is_queued_and_the_next_one_the_end() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    server.say("last");
    server.connection().close();
    held.answer().await.assert_payload("4last");
    assert_eq!(server.log.closed(0), None);
    server.poll(&sid).await.assert_payload("6\u{1e}1");
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_held_get_with_nothing_to_fetch_is_answered_with_the_end() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    server.connection().close();
    held.answer().await.assert_payload("1");
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn the_next_get_takes_the_end() {
    let server = Server::start().await;
    // With something queued, and without.
    for (index, queued) in [true, false].into_iter().enumerate() {
        let sid = server.handshake().await;
        if queued {
            server.say("last");
        }
        server.connection().close();
        if queued {
            server.poll(&sid).await.assert_payload("4last");
        }
        server.poll(&sid).await.assert_payload("6\u{1e}1");
        assert_eq!(server.closed(index).await, CloseReason::ForcedClose);
        server.assert_unknown(&sid).await;
    }
    server.finish().await;
}

/// A client that broke a rule of the protocol above: its handler learns of the end without waiting for a poll, and the
/// session does not stay for the 30 s of others. The reasons are Node's.
async fn a_client_at_fault_is_over_at_once() {
    let waiting = CloseReason::ForcedServerClose;
    // By polling, without a GET: with something queued, and without.
    for queued in [true, false] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        if queued {
            server.say("last");
        }
        server.connection().close_at_fault(waiting);
        assert_eq!(server.log.closed(0), Some(waiting));
        server.post(&sid, "4late").await.assert_ok();
        if queued {
            server.poll(&sid).await.assert_payload("4last");
        }
        server.poll(&sid).await.assert_payload("6\u{1e}1");
        server.assert_unknown(&sid).await;
        assert_eq!(server.log.texts(0), [""; 0]);
        server.finish().await;
    }
    // No poll comes for the end. The close timeout is 200 ms here, that of a poll 30 s.
    let server = Server::start().await;
    server.handshake().await;
    server.connection().close_at_fault(waiting);
    let begun = tokio::time::Instant::now();
    until("the session is forgotten", || server.engine.sessions() == 0).await;
    assert!(begun.elapsed() < roomcast_engine::limits::POLL_CLOSE_TIMEOUT);
    server.finish().await;
    // With a GET held.
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    server.connection().close_at_fault(waiting);
    assert_eq!(server.log.closed(0), Some(CloseReason::ForcedClose));
    held.answer().await.assert_payload("1");
    server.assert_unknown(&sid).await;
    server.finish().await;
    // By WebSocket, with something queued and without.
    for queued in [true, false] {
        let server = Server::start().await;
        let mut wire = server.websocket().await;
        let connection = server.connection();
        if queued {
            // It stays in the outbox until the end of the turn.
            let _turn = Turn::begin();
            server.say("last");
            server.say("more");
            connection.close_at_fault(waiting);
        } else {
            server.say("more");
            assert_eq!(wire.text().await, "4more");
            connection.close_at_fault(waiting);
        }
        assert_eq!(server.log.closed(0), Some(if queued { waiting } else { CloseReason::ForcedClose }));
        if queued {
            assert_eq!(wire.text().await, "4last");
            assert_eq!(wire.text().await, "4more");
        }
        wire.assert_closed(None).await;
        server.finish().await;
    }
    // A rule that Node does not have: one reason, whether something is queued, and whether a GET is held.
    for queued in [true, false] {
        let server = Server::start().await;
        let mut wire = server.websocket().await;
        let connection = server.connection();
        {
            let _turn = Turn::begin();
            if queued {
                server.say("last");
            }
            connection.close_as(CloseReason::RateLimit);
        }
        assert_eq!(server.log.closed(0), Some(CloseReason::RateLimit));
        if queued {
            assert_eq!(wire.text().await, "4last");
        }
        wire.assert_closed(None).await;
        server.finish().await;
    }
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    server.connection().close_as(CloseReason::RateLimit);
    assert_eq!(server.log.closed(0), Some(CloseReason::RateLimit));
    held.answer().await.assert_payload("1");
    server.finish().await;
}

async fn a_post_after_the_close_is_accepted_and_ignored() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.connection().close();
    server.post(&sid, "4late").await.assert_ok();
    server.poll(&sid).await.assert_payload("6\u{1e}1");
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    assert_eq!(server.log.texts(0), [""; 0]);
    server.finish().await;
}

async fn a_websocket_that_does_not_read_has_the_close_timeout() {
    let server = Server::with(|config| config.outbox = OutboxLimits::soft(64 * 1024 * 1024)).await;
    let _wire = server.narrow_websocket().await;
    // More than the kernel takes for it.
    let connection = server.connection();
    for _ in 0..32 {
        say(&connection, &"x".repeat(1_000_000));
    }
    connection.close();
    assert_eq!(server.closed(0).await, CloseReason::ForcedClose);
    until("the task has given the session back", || Arc::strong_count(&connection) == 2).await;
    server.finish().await;
}

/// With a GET held, without, by WebSocket, and while one is probing: all clients see the end, all handlers get the
/// reason, and `serve` returns.
async fn a_server_that_stops_closes_everything() {
    let mut server = Server::start().await;
    let mut websocket = server.websocket().await;
    let held_sid = server.handshake().await;
    let mut held = server.hold(&held_sid).await;
    let idle_sid = server.handshake().await;
    let queued_sid = server.handshake().await;
    server.say("queued");
    let probing_sid = server.handshake().await;
    let mut probing = server.probing(&probing_sid).await;
    probing.say("2probe").await;
    assert_eq!(probing.text().await, "3probe");
    let posting_sid = server.handshake().await;
    let post = format!("{}Content-Length: 10\r\n\r\n4", head("POST", &polling(&posting_sid), &[]));
    let posting = server.begin(post).await;
    assert_eq!(server.engine.sessions(), 6);

    server.engine.close();
    // What is queued still leaves while the server accepts.
    server.poll(&queued_sid).await.assert_payload("4queued");
    held.answer().await.assert_payload("1");
    assert_eq!(websocket.frame().await, Frame { first: CLOSE, payload: vec![] });
    drop(websocket);
    probing.assert_closed(None).await;
    server.assert_unanswered(posting).await;
    // No new session is opened, by any transport.
    let answer = server.get("EIO=4&transport=polling").await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    let answer = server.refused("/engine.io/?EIO=4&transport=websocket", &[]).await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));

    server.stop().await;
    for index in 0..6 {
        assert_eq!(server.closed(index).await, CloseReason::ServerShutdown, "session {index}");
    }
    assert_eq!(server.engine.sessions(), 0);
    let _ = idle_sid;
    server.finish().await;
}

async fn serve_returns_although_a_client_does_not_read_or_answer() {
    let stop_timeout = Duration::from_millis(300);
    let listener = bind("127.0.0.1:0").await.unwrap();
    let mut server = Server::over(
        Over::Serve,
        listener,
        |config| config.close_timeout = Duration::from_millis(100),
        |options| {
            options.stop_timeout = stop_timeout;
            options.header_timeout = Duration::from_secs(60);
        },
    )
    .await;
    let _silent = server.websocket().await;
    let _idle = server.connect().await;
    let mut half = server.connect().await;
    half.send("GET /engine.io/?EIO=4").await;
    let mut keep_alive = server.connect().await;
    keep_alive.send(crate::common::wire::request("GET", "/", &[], "")).await;
    assert_eq!(keep_alive.answer().await.status, 404);
    server.engine.close();
    server.stop().await;
    keep_alive.assert_ended().await;
    half.assert_ended().await;
    assert_eq!(server.closed(0).await, CloseReason::ServerShutdown);
    server.finish().await;
}

async fn a_session_may_be_closed_while_its_handler_is_made() {
    use roomcast_engine::{Connection, Engine, EngineConfig, SessionHandler};
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Kicked(Arc<AtomicUsize>);
    impl SessionHandler for Kicked {
        fn text(&mut self, _: &str) {
            panic!("a closed client hears nothing");
        }
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, reason: CloseReason) {
            assert_eq!(reason, CloseReason::ForcedClose);
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    let engine = Engine::new(EngineConfig::default(), move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
        say(connection, "go away");
        connection.close();
        Box::new(Kicked(count.clone()))
    });
    let address = crate::common::serve_alone(&engine).await;

    let mut wire = Wire::connect(address).await;
    wire.send([upgrade("/engine.io/?EIO=4&transport=websocket", &[]).as_bytes(), b"\x81\x82\0\0\0\x004x"].concat())
        .await;
    assert_eq!(wire.answer().await.status, 101);
    assert!(wire.text().await.starts_with('0'));
    assert_eq!(wire.text().await, "4go away");
    wire.assert_closed(None).await;
    until("the client was told", || closed.load(Ordering::SeqCst) == 1).await;

    let mut wire = Wire::connect(address).await;
    wire.send(crate::common::wire::request("GET", "/engine.io/?EIO=4&transport=polling", &[], "")).await;
    let answer = wire.answer().await;
    let (open, message) = answer.body.split_once('\u{1e}').unwrap();
    assert_eq!(message, "4go away");
    let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
    wire.send(crate::common::wire::request("GET", &polling(open["sid"].as_str().unwrap()), &[], "")).await;
    wire.answer().await.assert_payload("6\u{1e}1");
    until("the client was told", || closed.load(Ordering::SeqCst) == 2).await;
    assert_eq!(engine.sessions(), 0);
}

/// A handler panics: its session ends, all others go on. (tokio goes on after the panic of a task too.)
async fn a_handler_that_panics_ends_its_own_session() {
    use roomcast_engine::{Connection, Engine, EngineConfig, SessionHandler};
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Touchy(Arc<Connection>, Arc<AtomicUsize>);
    impl SessionHandler for Touchy {
        fn text(&mut self, text: &str) {
            assert_ne!(text, "panic", "as the test wants it");
            say(&self.0, text);
        }
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    let engine = Engine::new(EngineConfig::default(), move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
        assert_eq!(connection.handshake().header("x-panic"), None, "as the test wants it");
        Box::new(Touchy(connection.clone(), count.clone()))
    });
    let address = crate::common::serve_alone(&engine).await;
    let target = "/engine.io/?EIO=4&transport=websocket";
    let open = async || {
        let mut wire = Wire::connect(address).await;
        wire.send(upgrade(target, &[])).await;
        assert_eq!(wire.answer().await.status, 101);
        wire.text().await;
        wire
    };
    let mut bystander = open().await;

    let mut wire = open().await;
    wire.say("4panic").await;
    wire.assert_ended().await;
    until("the client was told", || closed.load(Ordering::SeqCst) == 1).await;

    let mut wire = Wire::connect(address).await;
    wire.send(crate::common::wire::request("GET", "/engine.io/?EIO=4&transport=polling", &[], "")).await;
    let sid = wire.answer().await.sid();
    wire.send(crate::common::wire::request("POST", &polling(&sid), &[], "4panic")).await;
    wire.assert_ended().await;
    until("the client was told", || closed.load(Ordering::SeqCst) == 2).await;

    // An application that panics has made no handler yet.
    let mut wire = Wire::connect(address).await;
    wire.send(upgrade(target, &[("X-Panic", "1")])).await;
    assert_eq!(wire.answer().await.status, 101);
    wire.assert_ended().await;
    until("only the bystander is left", || engine.sessions() == 1).await;
    assert_eq!(closed.load(Ordering::SeqCst), 2);
    bystander.assert_alive("x").await;
}

over_streams! {
    [serve, serve_tls, awkward, tls, axum]
    {
        current_thread: a_websocket_takes_what_is_queued_and_then_a_close_frame,
            messages_that_come_after_the_close_are_ignored,
            a_held_get_takes_what_is_queued_and_the_next_one_the_end, a_held_get_with_nothing_to_fetch_is_answered_with_the_end,
            the_next_get_takes_the_end, a_client_at_fault_is_over_at_once,
            a_post_after_the_close_is_accepted_and_ignored, a_websocket_that_does_not_read_has_the_close_timeout,
            a_server_that_stops_closes_everything, serve_returns_although_a_client_does_not_read_or_answer,
            a_session_may_be_closed_while_its_handler_is_made, a_handler_that_panics_ends_its_own_session;
    }
}
