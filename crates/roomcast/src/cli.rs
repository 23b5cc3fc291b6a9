//! Flags and environment variables. A flag overrides its variable.

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use roomcast_redis::{RedisConfig, RedisTls, ShardedMode};
use roomcast_server::engine::limits;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

/// A Socket.IO server with rooms: clients join, leave and publish; GET / is a chat page.
///
/// It runs until SIGTERM or Ctrl-C, then disconnects its clients and stops.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Address or name to listen on; 0.0.0.0 for all addresses of the machine
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0 for any free one
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Web origins that may use the server, separated by commas (such as `https://app.example.com`, or
    /// `https://*.example.com` for all below it), or * for all. If not set, pages of any origin can open WebSockets,
    /// and only pages of the server's own origin can poll
    #[arg(long, env = "APP_URL", value_delimiter = ',')]
    pub(crate) app_url: Vec<String>,

    /// "production" enables the Redis adapter, so that several servers form a cluster
    #[arg(long, env = "NODE_ENV")]
    pub(crate) node_env: Option<String>,

    /// URL of Redis: redis://, rediss://, unix://, redis+sentinel://host:port,host:port/master-name or
    /// redis+cluster://host:port,host:port, with user:password@ after the slashes if needed; rediss+… for TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,

    /// How servers communicate over Redis: as createAdapter of @socket.io/redis-adapter, or as createShardedAdapter,
    /// which needs Redis 7. It must be the same for all servers and emitters of a cluster
    #[arg(long, env = "REDIS_DIALECT", value_enum, default_value_t = Dialect::Classic)]
    pub(crate) redis_dialect: Dialect,

    /// The subscriptionMode of the sharded dialect: which rooms have channels of their own. It must be the same for all
    /// servers
    #[arg(long, env = "REDIS_SHARDED_MODE", value_enum, default_value_t = Mode::Dynamic)]
    pub(crate) redis_sharded_mode: Mode,

    /// File with the password for Redis, read at each connect; the user is that of REDIS_URL
    #[arg(long, env = "REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,

    /// File with the password for the Sentinels, if they have one; the user is that of REDIS_URL
    #[arg(long, env = "REDIS_SENTINEL_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) redis_sentinel_password_file: Option<PathBuf>,

    /// File with the CA certificates for the certificate of Redis; by default the system's roots
    #[arg(long, env = "REDIS_TLS_CA_FILE", value_name = "FILE")]
    pub(crate) redis_tls_ca_file: Option<PathBuf>,

    /// File with the client certificate of this server for Redis
    #[arg(long, env = "REDIS_TLS_CERT_FILE", value_name = "FILE")]
    pub(crate) redis_tls_cert_file: Option<PathBuf>,

    /// File with the key of that certificate
    #[arg(long, env = "REDIS_TLS_KEY_FILE", value_name = "FILE")]
    pub(crate) redis_tls_key_file: Option<PathBuf>,

    /// How this server reaches other servers; overrides NODE_ENV
    #[arg(long, value_enum)]
    pub(crate) adapter: Option<Adapter>,

    /// Most connections at once; the next one is answered 503
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = limits::CONNECTIONS)]
    pub(crate) max_connections: usize,

    /// Seconds that an idle HTTP connection is kept for its next request: longer than a proxy in front keeps its
    /// connections
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "SECONDS", default_value_t = limits::IDLE_TIMEOUT.as_secs())]
    pub(crate) keep_alive_timeout: u64,

    /// Format of log lines. RUST_LOG selects what is logged (such as "info" or "roomcast_engine=debug")
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How the servers of a cluster reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Adapter {
    /// Not at all: this server is alone
    Memory,
    /// Over Redis, together with Node's servers on @socket.io/redis-adapter
    Redis,
}

/// How servers communicate over Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// PUBLISH and SUBSCRIBE: every server receives everything
    Classic,
    /// SPUBLISH and SSUBSCRIBE: in a Redis Cluster each channel is on one node
    Sharded,
}

/// Which rooms have channels of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// None
    Static,
    /// All except those of single sockets
    Dynamic,
    /// All
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
    /// Reads flags and environment. Ends the program with help if they are wrong, or if help is asked for.
    pub(crate) fn read() -> Self {
        let is_empty =
            |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
        let mut matches = command(is_empty).get_matches();
        Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
    }

    /// The web origins that may use the server. If there are none, any may.
    pub(crate) fn origins(&self) -> Vec<&str> {
        self.app_url.iter().map(|origin| origin.trim()).filter(|origin| !origin.is_empty()).collect()
    }

    pub(crate) fn keep_alive_timeout(&self) -> Duration {
        Duration::from_secs(self.keep_alive_timeout)
    }

    /// The Redis to use, or `None` for the adapter in memory.
    pub(crate) fn redis(&self) -> Result<Option<RedisConfig>, String> {
        let production = self.node_env.as_deref() == Some("production");
        let adapter = self.adapter.unwrap_or(if production { Adapter::Redis } else { Adapter::Memory });
        match (adapter, self.redis_url.as_deref().filter(|url| !url.trim().is_empty())) {
            (Adapter::Memory, _) => Ok(None),
            (Adapter::Redis, Some(url)) => {
                let config = url.parse().map_err(|error| format!("REDIS_URL: {error}"))?;
                self.with_files(config).map(Some)
            }
            (Adapter::Redis, None) if self.adapter.is_none() => Err(
                "NODE_ENV is production, and REDIS_URL is not set: say where Redis is (such as redis://127.0.0.1:6379), or give --adapter memory if this server is to be alone"
                    .to_owned(),
            ),
            (Adapter::Redis, None) => Err("--adapter redis needs REDIS_URL or --redis-url".to_owned()),
        }
    }
}

impl Cli {
    /// Adds the files that were named. It is an error if one of them would not be used.
    fn with_files(&self, mut config: RedisConfig) -> Result<RedisConfig, String> {
        if let Some(file) = &self.redis_password_file {
            config = config.with_password_file(file);
        }
        if let Some(file) = &self.redis_sentinel_password_file {
            if !config.is_sentinel() {
                return Err(
                    "REDIS_SENTINEL_PASSWORD_FILE is set, and REDIS_URL names no Sentinels (redis+sentinel://…)"
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
            _ => return Err("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE need one another".to_owned()),
        }
        if !config.is_tls() {
            return Err("REDIS_TLS_… is set, and REDIS_URL is without TLS: write rediss:// (rediss+sentinel://, rediss+cluster://)".to_owned());
        }
        Ok(config.with_tls(tls))
    }
}

/// The command line. An empty variable counts as not set, as compose files write an empty one for one without a value.
fn command(is_empty: impl Fn(&OsStr) -> bool) -> Command {
    Cli::command().mut_args(|argument| match argument.get_env() {
        // A name that no variable has.
        Some(name) if is_empty(name) => argument.env("").hide_env(true),
        _ => argument,
    })
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// A JSON object per line, for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_origins_are_split() {
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
        let cli =
            Cli::parse_from(["roomcast", "--redis-dialect", "sharded", "--redis-sharded-mode", "dynamic-private"]);
        assert_eq!((cli.redis_dialect, cli.redis_sharded_mode), (Dialect::Sharded, Mode::DynamicPrivate));
    }

    #[test]
    fn files_for_redis_that_would_not_be_used_are_refused() {
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
    fn production_needs_redis_or_an_explicit_memory_adapter() {
        let redis = |arguments: &[&str]| {
            let mut cli = Cli::parse_from([&["roomcast"], arguments].concat());
            // The environment in which the tests run must not matter.
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
