//! [`Outage`]: a time in which messages may not reach the other servers.

use std::time::Duration;
use tokio::time::Instant;

/// How long after an outage the servers that were known before may take to subscribe again. A hanging attempt to
/// connect is joined by a second attempt after one second, so two servers may find a new primary that far apart.
pub(crate) const PEERS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Nothing goes out, or what goes out may reach nobody: other servers that used the same connections lost theirs too,
/// and receive nothing until each has subscribed again, in its own time.
#[derive(Debug)]
pub(crate) struct Outage {
    since: Instant,
    /// The number of other roomcast servers when it began.
    pub(crate) peers: usize,
    /// Since when messages go out again.
    sending_since: Option<Instant>,
    /// Whether the log says that messages do not go out.
    logged: bool,
}

impl Outage {
    pub(crate) fn new(since: Instant, peers: usize) -> Self {
        Self { since, peers, sending_since: None, logged: false }
    }

    /// Messages do not go out.
    pub(crate) fn continues(&mut self, reason: &str) {
        self.sending_since = None;
        if !std::mem::replace(&mut self.logged, true) {
            tracing::warn!(reason, "messages to other servers do not go out; they are queued for a while");
        }
    }

    /// A message went out. Returns until when to wait for the other servers.
    pub(crate) fn sent(&mut self, now: Instant) -> Instant {
        *self.sending_since.get_or_insert(now) + PEERS_TIMEOUT
    }

    /// Nothing went out.
    pub(crate) fn not_sent(&mut self) {
        self.sending_since = None;
    }

    /// When the other servers have had their time, if messages go out.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.sending_since.map(|since| since + PEERS_TIMEOUT)
    }

    /// Ends the outage: messages go out, and reach all servers that will receive them.
    pub(crate) fn end(self, now: Instant) {
        if self.logged {
            let seconds = now.duration_since(self.since).as_secs_f32();
            tracing::info!(seconds, "messages to other servers go out again");
        }
    }
}
