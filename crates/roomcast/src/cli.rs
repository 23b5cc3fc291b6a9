//! [`Cli`]: the settings of the program, from flags and environment variables. A flag overrides its variable.

use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use roomcast_redis::{RedisConfig, RedisTls, ShardedMode};
use roomcast_server::engine::limits;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// A Socket.IO server with rooms: clients join rooms, leave them and publish to them. GET / answers with a chat page.
///
/// The server runs until it receives SIGTERM or Ctrl-C. At SIGTERM it first drains: see --drain-grace and --drain-window. A
/// second signal ends it at once.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,

    /// Address or host name to listen on; 0.0.0.0 stands for all IPv4 addresses of the machine
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 stands for any free port
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Web origins whose pages may use the server, separated by commas: such as `https://app.example.com`, or
    /// `https://*.example.com` for all subdomains, or * for all origins. If not set, pages of any origin can open
    /// WebSockets, but only pages of the server's own origin can use HTTP long-polling
    #[arg(long, env = "APP_URL", value_delimiter = ',')]
    pub(crate) app_url: Vec<String>,

    /// "production" enables the Redis adapter, with which several servers form one cluster
    #[arg(long, env = "NODE_ENV")]
    pub(crate) node_env: Option<String>,

    /// URL of Redis: redis://, rediss://, unix://, redis+sentinel://host:port,host:port/master-name or
    /// redis+cluster://host:port,host:port. A user and password are written user:password@ after the slashes; rediss+…
    /// uses TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,

    /// Protocol over Redis: that of createAdapter of @socket.io/redis-adapter, or that of createShardedAdapter, which needs
    /// Redis 7. Must be the same for all servers and emitters of a cluster
    #[arg(long, env = "REDIS_DIALECT", value_enum, default_value_t = Dialect::Classic)]
    pub(crate) redis_dialect: Dialect,

    /// The subscriptionMode of the sharded dialect: which rooms have a channel of their own. Must be the same for all
    /// servers of a cluster
    #[arg(long, env = "REDIS_SHARDED_MODE", value_enum, default_value_t = Mode::Dynamic)]
    pub(crate) redis_sharded_mode: Mode,

    /// Prefix of all channels on Redis: the option `key` of createAdapter, or `channelPrefix` of createShardedAdapter. Must be the
    /// same for all servers and emitters of a cluster, and must differ from that of another cluster on the same Redis
    #[arg(long, env = "REDIS_KEY", default_value = "socket.io")]
    pub(crate) redis_key: String,

    /// File with the password of Redis, read for each new connection; the user is the one in REDIS_URL
    #[arg(long, env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,

    /// File with the password of the Sentinels, if they have one; their user is the one in REDIS_URL
    #[arg(long, env = "REDIS_SENTINEL_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) redis_sentinel_password_file: Option<PathBuf>,

    /// File with the CA certificates that Redis's certificate is verified with; by default the system's root certificates
    #[arg(long, env = "REDIS_TLS_CA_FILE", value_name = "FILE")]
    pub(crate) redis_tls_ca_file: Option<PathBuf>,

    /// File with the client certificate that this server presents to Redis
    #[arg(long, env = "REDIS_TLS_CERT_FILE", value_name = "FILE")]
    pub(crate) redis_tls_cert_file: Option<PathBuf>,

    /// File with the private key of the client certificate
    #[arg(long, env = "REDIS_TLS_KEY_FILE", value_name = "FILE")]
    pub(crate) redis_tls_key_file: Option<PathBuf>,

    /// How this server reaches other servers; overrides NODE_ENV
    #[arg(long, value_enum)]
    pub(crate) adapter: Option<Adapter>,

    /// The events that clients may send, separated by commas. Any client may join any room and publish to it; with `none` only
    /// other servers and emitters publish
    #[arg(
        long,
        env = "ROOMCAST_CLIENT_EVENTS",
        value_enum,
        value_delimiter = ',',
        default_values_t = [ClientEvent::Join, ClientEvent::Leave, ClientEvent::Publish]
    )]
    pub(crate) client_events: Vec<ClientEvent>,

    /// Maximum number of connections; a further client is answered with 503
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = limits::CONNECTIONS)]
    pub(crate) max_connections: usize,

    /// Seconds for which an idle HTTP connection is kept open; must be longer than a proxy in front keeps idle connections
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "SECONDS", default_value_t = limits::IDLE_TIMEOUT.as_secs())]
    pub(crate) keep_alive_timeout: u64,

    /// Seconds after SIGTERM in which the server goes on as before, except that /readyz answers 503, so that load balancers stop
    /// sending clients to it. By default 5 if NODE_ENV is production, else 0
    #[arg(long, env = "ROOMCAST_DRAIN_GRACE", value_name = "SECONDS")]
    pub(crate) drain_grace: Option<u64>,

    /// Seconds over which clients are then disconnected evenly, so that not all reconnect at the same moment. By default 10 if
    /// NODE_ENV is production, else 0
    #[arg(long, env = "ROOMCAST_DRAIN_WINDOW", value_name = "SECONDS")]
    pub(crate) drain_window: Option<u64>,

    /// Whether /readyz answers 503 while this server does not reach the other servers. If all servers lose Redis at once, none
    /// is ready then, although each still serves its own clients
    #[arg(long, env = "ROOMCAST_HEALTH_REQUIRE_REDIS", value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) health_require_redis: bool,

    /// Format of the log. RUST_LOG selects what is logged (such as "info" or "roomcast_engine=debug")
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// What to do in place of running a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Action {
    /// Ask a running server for its health, by HOST and PORT; exits with 0 if it is healthy, else with 1. For containers, whose
    /// images have no shell
    Health {
        /// Ask whether the server is ready for clients (/readyz), and not only whether it answers (/healthz)
        #[arg(long)]
        ready: bool,
    },
}

