//! Bounds, deadlines and hostile clients over real sockets.

use crate::common::over::Over;
use crate::common::streams::over_streams;
use crate::common::wire::{TEXT, frame, head, request, upgrade};
use crate::common::{Server, polling, until, until_async};
use roomcast_engine::{CloseReason, EngineConfig, bind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

// --- sessions and connections ---

/// Past the limit a handshake is told when to retry, for both transports.
async fn sessions_at_the_limit_and_one_past_it() {
    let server = Server::with(|config| config.max_sessions = 2).await;
    let sid = server.handshake().await;
    server.post(&sid, "4!").await.assert_ok();
    let mut wire = server.websocket().await;
    wire.assert_alive("x").await;
    let answer = server.get("EIO=4&transport=polling").await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(answer.error().0, 503);
    let answer = server.refused(WEBSOCKET, &[]).await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    // Those that are open are not disturbed: they may even upgrade.
    let mut probing = server.probing(&sid).await;
    probing.say("5").await;
    probing.assert_alive("x").await;
    drop(wire);
    until("a place is free", || server.engine.sessions() == 1).await;
    let mut wire = server.websocket().await;
    wire.assert_alive("x").await;
    assert_eq!(server.get("EIO=4&transport=polling").await.status, 503);
    server.finish().await;
}

async fn connections_at_the_limit_and_one_past_it() {
    // The bound belongs to `serve`, so other streams have none.
    let listener = bind("127.0.0.1:0").await.unwrap();
    let server = Server::over(Over::Serve, listener, |_| {}, |options| options.max_connections = 2).await;
    // A WebSocket counts too, after it has left HTTP.
    let mut websocket = server.websocket().await;
    let mut idle = server.connect().await;
    idle.send(request("GET", "/", &[], "")).await;
    assert_eq!(idle.answer().await.status, 404);
    for _ in 0..3 {
        let mut wire = server.connect().await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        wire.assert_ended().await;
    }
    websocket.assert_alive("x").await;
    // Both places become free once the server has seen the ends, and no more than these.
    drop((websocket, idle));
    let mut accepted = Vec::new();
    until_async("both places are free", async || {
        let mut wire = server.connect().await;
        match wire.status_of(request("GET", "/", &[], "")).await {
            Some(404) => accepted.push(wire),
            refused => assert!(matches!(refused, Some(503) | None), "{refused:?}"),
        }
        accepted.len() == 2
    })
    .await;
    assert_eq!(server.connect().await.answer().await.status, 503);
    server.finish().await;
}

// --- slow and long requests ---

/// A head that does not end.
async fn half_a_request_is_cut_at_the_header_deadline() {
    let times = |options: &mut roomcast_engine::ServeOptions| {
        options.header_timeout = Duration::from_millis(150);
        options.idle_timeout = Duration::ZERO;
    };
    let server = Server::serving(|_| {}, times).await;
    let begun = tokio::time::Instant::now();
    let mut half = server.connect().await;
    half.send("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n").await;
    half.rest().await;
    assert!(begun.elapsed() >= Duration::from_millis(149), "{:?}", begun.elapsed());
    // A byte now and then does not help.
    let begun = tokio::time::Instant::now();
    let mut slow = server.connect().await;
    for byte in "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n".bytes().cycle() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !slow.try_send([byte]).await {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "it is never cut");
    }
    // Nor does silence from the start, or after an answer.
    server.connect().await.assert_ended().await;
    let mut idle = server.connect().await;
    idle.send(request("GET", "/", &[], "")).await;
    assert_eq!(idle.answer().await.status, 404);
    idle.assert_ended().await;
    // A held GET and a WebSocket are not waiting for a head.
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let connection = server.connection();
    let mut websocket = server.websocket().await;
    let begun = tokio::time::Instant::now();
    until("time passes", || begun.elapsed() > Duration::from_millis(400)).await;
    crate::common::say(&connection, "x");
    held.answer().await.assert_payload("4x");
    websocket.assert_alive("x").await;
    server.finish().await;
}

