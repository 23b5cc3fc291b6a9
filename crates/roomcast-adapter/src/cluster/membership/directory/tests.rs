//! Tests of the directory: which losses are counted, who is alive, and who has a namespace.

use super::*;
use crate::cluster::membership::process::{CLOSED_REMEMBERED, MAX_SERIES};
use crate::cluster::seam::alive::SeriesReport;

struct Bench {
    directory: Directory,
    namespace: Arc<str>,
    series: Series,
    /// A message's serial is its number plus this.
    before: u64,
    /// The serial of the last announcement.
    announcements: u64,
    now: Instant,
}

impl Bench {
    /// The namespace is open, and its messages arrive.
    fn new() -> Self {
        let (mut directory, now) = (Directory::new([Hears::All; 2]), Instant::now());
        directory.open_namespace(&"/".into());
        directory.connected("/", now);
        Self { directory, namespace: "/".into(), series: Series::Main, before: 0, announcements: 10_000, now }
    }

    fn hear(&mut self, number: u64) -> bool {
        let trailer = Trailer::new(&self.namespace, 7, self.before + number, number);
        self.directory.message_arrived(&trailer, &self.namespace, Some(self.series), self.now)
    }

    fn announce_number(&mut self, number: u64) {
        self.announce_numbers(&[number]);
    }

    /// An announcement, one second after the last.
    fn announce_numbers(&mut self, numbers: &[u64]) -> bool {
        self.announce(numbers, |_| {})
    }

    fn announce(&mut self, numbers: &[u64], change: impl FnOnce(&mut Alive)) -> bool {
        self.now += Duration::from_secs(1);
        self.announcements += 1;
        let entry = |number: &u64| SeriesReport::new(self.namespace.clone(), self.series, *number, self.before + 1);
        let numbers: Vec<SeriesReport> = numbers.iter().map(entry).collect();
        let mut alive = Alive { sequence: self.announcements - 10_000, interval: 1_000, numbers, ..Alive::default() };
        change(&mut alive);
        alive.follows = alive.sequence.saturating_sub(1);
        self.directory.announcement_arrived(&"a".into(), &Trailer::new("", 7, self.announcements, 0), &alive, self.now)
    }

    fn members(&self) -> usize {
        self.directory.members("/", self.now).len()
    }
}

#[test]
fn gaps_are_counted_and_doubles_dropped() {
    let mut bench = Bench::new();
    assert!(bench.hear(5) && bench.hear(6));
    assert_eq!(bench.directory.losses(), (0, 0));
    assert!(bench.hear(9));
    assert_eq!(bench.directory.losses(), (2, 0));
    assert!(!bench.hear(9) && !bench.hear(7));
    assert_eq!(bench.directory.losses(), (2, 2));
    assert!(bench.hear(10));
}

#[test]
fn a_lost_tail_is_counted_at_the_second_announcement() {
    let mut bench = Bench::new();
    bench.announce_number(3);
    assert!(bench.hear(4));
    bench.announce_number(4);
    bench.announce_number(7);
    assert_eq!(bench.directory.losses(), (0, 0), "it may be in flight");
    bench.announce_number(7);
    assert_eq!(bench.directory.losses(), (3, 0));
    // A message that was counted as lost and arrives after all is dropped, so that the count stays true.
    assert!(!bench.hear(7));
    assert!(bench.hear(8));
    assert_eq!(bench.directory.losses(), (3, 1));
}

#[test]
fn an_announcement_may_overtake_messages() {
    let mut bench = Bench::new();
    assert!(bench.hear(1));
    bench.announce_number(3);
    assert!(bench.hear(2) && bench.hear(3));
    bench.announce_number(3);
    assert_eq!(bench.directory.losses(), (0, 0));
    // The same for the first announcement: counting starts at the first message that arrives.
    let mut bench = Bench::new();
    bench.announce_number(3);
    assert!(bench.hear(2) && bench.hear(3) && !bench.hear(3));
    assert_eq!(bench.directory.losses(), (0, 1));
}

