//! The session's state machine, with a clock that only the test moves.

use super::*;

const TIMING: Timing = Timing {
    ping_interval: Duration::from_secs(25),
    ping_timeout: Duration::from_secs(20),
    upgrade_timeout: Duration::from_secs(10),
};

/// A session and its time.
struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn new(transport: Transport) -> Self {
        let now = Instant::now();
        Self { session: Session::new(transport, now, &TIMING, 0.0), now }
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn tick(&mut self) -> Tick {
        self.session.tick(self.now, &TIMING)
    }

    fn receive(&mut self, kind: EngineKind) -> Step {
        self.session.receive(kind, self.now, &TIMING)
    }

    fn reply(&mut self, drained: bool) -> Option<&'static str> {
        self.session.poll_reply(drained).map(PollReply::as_str)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_ping_comes_after_each_interval_and_a_pong_restarts_it() {
    let mut bench = Bench::new(Transport::WebSocket);
    assert_eq!(bench.after(seconds(25) - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Ping);
    assert_eq!(bench.after(seconds(19)).tick(), Tick::Nothing);
    assert_eq!(bench.receive(EngineKind::Pong), Step::Ignore);
    assert_eq!(bench.after(seconds(25) - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Ping);
}

#[test]
fn the_round_trip_of_a_ping_is_known_unless_another_packet_came_in_between() {
    let mut bench = Bench::new(Transport::WebSocket);
    let round_trip = |bench: &Bench, kind| bench.session.round_trip(kind, bench.now, &TIMING);
    assert_eq!(round_trip(&bench, EngineKind::Pong), None, "nothing was asked");
    assert_eq!(bench.after(seconds(25)).tick(), Tick::Ping);
    bench.after(seconds(19));
    assert_eq!(round_trip(&bench, EngineKind::Message), None);
    assert_eq!(round_trip(&bench, EngineKind::Pong), Some(seconds(19)));
    assert_eq!(bench.receive(EngineKind::Message), Step::Deliver);
    assert_eq!(round_trip(&bench, EngineKind::Pong), None);
    assert_eq!(bench.receive(EngineKind::Pong), Step::Ignore);
    assert_eq!(bench.after(seconds(25)).tick(), Tick::Ping);
    assert_eq!(round_trip(&bench, EngineKind::Pong), Some(Duration::ZERO));
    // A deadline that passed while the server slept was moved.
    assert_eq!(bench.after(seconds(30)).tick(), Tick::Nothing);
    assert_eq!(round_trip(&bench, EngineKind::Pong), None);
}

#[test]
fn the_first_ping_is_spread_over_a_quarter_of_the_interval() {
    let now = Instant::now();
    let early = Session::new(Transport::WebSocket, now, &TIMING, 1.0);
    assert_eq!(early.deadline(), Some(now + seconds(25) - seconds(25) / FIRST_PING_SPREAD));
}

#[test]
fn a_missing_pong_closes_at_the_timeout() {
    let mut bench = Bench::new(Transport::WebSocket);
    assert_eq!(bench.after(seconds(25)).tick(), Tick::Ping);
    assert_eq!(bench.after(seconds(20) - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Closed);
    assert_eq!(bench.session.closed(), Some(CloseReason::PingTimeout));
    assert_eq!(bench.session.deadline(), None);
}

#[test]
fn the_first_other_packet_moves_the_pongs_deadline_once() {
    let mut bench = Bench::new(Transport::WebSocket);
    bench.after(seconds(25)).tick();
    assert_eq!(bench.after(seconds(15)).receive(EngineKind::Message), Step::Deliver);
    assert_eq!(bench.after(seconds(15)).receive(EngineKind::Message), Step::Deliver);
    assert_eq!(bench.after(seconds(5) - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Closed);
}

#[test]
fn a_server_that_slept_gives_clients_another_second_once() {
    let mut bench = Bench::new(Transport::WebSocket);
    bench.after(seconds(25)).tick();
    assert_eq!(bench.after(seconds(22)).tick(), Tick::Nothing);
    assert_eq!(bench.after(LATE - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Closed);
}

#[test]
fn unasked_pongs_do_no_harm() {
    let mut bench = Bench::new(Transport::WebSocket);
    for _ in 0..100_000 {
        assert_eq!(bench.receive(EngineKind::Pong), Step::Ignore);
    }
    assert_eq!(bench.after(seconds(25)).tick(), Tick::Ping);
}

#[test]
fn a_ping_from_the_client_is_an_error() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    assert_eq!(bench.receive(EngineKind::Ping), Step::Closed);
    assert_eq!(bench.session.closed(), Some(CloseReason::TransportError));
    assert_eq!(bench.reply(true), Some("1"));
}

#[test]
fn close_counts_by_polling_and_not_over_a_websocket() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    assert_eq!(bench.receive(EngineKind::Close), Step::Closed);
    assert_eq!(bench.session.closed(), Some(CloseReason::TransportClose));
    assert_eq!(bench.reply(true), Some("6"));

    let mut bench = Bench::new(Transport::WebSocket);
    assert_eq!(bench.receive(EngineKind::Close), Step::Ignore);
    for kind in [EngineKind::Open, EngineKind::Upgrade, EngineKind::Noop] {
        assert_eq!(bench.receive(kind), Step::Ignore);
    }
    assert!(bench.session.is_open());
}

#[test]
fn a_second_poll_ends_the_session_and_answers_the_first() {
    let mut bench = Bench::new(Transport::Polling);
    assert_eq!(bench.session.begin_poll(), Ok(()));
    assert_eq!(bench.reply(true), None);
    assert_eq!(bench.session.begin_poll(), Err(Overlap));
    assert_eq!(bench.reply(true), Some("1"));
    assert_eq!(bench.session.closed(), Some(CloseReason::TransportError));
}

#[test]
fn polls_one_after_another_are_fine() {
    let mut bench = Bench::new(Transport::Polling);
    for _ in 0..3 {
        assert_eq!(bench.session.begin_poll(), Ok(()));
        assert!(bench.session.poll_is_writable());
        bench.session.end_poll();
        assert!(!bench.session.poll_is_writable());
    }
}

#[test]
fn a_second_post_ends_the_session() {
    let mut bench = Bench::new(Transport::Polling);
    assert_eq!(bench.session.begin_post(), Ok(()));
    bench.session.end_post();
    assert_eq!(bench.session.begin_post(), Ok(()));
    assert_eq!(bench.session.begin_post(), Err(Overlap));
    assert_eq!(bench.session.closed(), Some(CloseReason::TransportError));
}

#[test]
fn a_closing_session_empties_its_queue_and_ends_at_the_next_poll() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    bench.session.finish(CloseReason::ForcedClose, false, bench.now, seconds(5));
    // The queued packets leave with this poll.
    assert_eq!(bench.reply(false), None);
    bench.session.end_poll();
    assert!(bench.session.is_closing());
    bench.session.begin_poll().unwrap();
    assert_eq!(bench.reply(true), Some("6\u{1e}1"));
    assert_eq!(bench.session.closed(), Some(CloseReason::ForcedClose));
}

#[test]
fn a_closing_session_with_nothing_queued_answers_the_held_poll() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    bench.session.finish(CloseReason::ForcedClose, true, bench.now, seconds(5));
    assert_eq!(bench.reply(true), Some("1"));
}

#[test]
fn a_closing_session_without_a_poll_ends_after_thirty_seconds() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.finish(CloseReason::ForcedClose, true, bench.now, seconds(5));
    assert_eq!(bench.after(POLL_CLOSE_TIMEOUT - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Closed);
    assert_eq!(bench.session.closed(), Some(CloseReason::ForcedClose));
}

#[test]
fn an_upgrade_answers_the_held_poll_within_100_ms_and_completes() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    bench.after(NOOP_INTERVAL);
    assert_eq!(bench.session.upgrade_deadline(), Some(bench.now));
    assert!(bench.session.tick_upgrade(bench.now, true));
    assert_eq!(bench.reply(true), None, "not before the probe");
    bench.after(NOOP_INTERVAL / 2);
    assert_eq!(bench.session.probe(EngineKind::Ping, "probe", bench.now), Probe::Reply);
    assert_eq!(bench.session.upgrade_deadline(), Some(bench.now + NOOP_INTERVAL));
    assert!(bench.session.tick_upgrade(bench.now, true));
    assert_eq!(bench.reply(true), None);
    bench.after(NOOP_INTERVAL);
    assert!(bench.session.tick_upgrade(bench.now, true));
    assert_eq!(bench.reply(true), Some("6"));
    bench.session.end_poll();
    // It is answered as often as needed.
    bench.session.begin_poll().unwrap();
    bench.after(NOOP_INTERVAL);
    assert!(bench.session.tick_upgrade(bench.now, true));
    assert_eq!(bench.reply(true), Some("6"));
    bench.session.end_poll();
    assert_eq!(bench.session.probe(EngineKind::Upgrade, "", bench.now), Probe::Complete);
    assert_eq!(bench.session.transport(), Transport::WebSocket);
    assert_eq!(bench.session.upgrade_deadline(), None);
}

#[test]
fn an_upgrade_without_a_probe_is_accepted_and_frees_a_held_poll() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    assert_eq!(bench.session.probe(EngineKind::Upgrade, "", bench.now), Probe::Complete);
    assert_eq!(bench.reply(true), Some("6"));
}

