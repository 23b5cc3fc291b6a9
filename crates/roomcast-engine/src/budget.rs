//! [`Budget`]: the memory that the outboxes of all clients may hold together.

use crate::engine::Sessions;
use crate::limits::{BUDGET_LEAST, BUDGET_SHARE, OUTBOX_LEAST, TIGHT_GRACE};
use crate::memory;
use parking_lot::Mutex;
use roomcast_protocol::Meter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Counts what waits for slow clients: a packet from when it could not leave at once, and once, however many wait for it.
#[derive(Debug)]
pub(crate) struct Budget {
    meter: Arc<Meter>,
    limit: usize,
    /// Beyond this somebody has to go. It is the limit, unless looking for somebody did not help.
    act_at: AtomicUsize,
    acting: Mutex<()>,
}

impl Budget {
    /// `limit`: bytes; by default a quarter of the memory that there is.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or_else(|| (memory::available() / BUDGET_SHARE).max(BUDGET_LEAST));
        Self { meter: Arc::default(), limit, act_at: AtomicUsize::new(limit), acting: Mutex::new(()) }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The time in which a transport must take its share: less while more than half of the budget is used.
    pub(crate) fn grace(&self, usual: Duration) -> Duration {
        if self.meter.used() > self.limit / 2 { usual.min(TIGHT_GRACE) } else { usual }
    }

    /// Whether [`Sessions::relieve`] is to be called.
    pub(crate) fn is_over(&self) -> bool {
        let used = self.meter.used();
        if used <= self.limit {
            if self.act_at.load(Ordering::Relaxed) != self.limit {
                self.act_at.store(self.limit, Ordering::Relaxed);
            }
            return false;
        }
        used > self.act_at.load(Ordering::Relaxed)
    }
}

impl Sessions {
    /// Disconnects those for whom most waits, until nine tenths of the budget are left: the ones over the soft bound, and if
    /// there is none, those over their equal share of the budget.
    pub(crate) fn relieve(&self) {
        let budget = &self.budget;
        // One at a time is enough.
        let Some(_acting) = budget.acting.try_lock() else { return };
        if !budget.is_over() {
            return;
        }
        let (mut connections, sessions) = self.with_outboxes_over(OUTBOX_LEAST);
        connections.sort_unstable_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let is_over_soft = connections.first().is_some_and(|(cost, _)| *cost > self.bounds.soft);
        let share = (budget.limit / sessions.max(1)).max(OUTBOX_LEAST);
        let bound = if is_over_soft { self.bounds.soft } else { share.min(self.bounds.soft) };
        let enough = budget.limit / 10 * 9;
        let mut cut = 0;
        for (cost, connection) in connections {
            if cost <= bound || budget.meter.used() <= enough {
                break;
            }
            connection
                .cut_as_slow("the outboxes of all clients hold more than their budget, and this is one of the largest");
            cut += 1;
        }
        let used = budget.meter.used();
        tracing::warn!(
            used,
            budget = budget.limit,
            disconnected = cut,
            "slow clients hold more than the budget of all outboxes; raise it, or send less to clients that do not keep up"
        );
        // What could not be mended is not tried again for each packet.
        budget.act_at.store(budget.limit.max(used + budget.limit / 64), Ordering::Relaxed);
    }

    /// Who is woken in the place of `then` when the budget is used up: the work is done where no lock is held.
    pub(crate) fn relief(self: &Arc<Self>, then: Option<Waker>) -> Waker {
        Waker::from(Arc::new(Relief { sessions: self.clone(), then }))
    }
}

struct Relief {
    sessions: Arc<Sessions>,
    then: Option<Waker>,
}

impl Wake for Relief {
    fn wake(self: Arc<Self>) {
        self.sessions.relieve();
        if let Some(then) = &self.then {
            then.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::Packet;

    fn charged(budget: &Budget, bytes: usize) -> Packet {
        let packet = Packet::control(vec![0; 10]);
        packet.charge(&budget.meter, bytes);
        packet
    }

    #[test]
    fn over_half_of_the_budget_the_grace_is_short() {
        let budget = Budget::new(Some(1_000));
        let (long, short) = (Duration::from_secs(20), Duration::from_secs(2));
        let _half = charged(&budget, 500);
        assert_eq!(budget.grace(long), long);
        let _more = charged(&budget, 1);
        assert_eq!(budget.grace(long), TIGHT_GRACE);
        assert_eq!(budget.grace(short), short);
    }

    #[test]
    fn the_limit_and_one_past_it() {
        let budget = Budget::new(Some(1_000));
        let all = charged(&budget, 1_000);
        assert!(!budget.is_over());
        let more = charged(&budget, 1);
        assert!(budget.is_over());
        budget.act_at.store(1_100, Ordering::Relaxed);
        assert!(!budget.is_over(), "what did not help is not tried again at once");
        drop((all, more));
        assert!(!budget.is_over());
        let _again = charged(&budget, 1_001);
        assert!(budget.is_over(), "once there was room, the limit counts again");
    }
}
