//! [`RedisConfig`]: where Redis is, and how to log in.

use super::credentials::{Credentials, Provider};
use super::layout::{Layout, is_tls};
use super::timeouts::RedisTimeouts;
use super::tls::RedisTls;
use super::url::hide_secrets;
use crate::attempts;
use crate::error::RedisError;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo};
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use tokio::time::timeout;

/// Where Redis is, read from a URL:
///
/// | URL | layout |
/// |---|---|
/// | `redis://[user:password@]host[:port][/db]` | one server |
/// | `rediss://…` | the same over TLS |
/// | `unix:///path/to/socket[?db=n&user=u&pass=p]` | the same over a Unix socket |
/// | `redis+sentinel://[user:password@]host:port,host:port/master-name[/db][?sentinel_user=u&sentinel_password=p]` | Sentinel: the Sentinels name the primary |
/// | `rediss+sentinel://…` | the same, Sentinels and data servers over TLS |
/// | `redis+cluster://[user:password@]host:port,host:port` | Cluster: name any of its nodes |
/// | `rediss+cluster://…` | the same, all nodes over TLS |
///
/// User and password are those of the data servers; Sentinels get only their own, if there is one. `Display` and
/// `Debug` hide the passwords, and leave out the query. Certificates are checked against the system's roots, or those
/// in the file that `SSL_CERT_FILE` names, or those given to [`with_tls`](Self::with_tls). Passwords that change come
/// from a file or a provider:
///
/// ```
/// use roomcast_redis::{Credentials, RedisConfig};
///
/// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// # fn main() -> Result<(), roomcast_redis::RedisError> {
/// let config = "rediss://redis.example:6380".parse::<RedisConfig>()?;
/// // Called for each connection: keep a token until shortly before it expires.
/// let config = config.with_credentials(|| async { fetch_token().await.map(|token| Credentials::password(token).user("app")) });
/// # Ok(())
/// # }
/// ```
///
/// The database number has no effect, as pub/sub ignores databases: no `SELECT` is sent, and the log says so once.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) layout: Layout,
    pub(crate) timeouts: RedisTimeouts,
    credentials: Option<Provider>,
    sentinel_credentials: Option<Provider>,
    tls: Option<RedisTls>,
    shown: String,
}

/// The two kinds of server; each has a login of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    Data,
    Sentinel,
}

impl FromStr for RedisConfig {
    type Err = RedisError;

    fn from_str(url: &str) -> Result<Self, RedisError> {
        let url = url.trim();
        let layout = Layout::read(url).map_err(|why| RedisError::Url { url: hide_secrets(url), why })?;
        Ok(Self {
            layout,
            timeouts: RedisTimeouts::default(),
            credentials: None,
            sentinel_credentials: None,
            tls: None,
            shown: hide_secrets(url),
        })
    }
}

impl RedisConfig {
    /// Calls `provider` for the user and password of the data servers each time a connection is made. What it returns
    /// takes precedence over the URL.
    ///
    /// Each server has two connections and up to four more (in a Cluster: for each node), and calls the provider
    /// several times a second while Redis is away, so keep a token until shortly before it expires. The future is
    /// dropped after [`RedisTimeouts::credentials`]. After an error or a refusal the next attempt, within 6 s, calls
    /// the provider again, so a wrong password can be corrected without a restart. An error is logged with its text,
    /// which must contain no secrets. Existing connections stay as they are; if Redis closes them because a token has
    /// expired, new ones are made with the next token.
    #[must_use]
    pub fn with_credentials<F, A, E>(mut self, provider: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.credentials = Some(Provider::function(provider));
        self
    }

    /// Calls `provider` for the user and password of the Sentinels, which never get those of the data servers.
    #[must_use]
    pub fn with_sentinel_credentials<F, A, E>(mut self, provider: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.sentinel_credentials = Some(Provider::function(provider));
        self
    }

