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
    pub(crate) others: usize,
    /// Since when messages go out again.
    back: Option<Instant>,
    /// Messages did not go out, and the log says so.
    kept: bool,
}

impl Outage {
    pub(crate) fn new(since: Instant, others: usize) -> Self {
        Self { since, others, back: None, kept: false }
    }

    /// Messages do not go out.
    pub(crate) fn is_on(&mut self, reason: &str) {
        self.back = None;
        if !std::mem::replace(&mut self.kept, true) {
            tracing::warn!(reason, "messages do not go out to the other servers; they are kept for a while");
        }
    }

    /// Something went out: until when the others may take.
    pub(crate) fn goes_out(&mut self, now: Instant) -> Instant {
        *self.back.get_or_insert(now) + PEERS_PATIENCE
    }

    /// Nothing went out.
    pub(crate) fn stays(&mut self) {
        self.back = None;
    }

    /// When the others have had their time, if something goes out.
    pub(crate) fn passes(&self) -> Option<Instant> {
        self.back.map(|back| back + PEERS_PATIENCE)
    }

    /// Messages go out, and the others hear them as far as they will.
    pub(crate) fn end(self, now: Instant) {
        if self.kept {
            let seconds = now.duration_since(self.since).as_secs_f32();
            tracing::info!(seconds, "messages go out to the other servers again");
        }
    }
}
