//! [`RedisError`]: why Redis cannot be used, and what an operator can do about it.

use redis::{ErrorKind, ServerErrorKind};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Why Redis cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL cannot be used.
    #[error("{url:?} is not a valid Redis URL: {why}")]
    Url {
        /// The URL, its password hidden.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection could be made, or it broke.
    #[error("cannot reach Redis: {0}")]
    Unreachable(String),
    /// Redis did not answer in time.
    #[error("Redis did not answer in time")]
    Timeout,
    /// No connection was free in time for a question, because others use all of them. Redis is not to blame.
    #[error("too many questions to Redis at once: no connection became free for this one within a second")]
    Busy,
    /// Redis is loading its data, and will be ready soon.
    #[error("Redis is still loading its data")]
    Loading,
    /// The server is a replica, or has become one.
    #[error(
        "this Redis server is a replica, not the primary: messages published on it do not reach the servers that use the primary; name the primary in REDIS_URL, or use redis+sentinel:// or redis+cluster://, which find it"
    )]
    NotPrimary,
    /// Most Sentinels have named another primary for a while, though this one still answers.
    #[error("most Sentinels now name {by} as the primary")]
    Replaced {
        /// Host and port of the other one.
        by: String,
    },
    /// No primary of that name is known to more than half of the configured Sentinels.
    #[error(
        "more than half of the Sentinels in REDIS_URL must name the same primary for {master:?}, and they do not ({said}); check the name after the hosts, and that the Sentinels are up"
    )]
    NoPrimary {
        /// The name that was asked for.
        master: String,
        /// What each Sentinel said.
        said: String,
    },
    /// The Sentinels refuse the user or password. They have a login of their own, apart from that of the data servers.
    #[error(
        "the Sentinels refuse the user or password ({0}); give theirs at the end of REDIS_URL as ?sentinel_user=…&sentinel_password=… (leave out sentinel_user if there is only a password), or in REDIS_SENTINEL_PASSWORD_FILE"
    )]
    SentinelAuth(String),
    /// The server was reached, but TLS with it failed.
    #[error(
        "TLS with Redis failed: {0}; the certificate of Redis must name the host in use, and be signed by the system's roots or those in the file that REDIS_TLS_CA_FILE or SSL_CERT_FILE names; if Redis wants a client certificate (tls-auth-clients), set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE"
    )]
    Tls(String),
    /// Redis does not speak RESP3: it is older than 6.0, or a proxy in between does not know it.
    #[error(
        "Redis does not know HELLO 3, which switches to the protocol RESP3: {0}; Redis 6.0 or newer is needed, and any proxy in between must know RESP3 too"
    )]
    Protocol(String),
    /// The certificates or the key that were given for TLS cannot be used.
    #[error("cannot use TLS with Redis: {0}")]
    TlsFile(String),
    /// The user or password is wrong or missing.
    #[error("Redis refuses the user or password: {0}; check REDIS_URL and REDIS_PASSWORD_FILE")]
    Auth(String),
    /// The user and password could not be obtained.
    #[error("cannot get the password for Redis: {0}")]
    Credentials(String),
    /// The user may not do this.
    #[error(
        "Redis forbids the command or channel: {0}; the user needs PUBLISH, SUBSCRIBE, PSUBSCRIBE, PUBSUB and the channels of the key prefix (ACL: +@pubsub +client &socket.io*, and &socket.io#/#* for each namespace because Redis compares patterns literally; or &*)"
    )]
    Permission(String),
    /// The Redis Cluster is down.
    #[error("the Redis Cluster is down: {0}")]
    ClusterDown(String),
    /// Any other error that Redis returned.
    #[error("Redis: {0}")]
    Other(String),
}

impl RedisError {
    /// Whether another server may be the right one by now, so that it must be looked for again.
    pub(crate) fn may_have_moved(&self) -> bool {
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

    /// Whether it is likely to be over within moments: a restart, a failover. A timeout counts as such, as it has
    /// waited already.
    pub(crate) fn is_transient(&self) -> bool {
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

    /// Whether somebody has to correct something: the URL, a password, a right, a certificate, or the version of Redis.
    /// Other errors may go away by themselves.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Url { .. }
                | Self::SentinelAuth(_)
                | Self::Tls(_)
                | Self::Protocol(_)
                | Self::TlsFile(_)
                | Self::Auth(_)
                | Self::Credentials(_)
                | Self::Permission(_)
        )
    }

    /// Whether Redis has answered, even with a refusal: then the connection lives.
    pub(crate) fn is_answer(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Timeout | Self::Tls(_) | Self::TlsFile(_) | Self::Credentials(_))
    }

    /// The error for a code, the first word of an error that Redis returned. `None`: the code says nothing.
    pub(crate) fn of_code(code: &str, text: &str) -> Option<Self> {
        Some(match code {
            "LOADING" => Self::Loading,
            "READONLY" | "MASTERDOWN" => Self::NotPrimary,
            "NOAUTH" | "WRONGPASS" => Self::Auth(text.to_owned()),
            "NOPERM" => Self::Permission(text.to_owned()),
            "NOPROTO" => Self::Protocol(text.to_owned()),
            "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" => Self::ClusterDown(text.to_owned()),
            _ => return None,
        })
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
        if let Some(error) = error.code().and_then(|code| Self::of_code(code, &text)) {
            return error;
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Auth(text),
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Loading,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::NotPrimary,
            // Servers and proxies word it differently. It occurs only while a connection is made.
            _ if is_about_hello(&text) => Self::Protocol(text),
            _ if error.is_io_error() || error.is_connection_dropped() => Self::Unreachable(text),
            _ => Self::Other(text),
        }
    }
}

/// Whether an error says that HELLO is unknown. Such errors quote the command's arguments, which do not count.
fn is_about_hello(text: &str) -> bool {
    let command = text.split("with args").next().unwrap_or_default().to_ascii_lowercase();
    command.contains("hello")
        && ["unknown", "unsupported", "not support", "doesn't support"].iter().any(|word| command.contains(word))
}

/// Whether an error is one of TLS itself: a certificate that is not trusted, a server that speaks something else.
fn is_tls_error(error: &redis::RedisError) -> bool {
    // As the source the crate returns its own pointer to the error.
    let source = error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let Some(source) = source else { return false };
    let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    source.is::<rustls::Error>() || inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_tls_are_told_apart() {
        let tls = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_tls_error(&io::Error::new(io::ErrorKind::InvalidData, tls()).into()));
        assert!(is_tls_error(&tls().into()));
        assert!(!is_tls_error(&io::Error::from(io::ErrorKind::ConnectionRefused).into()));
        assert!(!is_tls_error(&(redis::ErrorKind::Io, "closed").into()));
    }

    #[test]
    fn servers_that_do_not_know_hello_word_it_differently() {
        for text in [
            "ResponseError: unknown command 'HELLO', with args beginning with: '3' ",
            "ERR unknown command `HELLO`, with args beginning with: `3`, ",
            "ERR unsupported command 'hello'",
            "Redis Server doesn't support HELLO command therefore resp3 cannot be used",
        ] {
            assert!(is_about_hello(text), "{text}");
        }
        for text in ["ERR unknown command 'PUBLISH', with args beginning with: 'hello'", "ERR hello", "unknown"] {
            assert!(!is_about_hello(text), "{text}");
        }
    }
}
