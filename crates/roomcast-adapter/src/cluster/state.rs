//! [`ClusterState`]: a server's connection to the cluster, for the application to watch.

use std::time::Duration;
use tokio::time::Instant;

/// This server's connection to the other servers. Whatever it says, emits on this server reach this server's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterState {
    /// What the other servers publish arrives here.
    pub hears: bool,
    /// What this server publishes goes out. If not, messages wait in the queue for at most
    /// [`ClusterOptions::max_age`](super::ClusterOptions::max_age).
    pub publishes: bool,
    /// Since when these two have been as they are.
    pub since: Instant,
    /// The number of other roomcast servers that are alive. Servers of other software are not included.
    pub peers: usize,
    /// The number of messages that wait to be published.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
}

/// What waits to be published, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Queued {
    /// Messages, including those that are being published.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// For how long the oldest of them has waited. Zero if there is none.
    pub oldest: Duration,
}

impl ClusterState {
    pub(crate) fn new(now: Instant) -> Self {
        Self { hears: false, publishes: false, since: now, peers: 0, queued: 0, queued_bytes: 0 }
    }

    /// Takes the state as it is now. Returns whether watchers should be notified.
    pub(crate) fn becomes(&mut self, next: Self) -> bool {
        let same = (self.hears, self.publishes) == (next.hears, next.publishes);
        let since = if same { self.since } else { next.since };
        let differs =
            !same || (self.peers, self.queued, self.queued_bytes) != (next.peers, next.queued, next.queued_bytes);
        *self = Self { since, ..next };
        differs
    }
}
