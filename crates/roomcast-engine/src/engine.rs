//! [`Engine`]: an Engine.IO server without its transport: options, sessions and the handler above.

use crate::application::{Application, SessionHandler};
use crate::budget::Budget;
use crate::config::EngineConfig;
use crate::connection::{Connection, PanicGuard};
use crate::error::RequestError;
use crate::handshake::Handshake;
use crate::outlet::Bounds;
use crate::session::{CloseReason, Session, Timing, Transport};
use crate::table::{Refused, Table};
use crate::watch;
use foldhash::fast::RandomState;
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
    handler: Arc<dyn Application>,
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

impl Engine {
    /// A server with these options.
    pub fn new(config: EngineConfig, handler: impl Application) -> Self {
        let engine = |kind, text| Packet::engine(kind, text).map(Arc::new);
        #[expect(clippy::unreachable, reason = "packets of one and six bytes are never too large")]
        let (Ok(ping), Ok(probe_pong)) = (engine(EngineKind::Ping, ""), engine(EngineKind::Pong, "probe")) else {
            unreachable!("a packet of six bytes fits")
        };
        let config = config.cut();
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
        self.sessions.table.lock().len()
    }

    /// Closes all sessions ("server shutting down") and refuses new ones. What is queued still leaves.
    pub fn close(&self) {
        let connections = self.sessions.table.lock().close();
        for connection in connections {
            connection.close_for(CloseReason::ServerShutdown);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sessions.table.lock().is_full(&self.sessions.config)
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        // Whatever is no id is not in the table either.
        let sid: Sid = sid.parse().ok()?;
        self.sessions.table.lock().find(sid)
    }

    /// Opens a session: its `open` packet is queued, its client is made.
    pub(crate) fn open(&self, request: &Parts, transport: Transport) -> Result<Arc<Connection>, RequestError> {
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
        let connection = Arc::new(Connection::new(sid, session, Handshake::new(request), self.sessions.clone()));
        let open = Open {
            sid,
            upgrade: config.offers_upgrade(transport),
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload: config.max_payload,
        };
        let packet = Packet::engine(EngineKind::Open, &open.to_string()).map_err(|_| RequestError::IdGeneration)?;
        connection.send(&Arc::new(packet)).wake();
        let inserted = table.lock().insert(&connection, transport, config);
        let crowded_out = inserted.map_err(|refused| match refused {
            Refused::Busy => RequestError::Busy,
            // Only a custom `generate_id` can give an id twice.
            Refused::Taken => RequestError::IdGeneration,
        })?;
        for connection in crowded_out {
            crowd_out(&connection);
        }
        let guard = PanicGuard(&connection);
        let client: Box<dyn SessionHandler> = self.handler.connect(&connection);
        if !client.is_established_by_a_message() {
            connection.shared().session.await_word();
        }
        *connection.client() = Some(client);
        metrics::counter!("roomcast_sessions_opened_total", "transport" => transport.as_str()).increment(1);
        // The server may have been closed, or the client kicked, before there was a client to tell.
        connection.settle();
        drop(guard);
        Ok(connection)
    }
}

/// Ends a session that has to make room for another. It was removed already.
fn crowd_out(connection: &Arc<Connection>) {
    metrics::counter!("roomcast_sessions_crowded_out_total").increment(1);
    metrics::counter!("roomcast_sessions_closed_total").increment(1);
    tracing::debug!("a session that has begun nothing makes room for a new one");
    let woken = {
        let mut shared = connection.shared();
        shared.session.fail(CloseReason::ForcedClose);
        shared.take_wakers()
    };
    woken.wake();
    connection.settle();
}

impl Sessions {
    /// The connections for which more than `least` waits, with what it costs, and the number of all sessions.
    pub(crate) fn with_outboxes_over(&self, least: usize) -> (Vec<(usize, Arc<Connection>)>, usize) {
        let connections = self.table.lock().all();
        let sessions = connections.len();
        let costs = connections.into_iter().map(|connection| (connection.outstanding().bytes, connection));
        (costs.filter(|(cost, _)| *cost > least).collect(), sessions)
    }

    pub(crate) fn remove(&self, sid: &Sid) {
        let removed = self.table.lock().remove(*sid);
        if removed.is_some() {
            metrics::counter!("roomcast_sessions_closed_total").increment(1);
        }
    }

    /// A session does not have to make room for others any more.
    pub(crate) fn establish(&self, connection: &Connection) {
        self.table.lock().establish(connection);
    }

    /// A session has moved to a WebSocket.
    pub(crate) fn upgrade(&self, connection: &Connection) {
        self.table.lock().upgrade(connection);
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.sessions.config).finish_non_exhaustive()
    }
}
