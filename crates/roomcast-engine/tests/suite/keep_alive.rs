//! How long HTTP connections are kept, and what ends them.

use crate::common::wire::request;
use crate::common::{Server, polling};
use std::future::Future as _;
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// Proxies keep their connections for 60 s, so ours must live longer than the time for the head of a request.
#[tokio::test]
async fn an_idle_connection_outlives_the_deadline_of_a_head() {
    let server = Server::serving(|_| {}, |options| options.header_timeout = Duration::from_millis(100)).await;
    let mut wire = server.connect().await;
    for _ in 0..2 {
        wire.send(request("GET", "/", &[], "")).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.header("keep-alive").as_deref()), (404, Some("timeout=75")));
        // A connection that was made then is ended, as its head did not come: that much time has passed.
        server.connect().await.assert_ended().await;
    }
    // A head that has begun has its own deadline.
    wire.send("GET / HTTP/1.1\r\n").await;
    wire.assert_ended().await;
    server.finish().await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_own_time() {
    let server = Server::serving(|_| {}, |options| options.idle_timeout = Duration::from_millis(100)).await;
    let mut wire = server.connect().await;
    wire.send(request("GET", "/", &[], "")).await;
    let answer = wire.answer().await;
    // The header cannot express less than a second.
    assert_eq!((answer.status, answer.header("keep-alive")), (404, None));
    wire.assert_ended().await;
    // A held GET is not idle.
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let mut idle = server.connect().await;
    idle.send(request("GET", "/", &[], "")).await;
    idle.answer().await;
    idle.assert_ended().await;
    server.say("x");
    held.answer().await.assert_payload("4x");
    server.finish().await;
}

#[tokio::test]
async fn only_a_connection_that_is_kept_has_a_keep_alive_header() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = server.connect().await;
    wire.send(request("POST", &polling(&sid), &[], "4x")).await;
    assert_eq!(wire.answer().await.header("keep-alive").as_deref(), Some("timeout=75"));
    wire.send(request("GET", &polling(&sid), &[("Connection", "close")], "")).await;
    assert_eq!(wire.answer().await.header("keep-alive"), None);
    wire.assert_ended().await;
    // HTTP/1.0 keeps a connection only if it is asked to.
    for (headers, kept) in [([("Connection", "keep-alive")].as_slice(), true), (&[], false)] {
        let mut wire = server.connect().await;
        wire.send(request("GET", "/", headers, "").replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
        if kept {
            wire.send(request("GET", "/", &[], "").replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
        }
        let text = String::from_utf8(wire.rest().await).unwrap();
        let first = text.split("\r\n\r\n").next().unwrap();
        assert_eq!(first.contains("keep-alive: timeout=75\r\n"), kept, "{text}");
        assert_eq!(text.matches("HTTP/1.0 404").count(), if kept { 2 } else { 1 }, "{text}");
    }
    // A WebSocket is not such a connection.
    let mut wire = server.connect().await;
    wire.send(crate::common::wire::upgrade("/engine.io/?EIO=4&transport=websocket", &[])).await;
    assert_eq!(wire.answer().await.header("keep-alive"), None);
    server.finish().await;
}

/// Whether the server accepts another connection. It has room for two.
async fn has_room(server: &Server) -> bool {
    let mut wire = server.connect().await;
    wire.try_send(request("GET", "/", &[("Connection", "close")], "")).await;
    wire.rest().await.starts_with(b"HTTP/1.1 404 ")
}

/// If an answer is not read, its session ends by the heartbeat, but the answer would stay for ever with everything that
/// waited.
#[tokio::test]
async fn an_answer_that_is_not_read_has_a_deadline() {
    let server = Server::serving(
        |config| {
            config.outbox = roomcast_engine::OutboxLimits::soft(64 * 1024 * 1024);
            config.ping_interval = Duration::from_millis(100);
            config.ping_timeout = Duration::from_millis(100);
        },
        |options| {
            options.max_connections = 2;
            options.write_timeout = Duration::from_millis(300);
        },
    )
    .await;
    // Another connection, so that there is room for one more.
    let mut other = server.connect().await;
    let sid = server.handshake().await;
    for _ in 0..8 {
        server.say(&"x".repeat(1_000_000));
    }
    let mut wire = server.narrow().await;
    wire.send(request("GET", &polling(&sid), &[], "")).await;
    server.closed(0).await;
    assert!(!has_room(&server).await);
    let deadline = tokio::time::Instant::now() + crate::common::PATIENCE;
    while !has_room(&server).await {
        assert!(tokio::time::Instant::now() < deadline, "the answer is held for ever");
    }
    // What the kernel had taken is all that comes.
    assert!(wire.rest().await.len() < 8_000_000);
    other.send(request("GET", "/", &[], "")).await;
    assert_eq!(other.answer().await.status, 404);
    drop(other);
    server.finish().await;
}

/// A connection beyond the limit may have sent its request already. It reads its 503 and then the end, and not a reset.
#[tokio::test]
async fn a_refusal_is_not_overtaken_by_a_reset() {
    let server = Server::serving(|_| {}, |options| options.max_connections = 1).await;
    let _first = server.websocket().await;
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    // The server runs only while this thread waits for it, so all of this is there before it accepts.
    let body = "x".repeat(10_000);
    stream.write_all(request("POST", "/", &[], &body).as_bytes()).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = read.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5\r\n"), "{answer}");
    server.finish().await;
}

/// Without a limit `serve` still waits for what is open.
#[tokio::test]
async fn without_a_limit_the_stop_waits_too() {
    let mut server = Server::serving(
        |config| config.close_timeout = Duration::from_secs(60),
        |options| {
            options.max_connections = usize::MAX;
            options.stop_timeout = Duration::from_secs(60);
        },
    )
    .await;
    let mut wire = server.websocket().await;
    server.engine.close();
    {
        let mut stop = std::pin::pin!(server.stop());
        let mut said_goodbye = false;
        while !said_goodbye {
            tokio::select! {
                biased;
                () = &mut stop => panic!("`serve` has returned with a WebSocket open"),
                frame = wire.frame() => said_goodbye = frame.first == crate::common::wire::CLOSE,
            }
        }
        for _ in 0..100 {
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(stop.as_mut().poll(cx).is_pending())).await);
            tokio::task::yield_now().await;
        }
        drop(wire);
        stop.await;
    }
    server.finish().await;
}