#[test]
fn a_second_upgrade_is_refused_during_and_after_the_first() {
    let mut bench = Bench::new(Transport::Polling);
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    assert!(!bench.session.begin_upgrade(bench.now, &TIMING));
    bench.session.probe(EngineKind::Upgrade, "", bench.now);
    assert!(!bench.session.begin_upgrade(bench.now, &TIMING));
    assert!(bench.session.is_open());
}

#[test]
fn an_upgrade_that_is_never_finished_times_out_and_polling_goes_on() {
    let mut bench = Bench::new(Transport::Polling);
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    bench.session.probe(EngineKind::Ping, "probe", bench.now);
    bench.after(seconds(10) - MOMENT);
    assert!(bench.session.tick_upgrade(bench.now, true));
    bench.after(MOMENT);
    assert!(!bench.session.tick_upgrade(bench.now, true));
    assert!(bench.session.is_open());
    assert_eq!(bench.session.transport(), Transport::Polling);
    // Another attempt is allowed.
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
}

#[test]
fn anything_else_on_the_probing_websocket_aborts_the_upgrade_alone() {
    for (kind, data) in [(EngineKind::Message, "2[]"), (EngineKind::Ping, ""), (EngineKind::Pong, "probe")] {
        let mut bench = Bench::new(Transport::Polling);
        assert!(bench.session.begin_upgrade(bench.now, &TIMING));
        assert_eq!(bench.session.probe(kind, data, bench.now), Probe::Abort);
        assert!(bench.session.is_open());
        assert_eq!(bench.session.transport(), Transport::Polling);
    }
}

