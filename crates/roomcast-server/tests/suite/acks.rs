//! Acknowledgements: each ends in exactly one way, and leaves nothing behind.

use crate::common::{Frozen, Log, Server, patient, until};
use roomcast_adapter::limits::MAX_PENDING_ACKS;
use roomcast_server::{Ack, AckError, Builder, EmitError, Local, Socket};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::JoinSet;

/// A server with one namespace, whose state can be inspected, and its latest socket.
struct Asking {
    server: Server,
    local: Arc<parking_lot::Mutex<Option<Arc<Local>>>>,
    socket: Arc<parking_lot::Mutex<Option<Socket>>>,
}

impl Asking {
    async fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        let local = Arc::new(parking_lot::Mutex::new(None));
        let socket = Arc::new(parking_lot::Mutex::new(None));
        let (made, connected) = (local.clone(), socket.clone());
        let builder = |builder: Builder| {
            change(builder).adapter(move |context| {
                let local = Local::new(context.namespace);
                *made.lock() = Some(local.clone());
                local
            })
        };
        let server = Server::with(builder, |io| {
            io.of("/").on_connection(move |socket: Socket| {
                *connected.lock() = Some(socket);
                std::future::ready(())
            });
        })
        .await;
        Self { server, local, socket }
    }

    fn socket(&self) -> Socket {
        self.socket.lock().clone().unwrap()
    }

    /// Number of emits that await answers.
    fn awaited(&self) -> usize {
        self.local.lock().as_ref().unwrap().sizes().2
    }
}

/// How many ended by their timeout, and how many because the socket could not answer.
async fn ends(tasks: JoinSet<Result<roomcast_server::Args, AckError>>) -> (usize, usize) {
    let (mut timeouts, mut gone) = (0, 0);
    for end in patient("all have ended", tasks.join_all()).await {
        match end {
            Err(AckError::Timeout) => timeouts += 1,
            Err(AckError::Gone) => gone += 1,
            end => panic!("{end:?}"),
        }
    }
    (timeouts, gone)
}

/// A client that answers nothing. As many emits as the limit allows await answers and end at their timeout; the rest fail at once.
#[tokio::test]
async fn a_hundred_thousand_unanswered_events() {
    const EVENTS: usize = 100_000;
    let limit = MAX_PENDING_ACKS as usize;
    let asking = Asking::start(|builder| builder.max_outbox(64 << 20)).await;
    let mut wire = asking.server.joined().await;
    let socket = asking.socket();
    let clock = Frozen::new();
    let mut tasks = JoinSet::new();
    for n in 0..EVENTS {
        let socket = socket.clone();
        tasks.spawn(async move { socket.timeout(Duration::from_secs(1)).emit_with_ack("e", n).await });
    }
    until("all have been asked", || tasks.len() == EVENTS && asking.awaited() == limit).await;
    clock.advance(999).await;
    assert_eq!(asking.awaited(), limit);
    clock.advance(2).await;
    assert_eq!(ends(tasks).await, (limit, EVENTS - limit));
    assert_eq!(asking.awaited(), 0);
    drop(clock);

    // A late answer is ignored, and new events can await answers again.
    assert_eq!(wire.sync().await.len(), limit);
    wire.say("430[]").await;
    let again = tokio::spawn(async move { socket.emit_with_ack("again", &()).await });
    let id = limit;
    let asked = wire.text().await;
    let id = asked.strip_prefix("42").unwrap().strip_suffix("[\"again\"]").unwrap().parse::<usize>().unwrap_or(id);
    wire.say(&format!("43{id}[\"yes\"]")).await;
    assert_eq!(patient("an answer", again).await.unwrap().unwrap().items(), "\"yes\"");
    asking.server.finish().await;
}

