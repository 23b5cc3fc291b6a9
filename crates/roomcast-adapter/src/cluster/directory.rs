//! The directory: which roomcast servers live, and what of theirs was heard, so that what was not heard is counted.
//!
//! Two sources tell of a loss: a gap between the numbers of two messages of a series, and an announcement of a number that was
//! never heard. Announcements come on a channel of their own and may overtake, so what they tell is not held against a series
//! before it has had [`SETTLE`] to catch up and the next announcement has come.
//!
//! All is kept by process, not by name: a server that comes back under its old name is another process, whose numbers begin
//! anew.

use super::alive::Told;
use super::message::ServerId;
use super::numbers::MAX_NUMBERED;
use super::trailer::{Lane, Trailer, Window};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most processes that are remembered, emitters among them. A looping publisher with ever new ids must not fill the memory: each
/// is 1 KiB and what its series take.
pub(crate) const MAX_PROCESSES: usize = 8_192;

/// Most series that are followed per process: as many as a roomcast process numbers.
pub(crate) const MAX_SERIES: usize = 2 * MAX_NUMBERED;

/// Silence after which a server does not count as alive: ten missed announcements.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(10);

/// Silence after which its numbers are forgotten too. They outlive it, as it may only be cut off, and what it published
/// meanwhile is lost to us and must be counted.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// How far an announcement may be ahead of the messages that it tells of.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// What is known of other roomcast processes.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    processes: HashMap<u64, Process, RandomState>,
    /// The namespaces that are open here, each with the time from which its messages come.
    open: HashMap<Arc<str>, Option<Instant>, RandomState>,
    lost: u64,
    doubles: u64,
}

#[derive(Debug)]
struct Process {
    /// Its server's name. An emitter has none, nor has a server that was not announced yet.
    name: Option<ServerId>,
    heard: Instant,
    /// When it last told of its series.
    told: Option<Instant>,
    left: bool,
    window: Window,
    series: HashMap<(Arc<str>, Lane), Series, RandomState>,
}

/// One series of one process.
#[derive(Debug)]
struct Series {
    /// Last number heard, or counted as lost.
    last: u64,
    /// The serial of its first message, once that was told.
    since: u64,
    /// The highest serial that was heard in it.
    serial: u64,
    /// The serial of the last announcement that told of it.
    alive: u64,
    /// Nothing was heard yet, and `last` was only told: a smaller number may still be on its way.
    unheard: bool,
    /// A number that was told and not heard, and since when.
    told: Option<(u64, Instant)>,
    /// Its process does not tell of it any more, and since when.
    gone: Option<Instant>,
}

impl Directory {
    /// A namespace is heard from now on.
    pub(crate) fn open_namespace(&mut self, namespace: &Arc<str>) {
        self.open.entry(namespace.clone()).or_insert(None);
    }

    /// Messages of an open namespace come.
    pub(crate) fn connected(&mut self, namespace: &str, now: Instant) {
        if let Some(since) = self.open.get_mut(namespace) {
            since.get_or_insert(now);
        }
    }

    /// A namespace is not heard any more: what is missed of it from now on is no loss.
    pub(crate) fn close_namespace(&mut self, namespace: &str) {
        let Some((name, _)) = self.open.remove_entry(namespace) else { return };
        for process in self.processes.values_mut() {
            for lane in [Lane::Main, Lane::Rooms] {
                process.series.remove(&(name.clone(), lane));
            }
        }
    }

    /// A message came, or its trailer. `false`: it came before.
    pub(crate) fn heard(&mut self, trailer: &Trailer, namespace: &Arc<str>, lane: Option<Lane>, now: Instant) -> bool {
        let Some(process) = process(&mut self.processes, trailer.process, now) else { return true };
        if !process.window.is_new(trailer.serial, trailer.again) {
            return self.is_double();
        }
        let (Some(lane), Some(since)) = (lane, self.open.get(namespace)) else { return true };
        if trailer.number == 0 {
            return true;
        }
        // A series that is not in the last announcement began after it, if the namespace was heard by then.
        let followed = process.follows(*since);
        let begin = if followed { 0 } else { trailer.number - 1 };
        let Some(series) = process.series(namespace, lane, begin) else { return true };
        if series.unheard && trailer.number <= series.last {
            series.last = trailer.number - 1;
        }
        let known = trailer.number <= series.last;
        if trailer.serial < series.serial || (known && trailer.serial < series.alive) {
            // It was counted as lost, and so that the count stays true it is.
            return self.is_double();
        }
        if known {
            // A later message with a lower number: the namespace was closed there and opened again.
            series.last = 0;
            series.told = None;
        }
        series.unheard = false;
        series.gone = None;
        let missed = trailer.number - series.last - 1;
        (series.last, series.serial) = (trailer.number, series.serial.max(trailer.serial));
        self.count_lost(missed);
        true
    }

