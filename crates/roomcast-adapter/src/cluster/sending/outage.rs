//! [`Outage`]: a time in which messages may not reach the other servers.

use std::time::Duration;
use tokio::time::Instant;

/// How long after an outage the servers that were known before may take to subscribe again, from when messages go out
/// and this server receives again. A hanging attempt to connect is joined by a second attempt after one second, so two
/// servers may find a new primary that far apart.
pub(crate) const PEERS_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long this server may take to receive again, from when messages go out. Whoever has ten thousands of rooms with
/// channels of their own takes seconds to subscribe, and the other servers probably take as long.
pub(crate) const OWN_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Whether this server receives announcements again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Own {
    Since(Instant),
    NotYet,
    /// It does not matter: announcements take another road.
    Elsewhere,
}

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

    /// A message went out.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sending_since.get_or_insert(now);
    }

    /// Nothing went out.
    pub(crate) fn not_sent(&mut self) {
        self.sending_since = None;
    }

    /// When the other servers have had their time, if messages go out.
    pub(crate) fn ends_at(&self, own: Own) -> Option<Instant> {
        let sending = self.sending_since?;
        let both = match own {
            Own::Since(since) => since.clamp(sending, sending + OWN_TIMEOUT),
            Own::NotYet => sending + OWN_TIMEOUT,
            Own::Elsewhere => sending,
        };
        Some(both + PEERS_TIMEOUT)
    }

    /// Ends the outage: messages go out, and reach all servers that will receive them.
    pub(crate) fn end(self, now: Instant) {
        if self.logged {
            let seconds = now.duration_since(self.since).as_secs_f32();
            tracing::info!(seconds, "messages to other servers go out again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_the_others_have_had_their_time() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut outage = Outage::new(begun, 1);
        assert_eq!(outage.ends_at(Own::Elsewhere), None, "nothing goes out");
        let sent = begun + second * 10;
        outage.sent(sent);
        outage.sent(sent + second);
        for (own, expected) in [
            (Own::Elsewhere, PEERS_TIMEOUT),
            (Own::Since(begun), PEERS_TIMEOUT),
            (Own::Since(sent + second), second + PEERS_TIMEOUT),
            (Own::Since(sent + OWN_TIMEOUT), OWN_TIMEOUT + PEERS_TIMEOUT),
            (Own::Since(sent + OWN_TIMEOUT + second), OWN_TIMEOUT + PEERS_TIMEOUT),
            (Own::NotYet, OWN_TIMEOUT + PEERS_TIMEOUT),
        ] {
            assert_eq!(outage.ends_at(own), Some(sent + expected), "{own:?}");
        }
        outage.not_sent();
        assert_eq!(outage.ends_at(Own::NotYet), None);
    }
}