/// If the client disconnects meanwhile, no emit waits for its timeout.
#[tokio::test]
async fn a_disconnect_ends_all_waiting() {
    let asking = Asking::start(|builder| builder.max_outbox(64 << 20)).await;
    let mut wire = asking.server.joined().await;
    let socket = asking.socket();
    let _clock = Frozen::new();
    let mut tasks = JoinSet::new();
    for n in 0..MAX_PENDING_ACKS {
        let socket = socket.clone();
        tasks.spawn(async move { socket.emit_with_ack("e", &n).await });
    }
    until("all have been asked", || asking.awaited() == MAX_PENDING_ACKS as usize).await;
    wire.say("41").await;
    assert_eq!(ends(tasks).await, (0, MAX_PENDING_ACKS as usize));
    assert_eq!(asking.awaited(), 0);
    drop((wire, _clock));
    asking.server.finish().await;
}

/// An answer that arrives at once is not lost (socketioxide 0.18.3).
async fn answers_that_arrive_at_once_are_not_lost() {
    let asking = Asking::start(|builder| builder).await;
    let mut wire = asking.server.joined().await;
    for n in 0..200 {
        let socket = asking.socket();
        let asked = tokio::spawn(async move { socket.emit_with_ack("e", &n).await });
        assert_eq!(wire.text().await, format!("42{n}[\"e\",{n}]"));
        wire.say(&format!("43{n}[{n}]")).await;
        assert_eq!(patient("the answers", asked).await.unwrap().unwrap().parse::<u32>().unwrap(), n);
    }
    asking.server.finish().await;
}

/// An emit that timed out awaits nothing any more, and its late answer is ignored (socketioxide #820).
async fn timeouts_leave_nothing() {
    let asking = Asking::start(|builder| builder.ack_timeout(Duration::from_millis(20))).await;
    let mut wire = asking.server.joined().await;
    let end = asking.socket().emit_with_ack("e", &()).await;
    assert!(matches!(end, Err(AckError::Timeout)), "{end:?}");
    let end = asking.server.io.of("/").everyone().emit_with_ack("e", &()).await.unwrap();
    assert_eq!((end.answers.len(), end.missing_sockets), (0, 1));
    assert_eq!(asking.awaited(), 0);
    wire.say("430[1]").await;
    wire.say("431[1]").await;
    assert_eq!(wire.texts().await, ["420[\"e\"]", "421[\"e\"]"]);
    asking.server.finish().await;
}

/// A broadcast with acknowledgements that is cancelled leaves nothing behind (socketioxide #802).
async fn a_cancelled_broadcast_leaves_nothing() {
    let asking = Asking::start(|builder| builder).await;
    let mut wire = asking.server.joined().await;
    let everyone = asking.server.io.of("/").everyone();
    {
        let mut asked = Box::pin(everyone.emit_with_ack("e", &()));
        let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        assert_eq!(asking.awaited(), 1);
    }
    assert_eq!(asking.awaited(), 0);
    wire.say("430[]").await;
    assert_eq!(wire.texts().await, ["420[\"e\"]"]);
    asking.server.finish().await;
}

async fn a_broadcast_collects_answers_and_counts_the_silent() {
    let asking = Asking::start(|builder| builder.ack_timeout(Duration::from_millis(100))).await;
    let (mut a, mut b) = (asking.server.joined().await, asking.server.joined().await);
    let everyone = asking.server.io.of("/").everyone();
    let asked = tokio::spawn(async move { everyone.emit_with_ack("e", &()).await });
    assert_eq!(a.text().await, "420[\"e\"]");
    a.say("430[\"a\"]").await;
    a.say("430[\"again\"]").await;
    let acked = patient("the answers", asked).await.unwrap().unwrap();
    assert_eq!(acked.answers.iter().map(|answer| answer.items().to_owned()).collect::<Vec<_>>(), ["\"a\""]);
    assert_eq!(acked.missing_sockets, 1);
    assert_eq!(b.texts().await, ["420[\"e\"]"]);
    asking.server.finish().await;
}

