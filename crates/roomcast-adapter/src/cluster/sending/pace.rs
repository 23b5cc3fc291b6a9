//! [`Pace`]: when a server announces itself.

use std::time::Duration;
use tokio::time::Instant;

/// Time between two announcements of a server, for each server of the cluster: announcements go to all servers, and
/// must not grow with the square of their number.
const INTERVAL_PER_SERVER: Duration = Duration::from_millis(10);
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// Most bytes of an announcement. If there is more to announce, the next announcement follows at once.
pub(crate) const ANNOUNCEMENT_BYTES: usize = 256 * 1_024;

/// The time between two announcements of a server, in a cluster of so many servers.
pub(crate) fn alive_interval(servers: usize) -> Duration {
    INTERVAL_PER_SERVER.saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX)).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// The time over which so many servers spread their answers to a new server.
pub(crate) fn spread(servers: usize) -> Duration {
    Duration::from_millis(2).saturating_mul(u32::try_from(servers).unwrap_or(u32::MAX)).min(MIN_INTERVAL)
}

/// When the next announcement is due.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Option<Instant>,
    interval: Duration,
    begin: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: None, interval: MIN_INTERVAL, begin: now }
    }

    /// With `news` it is due after a tenth of the interval: soon, but in a large cluster not at every change.
    pub(crate) fn next(&self, news: bool) -> Instant {
        let after = if news { self.interval / 10 } else { self.interval };
        self.last.map_or(self.begin, |last| last + after)
    }

    /// An announcement was made, whether or not it went out.
    pub(crate) fn announced(&mut self, now: Instant, interval: Duration) {
        (self.last, self.interval) = (Some(now), interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_servers_there_are_the_less_often_each_announces() {
        let seconds = [1, 2, 100, 101, 1_000, usize::MAX].map(|servers| alive_interval(servers).as_millis());
        assert_eq!(seconds, [1_000, 1_000, 1_000, 1_010, 10_000, 10_000]);
        assert_eq!([1, 100, 10_000].map(|servers| spread(servers).as_millis()), [2, 200, 1_000]);
    }

    #[test]
    fn news_is_announced_sooner_but_not_at_every_change() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        assert_eq!((pace.next(false), pace.next(true)), (begin, begin));
        pace.announced(begin, Duration::from_secs(2));
        let after = |millis| begin + Duration::from_millis(millis);
        assert_eq!((pace.next(false), pace.next(true)), (after(2_000), after(200)));
    }
}