    fn is_double(&mut self) -> bool {
        self.doubles += 1;
        metrics::counter!("roomcast_cluster_doubles_total").increment(1);
        false
    }

    /// A server told that it lives, and the last numbers of its series: those that are not among them are at 0.
    pub(crate) fn told(&mut self, sender: &ServerId, trailer: &Trailer, numbers: &[Told], now: Instant) {
        let mut missed = 0_u64;
        let Some(process) = process(&mut self.processes, trailer.process, now) else { return };
        if process.name.as_ref() != Some(sender) {
            process.name = Some(sender.clone());
        }
        let mut listed: HashSet<(&str, Lane), RandomState> = HashSet::default();
        for told in numbers {
            let Some(since) = self.open.get(&told.namespace) else { continue };
            listed.insert((&told.namespace, told.lane));
            let followed = process.follows(*since);
            let is_new = !process.series.contains_key(&(told.namespace.clone(), told.lane));
            let Some(series) = process.series(&told.namespace, told.lane, if followed { 0 } else { told.number })
            else {
                continue;
            };
            series.unheard |= is_new && !followed;
            if !is_new && series.begins_anew(told.since) {
                // What was told of the last one and did not come never will.
                missed += series.settle(now + SETTLE);
                (series.last, series.told, series.unheard) = (0, None, false);
            }
            series.since = told.since;
            series.alive = trailer.serial;
            series.gone = None;
            missed += series.settle(now);
            if series.told.is_none() && told.number > series.last {
                series.told = Some((told.number, now));
            }
        }
        process.series.retain(|(namespace, lane), series| {
            if listed.contains(&(&**namespace, *lane)) || trailer.serial < series.serial {
                return true;
            }
            // What it told last may still be on its way.
            let gone = *series.gone.get_or_insert(now);
            let over = now.duration_since(gone) >= SETTLE;
            missed += if over { series.settle(now) } else { 0 };
            !over
        });
        process.told = Some(now);
        self.count_lost(missed);
    }

    /// A server has left. Its numbers stay a while, so that what comes late does not bring it back.
    pub(crate) fn left(&mut self, process: u64, now: Instant) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.left = true;
            process.heard = now;
        }
    }

    /// Counts what silent servers told and was never heard, and forgets those that are silent for long.
    pub(crate) fn age(&mut self, now: Instant) {
        let mut missed = 0;
        for process in self.processes.values_mut() {
            let silent = now.duration_since(process.heard);
            if silent >= FORGOTTEN || (process.left && silent >= SETTLE) {
                missed += process.series.values_mut().map(|series| series.settle(now)).sum::<u64>();
            }
        }
        self.processes
            .retain(|_, process| now.duration_since(process.heard) < if process.left { FORGOTTEN } else { REMEMBERED });
        self.count_lost(missed);
    }

    /// The roomcast servers that live, each once.
    pub(crate) fn servers(&self, now: Instant) -> impl Iterator<Item = &ServerId> {
        names(self.processes.values().filter(move |process| process.lives(now)))
    }

    /// Those of them that have published in a namespace.
    pub(crate) fn servers_of(&self, namespace: &str, now: Instant) -> impl Iterator<Item = &ServerId> {
        let of = move |process: &&Process| process.series.keys().any(|(name, _)| **name == *namespace);
        names(self.processes.values().filter(move |process| process.lives(now)).filter(of))
    }

    /// Messages of other roomcast processes that never came, and those that came twice and were dropped.
    pub(crate) fn losses(&self) -> (u64, u64) {
        (self.lost, self.doubles)
    }

    fn count_lost(&mut self, missed: u64) {
        if missed > 0 {
            self.lost = self.lost.saturating_add(missed);
            metrics::counter!("roomcast_cluster_lost_total").increment(missed);
        }
    }
}

/// The names of processes, each once: a server that has just come back under its name may be two processes for some seconds.
fn names<'a>(processes: impl Iterator<Item = &'a Process>) -> impl Iterator<Item = &'a ServerId> {
    let names: HashSet<&ServerId, RandomState> = processes.filter_map(|process| process.name.as_ref()).collect();
    names.into_iter()
}

/// A process that was heard; a new one too, if there is room for it.
fn process(processes: &mut HashMap<u64, Process, RandomState>, id: u64, now: Instant) -> Option<&mut Process> {
    if !processes.contains_key(&id) {
        if processes.len() >= MAX_PROCESSES {
            // Whoever is silent for longest makes room, if it does not live any more.
            let silent = processes.iter().filter(|(_, process)| !process.lives(now));
            let oldest = silent.min_by_key(|(_, process)| process.heard).map(|(id, _)| *id)?;
            processes.remove(&oldest);
        }
        let (window, series) = (Window::default(), HashMap::default());
        processes.insert(id, Process { name: None, heard: now, told: None, left: false, window, series });
    }
    let process = processes.get_mut(&id)?;
    if !process.left {
        process.heard = now;
    }
    Some(process)
}