/// How this server reaches the other servers of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Adapter {
    /// No other servers: this server is on its own
    Memory,
    /// Over Redis, also together with Node servers that use @socket.io/redis-adapter
    Redis,
}

/// What clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientEvent {
    /// Join rooms
    Join,
    /// Leave rooms
    Leave,
    /// Emit events to rooms
    Publish,
    /// Nothing
    None,
}

/// The protocol over Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// PUBLISH and SUBSCRIBE: every server receives all messages
    Classic,
    /// SPUBLISH and SSUBSCRIBE: in a Redis Cluster each channel belongs to one shard
    Sharded,
}

/// Which rooms have a channel of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// No rooms
    Static,
    /// All rooms except the private rooms of sockets
    Dynamic,
    /// All rooms
    DynamicPrivate,
}

impl From<Mode> for ShardedMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Static => Self::Static,
            Mode::Dynamic => Self::Dynamic,
            Mode::DynamicPrivate => Self::DynamicPrivate,
        }
    }
}

impl Cli {
    /// Reads the flags and environment variables. If one is wrong, or for `--help` and `--version`, prints a message and exits.
    pub(crate) fn read() -> Self {
        let is_empty =
            |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
        let mut matches = command(is_empty).get_matches();
        Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
    }

    /// The web origins whose pages may use the server. Empty if none are configured.
    pub(crate) fn origins(&self) -> Vec<&str> {
        self.app_url.iter().map(|origin| origin.trim()).filter(|origin| !origin.is_empty()).collect()
    }

    /// How long a drain's grace and window are.
    pub(crate) fn drain(&self) -> (Duration, Duration) {
        let [grace, window] = if self.is_production() { [5, 10] } else { [0, 0] };
        (
            Duration::from_secs(self.drain_grace.unwrap_or(grace)),
            Duration::from_secs(self.drain_window.unwrap_or(window)),
        )
    }

    fn is_production(&self) -> bool {
        self.node_env.as_deref() == Some("production")
    }

    pub(crate) fn keep_alive_timeout(&self) -> Duration {
        Duration::from_secs(self.keep_alive_timeout)
    }

