//! [`InboxHold`]: what a client has sent of a message that is not complete.

use crate::connections::connection::Connection;
use crate::connections::sessions::Sessions;
use crate::limits::INBOX_LEAST;
use crate::session::close_reason::CloseReason;
use std::fmt;
use std::sync::Arc;

/// Counts the bytes that a client's unfinished message holds against the budget for those of all clients
/// ([`EngineConfig::inbox_budget`](crate::EngineConfig::inbox_budget)). Dropping it counts them out.
///
/// The engine counts unfinished frames and bodies itself. A [`SessionHandler`](crate::SessionHandler) that keeps
/// messages until more have come, such as attachments, keeps one of these beside them.
#[derive(Default)]
pub struct InboxHold(Option<Box<Held>>);

struct Held {
    sessions: Arc<Sessions<Connection>>,
    ticket: u64,
}

impl InboxHold {
    /// Says how many bytes are held now. If all clients together hold more than the budget, the clients whose messages
    /// began first are disconnected, which may include this one.
    pub fn set(&mut self, connection: &Arc<Connection>, bytes: usize) {
        // Little is counted with what each connection costs anyway.
        if bytes < INBOX_LEAST {
            self.0 = None;
            return;
        }
        let held = self.0.get_or_insert_with(|| {
            let sessions = connection.sessions().clone();
            let ticket = sessions.inbox_budget.begin(connection);
            Box::new(Held { sessions, ticket })
        });
        let ended = held.sessions.inbox_budget.set(held.ticket, bytes);
        if ended.is_empty() {
            return;
        }
        tracing::warn!(
            budget = held.sessions.inbox_budget.limit(),
            disconnected = ended.len(),
            "unfinished messages of clients hold more than their budget: the clients whose messages began first are disconnected"
        );
        for connection in ended {
            metrics::counter!("roomcast_unfinished_messages_dropped_total").increment(1);
            connection.fail(CloseReason::ForcedServerClose);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sessions.inbox_budget.end(self.ticket);
    }
}

impl fmt::Debug for InboxHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxHold").field("counts", &self.0.is_some()).finish()
    }
}