#[test]
fn a_series_that_starts_while_we_listen_starts_at_1() {
    let mut bench = Bench::new();
    bench.announce_numbers(&[]);
    assert!(bench.hear(3));
    assert_eq!(bench.directory.losses(), (2, 0));
    let mut bench = Bench::new();
    bench.announce_numbers(&[]);
    bench.announce_number(2);
    bench.announce_number(2);
    assert_eq!(bench.directory.losses(), (2, 0));
}

#[test]
fn nothing_is_missed_in_a_namespace_that_is_not_open() {
    let mut bench = Bench::new();
    bench.announce_numbers(&[]);
    assert!(bench.hear(1));
    bench.directory.close_namespace("/");
    bench.announce_number(5);
    bench.announce_number(9);
    bench.directory.open_namespace(&"/".into());
    bench.announce_number(9);
    assert!(bench.hear(12));
    bench.announce_number(12);
    bench.announce_number(12);
    // 10 and 11 were published after 9 was announced, when the namespace was open again.
    assert_eq!(bench.directory.losses(), (2, 0));
}

#[test]
fn a_process_that_was_cut_off_for_long_is_still_counted() {
    let mut bench = Bench::new();
    assert!(bench.hear(1));
    bench.now += FORGOTTEN * 3;
    bench.directory.age(bench.now);
    assert_eq!(bench.directory.servers(bench.now).count(), 0);
    assert!(bench.hear(4));
    bench.announce_number(4);
    assert_eq!(bench.directory.losses(), (2, 0));
    assert_eq!(bench.directory.servers(bench.now).count(), 1);
}

#[test]
fn a_server_that_left_stays_away_and_its_lost_tail_is_counted() {
    let mut bench = Bench::new();
    assert!(bench.hear(1));
    bench.announce_number(3);
    bench.directory.left(7, bench.now);
    assert!(bench.hear(2));
    assert_eq!(bench.directory.servers(bench.now).count(), 0);
    bench.now += SETTLE;
    bench.directory.age(bench.now);
    assert_eq!(bench.directory.losses(), (1, 0));
    bench.now += FORGOTTEN;
    bench.directory.age(bench.now);
    assert!(bench.directory.processes.is_empty());
}

#[test]
fn messages_of_a_server_that_comes_back_under_its_name_are_delivered() {
    let mut bench = Bench::new();
    bench.announce_numbers(&[]);
    assert!(bench.hear(1) && bench.hear(2));
    let reborn = Trailer::new("/", 8, 1, 1);
    assert!(bench.directory.message_arrived(&reborn, &"/".into(), Some(Series::Main), bench.now));
    bench.directory.announcement_arrived(&"a".into(), &Trailer::new("", 8, 2, 0), &Alive::default(), bench.now);
    assert_eq!(bench.directory.losses(), (0, 0));
    assert_eq!(bench.directory.servers(bench.now).collect::<Vec<_>>(), [&ServerId::from("a")], "once");
}

/// The sender closes the namespace and opens it again: its numbers start anew.
#[test]
fn a_series_that_starts_anew_is_counted_from_its_start() {
    for announced in [false, true] {
        let mut bench = Bench::new();
        bench.announce_numbers(&[]);
        (1..=5).for_each(|number| assert!(bench.hear(number)));
        if announced {
            bench.announce_numbers(&[]);
            bench.announce_numbers(&[]);
        }
        bench.before = 100;
        assert!(bench.hear(2) && bench.hear(3));
        assert_eq!(bench.directory.losses(), (1, 0), "announced: {announced}");
        bench.before = 0;
        assert!(!bench.hear(4), "of the series before");
    }
    // Only the announcement of the new series arrives. Its number may have reached that of the old series.
    for number in [2, 5, 7] {
        let mut bench = Bench::new();
        (1..=5).for_each(|number| assert!(bench.hear(number)));
        bench.announce_number(5);
        bench.before = 100;
        bench.announce_number(number);
        bench.announce_number(number);
        assert_eq!(bench.directory.losses(), (number, 0));
    }
}