    /// Takes the data servers' password from this file. The file is read each time a connection is made; a line end
    /// after the password is ignored, and 64 KiB are allowed. The password takes precedence over that in the URL; the
    /// user is the URL's (`redis://user@host`). Errors name the file.
    #[must_use]
    pub fn with_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Some(Provider::file(path.into()));
        self
    }

    /// Takes the Sentinels' password from this file. Their user is that in the URL (`?sentinel_user=…`).
    #[must_use]
    pub fn with_sentinel_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sentinel_credentials = Some(Provider::file(path.into()));
        self
    }

    /// Sets certificates for TLS. They are used only if the URL asks for TLS (`rediss`).
    #[must_use]
    pub fn with_tls(mut self, tls: RedisTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long Redis may take.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: RedisTimeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.layout.server().is_some_and(is_tls)
    }

    /// Whether Sentinels name the server to use.
    pub fn is_sentinel(&self) -> bool {
        matches!(self.layout, Layout::Sentinel { .. })
    }

    pub(crate) fn database(&self) -> i64 {
        self.layout.server().map_or(0, |server| server.redis_settings().db())
    }

    /// A server with its current credentials and certificates, ready to connect to.
    pub(crate) async fn prepare(
        &self,
        server: &ConnectionInfo,
        kind: ServerKind,
    ) -> Result<ConnectionInfo, RedisError> {
        if kind == ServerKind::Sentinel && self.sentinel_credentials.is_none() && self.layout.lacks_sentinel_password()
        {
            return Err(RedisError::Credentials(
                "sentinel_user in REDIS_URL needs sentinel_password beside it, or a password file for the Sentinels"
                    .to_owned(),
            ));
        }
        // SELECT would have no effect, and needs a right of its own.
        let mut settings = server.redis_settings().clone().set_db(0);
        if let Some(provider) = self.provider(kind) {
            settings = provider.ask(self.timeouts.credentials).await?.apply(settings);
        }
        // Nagle's algorithm would gain nothing: a batch is written whole, and the next is written when it is answered.
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = server.clone().set_redis_settings(settings).set_tcp_settings(tcp);
        match &self.tls {
            Some(tls) if is_tls(&server) => {
                let patience = self.timeouts.credentials;
                let read = timeout(patience, tls.apply(server)).await;
                read.unwrap_or_else(|_| {
                    Err(RedisError::TlsFile(format!("the certificate files were not read within {patience:?}")))
                })
            }
            _ => Ok(server),
        }
    }

    pub(crate) async fn connect(
        &self,
        server: &ConnectionInfo,
        kind: ServerKind,
    ) -> Result<MultiplexedConnection, RedisError> {
        let (client, config) = (Client::open(self.prepare(server, kind).await?)?, self.connecting());
        let made = attempts::first(|| client.get_multiplexed_async_connection_with_config(&config)).await;
        made.map_err(|error| self.explain(error.into(), kind))
    }

    /// The rustls configuration with the current certificates, for a connection that the `redis` crate does not make.
    pub(crate) async fn tls_client(&self) -> Result<rustls::ClientConfig, RedisError> {
        self.tls.clone().unwrap_or_default().client().await
    }

    pub(crate) fn connecting(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connect))
            .set_response_timeout(Some(self.timeouts.command))
    }

    /// Adds to the error of a failed connection where the refused password came from.
    pub(crate) fn explain(&self, error: RedisError, kind: ServerKind) -> RedisError {
        match (error, self.provider(kind)) {
            (RedisError::Auth(text), Some(provider)) => {
                RedisError::Auth(format!("{text} (from {})", provider.source()))
            }
            (error, _) => error,
        }
    }

    fn provider(&self, kind: ServerKind) -> Option<&Provider> {
        match kind {
            ServerKind::Data => self.credentials.as_ref(),
            ServerKind::Sentinel => self.sentinel_credentials.as_ref(),
        }
    }
}

