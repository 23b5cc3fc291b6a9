//! [`Settings`]: all settings with their types. [`keys`](super::keys) says what each means, and its default.

use roomcast_redis::ShardedMode;
use roomcast_server::engine::Transport;
use roomcast_server::{OverRate, Parser, Rate};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of the program, one field for each key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) node_env: Option<String>,
    pub(crate) app_url: Vec<String>,
    pub(crate) adapter: Adapter,
    pub(crate) server_name: Option<String>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) client_events: Vec<ClientEvent>,
    pub(crate) parser: Parser,
    pub(crate) listen: Listen,
    pub(crate) internal: Internal,
    pub(crate) client: Client,
    pub(crate) limits: Limits,
    pub(crate) redis: Redis,
    pub(crate) recovery: Recovery,
    pub(crate) health: Health,
    pub(crate) drain: Drain,
    pub(crate) log: Log,
}

/// Where clients reach the server, and how long HTTP may take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listen {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) max_connections: usize,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) proxy_protocol: bool,
    pub(crate) tls_cert_file: Option<PathBuf>,
    pub(crate) tls_key_file: Option<PathBuf>,
    pub(crate) client_files: Option<PathBuf>,
}

/// The listener for operators.
#[derive(Debug, Clone, Default)]
pub(crate) struct Internal {
    pub(crate) listen: Option<String>,
}

/// What a client may use, and how long it may take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    pub(crate) transports: Vec<Transport>,
    pub(crate) allow_upgrades: bool,
    pub(crate) cookie: Option<String>,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) max_attachments: usize,
    pub(crate) max_depth: usize,
    pub(crate) max_handlers: usize,
    pub(crate) per_message_deflate: bool,
    pub(crate) http_compression: bool,
    pub(crate) compression_threshold: usize,
}

/// What all clients together may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) polling_sessions: usize,
    pub(crate) unjoined_sessions: usize,
    pub(crate) rooms: usize,
    pub(crate) outbox: usize,
    pub(crate) outbox_hard: usize,
    pub(crate) outbox_budget: Option<usize>,
    pub(crate) inbox_budget: Option<usize>,
    pub(crate) events: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
    pub(crate) address_events: Option<Rate>,
    pub(crate) address_bytes: Option<Rate>,
    pub(crate) address_connections: Option<Rate>,
    pub(crate) address_handshakes: Option<Rate>,
    pub(crate) over: OverRate,
    pub(crate) warning: Option<String>,
}

/// The other servers, and how they are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redis {
    pub(crate) url: Option<String>,
    pub(crate) url_file: Option<PathBuf>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) sentinel_password: Option<Secret>,
    pub(crate) sentinel_password_file: Option<PathBuf>,
    pub(crate) tls_ca_file: Option<PathBuf>,
    pub(crate) tls_cert_file: Option<PathBuf>,
    pub(crate) tls_key_file: Option<PathBuf>,
    pub(crate) key: String,
    pub(crate) dialect: Dialect,
    pub(crate) sharded_mode: ShardedMode,
    pub(crate) specific_responses: bool,
    pub(crate) exact_rooms: bool,
    pub(crate) one_pattern: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) max_queued_bytes: usize,
    pub(crate) max_queued_age: Duration,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) watch: bool,
    pub(crate) watch_interval: Duration,
}

/// Clients that come back after a lost connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovery {
    pub(crate) max_disconnection: Option<Duration>,
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

/// When the server counts as ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) require_redis: bool,
}

/// How the server stops.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    pub(crate) grace: Duration,
    pub(crate) window: Duration,
    pub(crate) deadline: Option<Duration>,
}

/// What the server logs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

/// How this server reaches the other servers of its cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Adapter {
    /// It does not: it is on its own.
    #[default]
    Memory,
    Redis,
}

/// What clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    Join,
    Leave,
    Publish,
}

/// The protocol over Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    Classic,
    Sharded,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Settings {
    pub(crate) fn is_production(&self) -> bool {
        self.node_env.as_deref() == Some(PRODUCTION)
    }
}

impl Drain {
    /// Time from the signal on after which the program exits in any case.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline.unwrap_or_else(|| self.grace.saturating_add(self.window).saturating_add(Self::CLOSE))
    }

    /// Time for the close after grace and window: at most 8.5 s, rounded up.
    pub(crate) const CLOSE: Duration = Duration::from_secs(10);
}

/// The value of `NODE_ENV` with which other defaults apply.
pub(crate) const PRODUCTION: &str = "production";