#[test]
fn series_of_a_closed_namespace_are_removed_and_their_lost_tails_counted() {
    let mut bench = Bench::new();
    assert!(bench.hear(1));
    bench.announce(&[3], |alive| alive.closed.push("/".into()));
    assert!(bench.hear(2), "it may still be in flight");
    bench.announce_numbers(&[]);
    assert_eq!(bench.directory.losses(), (1, 0));
    assert_eq!(bench.directory.processes[&7].series_len(), 1);
    // A message keeps the series.
    bench.now += CLOSED_REMEMBERED / 2;
    assert!(bench.hear(4));
    bench.now += CLOSED_REMEMBERED / 2;
    bench.directory.age(bench.now);
    assert_eq!(bench.directory.processes[&7].series_len(), 1);
    bench.now += CLOSED_REMEMBERED / 2;
    bench.directory.age(bench.now);
    assert_eq!(bench.directory.processes[&7].series_len(), 0);
}

#[test]
fn announcements_of_changes_show_who_has_a_namespace() {
    let mut bench = Bench::new();
    let mut moved = bench.directory.members_changed();
    assert!(!bench.announce(&[], |alive| alive.opened.push(("/".into(), 1))));
    assert_eq!((bench.members(), moved.has_changed().unwrap()), (1, true));
    moved.mark_unchanged();
    assert!(!bench.announce_numbers(&[]));
    assert_eq!((bench.members(), moved.has_changed().unwrap()), (1, false));
    assert!(!bench.announce(&[], |alive| alive.closed.push("/".into())));
    assert_eq!((bench.members(), moved.has_changed().unwrap()), (0, true));
}

#[test]
fn a_missed_announcement_leads_to_one_request_for_everything() {
    let mut bench = Bench::new();
    let number = |n: u64| move |alive: &mut Alive| alive.sequence = n;
    assert!(!bench.announce(&[], |alive| alive.opened.push(("/".into(), 1))));
    // The second announcement is lost.
    assert!(bench.announce(&[], number(3)), "it is asked");
    let again = Alive { sequence: 5, follows: 4, ..Alive::default() };
    let trailer = Trailer::new("", 7, 20_000, 0);
    assert!(
        !bench.directory.announcement_arrived(&"a".into(), &trailer, &again, bench.now),
        "it was asked a moment ago"
    );
    // The series was not there when everything was known, so it started later.
    assert!(bench.hear(9));
    assert_eq!(bench.directory.losses(), (8, 0));
    // Everything comes in two parts, and is complete after the second.
    let whole = |alive: &mut Alive| {
        (alive.sequence, alive.whole, alive.more) = (5, true, true);
        alive.opened.push(("/c".into(), 1));
    };
    assert!(!bench.announce(&[], whole));
    assert_eq!(bench.members(), 0);
    assert!(!bench.announce(&[9], number(5)));
    assert!(!bench.announce(&[12], number(6)));
    assert!(!bench.announce(&[], number(7)));
    assert_eq!(bench.directory.losses(), (11, 0));
    // A part that was overtaken is of no use.
    assert!(!bench.announce(&[], |alive| (alive.sequence, alive.whole) = (6, true)));
    assert_eq!(bench.directory.members("/c", bench.now).len(), 1);
}

#[test]
fn a_server_that_falls_silent_is_reported_once() {
    let mut bench = Bench::new();
    bench.announce_numbers(&[]);
    let mut moved = bench.directory.members_changed();
    moved.mark_unchanged();
    let mut notified = 0;
    for _ in 0..30 {
        bench.now += Duration::from_secs(1);
        bench.directory.age(bench.now);
        notified += usize::from(moved.has_changed().unwrap());
        moved.mark_unchanged();
    }
    assert_eq!((notified, bench.directory.approximate_size(bench.now)), (1, 0));
}

