//! Bounds, deadlines and hostile clients over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::over::Over;
use common::wire::{PING, TEXT, Wire, frame, head, request, upgrade};
use common::{Server, message, polling, stuck, until, until_async};
use roomcast_engine::limits::{OUTBOX_HARD, OUTBOX_SOFT, PACKET_COST};
use roomcast_engine::{CloseReason, Connection, Delivery, EngineConfig, OutboxLimits, bind};
use roomcast_protocol::Packet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// A WebSocket whose kernel holds little, and that does not read after its `open` packet.
async fn stalled(server: &Server) -> (Wire, Arc<Connection>) {
    let wire = server.narrow_websocket().await;
    (wire, server.connection())
}

/// What a message of so many bytes costs while it waits.
fn cost(bytes: usize) -> usize {
    message(&"x".repeat(bytes)).size() + PACKET_COST
}

/// A text whose message costs this much, which is more than 64 KiB.
fn costing(cost: usize) -> String {
    let text = "x".repeat(cost - PACKET_COST - 11);
    assert_eq!(self::cost(text.len()), cost);
    text
}

/// Sends until the outbox is full; the packets that are alive are never more than the hard bound and one.
async fn fill(connection: &Arc<Connection>, bytes: usize, hard: usize) {
    let text = "x".repeat(bytes);
    let mut alive: Vec<Weak<Packet>> = Vec::new();
    loop {
        let packet = Arc::new(message(&text));
        let cost = packet.size() + PACKET_COST;
        let delivery = connection.send(&packet).wake();
        alive.push(Arc::downgrade(&packet));
        drop(packet);
        if delivery == Delivery::Overflowed {
            break;
        }
        assert_eq!(delivery, Delivery::Queued);
        let first = alive.partition_point(|packet| packet.strong_count() == 0);
        alive.drain(..first);
        assert!(alive.len() * cost <= hard + cost, "{} of {cost}", alive.len());
        assert_eq!(connection.outstanding().packets, alive.len());
        // The writer gets its turn.
        tokio::task::yield_now().await;
    }
    until("its memory is free", || alive.iter().all(|packet| packet.strong_count() == 0)).await;
}

#[tokio::test]
async fn a_websocket_that_does_not_read_is_cut_at_the_hard_bound() {
    let server = Server::start().await;
    let mut bystander = server.websocket().await;
    for bytes in [10_000, 1_000_000] {
        // What the kernel takes comes before.
        let (mut wire, connection) = stalled(&server).await;
        fill(&connection, bytes, OUTBOX_HARD).await;
        let index = server.log.opened() - 1;
        assert_eq!(server.closed(index).await, CloseReason::SlowConsumer);
        assert!(connection.outstanding().bytes > OUTBOX_HARD - cost(bytes), "what waited is still told");
        until("only the bystander is left", || server.engine.sessions() == 1).await;
        bystander.assert_alive("x").await;
        // What the kernel had taken arrives; then the connection ends, without a close frame in the middle of a packet.
        let rest = wire.rest().await;
        let whole = message(&"x".repeat(bytes));
        let mut frames = rest.chunks(whole.size());
        assert!(frames.all(|frame| whole.frames(false).starts_with(frame)));
    }
    assert_eq!(server.log.closed(0), None);
    server.finish().await;
}

