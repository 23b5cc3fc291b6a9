//! [`Subscription`]: since when the messages of a namespace reach this server.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A server that subscribed more recently than this may not have been counted by a server that asks.
const NEWCOMER_AGE: Duration = Duration::from_millis(100);

/// How much later than other servers a server answers that may not have been counted: an asker that counts answers
/// would take its answer for one of a server that was counted. Only the answer is delayed; what the question asks for
/// is done at once, in order with other messages.
pub(crate) const NEWCOMER_DELAY: Duration = Duration::from_millis(150);

/// How much later a server answers that has left: later than newcomers, which may have been counted after all.
pub(crate) const LEAVER_DELAY: Duration = NEWCOMER_DELAY.saturating_mul(2);

/// This server's subscription to a namespace. It outlives adapters: the next adapter takes it over.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    /// Since when messages arrive, and the broker counts this server.
    since: watch::Sender<Option<Instant>>,
    /// Since when messages do not arrive, if they did before.
    interrupted: Mutex<Option<Instant>>,
    /// Servers of other software have the namespace too, or had it.
    mixed: AtomicBool,
}

impl Subscription {
    /// Messages arrive from now on. Returns how long they did not, after an interruption.
    pub(crate) fn connected(&self, now: Instant) -> Option<Duration> {
        self.since.send_replace(Some(now));
        self.interrupted.lock().take().map(|since| now.duration_since(since))
    }

    /// Messages do not arrive for now.
    pub(crate) fn lost(&self) {
        self.since.send_replace(None);
        self.interrupted.lock().get_or_insert_with(Instant::now);
    }

    /// The namespace was closed on this server.
    pub(crate) fn closed(&self) {
        self.since.send_replace(None);
        *self.interrupted.lock() = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.since().is_some()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        *self.since.borrow()
    }

    /// Resolves when messages arrive.
    pub(crate) async fn until_connected(&self) {
        // `self` holds the sender, so waiting cannot fail.
        let _ = self.since.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether this server may not have been counted by a server that asks.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.since().is_none_or(|since| since.elapsed() < NEWCOMER_AGE)
    }

    /// Whether servers of other software had the namespace before this call. With `seen` they are remembered.
    pub(crate) fn is_mixed(&self, seen: bool) -> bool {
        if seen { self.mixed.fetch_or(true, Ordering::Relaxed) } else { self.mixed.load(Ordering::Relaxed) }
    }
}
