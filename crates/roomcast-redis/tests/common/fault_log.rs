//! What a server has emitted, what its socket has got, and what that tells of a fault.

use std::time::Duration;
use tokio::time::Instant;

/// The numbered messages of a server, 1, 2, 3 ...: when each was emitted, and how long the call took. Within it the server's own
/// socket gets the message.
#[derive(Debug, Default)]
pub(crate) struct Emitted(pub(crate) Vec<(Instant, Duration)>);

/// What a socket got, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Vec<Received>);

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) publisher: String,
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

impl Emitted {
    pub(crate) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The slowest emits, as they include the local delivery: of a hundred the slowest but one, and the slowest.
    pub(crate) fn slowest(&self) -> (Duration, Duration) {
        let mut all: Vec<Duration> = self.0.iter().map(|(_, took)| *took).collect();
        all.sort();
        let at = |share: f64| all.get((all.len() as f64 * share) as usize).or(all.last()).copied().unwrap_or_default();
        (at(0.99), at(1.0))
    }
}

impl Heard {
    /// The numbers that a server sent.
    pub(crate) fn of(&self, publisher: &str) -> Vec<u64> {
        self.from(publisher).map(|it| it.number).collect()
    }

    /// When the first message came that was emitted after `since`.
    pub(crate) fn since(&self, publisher: &str, emitted: &Emitted, since: Instant) -> Option<Instant> {
        let first = emitted.0.iter().position(|(at, _)| *at >= since)? as u64 + 1;
        self.from(publisher).find(|it| it.number >= first).map(|it| it.at)
    }

    /// How old the oldest message was when it came.
    pub(crate) fn oldest(&self, publisher: &str, emitted: &Emitted) -> Duration {
        let age = |it: &Received| Some(it.at.saturating_duration_since(emitted.0.get(it.number as usize - 1)?.0));
        self.from(publisher).filter_map(age).max().unwrap_or_default()
    }

    fn from(&self, publisher: &str) -> impl Iterator<Item = &Received> {
        self.0.iter().filter(move |it| it.publisher == publisher)
    }
}
