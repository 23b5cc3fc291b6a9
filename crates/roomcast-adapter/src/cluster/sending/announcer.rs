//! When a server announces itself ([`Pace`]), and what it tells single servers in between ([`Errands`]).

use crate::cluster::membership::directory::MAX_PROCESSES;
use crate::cluster::seam::ids::ServerId;
use std::time::Duration;
use tokio::time::Instant;

/// Announcements of each server go to all: so that their number does not grow with the square of that of the servers, each tells
/// the less often, the more there are.
const PER_SERVER: Duration = Duration::from_millis(10);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Most bytes of an announcement. One that has more to tell is followed by another at once.
pub(crate) const ANNOUNCEMENT_BYTES: usize = 256 * 1_024;

/// How often each of so many servers tells that it lives.
pub(crate) fn alive_interval(servers: usize) -> Duration {
    PER_SERVER.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX)).clamp(SHORTEST, LONGEST)
}

/// The time over which that many servers spread what they tell a newcomer.
pub(crate) fn spread(servers: usize) -> Duration {
    Duration::from_millis(2).saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX)).min(SHORTEST)
}

/// When the next announcement is due.
#[derive(Debug)]
pub(crate) struct Pace {
    told: Option<Instant>,
    interval: Duration,
    begin: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { told: None, interval: SHORTEST, begin: now }
    }

    /// `news`: the others should know something soon; but not each at once, if there are many.
    pub(crate) fn next(&self, news: bool) -> Instant {
        let after = if news { self.interval / 10 } else { self.interval };
        self.told.map_or(self.begin, |told| told + after)
    }

    /// One went out, or could not.
    pub(crate) fn told(&mut self, now: Instant, interval: Duration) {
        (self.told, self.interval) = (Some(now), interval);
    }
}

/// What a server is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// That it should tell all.
    Hello,
    /// All that this server has announced.
    All,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    at: Option<Instant>,
    pub(crate) to: Option<ServerId>,
    pub(crate) what: What,
}

/// What is to be told to single servers.
#[derive(Debug, Default)]
pub(crate) struct Errands(Vec<Errand>);

impl Errands {
    /// A server, or each, is to tell all.
    pub(crate) fn hello(&mut self, to: Option<ServerId>) {
        self.add(Errand { at: None, to, what: What::Hello });
    }

    /// A server is to be told all, from then on.
    pub(crate) fn tell_all(&mut self, to: ServerId, at: Instant) {
        self.add(Errand { at: Some(at), to: Some(to), what: What::All });
    }

    /// One for each server and matter: who asks twice is told once.
    fn add(&mut self, errand: Errand) {
        let known = self.0.iter().any(|it| it.to == errand.to && it.what == errand.what);
        if !known && self.0.len() < 2 * MAX_PROCESSES {
            self.0.push(errand);
        }
    }

    /// When the next one is due, `now` or later.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|errand| errand.at.unwrap_or(now)).min()
    }

    /// Those that are due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Errand> {
        self.0.extract_if(.., |errand| errand.at.is_none_or(|at| at <= now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_servers_the_less_often_each_tells() {
        let seconds = [1, 2, 100, 101, 1_000, usize::MAX].map(|servers| alive_interval(servers).as_millis());
        assert_eq!(seconds, [1_000, 1_000, 1_000, 1_010, 10_000, 10_000]);
        assert_eq!([1, 100, 10_000].map(|servers| spread(servers).as_millis()), [2, 200, 1_000]);
    }

    #[test]
    fn news_are_told_sooner_and_never_at_every_change() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!((pace.next(false), pace.next(true)), (begin, begin));
        pace.told(begin, Duration::from_secs(2));
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!((pace.next(false), pace.next(true)), (after(2_000), after(200)));
    }

    #[test]
    fn errands_are_bounded_and_done_when_they_are_due() {
        let (mut errands, now) = (Errands::default(), Instant::now());
        let later = now + Duration::from_millis(5);
        errands.hello(None);
        errands.hello(None);
        errands.tell_all("a".into(), later);
        errands.tell_all("a".into(), now);
        assert_eq!(errands.due(now), [Errand { at: None, to: None, what: What::Hello }]);
        assert_eq!(errands.next(now), Some(later));
        assert_eq!((errands.due(later).len(), errands.next(now)), (1, None));
        (0..3 * MAX_PROCESSES).for_each(|n| errands.hello(Some(n.to_string().as_str().into())));
        assert_eq!(errands.0.len(), 2 * MAX_PROCESSES);
    }
}
