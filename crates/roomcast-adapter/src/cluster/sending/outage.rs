//! [`Outage`]: the other servers may not hear what goes out, and when that is over.

use std::time::Duration;
use tokio::time::Instant;

/// After an outage: how long the servers that were known before may take to hear again. An attempt to connect that hangs has
/// another one beside it after a second, so that two servers may find a new primary that much apart.
pub(crate) const PEERS_PATIENCE: Duration = Duration::from_millis(1_500);

/// Nothing goes out, or what goes out may reach nobody: others that used the same connections lost theirs too, and hear again
/// when they have subscribed anew, each at its own time.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Instant,
    /// The other roomcast servers that there were.
    pub(crate) peers: usize,
    /// Since when messages go out again.
    back: Option<Instant>,
    /// Messages did not go out, and the log says so.
    logged: bool,
}

impl Outage {
    pub(crate) fn new(since: Instant, peers: usize) -> Self {
        Self { since, peers, back: None, logged: false }
    }

    /// Messages do not go out.
    pub(crate) fn continues(&mut self, reason: &str) {
        self.back = None;
        if !std::mem::replace(&mut self.logged, true) {
            tracing::warn!(reason, "messages do not go out to the other servers; they are logged for a while");
        }
    }

    /// Something went out: until when the others may take.
    pub(crate) fn sent(&mut self, now: Instant) -> Instant {
        *self.back.get_or_insert(now) + PEERS_PATIENCE
    }

    /// Nothing went out.
    pub(crate) fn not_sent(&mut self) {
        self.back = None;
    }

    /// When the others have had their time, if something goes out.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.back.map(|back| back + PEERS_PATIENCE)
    }

    /// Messages go out, and the others hear them as far as they will.
    pub(crate) fn end(self, now: Instant) {
        if self.logged {
            let seconds = now.duration_since(self.since).as_secs_f32();
            tracing::info!(seconds, "messages go out to the other servers again");
        }
    }
}