impl fmt::Display for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = |provider: &Option<Provider>| provider.as_ref().map(Provider::source);
        f.debug_struct("RedisConfig")
            .field("url", &self.shown)
            .field("timeouts", &self.timeouts)
            .field("credentials", &source(&self.credentials))
            .field("sentinel_credentials", &source(&self.sentinel_credentials))
            .field("tls", &self.tls)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_adapter::testkit::Random;

    fn parse(url: &str) -> RedisConfig {
        url.parse().unwrap()
    }

    fn refused(url: &str) -> String {
        url.parse::<RedisConfig>().unwrap_err().to_string()
    }

    #[test]
    fn passwords_are_never_shown() {
        for url in [
            "redis://user:secret@h:1/2",
            "unix:///run/r.sock?pass=secret",
            "redis+sentinel://u:se@secret@a:1/m",
            "redis+sentinel://u:secret@a:1/m?sentinel_user=u&sentinel_password=secret",
            "rediss+sentinel://u:%73ecret@a:1/m?sentinel_password=%73ecret",
            "rediss+cluster://u:secret@a:1,b:2",
        ] {
            let config = parse(url);
            let shown = format!("{config} {config:?}");
            assert!(!shown.contains("ecret") && shown.contains("://"), "{shown}");
        }
        for url in [
            "",
            "secret",
            "u:secret@redis://h",
            "http://user:secret@h",
            "redis+sentinel://u:secret@a:1",
            "redis+sentinel://u:se?secret@a:1/m",
            "redis+sentinel://u:se#secret@a:1/m",
            "redis+sentinel://u:secret@a:1/m?secret=secret",
            "redis+sentinel://u:secret@a:1/m?sentinel_password=p&secret",
            "redis+sentinel://u:p@a:1/m?sentinel_password=%73ecret%ff",
            "redis+sentinel://u:p@a:x/m?sentinel_password=secret",
            "rediss+cluster://u:secret@a:1,b:x",
            "rediss://u:secret@h#insecure",
            "redis://u:secret@h:x",
        ] {
            let error = refused(url);
            assert!(!error.contains("ecret"), "{error}");
        }
    }

    /// Whatever stands in place of user and password, in valid and invalid URLs, is not shown, and nothing panics.
    #[test]
    fn passwords_of_random_urls_are_never_shown() {
        const SCHEMES: [&str; 9] = [
            "redis",
            "rediss",
            "unix",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
            "http",
            "\"redis",
        ];
        const PIECES: [&str; 24] = [
            "secret",
            "secret",
            ":",
            "/",
            "?",
            "#",
            "%",
            "%2F",
            "%ff",
            "@",
            ",",
            "[",
            "]",
            "=",
            "&",
            "+",
            " ",
            "\u{e9}",
            "\0",
            "6379",
            "::1",
            "0.0.0.0",
            "password=",
            "#insecure",
        ];
        let mut good = 0;
        for seed in 0..100_000 {
            let mut random = Random::new(seed);
            let mut pieces = |most: u64, without: &[&str]| {
                let mut text = String::new();
                for _ in 0..random.below(most) {
                    let piece = PIECES[random.below(PIECES.len() as u64) as usize];
                    if !without.iter().any(|it| piece.contains(it)) {
                        text.push_str(piece);
                    }
                }
                text
            };
            let (credentials, tail) = (pieces(5, &[]), pieces(4, &["secret", "@"]));
            let scheme = SCHEMES[(seed % 9) as usize];
            let url = format!("{scheme}://u:{credentials}@h{tail}");
            let shown = match url.parse::<RedisConfig>() {
                Ok(config) => {
                    good += 1;
                    format!("{config} {config:?}")
                }
                Err(error) => format!("{error} {error:?}"),
            };
            // In a unix:// URL, everything before the ? is a path.
            assert!(!shown.contains("secret") || scheme == "unix", "{url}: {shown}");
            // Without a host, and without a scheme.
            for url in [format!("{scheme}://{credentials}{tail}"), credentials] {
                let _ = url.parse::<RedisConfig>();
            }
        }
        assert!(good > 10_000, "{good}");
    }
}