    /// The configuration of Redis. `None` selects the in-memory adapter. The error says which setting to change.
    pub(crate) fn redis(&self) -> Result<Option<RedisConfig>, String> {
        let adapter = self.adapter.unwrap_or(if self.is_production() { Adapter::Redis } else { Adapter::Memory });
        match (adapter, self.redis_url.as_deref().filter(|url| !url.trim().is_empty())) {
            (Adapter::Memory, _) => Ok(None),
            (Adapter::Redis, Some(url)) => {
                let config = url.parse().map_err(|error| format!("REDIS_URL: {error}"))?;
                self.with_files(config).map(Some)
            }
            (Adapter::Redis, None) if self.adapter.is_none() => Err(
                "NODE_ENV is production, but REDIS_URL is not set: set it (such as redis://127.0.0.1:6379), or pass --adapter memory to run a server on its own"
                    .to_owned(),
            ),
            (Adapter::Redis, None) => Err("--adapter redis needs REDIS_URL or --redis-url".to_owned()),
        }
    }

    /// Adds the password and TLS files that were given. A file that `config` would not use is an error.
    fn with_files(&self, mut config: RedisConfig) -> Result<RedisConfig, String> {
        if let Some(file) = &self.redis_password_file {
            config = config.with_password_file(file);
        }
        if let Some(file) = &self.redis_sentinel_password_file {
            if !config.is_sentinel() {
                return Err(
                    "REDIS_SENTINEL_PASSWORD_FILE is set, but REDIS_URL has no Sentinels: write redis+sentinel://…, or unset the variable"
                        .to_owned(),
                );
            }
            config = config.with_sentinel_password_file(file);
        }
        let mut tls = RedisTls::new();
        if let Some(file) = &self.redis_tls_ca_file {
            tls = tls.ca_file(file);
        }
        match (&self.redis_tls_cert_file, &self.redis_tls_key_file) {
            (Some(certificate), Some(key)) => tls = tls.client_files(certificate, key),
            (None, None) if self.redis_tls_ca_file.is_none() => return Ok(config),
            (None, None) => {}
            _ => return Err("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE must be set together".to_owned()),
        }
        if !config.is_tls() {
            return Err("REDIS_TLS_… is set, but REDIS_URL does not use TLS: write rediss:// (or rediss+sentinel://, rediss+cluster://)".to_owned());
        }
        Ok(config.with_tls(tls))
    }
}

/// The command line. An empty variable counts as not set, because `${NAME:-}` in a compose file gives an empty value.
fn command(is_empty: impl Fn(&OsStr) -> bool) -> Command {
    Cli::command().mut_args(|argument| match argument.get_env() {
        // No variable has an empty name, so none is read.
        Some(name) if is_empty(name) => argument.env("").hide_env(true),
        _ => argument,
    })
}

