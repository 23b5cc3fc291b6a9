//! Handlers: their order, their panics, and how many of one connection may run at the same time.

use crate::common::wire::{Wire, frame};
use crate::common::{Frozen, Log, Server, until};
use roomcast_server::limits::HANDLERS_PER_CONNECTION;
use roomcast_server::{Ack, Args, Builder, DisconnectReason, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Semaphore;

fn bug(what: &str) {
    panic!("{what}");
}

/// A panic ends its own event and nothing else.
async fn a_panic_ends_only_its_event() {
    let log = Log::default();
    let server = Server::start(|io| {
        log.watch(&io.of("/"));
        io.of("/").on_connection(|_: Socket| async { bug("in a connection handler") });
        let seen = log.clone();
        io.of("/").on_connection(move |socket: Socket| {
            socket.on_disconnecting(|_: Socket, _: DisconnectReason| async { bug("while disconnecting") });
            socket.on_disconnect(|_: Socket, _: DisconnectReason| async {
                tokio::task::yield_now().await;
                bug("at the disconnect");
            });
            let seen = seen.clone();
            socket.on_disconnect(move |_: Socket, _: DisconnectReason| {
                seen.push("after the panics");
                ready(())
            });
            ready(())
        });
        io.of("/")
            .on("at once", |_: Socket, (): (), _: Ack| async { bug("before the first wait") })
            .on("later", |_: Socket, (): (), _: Ack| async {
                tokio::task::yield_now().await;
                bug("after the first wait");
            })
            .on("in the making", |_: Socket| -> std::future::Ready<()> { panic!("before there is a future") })
            .on("fine", |_: Socket, n: u32, ack: Ack| async move { ack.send(n) });
    })
    .await;
    let mut wire = server.joined().await;
    for say in ["420[\"at once\"]", "421[\"fine\",1]", "422[\"later\"]", "42[\"in the making\"]", "423[\"fine\",3]"] {
        wire.say(say).await;
    }
    assert_eq!(wire.texts().await, ["431[1]", "433[3]"]);
    wire.say("41").await;
    log.expect(&["/ connected", "/ client namespace disconnect", "after the panics"]).await;
    // The connection is not affected.
    server.join(&mut wire, "/").await;
    drop(wire);
    server.finish().await;
}

/// Handlers begin in the order of their events, and each runs up to its first await before the next one begins.
async fn handlers_begin_in_the_order_of_events() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").on("n", move |_: Socket, n: u32| {
            let seen = seen.clone();
            async move {
                seen.push(n.to_string());
                // From here on they may overtake one another.
                for _ in 0..n % 7 {
                    tokio::task::yield_now().await;
                }
            }
        });
    })
    .await;
    let mut wire = server.joined().await;
    let events: Vec<u8> = (0..500).flat_map(|n| frame(1, format!("42[\"n\",{n}]").as_bytes())).collect();
    wire.send(events).await;
    assert!(wire.sync().await.is_empty());
    assert_eq!(log.lines(), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    server.finish().await;
}

/// An event whose arguments do not fit does not reach its handler, and the connection stays open.
async fn arguments_that_do_not_fit_are_ignored() {
    let server = Server::start(|io| {
        io.of("/").on("n", |_: Socket, n: u8, ack: Ack| async move { ack.send(n) });
    })
    .await;
    let mut wire = server.joined().await;
    for say in ["42[\"n\",256]", "421[\"n\",\"1\"]", "422[\"n\"]", "423[\"n\",255,{\"more\":1}]"] {
        wire.say(say).await;
    }
    // Who asked for an answer is told.
    let answers = wire.texts().await;
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(
        answers[0].starts_with("431[{\"error\":\"argument 1: ") && answers[1].starts_with("432[{\"error\":"),
        "{answers:?}"
    );
    assert_eq!(answers[2], "433[255]");
    server.finish().await;
}

