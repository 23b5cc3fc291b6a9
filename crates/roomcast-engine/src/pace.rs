//! [`Slow`]: the pace that a transport must keep while more than the soft bound waits for its client, and those who wait for
//! less to wait.
//!
//! A slow consumer is a client that does not read, not one that is sent much at once. So a burst is let in up to the hard
//! bound, and from then on the transport must take an eighth of what waits in each grace.

use crate::limits::{PACE_SHARE, PACKET_COST, TIGHT_GRACE};
use crate::outlet::{Bounds, Outlet};
use crate::writer::Wrote;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// What a connection has only while much waits for its client.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    pace: Option<Pace>,
    /// Then the pace is looked at again.
    look_at: Option<Instant>,
    ready: Vec<Waker>,
}

/// One grace.
#[derive(Debug)]
struct Pace {
    since: Instant,
    /// Cost of what waited then.
    waited: usize,
    /// Cost of what the transport has taken since; of a packet that has not left whole, the bytes that have.
    taken: usize,
}

/// What is to be done about the pace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// Nothing: no more than the soft bound waits.
    Fine,
    /// To look again then.
    Until(Instant),
    /// The transport did not keep it: the client is a slow consumer.
    Cut,
}

impl<W> Outlet<W> {
    /// The task looks at the pace: after each drain, and when a grace is over.
    pub(crate) fn look(&mut self, now: Instant, grace: Duration, bounds: &Bounds) -> Pacing {
        let cost = self.outbox.cost();
        if cost <= bounds.soft {
            if let Some(slow) = &mut self.slow {
                (slow.pace, slow.look_at) = (None, None);
            }
            self.tidy();
            return Pacing::Fine;
        }
        let pace = &mut self.slow.get_or_insert_default().pace;
        let end = |since: Instant| since.checked_add(grace).unwrap_or(since + TIGHT_GRACE);
        match pace {
            Some(Pace { since, .. }) if now < end(*since) => {}
            Some(Pace { waited, taken, .. }) if taken.saturating_mul(PACE_SHARE) < *waited => return Pacing::Cut,
            _ => *pace = Some(Pace { since: now, waited: cost, taken: 0 }),
        }
        let since = pace.as_ref().map_or(now, |pace| pace.since);
        // The grace may become shorter meanwhile.
        let at = end(since).min(now + TIGHT_GRACE);
        if let Some(slow) = &mut self.slow {
            slow.look_at = Some(at);
        }
        Pacing::Until(at)
    }

    /// When the pace is to be looked at again.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.slow.as_ref()?.look_at
    }

    /// Forgets that time once it has come, so that it is waited for once.
    pub(crate) fn forget_look(&mut self, now: Instant) {
        if let Some(slow) = &mut self.slow {
            slow.look_at.take_if(|at| *at <= now);
        }
    }

    /// Whether so much waits that the task must look at the pace, and does not do so yet.
    pub(crate) fn wants_pace(&self, bounds: &Bounds) -> bool {
        self.outbox.cost() > bounds.soft && self.slow.as_ref().is_none_or(|slow| slow.pace.is_none())
    }

    /// The transport has taken something.
    pub(crate) fn took(&mut self, wrote: &Wrote) {
        if let Some(Slow { pace: Some(pace), .. }) = self.slow.as_deref_mut() {
            pace.taken =
                pace.taken.saturating_add(wrote.bytes).saturating_add(wrote.packets.saturating_mul(PACKET_COST));
        }
    }

    /// Whether less than half of the soft bound waits. If not, `cx` is woken when it does.
    pub(crate) fn poll_ready(&mut self, cx: &Context<'_>, bounds: &Bounds) -> bool {
        if self.outbox.cost() <= bounds.soft / 2 {
            return true;
        }
        let ready = &mut self.slow.get_or_insert_default().ready;
        if !ready.iter().any(|waker| waker.will_wake(cx.waker())) {
            ready.push(cx.waker().clone());
        }
        false
    }

    /// Something has left: a pace that need not be kept any more is forgotten, and those who waited for less to wait are given
    /// back if less does now.
    pub(crate) fn now_ready(&mut self, bounds: &Bounds) -> Vec<Waker> {
        let Some(slow) = &mut self.slow else { return Vec::new() };
        if self.outbox.cost() <= bounds.soft {
            (slow.pace, slow.look_at) = (None, None);
        }
        let ready = if self.outbox.cost() <= bounds.soft / 2 { std::mem::take(&mut slow.ready) } else { Vec::new() };
        self.tidy();
        ready
    }

    /// The session is over: all who wait for anything.
    pub(crate) fn take_ready(&mut self) -> Vec<Waker> {
        self.slow.take().map(|slow| slow.ready).unwrap_or_default()
    }

    fn tidy(&mut self) {
        self.slow.take_if(|slow| slow.pace.is_none() && slow.ready.is_empty());
    }
}