#[test]
fn a_heartbeat_during_an_upgrade_does_not_disturb_it() {
    let mut bench = Bench::new(Transport::Polling);
    bench.after(seconds(20));
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    assert_eq!(bench.after(seconds(5)).tick(), Tick::Ping);
    assert_eq!(bench.receive(EngineKind::Pong), Step::Ignore);
    assert_eq!(bench.session.probe(EngineKind::Upgrade, "", bench.now), Probe::Complete);
    assert!(bench.session.is_open());
}

#[test]
fn nothing_counts_after_the_end() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.close(CloseReason::TransportClose);
    bench.session.fail(CloseReason::ParseError);
    assert_eq!(bench.session.closed(), Some(CloseReason::TransportClose));
    assert_eq!(bench.receive(EngineKind::Message), Step::Ignore);
    assert!(!bench.session.begin_upgrade(bench.now, &TIMING));
    assert_eq!(bench.tick(), Tick::Closed);
}

#[test]
fn a_get_that_the_upgrade_overtakes_fetches_nothing_and_is_not_an_overlap() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.begin_poll().unwrap();
    assert!(bench.session.begin_upgrade(bench.now, &TIMING));
    assert_eq!(bench.session.probe(EngineKind::Upgrade, "", bench.now), Probe::Complete);
    // The GET's session was found before the switch, and the GET begins after it.
    assert_eq!(bench.session.begin_poll(), Ok(()));
    assert_eq!(bench.reply(false), Some("6"));
    assert_eq!(bench.reply(false), Some("6"));
    bench.session.finish(CloseReason::ForcedClose, false, bench.now, seconds(5));
    assert_eq!(bench.reply(true), Some("6"));
    assert!(bench.session.is_closing(), "the end is the WebSocket's to tell");
    assert_eq!(bench.session.begin_post(), Ok(()));
    assert_eq!(bench.session.begin_post(), Ok(()));
    bench.session.fail_polling(CloseReason::ParseError);
    assert!(bench.session.is_closing());
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_poll_that_cannot_come() {
    let mut bench = Bench::new(Transport::Polling);
    bench.session.finish(CloseReason::ServerShutdown, true, bench.now, seconds(5));
    assert_eq!(bench.session.closed(), Some(CloseReason::ServerShutdown));
    // Something is queued: a poll may be on its way.
    let mut bench = Bench::new(Transport::Polling);
    bench.session.finish(CloseReason::ServerShutdown, false, bench.now, seconds(5));
    assert_eq!(bench.after(seconds(5) - MOMENT).tick(), Tick::Nothing);
    assert_eq!(bench.after(MOMENT).tick(), Tick::Closed);
    assert_eq!(bench.session.closed(), Some(CloseReason::ServerShutdown));
}
