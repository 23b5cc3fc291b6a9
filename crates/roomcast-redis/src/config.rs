//! [`RedisConfig`]: where Redis is, and how to get in.

use crate::attempts;
use crate::credentials::{Credentials, Provider};
use crate::error::RedisError;
use crate::layout::{Layout, is_tls};
use crate::timeouts::RedisTimeouts;
use crate::tls::RedisTls;
use crate::url::hide_secrets;
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
/// | `redis+sentinel://[user:password@]host:port,host:port/master-name[/db][?sentinel_user=u&sentinel_password=p]` | Sentinel: the primary is asked for |
/// | `rediss+sentinel://…` | the same, Sentinels and data servers over TLS |
/// | `redis+cluster://[user:password@]host:port,host:port` | Cluster: any node will do to begin with |
/// | `rediss+cluster://…` | the same, all nodes over TLS |
///
/// User and password are those of the data servers; Sentinels get theirs, or none. Displayed, passwords are hidden, and the query
/// is left out. Certificates are checked against the system's roots, or against those in the file that `SSL_CERT_FILE` names;
/// [`with_tls`](Self::with_tls) gives others. Passwords that change come from a file or a provider:
///
/// ```
/// use roomcast_redis::{Credentials, RedisConfig};
///
/// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// # fn main() -> Result<(), roomcast_redis::RedisError> {
/// let config = "rediss://redis.example:6380".parse::<RedisConfig>()?;
/// // Asked at each connect: keep a token until shortly before it ends.
/// let config = config.with_credentials(|| async { fetch_token().await.map(|token| Credentials::password(token).user("app")) });
/// # Ok(())
/// # }
/// ```
///
/// The database's number separates nothing, as pub/sub knows no databases: no `SELECT` is sent, and the log says so once.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) layout: Layout,
    pub(crate) timeouts: RedisTimeouts,
    credentials: Option<Provider>,
    sentinel_credentials: Option<Provider>,
    tls: Option<RedisTls>,
    shown: String,
}

/// Who is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Server,
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
    /// User and password of the data servers are asked for at each connect of each connection. What is told wins over the URL.
    ///
    /// Each server has two connections and up to four more (in a Cluster for each node), and asks several times a second while Redis
    /// is away: keep tokens until shortly before they end. An answer has [`RedisTimeouts::credentials`]; the future is dropped
    /// then. After an error or a refusal the next attempt, within 6 s, asks anew, so a wrong password heals without a restart.
    /// An error is logged with its text, which must have no secrets. Connections that there are stay as they are: if Redis ends them
    /// because a token has ended, they are made anew with the next one.
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

    /// The same for Sentinels, which are never told the data servers' password.
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

    /// The data servers' password is the content of this file, read at each connect, without the end of its line; 64 KiB at most.
    /// It wins over that of the URL; the user is the URL's (`redis://user@host`). Errors name the file.
    #[must_use]
    pub fn with_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials = Some(Provider::file(path.into()));
        self
    }

    /// The same for Sentinels; their user is that of the URL (`?sentinel_user=…`).
    #[must_use]
    pub fn with_sentinel_password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sentinel_credentials = Some(Provider::file(path.into()));
        self
    }

    /// Certificates for TLS. The URL says whether there is any: without `rediss` they are not used.
    #[must_use]
    pub fn with_tls(mut self, tls: RedisTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long Redis may take.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: RedisTimeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Whether connections are over TLS.
    pub fn is_tls(&self) -> bool {
        self.layout.server().is_some_and(is_tls)
    }

    /// Whether Sentinels are asked for the server.
    pub fn is_sentinel(&self) -> bool {
        matches!(self.layout, Layout::Sentinel { .. })
    }

    /// The database's number in the URL.
    pub(crate) fn database(&self) -> i64 {
        self.layout.server().map_or(0, |server| server.redis_settings().db())
    }

    /// A server as it is to be connected to now: with the credentials and certificates of this moment.
    pub(crate) async fn prepare(&self, server: &ConnectionInfo, whom: Whom) -> Result<ConnectionInfo, RedisError> {
        if whom == Whom::Sentinel && self.sentinel_credentials.is_none() && self.layout.lacks_sentinel_password() {
            return Err(RedisError::Credentials("sentinel_user needs sentinel_password, or a file with it".to_owned()));
        }
        // It would separate nothing, and needs a right of its own.
        let mut settings = server.redis_settings().clone().set_db(0);
        if let Some(provider) = self.provider(whom) {
            settings = provider.ask(self.timeouts.credentials).await?.apply(settings);
        }
        // What waits is sent at once: a batch goes out whole, and the next begins when it is answered.
        let tcp = TcpSettings::default().set_nodelay(true);
        let server = server.clone().set_redis_settings(settings).set_tcp_settings(tcp);
        match &self.tls {
            Some(tls) if is_tls(&server) => {
                let patience = self.timeouts.credentials;
                let read = timeout(patience, tls.apply(server)).await;
                read.unwrap_or_else(|_| {
                    Err(RedisError::TlsFile(format!("its files were not read within {patience:?}")))
                })
            }
            _ => Ok(server),
        }
    }

    /// A connection to ask something on.
    pub(crate) async fn connect(
        &self,
        server: &ConnectionInfo,
        whom: Whom,
    ) -> Result<MultiplexedConnection, RedisError> {
        let (client, how) = (Client::open(self.prepare(server, whom).await?)?, self.connecting());
        let made = attempts::first(|| client.get_multiplexed_async_connection_with_config(&how)).await;
        made.map_err(|error| self.explain(error, whom))
    }

    /// How connections are made.
    pub(crate) fn connecting(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connect))
            .set_response_timeout(Some(self.timeouts.command))
    }

    /// Why no connection was made: a password that is refused is told with the place it came from.
    pub(crate) fn explain(&self, error: redis::RedisError, whom: Whom) -> RedisError {
        match (RedisError::from(error), self.provider(whom)) {
            (RedisError::Auth(text), Some(provider)) => RedisError::Auth(format!("{text} ({})", provider.source())),
            (error, _) => error,
        }
    }

    fn provider(&self, whom: Whom) -> Option<&Provider> {
        match whom {
            Whom::Server => self.credentials.as_ref(),
            Whom::Sentinel => self.sentinel_credentials.as_ref(),
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
        f.debug_tuple("RedisConfig").field(&self.shown).finish()
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

    /// Whatever stands where user and password do, of good URLs and bad ones, is not shown, and nothing panics.
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
            // What unix:// has before the ? is a path.
            assert!(!shown.contains("secret") || scheme == "unix", "{url}: {shown}");
            // Without a host, or without anything around it.
            for url in [format!("{scheme}://{credentials}{tail}"), credentials] {
                let _ = url.parse::<RedisConfig>();
            }
        }
        assert!(good > 10_000, "{good}");
    }
}
