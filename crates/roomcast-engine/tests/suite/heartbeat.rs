//! Pings, pongs and the time between them, over real sockets. Intervals are small, and the tests only measure what must
//! not happen earlier, or not at all.

use crate::common::streams::over_streams;
use crate::common::wire::{TEXT, frame};
use crate::common::{Server, until};
use roomcast_engine::{CloseReason, EngineConfig};
use std::time::Duration;
use tokio::time::Instant;

fn times(interval: u64, timeout: u64) -> impl FnOnce(&mut EngineConfig) {
    move |config| {
        config.ping_interval = Duration::from_millis(interval);
        config.ping_timeout = Duration::from_millis(timeout);
    }
}

/// The first ping may come a quarter early, to spread the pings of clients that reconnected at once. tokio's clock
/// counts whole milliseconds.
fn assert_between(time: Duration, least: u64) {
    assert!(time >= Duration::from_millis(least - 1), "{time:?} is less than {least} ms");
}

async fn pings_come_at_the_interval_and_pongs_keep_the_session() {
    let server = Server::with(times(200, 2_000)).await;
    let begun = Instant::now();
    let mut wire = server.websocket().await;
    assert_eq!(wire.text().await, "2");
    assert_between(begun.elapsed(), 150);
    for _ in 0..4 {
        let ponged = Instant::now();
        wire.say("3").await;
        assert_eq!(wire.text().await, "2");
        assert_between(ponged.elapsed(), 200);
    }
    wire.say("3").await;
    wire.assert_alive("x").await;
    server.finish().await;
}

async fn a_missing_pong_ends_a_websocket() {
    let server = Server::with(times(100, 150)).await;
    let begun = Instant::now();
    let mut wire = server.websocket().await;
    assert_eq!(wire.text().await, "2");
    let pinged = Instant::now();
    // A close frame without a code; only one ping came.
    wire.assert_closed(None).await;
    assert_between(begun.elapsed(), 75 + 150);
    assert!(pinged.elapsed() < Duration::from_secs(2), "{:?}", pinged.elapsed());
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    server.finish().await;
}

