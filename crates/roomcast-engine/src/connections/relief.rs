//! [`Relief`]: disconnects slow clients when the outboxes of all clients hold more than their budget.

use crate::connections::connection::Connection;
use crate::connections::sessions::Sessions;
use crate::limits::OUTBOX_LEAST;
use std::sync::Arc;
use std::task::{Wake, Waker};

impl Sessions<Connection> {
    /// Disconnects the clients for which most waits, until the outboxes hold nine tenths of the budget: those over the
    /// soft bound, and if there is none, those over their equal share of the budget.
    pub(crate) fn relieve(&self) {
        let budget = &self.budget;
        // One thread at a time is enough.
        let Some(_acting) = budget.try_act() else { return };
        if !budget.is_over() {
            return;
        }
        let connections = self.all();
        let sessions = connections.len();
        let costs = connections.into_iter().map(|connection| (connection.outstanding().bytes, connection));
        let mut connections: Vec<_> = costs.filter(|(cost, _)| *cost > OUTBOX_LEAST).collect();
        connections.sort_unstable_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let is_over_soft = connections.first().is_some_and(|(cost, _)| *cost > self.bounds.soft);
        let share = (budget.limit() / sessions.max(1)).max(OUTBOX_LEAST);
        let bound = if is_over_soft { self.bounds.soft } else { share.min(self.bounds.soft) };
        let enough = budget.limit() / 10 * 9;
        let mut disconnected = 0;
        for (cost, connection) in connections {
            if cost <= bound || budget.meter().used() <= enough {
                break;
            }
            connection.disconnect_slow(
                "the outboxes of all clients hold more than their budget, and this is one of the largest",
            );
            disconnected += 1;
        }
        let used = budget.meter().used();
        tracing::warn!(
            used,
            budget = budget.limit(),
            disconnected,
            "slow clients hold more than the budget of all outboxes; raise it, or send less to clients that do not keep up"
        );
        budget.acted(used);
    }
}

/// A waker that relieves the budget, and then wakes another. It does so where the sender holds no lock.
pub(crate) struct Relief {
    sessions: Arc<Sessions<Connection>>,
    then: Option<Waker>,
}

impl Relief {
    pub(crate) fn waker(sessions: Arc<Sessions<Connection>>, then: Option<Waker>) -> Waker {
        Waker::from(Arc::new(Self { sessions, then }))
    }
}

impl Wake for Relief {
    fn wake(self: Arc<Self>) {
        self.sessions.relieve();
        if let Some(then) = &self.then {
            then.wake_by_ref();
        }
    }
}
