//! [`Engine`]: an Engine.IO server without its transport: options, sessions and the handler above.

use crate::budget::Budget;
use crate::client::{Client, Handler};
use crate::config::EngineConfig;
use crate::connection::{Connection, PanicGuard};
use crate::error::RequestError;
use crate::handshake::Handshake;
use crate::outlet::Bounds;
use crate::session::{CloseReason, Session, Timing, Transport};
use crate::watch;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use http::request::Parts;
use parking_lot::Mutex;
use roomcast_protocol::{EngineKind, Open, Packet, Sid};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use tokio::time::Instant;

/// An Engine.IO server. It is cheap to clone; all clones are one server.
#[derive(Clone)]
pub struct Engine {
    pub(crate) sessions: Arc<Sessions>,
    handler: Arc<dyn Handler>,
}

/// The sessions of a server, and what they share.
pub(crate) struct Sessions {
    pub(crate) config: EngineConfig,
    pub(crate) timing: Timing,
    pub(crate) bounds: Bounds,
    pub(crate) budget: Budget,
    /// The one ping packet.
    pub(crate) ping: Arc<Packet>,
    pub(crate) probe_pong: Arc<Packet>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// A connection knows its own id, so there is no key beside it.
    by_sid: HashTable<Arc<Connection>>,
    hasher: RandomState,
    /// Set by [`Engine::close`]: no session opens after it.
    closed: bool,
}

impl Engine {
    /// A server with these options.
    pub fn new(config: EngineConfig, handler: impl Handler) -> Self {
        let engine = |kind, text| Packet::engine(kind, text).map(Arc::new);
        // Packets of one and six bytes are never too large.
        let (Ok(ping), Ok(probe_pong)) = (engine(EngineKind::Ping, ""), engine(EngineKind::Pong, "probe")) else {
            unreachable!("a packet of six bytes fits")
        };
        let timing = config.timing();
        let budget = Budget::new(config.outbox.budget);
        let bounds = config.outbox.bounds(budget.meter());
        let sessions = Sessions { config, timing, bounds, budget, ping, probe_pong, table: Mutex::default() };
        Self { sessions: Arc::new(sessions), handler: Arc::new(handler) }
    }

    /// The options.
    pub fn config(&self) -> &EngineConfig {
        &self.sessions.config
    }

    /// Number of open sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.table.lock().by_sid.len()
    }

    /// Closes all sessions ("server shutting down") and refuses new ones. What is queued still leaves.
    pub fn close(&self) {
        let connections: Vec<Arc<Connection>> = {
            let mut table = self.sessions.table.lock();
            table.closed = true;
            table.by_sid.iter().cloned().collect()
        };
        for connection in connections {
            connection.close_for(CloseReason::ServerShutdown);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        let table = self.sessions.table.lock();
        table.closed || table.by_sid.len() >= self.sessions.config.max_sessions
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        // Whatever is no id is not in the table either.
        let sid: Sid = sid.parse().ok()?;
        self.sessions.table.lock().find(sid)
    }

    /// Opens a session: its `open` packet is queued, its client is made.
    pub(crate) fn open(
        &self,
        request: &Parts,
        transport: Transport,
        base64: bool,
    ) -> Result<Arc<Connection>, RequestError> {
        watch::this_runtime();
        let Sessions { config, timing, table, .. } = &*self.sessions;
        let sid = match &config.generate_id {
            Some(generate) => generate(request),
            None => Sid::random(),
        };
        let sid = sid.map_err(|error| {
            tracing::error!(%error, "no session id could be made; the handshake is refused");
            RequestError::IdGeneration
        })?;
        let spread = (RandomState::default().hash_one(sid) % 1_024) as f64 / 1_024.0;
        let session = Session::new(transport, Instant::now(), timing, spread);
        let connection =
            Arc::new(Connection::new(sid, session, Handshake::new(request), base64, self.sessions.clone()));
        let open = Open {
            sid,
            upgrade: config.offers_upgrade(transport),
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload: config.max_payload,
        };
        let packet = Packet::engine(EngineKind::Open, &open.to_string()).map_err(|_| RequestError::IdGeneration)?;
        connection.send(&Arc::new(packet)).wake();
        {
            let mut table = table.lock();
            if table.closed || table.by_sid.len() >= config.max_sessions {
                return Err(RequestError::Busy);
            }
            if table.find(sid).is_some() {
                // Only a custom `generate_id` can give an id twice.
                return Err(RequestError::IdGeneration);
            }
            table.insert(connection.clone());
        }
        let guard = PanicGuard(&connection);
        let client: Box<dyn Client> = self.handler.connect(&connection);
        *connection.client() = Some(client);
        metrics::counter!("roomcast_sessions_opened_total", "transport" => transport.as_str()).increment(1);
        // The server may have been closed, or the client kicked, before there was a client to tell.
        connection.settle();
        drop(guard);
        Ok(connection)
    }
}

impl Table {
    fn find(&self, sid: Sid) -> Option<Arc<Connection>> {
        self.by_sid.find(self.hasher.hash_one(sid), |connection| connection.sid() == sid).cloned()
    }

    fn insert(&mut self, connection: Arc<Connection>) {
        let Self { by_sid, hasher, .. } = self;
        let hash = |connection: &Arc<Connection>| hasher.hash_one(connection.sid());
        by_sid.insert_unique(hash(&connection), connection, hash);
    }

    fn remove(&mut self, sid: Sid) -> Option<Arc<Connection>> {
        let entry = self.by_sid.find_entry(self.hasher.hash_one(sid), |connection| connection.sid() == sid);
        Some(entry.ok()?.remove().0)
    }
}

impl Sessions {
    /// The connections for which more than `least` waits, with what it costs, and the number of all sessions.
    pub(crate) fn with_outboxes_over(&self, least: usize) -> (Vec<(usize, Arc<Connection>)>, usize) {
        let connections: Vec<Arc<Connection>> = self.table.lock().by_sid.iter().cloned().collect();
        let sessions = connections.len();
        let costs = connections.into_iter().map(|connection| (connection.outstanding().bytes, connection));
        (costs.filter(|(cost, _)| *cost > least).collect(), sessions)
    }

    pub(crate) fn remove(&self, sid: &Sid) {
        let removed = {
            let mut table = self.table.lock();
            let removed = table.remove(*sid);
            if table.by_sid.is_empty() {
                table.by_sid = HashTable::new();
            }
            removed
        };
        if removed.is_some() {
            metrics::counter!("roomcast_sessions_closed_total").increment(1);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.sessions.config).finish_non_exhaustive()
    }
}