#[test]
fn a_server_that_announces_rarely_stays_alive_for_longer() {
    for (interval, silence) in [(0, 10), (1_000, 10), (4_000, 12), (20_000, 60), (u64::MAX, 60)] {
        let mut bench = Bench::new();
        bench.announce(&[], |alive| alive.interval = interval);
        let alive_now = |after: Duration| bench.directory.servers(bench.now + after).count();
        let silence = Duration::from_secs(silence);
        assert_eq!((alive_now(silence - SETTLE), alive_now(silence)), (1, 0), "{interval}");
    }
}

#[test]
fn where_not_everything_is_received_gaps_are_not_losses() {
    let mut bench =
        Bench { directory: Directory::new([Hears::All, Hears::Some]), series: Series::Rooms, ..Bench::new() };
    bench.directory.open_namespace(&"/".into());
    bench.directory.connected("/", bench.now);
    assert!(bench.hear(1) && bench.hear(9));
    bench.announce_number(20);
    bench.announce_number(20);
    assert!(!bench.hear(5), "a message that is sent again arrives after its successor");
    assert_eq!(bench.directory.losses(), (0, 1));
}

#[test]
fn doubles_are_recognized_where_nothing_is_numbered() {
    let mut bench = Bench::new();
    let answer = Trailer::new("/", 7, 5, 0);
    assert!(bench.directory.message_arrived(&answer, &"/".into(), None, bench.now));
    assert!(!bench.directory.message_arrived(&answer, &"/".into(), None, bench.now));
    let elsewhere = Trailer::new("/closed", 7, 6, 4);
    assert!(bench.directory.message_arrived(&elsewhere, &"/closed".into(), Some(Series::Main), bench.now));
    assert_eq!(bench.directory.losses(), (0, 1));
}

#[test]
fn processes_are_bounded_and_silent_ones_make_room() {
    let mut directory = Directory::new([Hears::All; 2]);
    let now = Instant::now();
    let announce = |directory: &mut Directory, number: usize, now| {
        let name = ServerId::from(number.to_string().as_str());
        directory.announcement_arrived(&name, &Trailer::new("", number as u64, 1, 0), &Alive::default(), now);
    };
    for number in 0..=MAX_PROCESSES {
        assert!(!directory.logged_full, "at the limit");
        announce(&mut directory, number, now);
    }
    assert_eq!(directory.servers(now).count(), MAX_PROCESSES);
    // One past the limit: messages are delivered, the lack of room is logged, the other processes are still counted.
    assert!(directory.logged_full);
    directory.open_namespace(&"/".into());
    directory.connected("/", now);
    for (process, is_known) in [(MAX_PROCESSES as u64, false), (0, true)] {
        let hear = |directory: &mut Directory, serial| {
            let trailer = Trailer::new("/", process, serial, serial);
            directory.message_arrived(&trailer, &"/".into(), Some(Series::Main), now)
        };
        assert!(hear(&mut directory, 7) && hear(&mut directory, 9));
        assert_eq!((!hear(&mut directory, 9), directory.losses().0), (is_known, u64::from(is_known)));
    }
    let later = now + FORGOTTEN;
    announce(&mut directory, 1, later);
    assert_eq!(directory.servers(later).collect::<Vec<_>>(), [&ServerId::from("1")]);
    announce(&mut directory, MAX_PROCESSES, later);
    assert_eq!((directory.processes.len(), directory.servers(later).count()), (MAX_PROCESSES, 2));
    directory.age(now + REMEMBERED);
    assert_eq!(directory.processes.len(), 2);
}

#[test]
fn series_are_bounded() {
    let mut bench = Bench::new();
    let hear = |bench: &mut Bench, number: usize, last: u64| {
        bench.namespace = format!("/{number}").into();
        bench.directory.open_namespace(&bench.namespace);
        bench.before += 100;
        bench.hear(last)
    };
    (0..MAX_SERIES).for_each(|number| assert!(hear(&mut bench, number, 1)));
    // One past the limit, messages are delivered but not followed.
    assert!(hear(&mut bench, MAX_SERIES, 1) && hear(&mut bench, MAX_SERIES, 9));
    assert_eq!((bench.directory.losses(), bench.directory.processes[&7].series_len()), ((0, 0), MAX_SERIES));
}
