//! Random walks of the session's state machine, compared with a model that remembers what happened and when, instead of
//! what is due.

use super::*;
use proptest::prelude::*;

const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    ping_timeout: Duration::from_secs(20),
    upgrade_timeout: Duration::from_secs(10),
};

/// Everything that can be done with a session, in any order.
#[derive(Debug, Clone)]
enum Act {
    Wait(u64),
    Receive(EngineKind),
    Tick,
    ExcusePong,
    BeginPoll,
    Answer { drained: bool },
    EndPoll,
    BeginPost,
    HoldPost,
    EndPost,
    BeginUpgrade,
    Probe(EngineKind, bool),
    AbortUpgrade,
    TickUpgrade { drained: bool },
    Fail(CloseReason),
    FailPolling(CloseReason),
    Close(CloseReason),
    Finish { reason: CloseReason, drained: bool, seconds: u64 },
    Fault { waiting: CloseReason, drained: bool, seconds: u64 },
    Drained,
    LetHandlerEstablish,
    Establish,
}

fn kinds() -> impl Strategy<Value = EngineKind> {
    use EngineKind::{Close, Message, Noop, Open, Ping, Pong, Upgrade};
    prop_oneof![
        8 => prop_oneof![Just(Message), Just(Pong)],
        2 => prop_oneof![Just(Open), Just(Upgrade), Just(Noop)],
        1 => prop_oneof![Just(Ping), Just(Close)],
    ]
}

fn reasons() -> impl Strategy<Value = CloseReason> {
    use CloseReason::{ForcedClose, ParseError, ServerShutdown, TransportClose};
    prop_oneof![Just(ForcedClose), Just(ParseError), Just(ServerShutdown), Just(TransportClose)]
}

fn steps() -> impl Strategy<Value = Act> {
    // Short waits, and waits about as long as the deadlines.
    let milliseconds =
        prop_oneof![0..150_u64, 900..1_100_u64, 4_900..5_100_u64, 9_900..10_100_u64, 18_000..26_000_u64, Just(60_000)];
    prop_oneof![
        60 => milliseconds.prop_map(Act::Wait),
        60 => Just(Act::Tick),
        40 => kinds().prop_map(Act::Receive),
        10 => Just(Act::ExcusePong),
        20 => Just(Act::BeginPoll),
        30 => any::<bool>().prop_map(|drained| Act::Answer { drained }),
        20 => Just(Act::EndPoll),
        10 => Just(Act::BeginPost),
        5 => Just(Act::HoldPost),
        10 => Just(Act::EndPost),
        15 => Just(Act::BeginUpgrade),
        15 => (prop_oneof![4 => Just(EngineKind::Ping), 2 => Just(EngineKind::Upgrade), 1 => kinds()], any::<bool>())
            .prop_map(|(kind, probe)| Act::Probe(kind, probe)),
        3 => Just(Act::AbortUpgrade),
        20 => any::<bool>().prop_map(|drained| Act::TickUpgrade { drained }),
        1 => reasons().prop_map(Act::Fail),
        1 => reasons().prop_map(Act::FailPolling),
        1 => reasons().prop_map(Act::Close),
        2 => (reasons(), any::<bool>(), 0..8_u64)
            .prop_map(|(reason, drained, seconds)| Act::Finish { reason, drained, seconds }),
        1 => (reasons(), any::<bool>(), 0..8_u64)
            .prop_map(|(waiting, drained, seconds)| Act::Fault { waiting, drained, seconds }),
        3 => Just(Act::Drained),
        1 => Just(Act::LetHandlerEstablish),
        3 => Just(Act::Establish),
    ]
}

/// What happened.
struct Model {
    now: Instant,
    websocket: bool,
    /// Why it ended.
    ended: Option<CloseReason>,
    /// The server ends it, for this reason, and waits until this time.
    ending: Option<(CloseReason, Instant)>,
    /// The handler has learnt of that end already.
    reported: bool,
    /// Whether the session has begun its work, and if not, whether a message will do.
    established: bool,
    any_message: bool,
    due: bool,
    /// When the heartbeat began to be quiet, and how long it may be so.
    quiet: (Instant, Duration),
    /// A ping was sent: the time by which something must come, and whether that time was moved once.
    pinged: Option<(Instant, bool)>,
    polling: bool,
    posting: bool,
    post_held: bool,
    /// When an upgrade began, and whether it was probed.
    upgrading: Option<(Instant, bool)>,
}

impl Model {
    fn is_open(&self) -> bool {
        self.ended.is_none() && self.ending.is_none()
    }

    fn end(&mut self, reason: CloseReason) {
        if self.ended.is_none() {
            self.ended = Some(reason);
            self.upgrading = None;
        }
    }

