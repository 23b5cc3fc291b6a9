//! [`ClusterState`]: how a server stands with the others, as its application may watch it.

use tokio::time::Instant;

/// How this server stands with the other servers. What is emitted here reaches this server's clients whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterState {
    /// What the other servers publish comes.
    pub hears: bool,
    /// What this server publishes goes out. If not, it waits in the queue for as long as
    /// [`ClusterOptions::max_age`](super::ClusterOptions::max_age) says.
    pub publishes: bool,
    /// Since when these two are as they are.
    pub since: Instant,
    /// Other roomcast servers that live. Servers of other software are not among them.
    pub peers: usize,
    /// Messages that wait to go out, and their bytes.
    pub queued: usize,
    /// Bytes of what waits.
    pub queued_bytes: usize,
}

impl ClusterState {
    pub(crate) fn new(now: Instant) -> Self {
        Self { hears: false, publishes: false, since: now, peers: 0, queued: 0, queued_bytes: 0 }
    }

    /// As it is now. Tells whether somebody who watches should know at once.
    pub(crate) fn becomes(&mut self, next: Self) -> bool {
        let same = (self.hears, self.publishes) == (next.hears, next.publishes);
        let since = if same { self.since } else { next.since };
        let differs =
            !same || (self.peers, self.queued, self.queued_bytes) != (next.peers, next.queued, next.queued_bytes);
        *self = Self { since, ..next };
        differs
    }
}
