//! [`Budget`]: the memory that the outboxes of all clients may hold together.

use crate::limits::{BUDGET_LEAST, BUDGET_SHARE, TIGHT_GRACE};
use crate::session::memory;
use parking_lot::{Mutex, MutexGuard};
use roomcast_protocol::Meter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts what waits for slow clients. A packet counts from when it could not leave at once, and only once, however
/// many clients wait for it.
#[derive(Debug)]
pub(crate) struct Budget {
    meter: Arc<Meter>,
    limit: usize,
    /// Beyond this, clients are disconnected. It is the limit, unless the last attempt to get below it failed.
    act_at: AtomicUsize,
    /// Held while clients are disconnected.
    acting: Mutex<()>,
}

impl Budget {
    /// `limit` is in bytes. Defaults to a quarter of the memory that there is.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or_else(|| (memory::available() / BUDGET_SHARE).max(BUDGET_LEAST));
        Self { meter: Arc::default(), limit, act_at: AtomicUsize::new(limit), acting: Mutex::new(()) }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The time in which a transport must take its share: less than `usual` while more than half of the budget is used.
    pub(crate) fn grace(&self, usual: Duration) -> Duration {
        if self.meter.used() > self.limit / 2 { usual.min(TIGHT_GRACE) } else { usual }
    }

    /// Whether clients have to be disconnected.
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

    /// The right to disconnect clients. `None`: another thread has it.
    pub(crate) fn try_act(&self) -> Option<MutexGuard<'_, ()>> {
        self.acting.try_lock()
    }

    /// Clients were disconnected, and `used` is still held. If that is over the limit, it is not tried again for each
    /// packet.
    pub(crate) fn acted(&self, used: usize) {
        self.act_at.store(self.limit.max(used + self.limit / 64), Ordering::Relaxed);
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
