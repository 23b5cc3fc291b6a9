//! [`Process`]: what is known about one other roomcast process.

use crate::cluster::membership::heard_series::SETTLE;
use crate::cluster::membership::heard_series::{HeardSeries, InSeries};
use crate::cluster::seam::alive::Alive;
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::series::MAX_NUMBERED;
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::seam::window::Window;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most series that are known of a process: as many as a roomcast process numbers.
pub(crate) const MAX_SERIES: usize = 2 * MAX_NUMBERED;

/// Silence after which a server does not count as alive. It is longer if three of the server's announced intervals are.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(10);

/// Longest silence that a server may announce for itself.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// How long the numbers of a namespace are kept after its server has closed it. The server may have opened it again
/// without announcing that, as it does so only once its messages arrive.
pub(crate) const CLOSED_REMEMBERED: Duration = Duration::from_secs(60);

/// Least time between two requests to the same server to say everything.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A roomcast process: a server, or an emitter.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its server's name. Emitters have none, and neither do servers that were not announced yet.
    pub(crate) name: Option<ServerId>,
    /// When anything arrived from it.
    pub(crate) last_arrival: Instant,
    pub(crate) left: bool,
    /// Whether it was silent at the last check.
    pub(crate) silent: bool,
    /// Which of its messages have arrived, to recognize doubles.
    pub(crate) window: Window,
    /// When an announcement last arrived after which nothing was missing. A series not known by then started later.
    complete_at: Option<Instant>,
    /// The number of its last announcement.
    sequence: u64,
    /// No announcement is missing: its namespaces and numbers are known.
    complete: bool,
    /// It is saying everything, in parts.
    in_parts: bool,
    /// When it was asked to say everything.
    asked: Option<Instant>,
    /// When this server told it everything.
    answered: Option<Instant>,
    /// The silence after which it does not count as alive.
    silence: Duration,
    /// The namespaces that it has open, each with the number of its opening.
    open: HashMap<Arc<str>, u64, RandomState>,
    series: HashMap<(Arc<str>, Series), HeardSeries, RandomState>,
    /// The series in which an announced message has not arrived.
    unsettled: Vec<(Arc<str>, Series)>,
    /// The namespaces that it has closed, and when. Their series are kept for a while.
    closed: HashMap<Arc<str>, Instant, RandomState>,
}

/// The effect of an announcement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AnnouncementEffect {
    /// The number of messages that were lost.
    pub(crate) missed: u64,
    /// Something is missing: the process must be asked for everything.
    pub(crate) ask: bool,
    /// The process has other namespaces than before.
    pub(crate) members_changed: bool,
}