async fn a_socket_that_has_left_answers_nothing() {
    let asking = Asking::start(|builder| builder).await;
    let mut wire = asking.server.joined().await;
    let socket = asking.socket();
    let waiting = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack("e", &()).await }
    });
    assert_eq!(wire.text().await, "420[\"e\"]");
    drop(wire);
    assert!(matches!(patient("no answer", waiting).await.unwrap(), Err(AckError::Gone)));
    assert!(matches!(socket.emit_with_ack("e", &()).await, Err(AckError::Gone)));
    let reserved = socket.emit_with_ack("connect", &()).await;
    assert!(matches!(reserved, Err(AckError::Emit(EmitError::ReservedEvent(_)))), "{reserved:?}");
    asking.server.finish().await;
}

/// The answers to a client's events.
async fn clients_are_answered_once_or_not_at_all() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/")
            .on("answered", |_: Socket, n: u32, ack: Ack| async move { ack.send((n, "done")) })
            .on("dropped", |_: Socket, (): (), ack: Ack| async move { drop(ack) })
            .on("not wanted", |_: Socket, (): (), ack: Ack| async move {
                assert!(!ack.is_wanted());
                ack.send(1)
            })
            .on("too late", move |socket: Socket, (): (), ack: Ack| {
                socket.disconnect(false);
                seen.push(format!("{:?}", ack.send(())));
                std::future::ready(())
            });
    })
    .await;
    let mut wire = server.joined().await;
    for say in ["420[\"answered\",7]", "421[\"dropped\"]", "42[\"not wanted\"]", "422[\"too late\"]"] {
        wire.say(say).await;
    }
    assert_eq!(wire.texts().await, ["430[7,\"done\"]", "41"]);
    log.expect(&["Err(Disconnected)"]).await;
    server.finish().await;
}

/// A socket that joined the room of another's id gets what is emitted to that room, but not what is emitted to the other socket.
async fn an_event_with_ack_for_one_socket_reaches_that_socket_alone() {
    let asking = Asking::start(|builder| builder).await;
    let mut asked = asking.server.joined().await;
    let socket = asking.socket();
    let mut watcher = asking.server.joined().await;
    asking.socket().join(socket.id()).map(drop).unwrap();
    let question = tokio::spawn({
        let socket = socket.clone();
        async move { socket.emit_with_ack("pin?", &()).await }
    });
    assert_eq!(asked.text().await, "420[\"pin?\"]");
    asked.say("430[1234]").await;
    let answer = patient("the answer, without a wait for others", question).await.unwrap().unwrap();
    assert_eq!(answer.items(), "1234");
    let sockets = asking.server.io.of("/").everyone().fetch_sockets().await.value;
    let remote = sockets.iter().find(|remote| remote.id() == socket.id().as_str()).unwrap();
    remote.emit("one", ()).unwrap();
    remote.join("alone").unwrap();
    asking.server.io.to("alone").emit("alone", ()).unwrap();
    assert_eq!(asked.texts().await, ["42[\"one\"]", "42[\"alone\"]"]);
    assert!(watcher.sync().await.is_empty());
    asking.server.finish().await;
}

/// As in Node, a client for which a volatile event was dropped counts as one that did not answer.
async fn volatile_events_with_ack_are_dropped_while_no_poll_waits() {
    let asking = Asking::start(|builder| builder.ack_timeout(Duration::from_millis(100))).await;
    let sid = asking.server.join_by_polling().await;
    let everyone = asking.server.io.of("/").everyone();
    let acked = everyone.clone().volatile().emit_with_ack("lost", &()).await.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets), (0, 1));
    let acked = everyone.emit_with_ack("kept", &()).await.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets), (0, 1));
    assert_eq!(asking.server.poll(&sid).await.text(), "421[\"kept\"]");
    asking.server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    answers_that_arrive_at_once_are_not_lost,
    timeouts_leave_nothing,
    a_cancelled_broadcast_leaves_nothing,
    a_broadcast_collects_answers_and_counts_the_silent,
    a_socket_that_has_left_answers_nothing,
    clients_are_answered_once_or_not_at_all,
    an_event_with_ack_for_one_socket_reaches_that_socket_alone,
    volatile_events_with_ack_are_dropped_while_no_poll_waits,
}