    fn received(&mut self, kind: EngineKind) -> Step {
        if !self.is_open() {
            return Step::Ignore;
        }
        match (kind, &mut self.pinged) {
            (EngineKind::Pong, _) => (self.pinged, self.quiet) = (None, (self.now, TIMING.ping_interval)),
            (_, Some((by, moved))) if !*moved => (*by, *moved) = (self.now + TIMING.ping_timeout, true),
            _ => {}
        }
        match kind {
            EngineKind::Message => {
                self.due |= !self.established && self.any_message;
                Step::Deliver
            }
            EngineKind::Ping => {
                self.end(CloseReason::TransportError);
                Step::Closed
            }
            EngineKind::Close if !self.websocket => {
                self.end(CloseReason::TransportClose);
                Step::Closed
            }
            _ => Step::Ignore,
        }
    }

    fn ticked(&mut self) -> Tick {
        if self.ended.is_some() {
            return Tick::Closed;
        }
        if let Some((reason, until)) = self.ending {
            if self.now < until {
                return Tick::Nothing;
            }
            self.end(reason);
            return Tick::Closed;
        }
        let Some((by, moved)) = self.pinged else {
            let (since, quiet) = self.quiet;
            if self.now < since + quiet {
                return Tick::Nothing;
            }
            self.pinged = Some((self.now + TIMING.ping_timeout, false));
            return Tick::Ping;
        };
        if self.now < by {
            return Tick::Nothing;
        }
        if !moved && self.now > by + LATE {
            self.pinged = Some((self.now + LATE, true));
            return Tick::Nothing;
        }
        self.end(CloseReason::PingTimeout);
        Tick::Closed
    }

    fn excused(&mut self) {
        if let Some((by, _)) = self.pinged
            && by <= self.now
        {
            // The next ping is due when it would be if the pong had come at once, or now.
            let next = (by + TIMING.ping_interval - TIMING.ping_timeout).max(self.now);
            (self.pinged, self.quiet) = (None, (self.now, next - self.now));
        }
    }
}

struct Walk {
    session: Session,
    model: Model,
}

impl Walk {
    fn new(websocket: bool) -> Self {
        let now = Instant::now();
        let transport = if websocket { Transport::WebSocket } else { Transport::Polling };
        let model = Model {
            now,
            websocket,
            ended: None,
            ending: None,
            reported: false,
            established: false,
            any_message: true,
            due: false,
            quiet: (now, TIMING.ping_interval),
            pinged: None,
            polling: false,
            posting: false,
            post_held: false,
            upgrading: None,
        };
        Self { session: Session::new(transport, now, &TIMING, 0.0), model }
    }

