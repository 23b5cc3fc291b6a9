//! [`Pacer`]: the pace that a transport must keep while more than the soft bound waits for its client, and the senders
//! that wait until less is queued.
//!
//! A slow consumer is a client that does not read, not a client that is sent much at once. So a burst is accepted up to
//! the hard bound, and as long as more than the soft bound waits, the transport must take an eighth of it in each grace
//! period.

use crate::limits::{PACE_SHARE, PACKET_COST, TIGHT_GRACE};
use crate::session::bounds::Bounds;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Watches the pace of one connection. It owns memory only while much waits, or while a sender waits for less.
///
/// `queued` is in all its methods the cost of what is in the outbox.
#[derive(Debug, Default)]
pub(crate) struct Pacer(Option<Box<Slow>>);

#[derive(Debug, Default)]
struct Slow {
    grace: Option<Grace>,
    /// When the pace is checked again.
    check_at: Option<Instant>,
    /// Senders that wait until less is queued.
    waiting: Vec<Waker>,
}

/// One grace period.
#[derive(Debug)]
struct Grace {
    since: Instant,
    /// Cost of what was queued at its beginning.
    queued: usize,
    /// Cost of what the transport has taken since; of a packet that has not left whole, the bytes that have.
    taken: usize,
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// No more than the soft bound waits: there is no pace to keep.
    Fine,
    /// Check again at this time.
    CheckAt(Instant),
    /// The transport did not keep the pace: the client is a slow consumer.
    TooSlow,
}

impl Pacer {
    /// Whether there is nothing to watch and no sender waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Checks the pace. The connection's task calls it after each drain, and when a grace period is over.
    pub(crate) fn check(&mut self, queued: usize, now: Instant, length: Duration, bounds: &Bounds) -> Pacing {
        if queued <= bounds.soft {
            self.stop();
            self.shrink();
            return Pacing::Fine;
        }
        let slow = self.0.get_or_insert_default();
        let end = |since: Instant| since.checked_add(length).unwrap_or(since + TIGHT_GRACE);
        match &slow.grace {
            Some(Grace { since, .. }) if now < end(*since) => {}
            Some(Grace { queued, taken, .. }) if taken.saturating_mul(PACE_SHARE) < *queued => return Pacing::TooSlow,
            _ => slow.grace = Some(Grace { since: now, queued, taken: 0 }),
        }
        let since = slow.grace.as_ref().map_or(now, |grace| grace.since);
        // Grace periods may become shorter meanwhile.
        let at = end(since).min(now + TIGHT_GRACE);
        slow.check_at = Some(at);
        Pacing::CheckAt(at)
    }

    /// When the pace is to be checked again.
    pub(crate) fn check_at(&self) -> Option<Instant> {
        self.0.as_ref()?.check_at
    }

    /// Clears that time once it has come, so that the connection's task wakes for it only once.
    pub(crate) fn clear_due_check(&mut self, now: Instant) {
        if let Some(slow) = &mut self.0 {
            slow.check_at.take_if(|at| *at <= now);
        }
    }

    /// Whether so much waits that the connection's task must check the pace, and it does not do so yet.
    pub(crate) fn needs_check(&self, queued: usize, bounds: &Bounds) -> bool {
        queued > bounds.soft && self.0.as_ref().is_none_or(|slow| slow.grace.is_none())
    }

    /// The transport has taken this many packets and bytes.
    pub(crate) fn note_taken(&mut self, packets: usize, bytes: usize) {
        if let Some(Slow { grace: Some(grace), .. }) = self.0.as_deref_mut() {
            grace.taken = grace.taken.saturating_add(bytes).saturating_add(packets.saturating_mul(PACKET_COST));
        }
    }

    /// Whether less than half of the soft bound waits. If not, `cx` is woken when it does.
    pub(crate) fn poll_ready(&mut self, queued: usize, cx: &Context<'_>, bounds: &Bounds) -> bool {
        if queued <= bounds.soft / 2 {
            return true;
        }
        let waiting = &mut self.0.get_or_insert_default().waiting;
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        false
    }

    /// Something has left: ends the watch if no more than the soft bound waits, and returns the senders that may go on.
    pub(crate) fn take_ready(&mut self, queued: usize, bounds: &Bounds) -> Vec<Waker> {
        let Some(slow) = &mut self.0 else { return Vec::new() };
        let ready = if queued <= bounds.soft / 2 { std::mem::take(&mut slow.waiting) } else { Vec::new() };
        if queued <= bounds.soft {
            self.stop();
        }
        self.shrink();
        ready
    }

    /// The session is over: returns all senders that wait.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        self.0.take().map(|slow| slow.waiting).unwrap_or_default()
    }

    fn stop(&mut self) {
        if let Some(slow) = &mut self.0 {
            (slow.grace, slow.check_at) = (None, None);
        }
    }

    fn shrink(&mut self) {
        self.0.take_if(|slow| slow.grace.is_none() && slow.waiting.is_empty());
    }
}
