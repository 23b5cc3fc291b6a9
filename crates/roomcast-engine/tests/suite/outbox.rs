//! Slow clients, and what waits for them, over real sockets.

use crate::common::wire::{PING, Wire, frame, head};
use crate::common::{Server, message, polling, stuck, until};
use roomcast_engine::limits::{OUTBOX_HARD, OUTBOX_SOFT, PACKET_COST};
use roomcast_engine::{CloseReason, Connection, Delivery, OutboxLimits};
use roomcast_protocol::Packet;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A WebSocket whose kernel buffers little, and which does not read after its `open` packet.
async fn stalled(server: &Server) -> (Wire, Arc<Connection>) {
    let wire = server.narrow_websocket().await;
    (wire, server.connection())
}

/// What a message of this many bytes costs while it waits.
fn cost(bytes: usize) -> usize {
    message(&"x".repeat(bytes)).size() + PACKET_COST
}

/// A text whose message costs this much, which is more than 64 KiB.
fn costing(cost: usize) -> String {
    let text = "x".repeat(cost - PACKET_COST - 11);
    assert_eq!(self::cost(text.len()), cost);
    text
}

/// Sends until the outbox is full. The packets in memory never exceed the hard bound and one more.
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
        // The writer runs.
        tokio::task::yield_now().await;
    }
    until("its memory is free", || alive.iter().all(|packet| packet.strong_count() == 0)).await;
}

#[tokio::test]
async fn a_websocket_that_does_not_read_is_disconnected_at_the_hard_bound() {
    let server = Server::start().await;
    let mut bystander = server.websocket().await;
    for bytes in [10_000, 1_000_000] {
        // What the kernel takes comes before.
        let (mut wire, connection) = stalled(&server).await;
        fill(&connection, bytes, OUTBOX_HARD).await;
        let index = server.log.opened() - 1;
        assert_eq!(server.closed(index).await, CloseReason::SlowConsumer);
        assert!(connection.outstanding().bytes > OUTBOX_HARD - cost(bytes), "what waited is still counted");
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
async fn a_polling_client_that_does_not_poll_is_disconnected_at_the_hard_bound() {
    let bytes = 10;
    let hard = 100 * cost(bytes);
    let server = Server::with(|config| config.outbox.hard = hard).await;
    let sid = server.handshake().await;
    // One packet comes first, and all of the bound behind it: that is allowed.
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
async fn a_post_of_a_disconnected_session_ends_with_it() {
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

/// Much more than the soft bound, by WebSocket and by polling, for clients that read it: everything arrives, in packets
/// of any size.
#[tokio::test]
async fn a_client_that_reads_is_not_disconnected_by_a_burst() {
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

/// Over the soft bound, if not a byte is taken, the client is disconnected when the grace period is over, without
/// another packet.
#[tokio::test]
async fn over_the_soft_bound_the_transport_must_keep_a_pace() {
    let server = Server::with(|config| config.ping_timeout = Duration::from_millis(200)).await;
    // At the bound there is no pace to keep: this client is checked to the end.
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
async fn a_client_that_keeps_the_pace_is_not_disconnected() {
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
    // For three grace periods it reads as fast as packets are sent, and at least ten times the soft bound waits.
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

/// `ready` resolves when less than half of the soft bound waits, or when the session is over.
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

/// All outboxes together: over the budget, the largest that are over the soft bound are disconnected, until nine tenths
/// are left.
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

/// No client is over the soft bound, but all are over their share of the budget.
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

/// Pings without end, from a client that does not take its pongs.
#[tokio::test]
async fn pongs_that_are_not_read_are_bounded() {
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