#[tokio::test]
async fn a_polling_client_that_does_not_poll_is_cut_at_the_hard_bound() {
    let bytes = 10;
    let hard = 100 * cost(bytes);
    let server = Server::with(|config| config.outbox.hard = hard).await;
    let sid = server.handshake().await;
    // One packet is in front, and all of the bound behind it: that is well.
    let text = "x".repeat(bytes);
    for _ in 0..101 {
        server.say(&text);
    }
    server.poll(&sid).await.assert_payload(&vec![format!("4{text}"); 101].join("\u{1e}"));
    until("the answer is written", || server.connection().outstanding().packets == 0).await;
    fill(&server.connection(), bytes, hard).await;
    assert_eq!(server.closed(0).await, CloseReason::SlowConsumer);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

#[tokio::test]
async fn a_post_of_a_session_that_is_cut_ends_with_it() {
    let server = Server::with(|config| config.outbox.hard = 1).await;
    let sid = server.handshake().await;
    let mut post = server.begin(format!("{}Content-Length: 10\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
    for _ in 0..2 {
        server.say("x");
    }
    post.assert_ended().await;
    assert_eq!(server.closed(0).await, CloseReason::SlowConsumer);
    server.finish().await;
}

#[tokio::test]
async fn one_packet_larger_than_the_outbox_is_sent() {
    let server = Server::with(|config| config.outbox = OutboxLimits::soft(10)).await;
    let large = "x".repeat(500_000);
    let mut wire = server.websocket().await;
    server.say(&large);
    assert_eq!(wire.text().await, format!("4{large}"));
    let sid = server.handshake().await;
    server.say(&large);
    server.poll(&sid).await.assert_payload(&format!("4{large}"));
    server.finish().await;
}

/// Much more than the soft bound, by WebSocket and by polling, for clients that read it: all arrives, whatever its pieces.
#[tokio::test]
async fn a_burst_for_a_client_that_reads_cuts_nobody() {
    let server = Server::start().await;
    for (count, bytes) in [(3, 600_000), (50, 65_536), (3_000, 10), (20_000, 10), (14, 1_000_000)] {
        let text = "x".repeat(bytes);
        let mut wire = server.websocket().await;
        for _ in 0..count {
            server.say(&text);
        }
        for _ in 0..count {
            assert_eq!(wire.text().await.len(), bytes + 1);
        }
        let sid = server.handshake().await;
        for _ in 0..count {
            server.say(&text);
        }
        let mut received = 0;
        while received < count {
            received += server.poll(&sid).await.body.split('\u{1e}').filter(|packet| packet.starts_with('4')).count();
        }
    }
    server.finish().await;
}

/// Over the soft bound, and not a byte is taken: cut when the grace is over, without another packet.
#[tokio::test]
async fn over_the_soft_bound_the_transport_must_keep_a_pace() {
    let server = Server::with(|config| config.ping_timeout = Duration::from_millis(200)).await;
    // At the bound there is no pace to keep; this one is watched to the end.
    let patient = server.handshake().await;
    server.say(&costing(OUTBOX_SOFT));
    assert_eq!(server.connection().outstanding().bytes, OUTBOX_SOFT);
    let first = server.connection();

    let sid = server.handshake().await;
    server.say(&costing(OUTBOX_SOFT + 1));
    assert_eq!(server.closed(1).await, CloseReason::SlowConsumer);
    server.assert_unknown(&sid).await;

    let (_wire, connection) = stalled(&server).await;
    while connection.outstanding().bytes <= OUTBOX_SOFT {
        server.say(&"x".repeat(100_000));
        stuck(&connection).await;
    }
    assert_eq!(server.closed(2).await, CloseReason::SlowConsumer);
    assert!(first.is_open());
    server.poll(&patient).await;
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_keeps_the_pace_is_not_cut() {
    let server = Server::with(|config| {
        config.outbox.soft = 10_000;
        config.ping_timeout = Duration::from_secs(1);
    })
    .await;
    let (mut wire, connection) = stalled(&server).await;
    let text = "x".repeat(1_000);
    while connection.outstanding().bytes < 100_000 {
        server.say(&text);
        tokio::task::yield_now().await;
    }
    let sent = std::time::Instant::now();
    // For three graces it reads as fast as it is sent, and never less waits than ten times the soft bound.
    while sent.elapsed() < Duration::from_secs(3) {
        assert_eq!(wire.text().await.len(), 1_001);
        while connection.outstanding().bytes < 100_000 {
            server.say(&text);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(connection.is_open());
    server.finish().await;
}

/// Whoever waits for `ready` is told when less than half of the soft bound waits, or that the session is over.
#[tokio::test]
async fn ready_resolves_below_half_of_the_soft_bound() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let connection = server.connection();
    assert!(connection.ready().await, "nothing waits");
    let ready = async |connection: Arc<Connection>| connection.ready().await;
    server.say(&costing(OUTBOX_SOFT / 2));
    assert!(connection.ready().await, "at half of the bound");
    server.say("x");
    let waiting = tokio::spawn(ready(connection.clone()));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    server.poll(&sid).await;
    assert!(waiting.await.unwrap());
    server.say(&"x".repeat(OUTBOX_SOFT));
    let waiting = tokio::spawn(ready(connection.clone()));
    tokio::task::yield_now().await;
    connection.close();
    server.poll(&sid).await;
    server.poll(&sid).await;
    assert!(!waiting.await.unwrap(), "the session is over");
    server.finish().await;
}

/// All outboxes together: over the budget the largest over the soft bound go, until nine tenths are left.
#[tokio::test]
async fn the_budget_of_all_outboxes_and_one_past_it() {
    let large = 100_000;
    let server = Server::with(|config| {
        config.outbox.soft = 2 * cost(large);
        config.outbox.budget = Some(10 * cost(large));
    })
    .await;
    let mut sids = Vec::new();
    for packets in [4, 3, 2, 1] {
        sids.push(server.handshake().await);
        for _ in 0..packets {
            server.say(&"x".repeat(large));
        }
    }
    assert_eq!(server.engine.sessions(), 4, "at the budget");
    server.say("x");
    assert_eq!(server.closed(0).await, CloseReason::SlowConsumer, "the largest");
    assert!([1, 2, 3].iter().all(|index| server.log.closed(*index).is_none()));
    // A packet that waits for all of them counts once.
    server.finish().await;
}

/// Nobody is over the soft bound, but all are over their share of the budget.
#[tokio::test]
async fn when_the_budget_is_used_up_the_soft_bound_is_a_share_of_it() {
    let server = Server::with(|config| config.outbox.budget = Some(200_000)).await;
    for _ in 0..3 {
        server.handshake().await;
        server.say(&"x".repeat(66_000));
    }
    assert_eq!(server.engine.sessions(), 3);
    server.say(&"x".repeat(2_000));
    until("one has gone", || server.engine.sessions() == 2).await;
    assert_eq!(server.closed(2).await, CloseReason::SlowConsumer, "the largest, of those over 64 KiB");
    server.finish().await;
}

/// Volatile packets never queue behind others.
#[tokio::test]
async fn volatile_packets_are_dropped_where_a_websocket_is_not_writable() {
    let server = Server::start().await;
    let (mut wire, connection) = stalled(&server).await;
    let volatile = Arc::new(message(&"v".repeat(10_000)).with_volatile(true));
    let mut seen = 0;
    // The kernel takes some of them.
    loop {
        match connection.send(&volatile).wake() {
            Delivery::Queued => {}
            Delivery::Dropped => break,
            other => panic!("{other:?}"),
        }
        seen += 1;
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        assert_eq!(connection.send(&volatile).wake(), Delivery::Dropped);
    }
    server.say("end");
    for _ in 0..seen {
        assert_eq!(wire.text().await.len(), 10_001);
    }
    assert_eq!(wire.text().await, "4end");
    assert_eq!(server.log.closed(0), None);
    wire.assert_alive("x").await;
    server.finish().await;
}

/// F20: pings without end, from a client that does not take its pongs.
#[tokio::test]
async fn f20_pongs_that_are_not_taken_are_bounded() {
    let server = Server::with(|config| config.outbox.hard = 1 << 20).await;
    let (mut wire, connection) = stalled(&server).await;
    let pings = frame(PING, &[7; 125]).repeat(100);
    let mut sent = 0;
    while wire.try_send(&pings).await && sent < 2_000 {
        sent += 1;
    }
    assert_eq!(server.closed(0).await, CloseReason::SlowConsumer);
    assert!(!connection.is_open());
    server.finish().await;
}

// --- sessions and connections ---

/// F28: past the limit a handshake is told when to come back, on both ways in.
#[tokio::test]
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

#[tokio::test]
async fn connections_at_the_limit_and_one_past_it() {
    // The bound is that of `serve`, so there is nothing to see over other streams.
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
    // Both places come free, and no more than those: when the server has seen the ends.
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

/// F12: a head that does not come to its end.
#[tokio::test]
async fn f12_half_a_request_is_cut_at_the_header_deadline() {
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
    // Nor a silence from the start, or after an answer.
    server.connect().await.assert_ended().await;
    let mut idle = server.connect().await;
    idle.send(request("GET", "/", &[], "")).await;
    assert_eq!(idle.answer().await.status, 404);
    idle.assert_ended().await;
    // A held GET and a WebSocket are no heads.
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let connection = server.connection();
    let mut websocket = server.websocket().await;
    let begun = tokio::time::Instant::now();
    until("time passes", || begun.elapsed() > Duration::from_millis(400)).await;
    common::say(&connection, "x");
    held.answer().await.assert_payload("4x");
    websocket.assert_alive("x").await;
    server.finish().await;
}

/// T27: a header that does not end, in small writes; and F22: a URL that does not end.
#[tokio::test]
async fn t27_endless_heads_are_refused() {
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

/// T28: a declared length sizes nothing.
#[tokio::test]
async fn t28_huge_declared_bodies_are_refused_at_once() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for length in ["1000001", "9223372036854775807"] {
        let mut wire = server.connect().await;
        wire.send(format!("{}Content-Length: {length}\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
        wire.answer().await.assert_empty(413);
    }
    // Beyond what hyper counts to.
    for (length, status) in [("18446744073709551614", 431), ("99999999999999999999", 400)] {
        let mut wire = server.connect().await;
        wire.send(format!("{}Content-Length: {length}\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
        assert_eq!(wire.answer().await.status, status);
    }
    server.post(&sid, "4x").await.assert_ok();
    server.finish().await;
}

/// T44: bodies that nobody wants are not read.
#[tokio::test]
async fn t44_bodies_without_a_session_are_not_read() {
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
        // A kernel takes some megabytes for a server that does not read; then there is an end.
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

/// T05: reserved bits, in three situations.
#[tokio::test]
async fn t05_reserved_bits_are_a_protocol_error() {
    let server = Server::start().await;
    let bad = b"\xb1\x81\0\0\0\x002";
    let mut wire = server.websocket().await;
    wire.send(bad).await;
    wire.assert_closed(Some(1002)).await;
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    // In the segment of the handshake: so before the `open` packet was written, too.
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

/// T21: lengths that are too long, or not in their shortest form.
#[tokio::test]
async fn t21_bad_lengths_end_at_their_header() {
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

/// T07: odd values of every parameter, by plain request and by upgrade.
#[tokio::test]
async fn t07_odd_queries_are_refused() {
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
    // An empty sid is none.
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

/// T15: the client goes away after every byte of what it sends; nothing is left behind, whatever it had begun.
#[tokio::test]
async fn t15_a_client_may_leave_at_every_byte() {
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

/// The client goes away while the application decides on it.
#[tokio::test]
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

/// "Never" is written as the largest duration there is; no handshake may end in a panic for it.
#[tokio::test]
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

    // At the longest nothing is cut.
    let longest = roomcast_engine::limits::LONGEST;
    let server = Server::with(|config| config.ping_timeout = longest).await;
    assert_eq!(server.engine.config().ping_timeout, longest);
    server.finish().await;
    let server = Server::with(|config| config.ping_timeout = longest + Duration::from_nanos(1)).await;
    assert_eq!(server.engine.config().ping_timeout, longest);
    server.finish().await;
}

/// A ping that is due in the longest time, and the others that begin with a session's end or its ping.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_the_longest_times_does_not_panic() {
    let log = Arc::new(common::Log::default());
    let mut config = EngineConfig::default();
    config.ping_interval = Duration::from_millis(100);
    config.ping_timeout = Duration::MAX;
    config.close_timeout = Duration::MAX;
    let engine = common::engine(config, &log);
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