impl Process {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            name: None,
            last_arrival: now,
            left: false,
            silent: false,
            window: Window::default(),
            complete_at: None,
            sequence: 0,
            complete: false,
            in_parts: false,
            asked: None,
            answered: None,
            silence: FORGOTTEN,
            open: HashMap::default(),
            series: HashMap::default(),
            unsettled: Vec::new(),
            closed: HashMap::default(),
        }
    }

    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        !self.left && now.duration_since(self.last_arrival) < self.silence
    }

    /// The number of a namespace's opening, if the process has it open.
    pub(crate) fn opening_of(&self, namespace: &str) -> Option<u64> {
        self.open.get(namespace).copied()
    }

    /// Takes a numbered message, in a namespace whose messages arrive here since `since`.
    pub(crate) fn message_arrived(
        &mut self,
        trailer: &Trailer,
        namespace: &Arc<str>,
        series: Series,
        since: Option<Instant>,
    ) -> Option<InSeries> {
        let known = self.knows(since);
        if let Some(closed) = self.closed.get_mut(namespace) {
            *closed = self.last_arrival;
        }
        Some(self.series(namespace, series)?.message_arrived(trailer, known))
    }

    /// Takes an announcement. `followed` returns since when a series arrives here, if it is followed.
    pub(crate) fn announcement_arrived(
        &mut self,
        alive: &Alive,
        serial: u64,
        followed: impl Fn(&str, Series) -> Option<Option<Instant>>,
        now: Instant,
    ) -> AnnouncementEffect {
        let mut effect = AnnouncementEffect { missed: self.settle(now), ..AnnouncementEffect::default() };
        if alive.sequence < self.sequence {
            // A later announcement has overtaken this one: what it says may be outdated.
            effect.ask = !self.complete && self.may_ask(now);
            return effect;
        }
        let next = alive.follows <= self.sequence;
        if alive.whole {
            let opened: HashSet<&Arc<str>, RandomState> = alive.opened.iter().map(|(name, _)| name).collect();
            let gone: Vec<Arc<str>> = self.open.keys().filter(|name| !opened.contains(name)).cloned().collect();
            effect.members_changed |= !gone.is_empty();
            gone.into_iter().for_each(|name| self.close(name, now));
            (self.complete, self.in_parts) = (!alive.more, alive.more);
        } else if self.in_parts && alive.sequence == self.sequence {
            (self.complete, self.in_parts) = (!alive.more, alive.more);
        } else if !next {
            self.complete = false;
            self.in_parts = false;
        } else if self.sequence == 0 {
            // The very first announcement says everything.
            self.complete = true;
        }
        for report in &alive.numbers {
            let since = followed(&report.namespace, report.series);
            let known = since.map(|since| self.knows(since));
            let Some(state) = self.series(&report.namespace, report.series) else { continue };
            let (missed, open) = state.announced(report, serial, known, now);
            effect.missed += missed;
            if open {
                self.unsettled.push((report.namespace.clone(), report.series));
            }
        }
        for name in &alive.closed {
            effect.members_changed |= self.open.contains_key(name);
            self.close(name.clone(), now);
        }
        for (name, opening) in &alive.opened {
            if self.open.len() < MAX_NUMBERED && self.open.get(name) != Some(opening) {
                effect.members_changed = true;
                self.open.insert(name.clone(), *opening);
                self.closed.remove(name);
            }
        }
        self.sequence = alive.sequence;
        self.silence = Duration::from_millis(alive.interval).saturating_mul(3).clamp(FORGOTTEN, LONGEST_SILENCE);
        if self.complete {
            self.complete_at = Some(now);
        }
        effect.ask = !self.complete && !self.in_parts && self.may_ask(now);
        effect
    }

    /// Counts the announced messages that did not arrive.
    pub(crate) fn settle(&mut self, now: Instant) -> u64 {
        let Self { unsettled, series, .. } = self;
        let mut missed = 0;
        unsettled.retain(|key| {
            let Some(series) = series.get_mut(key) else { return false };
            missed += series.settle(now);
            series.is_open()
        });
        missed
    }

    /// Removes the series of namespaces that were closed long ago. Returns the number of lost messages in them.
    pub(crate) fn remove_closed(&mut self, now: Instant) -> u64 {
        let Self { closed, series, .. } = self;
        let over = closed.extract_if(|_, at| now.duration_since(*at) >= CLOSED_REMEMBERED);
        over.map(|(name, _)| {
            let both = [Series::Main, Series::Rooms].into_iter();
            both.filter_map(|of| series.remove(&(name.clone(), of))).map(|mut state| state.settle(now)).sum::<u64>()
        })
        .sum()
    }

    /// A namespace was closed here.
    pub(crate) fn unfollow(&mut self, namespace: &Arc<str>) {
        for series in [Series::Main, Series::Rooms] {
            if let Some(state) = self.series.get_mut(&(namespace.clone(), series)) {
                state.unfollow();
            }
        }
    }

    /// Whether this server may tell it everything now, which limits repeated answers.
    pub(crate) fn may_answer(&mut self, now: Instant) -> bool {
        let may = self.answered.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN);
        if may {
            self.answered = Some(now);
        }
        may
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        let may = self.asked.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN);
        if may {
            self.asked = Some(now);
        }
        may
    }

    /// Whether everything was known at a time when the namespace's messages had been arriving for long enough: an
    /// announcement that was in flight before that would say too little.
    fn knows(&self, since: Option<Instant>) -> bool {
        let (Some(since), Some(known)) = (since, self.complete_at) else { return false };
        known.saturating_duration_since(since) >= SETTLE
    }

    fn close(&mut self, name: Arc<str>, now: Instant) {
        self.open.remove(&name);
        if self.closed.len() < MAX_NUMBERED {
            self.closed.insert(name, now);
        }
    }

    fn series(&mut self, namespace: &Arc<str>, series: Series) -> Option<&mut HeardSeries> {
        let key = (namespace.clone(), series);
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&key) {
            return None;
        }
        Some(self.series.entry(key).or_default())
    }

    #[cfg(test)]
    pub(crate) fn series_len(&self) -> usize {
        self.series.len()
    }
}
