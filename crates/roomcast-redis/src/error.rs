//! The errors of this crate, and what an operator is told about Redis' own.

use crate::tls::is_tls_error;
use redis::{ErrorKind, ServerErrorKind};

/// Why Redis cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL is not one.
    #[error("{url:?} is no Redis URL: {why}")]
    Url {
        /// The URL, its password hidden.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection, or it broke.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// It does not answer in time.
    #[error("Redis does not answer in time")]
    Timeout,
    /// No connection for a question was free in time, as others use them all. Redis is not to blame.
    #[error("too many questions to Redis at once: no connection was free for this one within a second")]
    Busy,
    /// It is loading its data; it will answer soon.
    #[error("Redis is loading its data")]
    Loading,
    /// The server is a replica, or has become one.
    #[error(
        "this Redis server is a replica, not the primary: what is published on it reaches nobody on the primary; name the primary in REDIS_URL, or use redis+sentinel:// or redis+cluster://, which find it"
    )]
    NotPrimary,
    /// Most Sentinels have named another primary for a while, though this one still answers.
    #[error("most Sentinels say that {by} is the primary by now")]
    Replaced {
        /// Host and port of the other one.
        by: String,
    },
    /// No primary of that name is known to more than half of the Sentinels that are configured.
    #[error(
        "more than half of the Sentinels in REDIS_URL must name the same primary of {master:?}; check the name after the hosts, and that the Sentinels are up ({said})"
    )]
    NoPrimary {
        /// The name that was asked for.
        master: String,
        /// What each Sentinel said.
        said: String,
    },
    /// Sentinels refuse user or password. They have their own, other than the data servers'.
    #[error(
        "Sentinels refuse user or password ({0}); give theirs at the end of REDIS_URL: ?sentinel_user=…&sentinel_password=…, without sentinel_user where there is only a password, or REDIS_SENTINEL_PASSWORD_FILE"
    )]
    SentinelAuth(String),
    /// The connection is there, but TLS cannot be used on it.
    #[error(
        "TLS with Redis fails: {0}; the certificate must name the host that is connected to, and be signed by the system's roots or those in the file that REDIS_TLS_CA_FILE or SSL_CERT_FILE names; if Redis asks for one of the client (tls-auth-clients), set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE"
    )]
    Tls(String),
    /// Certificates or a key that were given for TLS cannot be used.
    #[error("TLS with Redis cannot begin: {0}")]
    TlsFile(String),
    /// User or password are wrong or missing.
    #[error("Redis refuses user or password: {0}; check REDIS_URL and REDIS_PASSWORD_FILE")]
    Auth(String),
    /// Who is to tell user and password does not.
    #[error("there is no password for Redis: {0}")]
    Credentials(String),
    /// The user may not do this.
    #[error(
        "Redis forbids the command or channel: {0}; the user needs PUBLISH, SUBSCRIBE, PSUBSCRIBE, PUBSUB and the channels of the key prefix (ACL: +@pubsub +client &socket.io* and, as Redis compares patterns letter by letter, &socket.io#/#* for each namespace; or &*)"
    )]
    Permission(String),
    /// The Redis Cluster is down.
    #[error("the Redis Cluster is down: {0}")]
    ClusterDown(String),
    /// Anything else that Redis said.
    #[error("Redis: {0}")]
    Other(String),
}

impl RedisError {
    /// Whether the server may be another one by now, so that it must be looked for again.
    pub(crate) fn asks_for_another(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Timeout
                | Self::NotPrimary
                | Self::Replaced { .. }
                | Self::NoPrimary { .. }
                | Self::ClusterDown(_)
                | Self::Tls(_)
        )
    }

    /// Whether it is likely to be over within moments: a restart, a failover. An attempt that times out has waited enough.
    pub(crate) fn is_short(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Timeout
                | Self::Loading
                | Self::NotPrimary
                | Self::Replaced { .. }
                | Self::NoPrimary { .. }
                | Self::ClusterDown(_)
        )
    }

    /// Whether Redis has answered, be it with a refusal: then the connection lives.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Timeout | Self::Tls(_) | Self::TlsFile(_) | Self::Credentials(_))
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        let text = error.to_string();
        if error.is_timeout() {
            return Self::Timeout;
        }
        if is_tls_error(&error) {
            return Self::Tls(text);
        }
        match error.code() {
            Some("LOADING") => return Self::Loading,
            Some("READONLY" | "MASTERDOWN") => return Self::NotPrimary,
            Some("NOAUTH" | "WRONGPASS") => return Self::Auth(text),
            Some("NOPERM") => return Self::Permission(text),
            Some("CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN") => return Self::ClusterDown(text),
            _ => {}
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Auth(text),
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Loading,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::NotPrimary,
            _ if error.is_io_error() || error.is_connection_dropped() => Self::Unreachable(text),
            _ => Self::Other(text),
        }
    }
}