impl Process {
    fn lives(&self, now: Instant) -> bool {
        !self.left && now.duration_since(self.heard) < FORGOTTEN
    }

    /// Whether a namespace that is heard since then was told of by an announcement: all of it is heard from its first number on.
    /// An announcement that was on its way before we heard the namespace would tell too little of it.
    fn follows(&self, since: Option<Instant>) -> bool {
        let (Some(since), Some(told)) = (since, self.told) else { return false };
        told.saturating_duration_since(since) >= SETTLE
    }

    /// A series; in a new one counting begins after `begin`.
    fn series(&mut self, namespace: &Arc<str>, lane: Lane, begin: u64) -> Option<&mut Series> {
        let key = (namespace.clone(), lane);
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&key) {
            return None;
        }
        let new = Series { last: begin, since: 0, serial: 0, alive: 0, unheard: false, told: None, gone: None };
        Some(self.series.entry(key).or_insert(new))
    }
}

impl Series {
    /// Whether a series whose first message has this serial is another than the one that was heard.
    fn begins_anew(&self, since: u64) -> bool {
        let known = if self.since > 0 { since != self.since } else { self.serial > 0 };
        known && since > self.serial
    }

    /// Number of messages that were told [`SETTLE`] ago and that did not come.
    fn settle(&mut self, now: Instant) -> u64 {
        let Some((number, since)) = self.told else { return 0 };
        if number > self.last && now.duration_since(since) < SETTLE {
            return 0;
        }
        self.told = None;
        let missed = number.saturating_sub(self.last);
        self.last = self.last.max(number);
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        directory: Directory,
        namespace: Arc<str>,
        lane: Lane,
        /// Serials are numbers and this.
        before: u64,
        /// The serial of the last announcement.
        told: u64,
        now: Instant,
    }

    impl Bench {
        /// The namespace is open, and its messages come.
        fn new() -> Self {
            let (mut directory, now) = (Directory::default(), Instant::now());
            directory.open_namespace(&"/".into());
            directory.connected("/", now);
            Self { directory, namespace: "/".into(), lane: Lane::Main, before: 0, told: 10_000, now }
        }

        fn hear(&mut self, number: u64) -> bool {
            let trailer = Trailer::new(&self.namespace, 7, self.before + number, number);
            self.directory.heard(&trailer, &self.namespace, Some(self.lane), self.now)
        }

        fn told(&mut self, number: u64) {
            self.told_of(&[number]);
        }

        /// An announcement a second after the last.
        fn told_of(&mut self, numbers: &[u64]) {
            self.now += Duration::from_secs(1);
            self.told += 1;
            let entry = |number: &u64| Told::new(self.namespace.clone(), self.lane, *number, self.before + 1);
            let numbers: Vec<Told> = numbers.iter().map(entry).collect();
            self.directory.told(&"a".into(), &Trailer::new("", 7, self.told, 0), &numbers, self.now);
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
        bench.told(3);
        assert!(bench.hear(4));
        bench.told(4);
        bench.told(7);
        assert_eq!(bench.directory.losses(), (0, 0), "it may be on its way");
        bench.told(7);
        assert_eq!(bench.directory.losses(), (3, 0));
        // What was counted as lost and comes after all is dropped, so that the count stays true.
        assert!(!bench.hear(7));
        assert!(bench.hear(8));
        assert_eq!(bench.directory.losses(), (3, 1));
    }

    #[test]
    fn an_announcement_may_overtake() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.told(3);
        assert!(bench.hear(2) && bench.hear(3));
        bench.told(3);
        assert_eq!(bench.directory.losses(), (0, 0));
        // Also the first: where counting begins is what is heard.
        let mut bench = Bench::new();
        bench.told(3);
        assert!(bench.hear(2) && bench.hear(3) && !bench.hear(3));
        assert_eq!(bench.directory.losses(), (0, 1));
    }

    #[test]
    fn a_channel_that_begins_under_our_eyes_begins_at_1() {
        let mut bench = Bench::new();
        bench.told_of(&[]);
        assert!(bench.hear(3));
        assert_eq!(bench.directory.losses(), (2, 0));
        let mut bench = Bench::new();
        bench.told_of(&[]);
        bench.told(2);
        bench.told(2);
        assert_eq!(bench.directory.losses(), (2, 0));
    }