/// The format of the log.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people
    Text,
    /// One JSON object per line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid_and_origins_are_split() {
        command(|_| false).debug_assert();
        command(|_| true).debug_assert();
        let cli = Cli::parse_from(["roomcast", "--app-url", "https://a.example,https://b.example", "--port", "0"]);
        assert_eq!(cli.origins(), ["https://a.example", "https://b.example"]);
        assert_eq!(
            Cli::parse_from(["roomcast", "--app-url", " https://a.example/ , ,"]).origins(),
            ["https://a.example/"]
        );
        assert!(Cli::parse_from(["roomcast", "--app-url", ""]).origins().is_empty());
        assert_eq!(cli.port, 0);
        let seconds = |arguments: &[&str]| {
            let (grace, window) = Cli::parse_from([&["roomcast"], arguments].concat()).drain();
            (grace.as_secs(), window.as_secs())
        };
        assert_eq!(seconds(&["--node-env", "production"]), (5, 10));
        assert_eq!(seconds(&["--node-env", "test"]), (0, 0));
        assert_eq!(seconds(&["--drain-grace", "7", "--drain-window", "0"]), (7, 0));
        let action = |arguments: &[&str]| Cli::parse_from([&["roomcast"], arguments].concat()).action;
        assert_eq!(action(&[]), None);
        let events = |arguments: &[&str]| Cli::parse_from([&["roomcast"], arguments].concat()).client_events;
        assert_eq!(events(&["--client-events", "join,leave"]), [ClientEvent::Join, ClientEvent::Leave]);
        assert_eq!(events(&["--client-events", "none"]), [ClientEvent::None]);
        assert_eq!(events(&[]).len(), 3);
        assert_eq!(action(&["--port", "1", "health", "--ready"]), Some(Action::Health { ready: true }));
        let cli =
            Cli::parse_from(["roomcast", "--redis-dialect", "sharded", "--redis-sharded-mode", "dynamic-private"]);
        assert_eq!((cli.redis_dialect, cli.redis_sharded_mode), (Dialect::Sharded, Mode::DynamicPrivate));
    }

    #[test]
    fn redis_files_that_would_not_be_used_are_refused() {
        let redis = |url: &str, arguments: &[&str]| {
            let cli = Cli::parse_from([&["roomcast", "--adapter", "redis", "--redis-url", url], arguments].concat());
            cli.redis().map(drop).map_err(|error| error.split(' ').next().unwrap_or_default().to_owned())
        };
        let (ca, cert, key) = ("--redis-tls-ca-file=c", "--redis-tls-cert-file=c", "--redis-tls-key-file=k");
        let (password, sentinels) = ("--redis-password-file=p", "--redis-sentinel-password-file=s");
        for (url, arguments) in [
            ("redis://h", &[password][..]),
            ("rediss://h", &[ca]),
            ("rediss+cluster://h", &[cert, key]),
            ("rediss+sentinel://h/m", &[ca, cert, key, password, sentinels]),
        ] {
            assert_eq!(redis(url, arguments), Ok(()), "{url} {arguments:?}");
        }
        for (url, arguments, named) in [
            ("redis://h", &[ca][..], "REDIS_TLS_…"),
            ("redis+sentinel://h/m", &[cert, key], "REDIS_TLS_…"),
            ("rediss://h", &[cert], "REDIS_TLS_CERT_FILE"),
            ("rediss://h", &[ca, key], "REDIS_TLS_CERT_FILE"),
            ("redis://h", &[sentinels], "REDIS_SENTINEL_PASSWORD_FILE"),
        ] {
            assert_eq!(redis(url, arguments), Err(named.to_owned()), "{url} {arguments:?}");
        }
    }

    #[test]
    fn production_needs_redis_url_or_the_memory_adapter() {
        let redis = |arguments: &[&str]| {
            let mut cli = Cli::parse_from([&["roomcast"], arguments].concat());
            // `parse_from` also reads the environment in which the tests run.
            if !arguments.contains(&"--redis-url") {
                cli.redis_url = None;
            }
            if !arguments.contains(&"--node-env") {
                cli.node_env = None;
            }
            cli.redis().map(|config| config.map(|config| config.to_string()))
        };
        let url = "redis://u:secret@h";
        assert_eq!(redis(&[]), Ok(None));
        assert_eq!(redis(&["--redis-url", url]), Ok(None));
        assert_eq!(redis(&["--node-env", "production", "--redis-url", url]), Ok(Some("redis://u:***@h".to_owned())));
        assert_eq!(redis(&["--adapter", "redis", "--redis-url", url]), Ok(Some("redis://u:***@h".to_owned())));
        assert_eq!(redis(&["--node-env", "production", "--adapter", "memory"]), Ok(None));
        assert!(redis(&["--node-env", "production"]).is_err_and(|error| error.contains("--adapter memory")));
        assert!(redis(&["--adapter", "redis"]).is_err());
        assert!(
            redis(&["--adapter", "redis", "--redis-url", "http://h"]).is_err_and(|error| error.contains("REDIS_URL"))
        );
    }
}