    fn step(&mut self, step: &Act) {
        let Self { session, model } = self;
        let now = model.now;
        match *step {
            Act::Wait(milliseconds) => model.now += Duration::from_millis(milliseconds),
            Act::Receive(kind) => assert_eq!(session.receive(kind, now, &TIMING), model.received(kind)),
            Act::Tick => assert_eq!(session.tick(now, &TIMING), model.ticked()),
            Act::ExcusePong => {
                session.excuse_pong(now, &TIMING);
                model.excused();
            }
            Act::BeginPoll => {
                let overlap = model.polling && !model.websocket;
                assert_eq!(session.begin_poll().is_err(), overlap);
                if overlap {
                    model.end(CloseReason::TransportError);
                }
                model.polling = true;
            }
            Act::Answer { drained } => {
                let reply = session.poll_reply(drained);
                let is_end = matches!(reply, Some(PollReply::Close | PollReply::NoopAndClose));
                if let (Some((reason, _)), Some(PollReply::NoopAndClose)) = (model.ending, reply) {
                    assert!(drained, "what was queued is lost");
                    model.end(reason);
                }
                assert!(!is_end || model.ended.is_some(), "a client is sent an end although the session is open");
                let must = model.ended.is_some() || model.websocket || (model.ending.is_some() && drained);
                assert!(reply.is_some() || !must, "a poll waits for what never comes");
                assert!(session.poll_reply(drained).is_none() || must, "an answer is given twice");
            }
            Act::EndPoll => {
                session.end_poll();
                model.polling = false;
            }
            Act::BeginPost => {
                let overlap = model.posting && !model.websocket;
                assert_eq!(session.begin_post().is_err(), overlap);
                if overlap {
                    model.end(CloseReason::TransportError);
                }
                model.posting = true;
            }
            Act::HoldPost => {
                session.hold_post();
                model.post_held = true;
            }
            Act::EndPost => {
                session.end_post();
                (model.posting, model.post_held) = (false, false);
            }
            Act::BeginUpgrade => {
                let begins = model.is_open() && !model.websocket && model.upgrading.is_none();
                assert_eq!(session.begin_upgrade(now, &TIMING), begins);
                if begins {
                    model.upgrading = Some((now, false));
                }
            }
            Act::Probe(kind, probe) => {
                let answer = session.probe(kind, if probe { "probe" } else { "" }, now);
                let expected = match (&mut model.upgrading, kind) {
                    (None, _) => Probe::Abort,
                    (Some((_, probed)), EngineKind::Ping) if probe => {
                        *probed = true;
                        Probe::Reply
                    }
                    (Some(_), EngineKind::Upgrade) => {
                        (model.upgrading, model.websocket) = (None, true);
                        Probe::Complete
                    }
                    (Some(_), _) => {
                        model.upgrading = None;
                        Probe::Abort
                    }
                };
                assert_eq!(answer, expected);
            }
            Act::AbortUpgrade => {
                session.abort_upgrade();
                model.upgrading = None;
            }
            Act::TickUpgrade { drained } => {
                let held = session.poll_is_writable();
                let goes_on = model.upgrading.is_some_and(|(since, _)| now < since + TIMING.upgrade_timeout);
                assert_eq!(session.tick_upgrade(now, drained), goes_on);
                if !goes_on {
                    model.upgrading = None;
                }
                let answered = held && !session.poll_is_writable();
                let may = drained && model.upgrading.is_some_and(|(_, probed)| probed);
                assert!(!answered || may, "a poll is answered with a noop out of turn");
            }
            Act::Fail(reason) => {
                session.fail(reason);
                model.end(reason);
            }
            Act::FailPolling(reason) => {
                session.fail_polling(reason);
                if !model.websocket {
                    model.end(reason);
                }
            }
            Act::Close(reason) => {
                session.close(reason);
                model.end(reason);
            }
            Act::Finish { reason, drained, seconds } => {
                let at_once = model.polling && session.poll_is_writable() || reason == CloseReason::ServerShutdown;
                session.finish(reason, drained, now, Duration::from_secs(seconds));
                if model.is_open() {
                    if !model.websocket && drained && at_once {
                        model.end(reason);
                    } else {
                        let patient = !model.websocket && reason != CloseReason::ServerShutdown;
                        let time = if patient { POLL_CLOSE_TIMEOUT } else { Duration::from_secs(seconds) };
                        model.ending = Some((reason, now + time));
                    }
                }
            }
            Act::Fault { waiting, drained, seconds } => {
                let at_once = model.polling && session.poll_is_writable();
                session.fault([CloseReason::ForcedClose, waiting], drained, now, Duration::from_secs(seconds));
                if model.is_open() {
                    if !model.websocket && drained && at_once {
                        model.end(CloseReason::ForcedClose);
                    } else {
                        let reason = if model.websocket && drained { CloseReason::ForcedClose } else { waiting };
                        model.ending = Some((reason, now + Duration::from_secs(seconds)));
                        model.reported = true;
                    }
                }
            }
            Act::LetHandlerEstablish => {
                session.let_handler_establish();
                (model.established, model.any_message, model.due) = (false, false, false);
            }
            Act::Establish => {
                assert_eq!(session.establish(), !model.established);
                (model.established, model.due) = (true, false);
            }
            Act::Drained => {
                session.drained();
                if let Some((reason, _)) = model.ending {
                    model.end(reason);
                }
            }
        }
        self.compare();
    }

    /// Compares what can be asked at any time.
    fn compare(&self) {
        let Self { session, model } = self;
        assert_eq!(session.closed(), model.ended);
        assert_eq!(session.is_open(), model.is_open());
        assert_eq!(session.is_closing(), model.ended.is_none() && model.ending.is_some());
        assert_eq!(session.transport() == Transport::WebSocket, model.websocket);
        assert_eq!(session.is_post_held(), model.post_held);
        let reported = model.ending.filter(|_| model.reported).map(|(reason, _)| reason);
        assert_eq!(
            session.over(),
            model.ended.or(reported),
            "the handler learns of the end when there is one, and of no other"
        );
        assert_eq!(session.is_to_be_established(), model.due);
        assert!(model.polling || !session.poll_is_writable());
        // Until the end there is always a time at which to check again, so nothing can be forgotten.
        let due = match (model.ended, model.ending, model.pinged) {
            (Some(_), ..) => None,
            (None, Some((_, until)), _) => Some(until),
            (None, None, Some((by, _))) => Some(by),
            (None, None, None) => Some(model.quiet.0 + model.quiet.1),
        };
        assert_eq!(session.deadline(), due);
        assert_eq!(session.upgrade_deadline().is_some(), model.upgrading.is_some());
        if let (Some(look), Some((since, _))) = (session.upgrade_deadline(), model.upgrading) {
            assert!(look <= since + TIMING.upgrade_timeout);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn the_session_does_what_happened_asks_for(websocket: bool, steps in prop::collection::vec(steps(), 1..200)) {
        let mut walk = Walk::new(websocket);
        for step in &steps {
            walk.step(step);
        }
        // With a silent client, and if only the deadlines are kept, the session ends.
        for _ in 0..8 {
            if let Some(due) = walk.session.deadline() {
                walk.model.now = walk.model.now.max(due);
                walk.step(&Act::Tick);
            }
        }
        prop_assert!(walk.session.closed().is_some());
    }
}