/// Handlers that wait until they are released.
#[derive(Clone)]
struct Held {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Held {
    fn new() -> Self {
        Self { begun: Arc::default(), ended: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn serve(&self, io: &SocketIo) {
        let held = self.clone();
        io.of("/").on("hold", move |_: Socket| {
            held.begun.fetch_add(1, SeqCst);
            let held = held.clone();
            async move {
                held.gate.acquire().await.unwrap().forget();
                held.ended.fetch_add(1, SeqCst);
            }
        });
        io.of("/other").on("hi", |_: Socket, (): (), ack: Ack| async move { ack.send(()) });
    }

    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// One POST with as many events as the limit of handlers.
    async fn fill_by_a_post(&self, server: &Server, sid: &str) -> Wire {
        let events = vec!["42[\"hold\"]"; HANDLERS_PER_CONNECTION].join("\u{1e}");
        let post = server.begin(&crate::common::wire::request("POST", &server.polling(sid), &[], &events)).await;
        until("the limit is reached", || self.begun() == HANDLERS_PER_CONNECTION).await;
        post
    }

    fn release(&self, handlers: usize) {
        self.gate.add_permits(handlers);
    }
}

async fn hold(wire: &mut Wire, handlers: usize) {
    let events: Vec<u8> = (0..handlers).flat_map(|_| frame(1, b"42[\"hold\"]")).collect();
    wire.send(events).await;
}

fn quick(builder: Builder) -> Builder {
    builder.ping_interval(Duration::from_millis(40)).ping_timeout(Duration::from_millis(40))
}

/// At the limit nothing more is read, for any namespace. Pings are still sent, and a client whose pongs the server does not read is not
/// disconnected for that. When a handler ends, reading goes on.
#[tokio::test]
async fn handlers_of_a_connection_at_the_limit_and_one_past_it() {
    let held = Held::new();
    let server = Server::with(quick, |io| held.serve(io)).await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    server.join(&mut wire, "/other").await;
    hold(&mut wire, HANDLERS_PER_CONNECTION - 1).await;
    // One below the limit, everything is read.
    wire.say("42/other,1[\"hi\"]").await;
    assert_eq!(wire.texts().await, ["43/other,1[]"]);
    assert_eq!(held.begun(), HANDLERS_PER_CONNECTION - 1);

    hold(&mut wire, 1).await;
    until("the limit is reached", || held.begun() == HANDLERS_PER_CONNECTION).await;
    hold(&mut wire, 1).await;
    wire.say("42/other,2[\"hi\"]").await;
    // Each ping was unanswered for longer than the ping timeout. Neither event was handled.
    for _ in 0..5 {
        clock.advance(50).await;
        assert_eq!(wire.text().await, "2");
        wire.say("3").await;
        clock.advance(50).await;
    }
    assert_eq!(held.begun(), HANDLERS_PER_CONNECTION);

    held.release(1);
    until("one more begins", || held.begun() == HANDLERS_PER_CONNECTION + 1).await;
    held.release(HANDLERS_PER_CONNECTION);
    while wire.text().await != "43/other,2[]" {}
    until("all have ended", || held.ended.load(SeqCst) == HANDLERS_PER_CONNECTION + 1).await;
    drop((wire, clock));
    server.finish().await;
}

/// The same by polling: a POST is answered when enough of its handlers have ended, and no pong can arrive before.
#[tokio::test]
async fn a_post_waits_for_its_handlers() {
    let held = Held::new();
    let server = Server::with(quick, |io| held.serve(io)).await;
    let clock = Frozen::new();
    let sid = server.join_by_polling().await;
    let mut post = held.fill_by_a_post(&server, &sid).await;
    for _ in 0..5 {
        clock.advance(50).await;
        assert_eq!(server.poll(&sid).await.text(), "2");
        clock.advance(50).await;
    }
    held.release(1);
    assert_eq!(post.answer("POST").await.text(), "ok");
    held.release(HANDLERS_PER_CONNECTION);
    drop(clock);
    server.finish().await;
}

/// Handlers of large events fill the room for handlers before there are many of them: as many bytes as 16 of the largest messages.
#[tokio::test]
async fn handlers_of_large_events_at_the_limit_and_one_past_it() {
    const LARGE: usize = 99_000;
    let begun = Arc::new(AtomicUsize::new(0));
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let (count, wait) = (begun.clone(), release.clone());
    let server = Server::with(
        |builder: Builder| builder.max_payload(100_000),
        |io| {
            io.of("/").on("large", move |_: Socket, _: Args| {
                count.fetch_add(1, SeqCst);
                let wait = wait.clone();
                async move { drop(wait.acquire().await) }
            });
        },
    )
    .await;
    let mut wire = server.joined().await;
    let event = frame(1, format!("42[\"large\",\"{}\"]", "x".repeat(LARGE)).as_bytes());
    for _ in 0..16 {
        wire.send(&event).await;
    }
    until("sixteen have begun", || begun.load(SeqCst) == 16).await;
    // Each counts for 1 + 99,000 * 1,024 / 1,600,000 = 64 of 1,024: the seventeenth is not read.
    wire.send(&event).await;
    let mut other = server.joined().await;
    assert!(other.sync().await.is_empty());
    assert_eq!(begun.load(SeqCst), 16);
    release.add_permits(1);
    until("the next is read", || begun.load(SeqCst) == 17).await;
    release.add_permits(100);
    drop(wire);
    server.finish().await;
}

/// One handler waits for its client's answer, and the limit allows one more: so the answer is read.
#[tokio::test]
async fn with_room_for_one_more_handler_an_answer_is_read() {
    for (most, answered) in [(1, false), (2, true)] {
        let change = |builder: Builder| builder.max_handlers(most).ack_timeout(Duration::from_millis(200));
        let server = Server::with(change, |io| {
            io.of("/").on("ask me", |socket: Socket, (): (), ack: Ack| async move {
                ack.send(socket.emit_with_ack("really?", &()).await.is_ok())
            });
        })
        .await;
        let mut wire = server.joined().await;
        wire.say("427[\"ask me\"]").await;
        assert_eq!(wire.text().await, "420[\"really?\"]");
        wire.say("430[]").await;
        assert_eq!(wire.text().await, format!("437[{answered}]"));
        server.finish().await;
    }
}

/// Handlers at the limit that all wait for answers, which are not read: all of them time out, and then reading goes on.
async fn answers_that_are_not_read_time_out() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let builder = |builder: Builder| builder.ack_timeout(Duration::from_millis(200)).max_outbox(1 << 20);
    let server = Server::with(builder, |io| {
        io.of("/").on("ask me", move |socket: Socket| {
            let count = count.clone();
            async move {
                // The one answer that has arrived may be read while its handler is about to time out.
                drop(socket.emit_with_ack("really?", &()).await);
                count.fetch_add(1, SeqCst);
            }
        });
        io.of("/").on("hi", |_: Socket, (): (), ack: Ack| async move { ack.send(()) });
    })
    .await;
    let mut wire = server.joined().await;
    let events: Vec<u8> = (0..HANDLERS_PER_CONNECTION).flat_map(|_| frame(1, b"42[\"ask me\"]")).collect();
    wire.send(events).await;
    for n in 0..HANDLERS_PER_CONNECTION {
        assert_eq!(wire.text().await, format!("42{n}[\"really?\"]"));
    }
    // This event is not read until a handler ends.
    wire.say("430[\"yes\"]").await;
    wire.say("421[\"hi\"]").await;
    assert_eq!(wire.text().await, "431[]");
    until("all have timed out", || ended.load(SeqCst) == HANDLERS_PER_CONNECTION).await;
    server.finish().await;
}

/// Handlers of one namespace or one client that never end do not delay others (socketioxide #799).
async fn a_stuck_handler_delays_no_other_client() {
    let held = Held::new();
    let server = Server::start(|io| held.serve(io)).await;
    let mut stuck = server.joined().await;
    server.join(&mut stuck, "/other").await;
    hold(&mut stuck, 10).await;
    stuck.say("42/other,1[\"hi\"]").await;
    assert_eq!(stuck.texts().await, ["43/other,1[]"]);
    hold(&mut stuck, HANDLERS_PER_CONNECTION).await;
    let mut other = server.joined().await;
    server.join(&mut other, "/other").await;
    other.say("42/other,1[\"hi\"]").await;
    assert_eq!(other.texts().await, ["43/other,1[]"]);
    server.io.emit("to all", ()).unwrap();
    assert_eq!(stuck.text().await, "42[\"to all\"]");
    assert_eq!(other.text().await, "42[\"to all\"]");
    drop((stuck, other));
    server.finish().await;
}

/// While the limit is reached, a client that does not even fetch the ping is disconnected all the same.
#[tokio::test]
async fn a_client_that_does_not_poll_is_not_excused() {
    let held = Held::new();
    let server = Server::with(quick, |io| held.serve(io)).await;
    let clock = Frozen::new();
    let sid = server.join_by_polling().await;
    let mut post = held.fill_by_a_post(&server, &sid).await;
    // The time of the ping, and the timeout of its pong. Another request is answered only after what is due was done.
    for _ in 0..2 {
        assert_eq!(server.io.connections(), 1);
        clock.advance(50).await;
        assert_eq!(server.get("transport=none").await.status(), 400);
    }
    until("it is closed", || server.io.connections() == 0).await;
    assert_eq!(post.answer("POST").await.text(), "ok");
    held.release(HANDLERS_PER_CONNECTION);
    drop(clock);
    server.finish().await;
}

/// More packets than an outbox holds, emitted in one step: clients that read get all of them. (`bursts.rs` has other bursts and other
/// streams.)
async fn a_burst_of_small_events_disconnects_no_client_that_reads() {
    const BURST: usize = 3_000;
    let server = Server::start(|io| {
        io.of("/").on("burst", |socket: Socket| async move {
            for number in 0..BURST {
                socket.emit("own", number).unwrap();
                socket.broadcast().emit("other", number).unwrap();
            }
        });
    })
    .await;
    let (mut publisher, mut other) = (server.joined().await, server.joined().await);
    publisher.say("42[\"burst\"]").await;
    for number in 0..BURST {
        assert_eq!(publisher.text().await, format!("42[\"own\",{number}]"));
        assert_eq!(other.text().await, format!("42[\"other\",{number}]"));
    }
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    a_panic_ends_only_its_event,
    handlers_begin_in_the_order_of_events,
    arguments_that_do_not_fit_are_ignored,
    answers_that_are_not_read_time_out,
    a_stuck_handler_delays_no_other_client,
    a_burst_of_small_events_disconnects_no_client_that_reads,
}
