//! [`Announced`]: when a server knows everything that another one has announced, and must count what it misses.

use roomcast_adapter::cluster::Alive;

/// The announcements of one server that arrived at another.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    /// The number of the last one.
    sequence: u64,
    /// No announcement is missing.
    whole: bool,
    /// The times at which an announcement arrived and none was missing.
    known: Vec<u64>,
}

impl Announced {
    pub(crate) fn told(&mut self, alive: &Alive, now: u64) {
        if alive.sequence < self.sequence {
            return;
        }
        self.whole = if alive.whole {
            !alive.more
        } else {
            alive.follows <= self.sequence && (self.whole || self.sequence == 0)
        };
        self.sequence = alive.sequence;
        if self.whole {
            self.known.push(now);
        }
    }

    /// The first time after `since` at which everything was known.
    pub(crate) fn known_after(&self, since: u64) -> Option<u64> {
        self.known.iter().copied().find(|at| *at > since)
    }
}