/// A header that does not end, in small writes, and a URL that does not end.
async fn endless_heads_are_refused() {
    let server = Server::start().await;
    let long = "x".repeat(1_000_000);
    for bytes in [
        format!("GET /engine.io/ HTTP/1.1\r\nHost: x\r\nX-A: {long}"),
        format!("GET /engine.io/?{long}"),
        format!("GET /engine.io/?{} HTTP/1.1\r\n", "a=b&".repeat(100_000)),
    ] {
        let mut wire = server.connect().await;
        for chunk in bytes.as_bytes().chunks(64) {
            if !wire.try_send(chunk).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        let status = wire.answer().await.status;
        assert!(status == 431 || status == 414, "{status}");
        wire.rest().await;
    }
    assert_eq!(server.log.requests(), 0);
    server.finish().await;
}

/// Parts of messages, each within its own bound: the clients whose messages began first have to go.
async fn unfinished_messages_of_all_clients_and_one_past_their_budget() {
    // Storage grows in steps, so a part holds up to 131,072 bytes: two parts fit, and three do not.
    const PART: usize = 90_000;
    let server = Server::with(|config| (config.max_payload, config.inbox_budget) = (100_000, Some(265_000))).await;
    let text = format!("4{}", "x".repeat(98_999));
    let message = frame(TEXT, text.as_bytes());
    let held = || server.engine.unfinished_bytes();
    let mut first = server.websocket().await;
    first.send(&message[..PART]).await;
    until("a part is held", || held() >= PART).await;
    let sid = server.handshake().await;
    let body = format!("{}Content-Length: 99000\r\n\r\n{}", head("POST", &polling(&sid), &[]), &text[..PART]);
    let mut second = server.begin(body).await;
    until("two parts are held", || held() >= 2 * PART).await;
    assert!(server.log.closed(0).is_none() && server.log.closed(1).is_none());
    let mut third = server.websocket().await;
    third.send(&message[..PART]).await;
    assert_eq!(server.closed(0).await, CloseReason::ForcedServerClose);
    first.assert_ended().await;
    third.send(&message[PART..]).await;
    until("the newest message arrives", || server.log.texts(2) == [&text[1..]]).await;
    // A message that is complete, or whose client has gone, holds nothing.
    second.try_send(&text[PART..]).await;
    until("nothing is held", || held() == 0).await;
    let mut wire = server.websocket().await;
    wire.send(&message[..PART]).await;
    until("a part is held", || held() >= PART).await;
    drop(wire);
    until("nothing is held", || held() == 0).await;
    server.finish().await;
}

/// A declared length allocates nothing.
async fn huge_declared_bodies_are_refused_at_once() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for length in ["1000001", "9223372036854775807"] {
        let mut wire = server.connect().await;
        wire.send(format!("{}Content-Length: {length}\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
        wire.answer().await.assert_empty(413);
    }
    // Beyond what hyper can count.
    for (length, status) in [("18446744073709551614", 431), ("99999999999999999999", 400)] {
        let mut wire = server.connect().await;
        wire.send(format!("{}Content-Length: {length}\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
        assert_eq!(wire.answer().await.status, status);
    }
    server.post(&sid, "4x").await.assert_ok();
    server.finish().await;
}

/// Bodies of refused requests are not read.
async fn bodies_without_a_session_are_not_read() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let unknown = polling("AAAAAAAAAAAAAAAAAAAA");
    let ours = polling(&sid);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for (method, target, status) in [
        ("POST", &*unknown, 400),
        ("POST", "/engine.io/?EIO=4&transport=polling", 400),
        ("POST", "/elsewhere/", 404),
        ("PUT", &*ours, 500),
        ("GET", &*unknown, 400),
    ] {
        let mut wire = server.connect().await;
        wire.send(format!("{}Transfer-Encoding: chunked\r\n\r\n{chunk}", head(method, target, &[]))).await;
        assert_eq!(wire.answer().await.status, status);
        // For a server that does not read, a kernel takes some megabytes and then no more.
        let mut sent = 0;
        while wire.try_send(&chunk).await {
            sent += 1;
            assert!(sent < 1_000, "{method} {target}: the body is read");
        }
    }
    server.post(&sid, "4x").await.assert_ok();
    server.finish().await;
}

// --- WebSocket frames ---

/// Reserved bits, in three situations.
async fn reserved_bits_are_a_protocol_error() {
    let server = Server::start().await;
    let bad = b"\xb1\x81\0\0\0\x002";
    let mut wire = server.websocket().await;
    wire.send(bad).await;
    wire.assert_closed(Some(1002)).await;
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    // In the segment of the handshake, and so before the `open` packet was written.
    let mut wire = server.connect().await;
    wire.send([upgrade(WEBSOCKET, &[]).as_bytes(), bad].concat()).await;
    assert_eq!(wire.answer().await.status, 101);
    assert!(wire.text().await.starts_with('0'));
    wire.assert_closed(Some(1002)).await;
    assert_eq!(server.closed(1).await, CloseReason::TransportError);
    // Before the answer to the handshake was read.
    let mut wire = server.connect().await;
    wire.send(upgrade(WEBSOCKET, &[])).await;
    wire.send(bad).await;
    assert_eq!(wire.answer().await.status, 101);
    assert!(wire.text().await.starts_with('0'));
    wire.assert_closed(Some(1002)).await;
    assert_eq!(server.closed(2).await, CloseReason::TransportError);
    server.finish().await;
}

/// Lengths that are too long, or not in their shortest form.
async fn bad_lengths_end_at_their_header() {
    let server = Server::start().await;
    let cases: [(&[u8], u16); 5] = [
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 1002),
        (b"\x82\xfe\0\x7d\0\0\0\0", 1002),
        (b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", 1002),
        (b"\x82\xff\0\0\0\0\0\x0f\x42\x41\0\0\0\0", 1009),
    ];
    for (index, (bytes, code)) in cases.into_iter().enumerate() {
        let mut wire = server.websocket().await;
        wire.send(bytes).await;
        wire.assert_closed(Some(code)).await;
        assert_eq!(server.closed(index).await, CloseReason::TransportError);
    }
    server.finish().await;
}

// --- queries ---

/// Odd values of every parameter, by plain request and by upgrade.
async fn odd_queries_are_refused() {
    let server = Server::start().await;
    let long = "x".repeat(8_000);
    let nines = "9".repeat(8_000);
    let transports = [
        "",
        "transport=",
        "transport=foo",
        "transport=constructor",
        "transport=__proto__",
        "transport=hasOwnProperty",
        "transport=webtransport",
        "transport=polling&transport=foo",
        "transport[]=websocket",
        "transport%5B%5D=websocket",
        "transport=polling%00",
        "transport=%ff",
        "transport=Polling",
        "transport=%20polling",
    ];
    let mut unknown: Vec<String> = transports.iter().map(|query| format!("EIO=4&{query}")).collect();
    unknown.push(format!("EIO=4&transport={long}"));
    for query in &unknown {
        assert_eq!(server.get(query).await.error(), (400, 0, "Transport unknown".to_owned()), "{query}");
        server.refused(&format!("/engine.io/?{query}"), &[]).await.assert_refused("Transport unknown");
    }
    for protocol in [
        "",
        "EIO=&",
        "EIO=3&",
        "EIO=5&",
        "EIO=4.0&",
        "EIO=-4&",
        "EIO=%204&",
        "EIO=04&",
        "EIO=4&EIO=3&",
        &format!("EIO={nines}&"),
    ] {
        let text = "Unsupported protocol version";
        let plain = server.get(&format!("{protocol}transport=polling")).await;
        assert_eq!(plain.error(), (400, 5, text.to_owned()), "{protocol}");
        server.refused(&format!("/engine.io/?{protocol}transport=websocket"), &[]).await.assert_refused(text);
    }
    for sid in [
        "__proto__",
        "constructor",
        "%ff",
        "AAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAA%00",
        "%F0%9F%98%80AAAAAAAAAAAAAAAA",
        &long,
    ] {
        let text = "Session ID unknown";
        let plain = server.get(&format!("EIO=4&transport=polling&sid={sid}")).await;
        assert_eq!(plain.error(), (400, 1, text.to_owned()), "{sid}");
        let target = format!("{WEBSOCKET}&sid={sid}");
        server.refused(&target, &[]).await.assert_refused(text);
    }
    assert_eq!(server.log.opened(), 0);
    // 64 KB are beyond the limit of a request's head.
    let mut wire = server.connect().await;
    wire.try_send(request("GET", &format!("/engine.io/?EIO=4&transport={}", "x".repeat(64_000)), &[], "")).await;
    let status = wire.answer().await.status;
    assert!(status == 414 || status == 431, "{status}");
    // An empty sid counts as none.
    assert_eq!(server.get("EIO=4&transport=polling&sid=").await.status, 200);
    server.finish().await;
}

// --- cancellation ---

fn quick(config: &mut EngineConfig) {
    config.ping_interval = Duration::from_millis(200);
    config.ping_timeout = Duration::from_millis(200);
    config.upgrade_timeout = Duration::from_millis(200);
    config.body_timeout = Duration::from_millis(200);
}

/// A client leaves after each byte of what it sends. Whatever it had begun, nothing is left behind.
async fn a_client_may_leave_at_every_byte() {
    let server = Server::with(quick).await;
    let websocket = [upgrade(WEBSOCKET, &[]).as_bytes(), &frame(TEXT, b"4hello"), &frame(TEXT, b"9")].concat();
    let handshake = request("GET", "/engine.io/?EIO=4&transport=polling", &[], "").into_bytes();
    for conversation in [websocket, handshake] {
        for at in 0..=conversation.len() {
            let before = server.log.opened();
            let mut wire = server.connect().await;
            wire.send(&conversation[..at]).await;
            if at == conversation.len() {
                until("it has come to a session", || server.log.opened() > before).await;
            }
            // Half of them by a reset.
            if at % 2 == 0 {
                wire.reset();
            }
        }
    }
    until("all sessions are over", || server.engine.sessions() == 0).await;
    for kind in 0..3 {
        let target = |sid: &str| polling(sid);
        let length = request("POST", &target(&"x".repeat(20)), &[], "4hello").len();
        for at in 0..=length {
            let sid = server.handshake().await;
            let bytes = match kind {
                0 => request("GET", &target(&sid), &[], ""),
                1 => request("POST", &target(&sid), &[], "4hello"),
                _ => upgrade(&format!("{WEBSOCKET}&sid={sid}"), &[]),
            };
            let mut wire = server.connect().await;
            wire.send(&bytes.as_bytes()[..at.min(bytes.len())]).await;
            if at % 2 == 0 {
                wire.reset();
            }
        }
    }
    until("all sessions are over", || server.engine.sessions() == 0).await;
    server.finish().await;
}

/// A client leaves while the application decides whether to allow it.
async fn a_client_that_leaves_before_it_is_allowed_has_no_session() {
    struct Pending(Arc<AtomicUsize>);
    impl Drop for Pending {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let given_up = Arc::new(AtomicUsize::new(0));
    let count = given_up.clone();
    let server = Server::with(|config| {
        config.allow_request = Some(Arc::new(move |_| {
            let pending = Pending(count.clone());
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(pending);
                Ok(())
            })
        }));
    })
    .await;
    let plain = request("GET", "/engine.io/?EIO=4&transport=polling", &[], "");
    for (index, bytes) in [plain, upgrade(WEBSOCKET, &[])].into_iter().enumerate() {
        drop(server.begin(&bytes).await);
        until("the request is given up", || given_up.load(Ordering::SeqCst) == index + 1).await;
    }
    assert_eq!((server.log.opened(), server.engine.sessions()), (0, 0));
    server.finish().await;
}

/// People write "never" as the largest duration. No handshake may panic because of it.
async fn the_longest_times_are_cut_and_all_works() {
    let server = Server::serving(
        |config| {
            config.ping_interval = Duration::MAX;
            config.ping_timeout = Duration::MAX;
            config.upgrade_timeout = Duration::MAX;
            config.close_timeout = Duration::MAX;
            config.body_timeout = Duration::MAX;
        },
        |options| {
            options.header_timeout = Duration::MAX;
            options.idle_timeout = Duration::MAX;
            options.write_timeout = Duration::MAX;
            options.stop_timeout = Duration::MAX;
        },
    )
    .await;
    let sid = server.handshake().await;
    server.post(&sid, "4x").await.assert_ok();
    server.poll(&sid).await.assert_payload("4x");
    let session = server.connection();
    let mut wire = server.probing(&sid).await;
    wire.say("5").await;
    wire.assert_alive("x").await;
    // JavaScript's timers fire at once beyond 2^31 - 1 ms, and a client waits for both together.
    let answer = server.get("EIO=4&transport=polling").await;
    let together = answer.open()["pingInterval"].as_u64().unwrap() + answer.open()["pingTimeout"].as_u64().unwrap();
    assert!(together < 1 << 31, "{answer:?}");
    assert_eq!(answer.open()["pingInterval"].as_u64(), Some((1 << 30) - 1));
    session.close();
    drop(wire);
    server.finish().await;

    // The longest time is not cut.
    let longest = roomcast_engine::limits::LONGEST;
    let server = Server::with(|config| config.ping_timeout = longest).await;
    assert_eq!(server.engine.config().ping_timeout, longest);
    server.finish().await;
    let server = Server::with(|config| config.ping_timeout = longest + Duration::from_nanos(1)).await;
    assert_eq!(server.engine.config().ping_timeout, longest);
    server.finish().await;
}

/// A ping that is due after the longest time, and the times that begin with a session's end or its ping.
async fn a_heartbeat_of_the_longest_times_does_not_panic() {
    let log = Arc::new(crate::common::Log::default());
    let mut config = EngineConfig::default();
    config.ping_interval = Duration::from_millis(100);
    config.ping_timeout = Duration::MAX;
    config.close_timeout = Duration::MAX;
    let engine = crate::common::engine(config, &log);
    let mut service = engine.clone().into_service();
    let request =
        http::Request::get("/engine.io/?EIO=4&transport=polling").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = tower_service::Service::call(&mut service, request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((engine.sessions(), log.closed(0)), (1, None));
    engine.close();
    tokio::time::sleep(roomcast_engine::limits::LONGEST + Duration::from_secs(1)).await;
    assert_eq!(log.closed(0), Some(CloseReason::ServerShutdown));
}

over_streams! {
    [serve, serve_tls, awkward, tls]
    {
        current_thread: sessions_at_the_limit_and_one_past_it, connections_at_the_limit_and_one_past_it,
            half_a_request_is_cut_at_the_header_deadline, endless_heads_are_refused,
            huge_declared_bodies_are_refused_at_once,
            unfinished_messages_of_all_clients_and_one_past_their_budget, bodies_without_a_session_are_not_read,
            reserved_bits_are_a_protocol_error, bad_lengths_end_at_their_header, odd_queries_are_refused,
            a_client_may_leave_at_every_byte, a_client_that_leaves_before_it_is_allowed_has_no_session,
            the_longest_times_are_cut_and_all_works;
        paused: a_heartbeat_of_the_longest_times_does_not_panic;
    }
}
