//! [`Engine`]: an Engine.IO server without its transport: options, sessions and the application above.

use crate::application::Application;
use crate::config::EngineConfig;
use crate::connections::connection::{Connection, PanicGuard};
use crate::connections::sessions::{Sessions, count_closed};
use crate::connections::table::Refused;
use crate::http::address_rates::AddressRates;
use crate::http::error::RequestError;
use crate::http::handshake::Handshake;
use crate::session::close_reason::CloseReason;
use crate::session::handler::SessionHandler;
use crate::session::state::Session;
use crate::session::transport::Transport;
use crate::transport::watch;
use foldhash::fast::RandomState;
use http::request::Parts;
use roomcast_protocol::{EngineKind, Open, Packet, Sid};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Once};
use tokio::time::Instant;

/// An Engine.IO server. It is cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Engine {
    pub(crate) sessions: Arc<Sessions<Connection>>,
    application: Arc<dyn Application>,
    handshakes: Option<Arc<AddressRates>>,
}

impl Engine {
    /// A server with these options.
    pub fn new(config: EngineConfig, application: impl Application) -> Self {
        let rate = config.handshakes_per_address;
        let handshakes = rate.map(|rate| Arc::new(AddressRates::new(rate, "handshakes_per_address")));
        let sessions = Sessions::new(config, Connection::identity);
        Self { sessions: Arc::new(sessions), application: Arc::new(application), handshakes }
    }

    /// The options.
    pub fn config(&self) -> &EngineConfig {
        &self.sessions.config
    }

    /// Bytes that unfinished messages of clients hold now, each of 16 KiB or more
    /// ([`EngineConfig::inbox_budget`](crate::EngineConfig::inbox_budget)).
    pub fn unfinished_bytes(&self) -> usize {
        self.sessions.inbox_budget.used()
    }

    /// Number of open sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Closes all sessions ("server shutting down") and refuses new ones. What is queued still leaves.
    pub fn close(&self) {
        let connections = self.sessions.close();
        for connection in connections {
            connection.close_for(CloseReason::ServerShutdown);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sessions.is_full()
    }

    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        // Text that is not an id is not in the table either.
        let sid: Sid = sid.parse().ok()?;
        self.sessions.find(sid)
    }

    /// Counts a handshake against the rate of its client's address.
    pub(crate) fn count_handshake(&self, request: &Parts) -> Result<(), RequestError> {
        let Some(rates) = &self.handshakes else { return Ok(()) };
        match self.config().trusted_proxies.client_address(request) {
            Some(address) => {
                rates.take(address, Instant::now()).map_err(|retry_after| RequestError::RateLimited { retry_after })
            }
            None => {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    tracing::warn!(
                        "handshakes_per_address has no effect, as requests have no `PeerAddr`: let a layer around the service insert it"
                    );
                });
                Ok(())
            }
        }
    }

    /// Opens a session: queues its `open` packet, and makes its handler.
    pub(crate) fn open(&self, request: &Parts, transport: Transport) -> Result<Arc<Connection>, RequestError> {
        watch::current_runtime();
        let Sessions { config, timing, .. } = &*self.sessions;
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
        let handshake = Handshake::behind(&config.trusted_proxies, request);
        let connection = Arc::new(Connection::new(sid, session, handshake, self.sessions.clone()));
        connection.keep_extensions(&request.extensions);
        let open = Open {
            sid,
            upgrade: config.offers_upgrade(transport),
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload: config.max_payload,
        };
        let packet = Packet::engine(EngineKind::Open, &open.to_string()).map_err(|_| RequestError::IdGeneration)?;
        connection.send(&Arc::new(packet)).wake();
        if let Some(packet) = &config.initial_packet {
            connection.send(packet).wake();
        }
        let inserted = self.sessions.insert(&connection, transport);
        let crowded_out = inserted.map_err(|refused| match refused {
            Refused::Busy => RequestError::Busy,
            // Only a custom `generate_id` can give an id twice.
            Refused::Taken => RequestError::IdGeneration,
        })?;
        for connection in crowded_out {
            crowd_out(&connection);
        }
        let guard = PanicGuard(&connection);
        let handler: Box<dyn SessionHandler> = self.application.connect(&connection);
        if !handler.is_established_by_a_message() {
            connection.shared().session.let_handler_establish();
        }
        *connection.handler() = Some(handler);
        metrics::counter!("roomcast_sessions_opened_total", "transport" => transport.as_str()).increment(1);
        // The server may have been closed, or the session ended, before it had a handler.
        connection.finish_if_over();
        drop(guard);
        Ok(connection)
    }
}

/// Ends a session that has to make room for another. It has been removed from the table already.
fn crowd_out(connection: &Connection) {
    metrics::counter!("roomcast_sessions_crowded_out_total").increment(1);
    count_closed(CloseReason::ForcedClose, connection.transport());
    tracing::debug!("a session that has begun nothing makes room for a new one");
    connection.fail(CloseReason::ForcedClose);
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.sessions.config).finish_non_exhaustive()
    }
}
