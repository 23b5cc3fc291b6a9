//! [`Sessions`]: the sessions of a server, and what they share.

use crate::config::EngineConfig;
use crate::connections::table::{Identity, Refused, Table};
use crate::connections::traffic::Traffic;
use crate::session::bounds::Bounds;
use crate::session::budget::Budget;
use crate::session::close_reason::CloseReason;
use crate::session::inbox_budget::InboxBudget;
use crate::session::state::Timing;
use crate::session::transport::Transport;
use http::Extensions;
use parking_lot::Mutex;
use roomcast_protocol::{EngineKind, Packet, Sid};
use std::collections::HashMap;
use std::sync::Arc;

/// The sessions of a server, each a `T`, and what they share. Each session refers to it in turn.
pub(crate) struct Sessions<T> {
    pub(crate) config: EngineConfig,
    pub(crate) timing: Timing,
    pub(crate) bounds: Bounds,
    pub(crate) budget: Budget,
    pub(crate) inbox_budget: InboxBudget<T>,
    pub(crate) traffic: Traffic,
    /// The ping that all sessions send.
    pub(crate) ping: Arc<Packet>,
    /// The answer to the probe of every upgrade.
    pub(crate) probe_pong: Arc<Packet>,
    table: Mutex<Table<T>>,
    /// What [`EngineConfig::keep_extension`] named, of sessions that have it. A table of its own, as most servers keep nothing.
    pub(crate) extensions: Mutex<HashMap<Identity, Arc<Extensions>>>,
}

impl<T> Sessions<T> {
    pub(crate) fn new(config: EngineConfig, identify: fn(&T) -> Identity) -> Self {
        let engine = |kind, text| Packet::engine(kind, text).map(|packet| Arc::new(packet.with_compress(false)));
        #[expect(clippy::unreachable, reason = "packets of one and six bytes are never too large")]
        let (Ok(ping), Ok(probe_pong)) = (engine(EngineKind::Ping, ""), engine(EngineKind::Pong, "probe")) else {
            unreachable!("a packet of six bytes fits")
        };
        let config = config.cut();
        let timing = config.timing();
        let budget = Budget::new(config.outbox.budget);
        let inbox_budget = InboxBudget::new(config.inbox_budget, config.max_payload);
        let bounds = config.outbox.bounds(budget.meter());
        let (traffic, table) = (Traffic::default(), Mutex::new(Table::new(identify)));
        Self {
            config,
            timing,
            bounds,
            budget,
            inbox_budget,
            traffic,
            ping,
            probe_pong,
            table,
            extensions: Mutex::default(),
        }
    }

    /// Number of open sessions.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Numbers of open sessions by polling and by WebSocket.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.table.lock().counts()
    }

    /// Some of the sessions of a transport: see [`Table::some`].
    pub(crate) fn some(&self, transport: Transport, from: usize, most: usize) -> (Vec<Arc<T>>, bool) {
        self.table.lock().some(transport, from, most)
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.table.lock().all()
    }

    /// Refuses all further sessions, and returns those that are open.
    pub(crate) fn close(&self) -> Vec<Arc<T>> {
        self.table.lock().close()
    }

    /// Whether no session can be accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.table.lock().is_full(&self.config)
    }

    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<T>> {
        self.table.lock().find(sid)
    }

    /// Inserts a session, and returns those that make room for it: see [`Table::insert`].
    pub(crate) fn insert(&self, session: &Arc<T>, transport: Transport) -> Result<Vec<Arc<T>>, Refused> {
        self.table.lock().insert(session, transport, &self.config)
    }

    /// A session has ended. One that had to make room for others has been removed already.
    pub(crate) fn remove(&self, sid: Sid, reason: CloseReason, transport: Transport) {
        let removed = self.table.lock().remove(sid);
        if removed.is_some() {
            count_closed(reason, transport);
        }
    }

    /// A session does not have to make room for others any more.
    pub(crate) fn establish(&self, session: &T) {
        self.table.lock().establish(session);
    }

    /// A session has moved to a WebSocket.
    pub(crate) fn upgrade(&self, session: &T) {
        self.table.lock().upgrade(session);
    }
}

/// Counts a session that has ended.
pub(crate) fn count_closed(reason: CloseReason, transport: Transport) {
    let (reason, transport) = (reason.as_str(), transport.as_str());
    metrics::counter!("roomcast_sessions_closed_total", "reason" => reason, "transport" => transport).increment(1);
}