async fn a_missing_pong_ends_a_polling_session() {
    let server = Server::with(times(100, 150)).await;
    let sid = server.handshake().await;
    server.hold(&sid).await.answer().await.assert_payload("2");
    server.poll(&sid).await.assert_payload("1");
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

/// A GET that never comes again.
async fn a_polling_session_without_polls_ends_too() {
    let server = Server::with(times(100, 150)).await;
    let begun = Instant::now();
    let sid = server.handshake().await;
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    assert_between(begun.elapsed(), 75 + 150);
    assert_eq!(server.engine.sessions(), 0);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_post_that_is_being_read_at_the_timeout_ends_with_the_session() {
    let server = Server::with(times(100, 150)).await;
    let sid = server.handshake().await;
    let head = crate::common::wire::head("POST", &crate::common::polling(&sid), &[]);
    let post = server.begin(format!("{head}Content-Length: 10\r\n\r\n4")).await;
    // No answer, long before the body's own deadline of 30 s.
    server.assert_unanswered(post).await;
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    server.finish().await;
}

async fn pongs_keep_a_polling_session() {
    let server = Server::with(times(100, 2_000)).await;
    let sid = server.handshake().await;
    for _ in 0..4 {
        server.poll(&sid).await.assert_payload("2");
        server.post(&sid, "3").await.assert_ok();
    }
    server.post(&sid, "4x").await.assert_ok();
    assert_eq!(server.log.closed(0), None);
    server.finish().await;
}

/// engine.io 6.6.12: while a pong is awaited, the first other packet moves its deadline, once.
async fn the_first_other_packet_buys_one_more_timeout() {
    let server = Server::with(times(100, 300)).await;
    let mut wire = server.websocket().await;
    assert_eq!(wire.text().await, "2");
    let pinged = Instant::now();
    let mut spoken = pinged;
    let mut said = 0;
    // A message every 100 ms: only the first one counts.
    while server.log.closed(0).is_none() {
        tokio::time::sleep_until(spoken + Duration::from_millis(100)).await;
        spoken = Instant::now();
        if wire.try_send(frame(TEXT, b"4!x")).await {
            said += 1;
        }
        assert!(pinged.elapsed() < Duration::from_secs(3), "it never ends");
    }
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    assert!(said >= 2, "{said}");
    // The end comes 300 ms after the first message, which came at 100 ms. Without it, it would come 300 ms after the
    // ping.
    assert_between(pinged.elapsed(), 400);
    server.finish().await;
}

/// socketioxide #817: unsolicited pongs.
async fn unsolicited_pongs_do_no_harm() {
    let server = Server::with(times(300, 2_000)).await;
    let mut wire = server.websocket().await;
    let flood = frame(TEXT, b"3").repeat(10_000);
    for _ in 0..10 {
        wire.send(&flood).await;
    }
    wire.assert_alive("x").await;
    assert_eq!(wire.text().await, "2");
    wire.say("3").await;
    wire.assert_alive("y").await;
    assert_eq!(server.log.texts(0), ["x", "y"]);
    server.finish().await;
}

/// A server that takes no messages for a while has not read the pong either, which is not the client's fault. The pings
/// go on, as clients give up without them.
async fn a_client_whose_pong_was_not_read_is_excused() {
    let server = Server::with(times(100, 100)).await;
    let mut wire = server.websocket().await;
    wire.assert_alive("a").await;
    server.log.pause();
    wire.say("4b").await;
    // Three timeouts pass.
    for _ in 0..4 {
        assert_eq!(wire.text().await, "2");
        wire.say("3").await;
    }
    assert_eq!(server.log.closed(0), None);
    server.log.resume();
    loop {
        match &*wire.text().await {
            "2" => wire.say("3").await,
            text => break assert_eq!(text, "4b"),
        }
    }
    assert_eq!(wire.text().await, "2");
    wire.say("3").await;
    wire.assert_alive("c").await;
    server.finish().await;
}

/// A handler whose deadline has always passed already: it is called, and other tasks run too. (A loop that never ended
/// would be stopped by the panic.)
async fn a_deadline_that_does_not_move_causes_no_busy_loop() {
    use crate::common::wire::{Wire, request, upgrade};
    use roomcast_engine::{Connection, Engine, SessionHandler};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Nervous {
        connection: Arc<Connection>,
        since: Instant,
        ticks: Arc<AtomicUsize>,
    }
    impl SessionHandler for Nervous {
        fn text(&mut self, text: &str) {
            crate::common::say(&self.connection, text);
        }
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
        fn deadline(&self) -> Option<Instant> {
            Some(self.since)
        }
        fn tick(&mut self, now: Instant) {
            assert!(now >= self.since);
            let ticks = self.ticks.fetch_add(1, Ordering::SeqCst);
            assert!(ticks < 10_000, "a busy loop");
        }
    }

    let ticks = Arc::new(AtomicUsize::new(0));
    let count = ticks.clone();
    let engine = Engine::new(EngineConfig::default(), move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
        Box::new(Nervous { connection: connection.clone(), since: Instant::now(), ticks: count.clone() })
    });
    let address = crate::common::serve_alone(&engine).await;
    let mut wire = Wire::connect(address).await;
    wire.send(upgrade("/engine.io/?EIO=4&transport=websocket", &[])).await;
    assert_eq!(wire.answer().await.status, 101);
    wire.text().await;
    until("the client is called", || ticks.load(Ordering::SeqCst) > 10).await;
    wire.assert_alive("x").await;
    drop(wire);
    until("the session is over", || engine.sessions() == 0).await;

    let mut wire = Wire::connect(address).await;
    wire.send(request("GET", "/engine.io/?EIO=4&transport=polling", &[], "")).await;
    let sid = wire.answer().await.sid();
    let before = ticks.load(Ordering::SeqCst);
    until("the client is called", || ticks.load(Ordering::SeqCst) > before + 10).await;
    wire.send(request("POST", &crate::common::polling(&sid), &[], "1")).await;
    wire.answer().await.assert_ok();
    until("the session is over", || engine.sessions() == 0).await;
}

over_streams! {
    [serve, awkward, tls, axum]
    {
        current_thread: pings_come_at_the_interval_and_pongs_keep_the_session, a_missing_pong_ends_a_websocket,
            a_missing_pong_ends_a_polling_session, a_polling_session_without_polls_ends_too,
            a_post_that_is_being_read_at_the_timeout_ends_with_the_session, pongs_keep_a_polling_session,
            the_first_other_packet_buys_one_more_timeout, unsolicited_pongs_do_no_harm,
            a_client_whose_pong_was_not_read_is_excused, a_deadline_that_does_not_move_causes_no_busy_loop;
    }
}