    #[test]
    fn what_is_not_open_is_not_missed() {
        let mut bench = Bench::new();
        bench.told_of(&[]);
        assert!(bench.hear(1));
        bench.directory.close_namespace("/");
        bench.told(5);
        bench.told(9);
        bench.directory.open_namespace(&"/".into());
        bench.told(9);
        assert!(bench.hear(12));
        bench.told(12);
        bench.told(12);
        // 10 and 11 were published after we were told 9, when the namespace was open again.
        assert_eq!(bench.directory.losses(), (2, 0));
    }

    #[test]
    fn who_was_cut_off_for_long_is_not_begun_anew() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.now += FORGOTTEN * 3;
        bench.directory.age(bench.now);
        assert_eq!(bench.directory.servers(bench.now).count(), 0);
        assert!(bench.hear(4));
        bench.told(4);
        assert_eq!(bench.directory.losses(), (2, 0));
        assert_eq!(bench.directory.servers(bench.now).count(), 1);
    }

    #[test]
    fn who_left_stays_away_and_its_tail_is_counted() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.told(3);
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
    fn who_comes_back_under_its_name_is_heard() {
        let mut bench = Bench::new();
        bench.told_of(&[]);
        assert!(bench.hear(1) && bench.hear(2));
        let reborn = Trailer::new("/", 8, 1, 1);
        assert!(bench.directory.heard(&reborn, &"/".into(), Some(Lane::Main), bench.now));
        bench.directory.told(&"a".into(), &Trailer::new("", 8, 2, 0), &[], bench.now);
        assert_eq!(bench.directory.losses(), (0, 0));
        assert_eq!(bench.directory.servers(bench.now).collect::<Vec<_>>(), [&ServerId::from("a")], "once");
    }

    /// The sender closes the namespace and opens it again: its numbers begin anew.
    #[test]
    fn a_series_that_begins_anew_is_counted_from_its_beginning() {
        for announced in [false, true] {
            let mut bench = Bench::new();
            bench.told_of(&[]);
            (1..=5).for_each(|number| assert!(bench.hear(number)));
            if announced {
                bench.told_of(&[]);
                bench.told_of(&[]);
            }
            bench.before = 100;
            assert!(bench.hear(2) && bench.hear(3));
            assert_eq!(bench.directory.losses(), (1, 0), "announced: {announced}");
            bench.before = 0;
            assert!(!bench.hear(4), "of the series before");
        }
        // Nothing comes of the new one but the announcement; it may be as far as the old one was.
        for number in [2, 5, 7] {
            let mut bench = Bench::new();
            (1..=5).for_each(|number| assert!(bench.hear(number)));
            bench.told(5);
            bench.before = 100;
            bench.told(number);
            bench.told(number);
            assert_eq!(bench.directory.losses(), (number, 0));
        }
    }

    #[test]
    fn a_series_that_is_not_told_of_any_more_is_forgotten_and_its_tail_counted() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.told(3);
        bench.told_of(&[]);
        assert!(bench.hear(2), "it may still be on its way");
        bench.told_of(&[]);
        bench.told_of(&[]);
        assert_eq!((bench.directory.losses(), bench.directory.processes[&7].series.len()), ((1, 0), 0));
    }

    #[test]
    fn doubles_are_told_where_nothing_is_numbered() {
        let mut bench = Bench::new();
        let answer = Trailer::new("/", 7, 5, 0);
        assert!(bench.directory.heard(&answer, &"/".into(), None, bench.now));
        assert!(!bench.directory.heard(&answer, &"/".into(), None, bench.now));
        let elsewhere = Trailer::new("/closed", 7, 6, 4);
        assert!(bench.directory.heard(&elsewhere, &"/closed".into(), Some(Lane::Main), bench.now));
        assert_eq!(bench.directory.losses(), (0, 1));
    }

    #[test]
    fn processes_are_bounded_and_the_silent_make_room() {
        let mut directory = Directory::default();
        let now = Instant::now();
        let told = |directory: &mut Directory, number: usize, now| {
            let name = ServerId::from(number.to_string().as_str());
            directory.told(&name, &Trailer::new("", number as u64, 1, 0), &[], now);
        };
        for number in 0..=MAX_PROCESSES {
            told(&mut directory, number, now);
        }
        assert_eq!(directory.servers(now).count(), MAX_PROCESSES);
        let later = now + FORGOTTEN;
        told(&mut directory, 1, later);
        assert_eq!(directory.servers(later).collect::<Vec<_>>(), [&ServerId::from("1")]);
        told(&mut directory, MAX_PROCESSES, later);
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
        // One past the limit is delivered and not followed.
        assert!(hear(&mut bench, MAX_SERIES, 1) && hear(&mut bench, MAX_SERIES, 9));
        assert_eq!((bench.directory.losses(), bench.directory.processes[&7].series.len()), ((0, 0), MAX_SERIES));
    }
}
