//! [`Emitted`] and [`Receipts`]: what a server has emitted and its socket received, and what a fault did to it.

use std::time::Duration;
use tokio::time::Instant;

/// The numbered messages of a server, 1, 2, 3 ...: when each was emitted, and how long the call took. The server's own
/// socket gets the message during the call.
#[derive(Debug, Default)]
pub(crate) struct Emitted(pub(crate) Vec<(Instant, Duration)>);

/// The messages that a socket received, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Receipts(pub(crate) Vec<Receipt>);

#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) publisher: String,
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

impl Emitted {
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The 99th percentile and the maximum of the time that an emit took, including the local delivery.
    pub(crate) fn slowest(&self) -> (Duration, Duration) {
        let mut all: Vec<Duration> = self.0.iter().map(|(_, took)| *took).collect();
        all.sort();
        let at = |share: f64| all.get((all.len() as f64 * share) as usize).or(all.last()).copied().unwrap_or_default();
        (at(0.99), at(1.0))
    }
}

impl Receipts {
    /// The numbers of the messages of one server.
    pub(crate) fn of(&self, publisher: &str) -> Vec<u64> {
        self.from(publisher).map(|it| it.number).collect()
    }

    /// When the first message arrived that was emitted after `since`.
    pub(crate) fn since(&self, publisher: &str, emitted: &Emitted, since: Instant) -> Option<Instant> {
        let first = emitted.0.iter().position(|(at, _)| *at >= since)? as u64 + 1;
        self.from(publisher).find(|it| it.number >= first).map(|it| it.at)
    }

    /// The age of the oldest message when it arrived.
    pub(crate) fn oldest(&self, publisher: &str, emitted: &Emitted) -> Duration {
        let age = |it: &Receipt| Some(it.at.saturating_duration_since(emitted.0.get(it.number as usize - 1)?.0));
        self.from(publisher).filter_map(age).max().unwrap_or_default()
    }

    fn from(&self, publisher: &str) -> impl Iterator<Item = &Receipt> {
        self.0.iter().filter(move |it| it.publisher == publisher)
    }
}
