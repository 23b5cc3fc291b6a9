//! [`RedisConfig`]: where Redis is, and how it is laid out.

use crate::error::RedisError;
use crate::url::{INSECURE, Parts, hide_secrets};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::fmt;
use std::str::FromStr;

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
/// is left out. Certificates are checked against the system's roots, or against those in the file that `SSL_CERT_FILE` names.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) layout: Layout,
    shown: String,
}

#[derive(Clone)]
pub(crate) enum Layout {
    Single(ConnectionInfo),
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// A data server, but for its address.
        server: Box<ConnectionInfo>,
    },
    /// At least one.
    Cluster {
        seeds: Vec<ConnectionInfo>,
    },
}

/// The port of Redis.
const PORT: u16 = 6379;

/// The port of Sentinel.
const SENTINEL_PORT: u16 = 26379;

impl FromStr for RedisConfig {
    type Err = RedisError;

    fn from_str(url: &str) -> Result<Self, RedisError> {
        let url = url.trim();
        let layout = Layout::read(url).map_err(|why| RedisError::Url { url: hide_secrets(url), why })?;
        Ok(Self { layout, shown: hide_secrets(url) })
    }
}

impl Layout {
    fn read(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme such as redis://")?;
        match scheme {
            "redis" | "rediss" | "unix" | "redis+unix" => {
                let info = single(url)?;
                if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
                    return Err(INSECURE.to_owned());
                }
                Ok(Self::Single(info))
            }
            "redis+sentinel" => Self::sentinel("redis", &Parts::of(rest)?),
            "rediss+sentinel" => Self::sentinel("rediss", &Parts::of(rest)?),
            "redis+cluster" => Self::cluster("redis", &Parts::of(rest)?),
            "rediss+cluster" => Self::cluster("rediss", &Parts::of(rest)?),
            _ => Err("known schemes are redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster"
                .to_owned()),
        }
    }

    fn sentinel(scheme: &str, parts: &Parts<'_>) -> Result<Self, String> {
        let [user, password] = parts.parameters(["sentinel_user", "sentinel_password"])?;
        if user.is_some() && password.is_none() {
            return Err("sentinel_user needs sentinel_password".to_owned());
        }
        let (master, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if master.is_empty() {
            return Err("the master's name is missing: redis+sentinel://host:port,host:port/master-name".to_owned());
        }
        let sentinel = |host: &str| {
            let info = single(&format!("{scheme}://{}/", with_port(host, SENTINEL_PORT)))?;
            let mut settings = info.redis_settings().clone();
            if let Some(user) = &user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &password {
                settings = settings.set_password(password);
            }
            Ok(info.set_redis_settings(settings))
        };
        let sentinels = parts.hosts.split(',').map(sentinel).collect::<Result<Vec<_>, String>>()?;
        let server = single(&format!("{scheme}://{}unused/{db}", parts.credentials))?;
        Ok(Self::Sentinel { sentinels, master: master.to_owned(), server: Box::new(server) })
    }

    fn cluster(scheme: &str, parts: &Parts<'_>) -> Result<Self, String> {
        let [] = parts.parameters([])?;
        if !parts.path.is_empty() {
            return Err("nothing follows the hosts of a Cluster: it has one database".to_owned());
        }
        let seed = |host| single(&format!("{scheme}://{}{}/", parts.credentials, with_port(host, PORT)));
        Ok(Self::Cluster { seeds: parts.hosts.split(',').map(seed).collect::<Result<_, _>>()? })
    }

    /// Whether any connection is over TLS.
    pub(crate) fn has_tls(&self) -> bool {
        let first = match self {
            Self::Single(info) => Some(info),
            Self::Sentinel { server, .. } => Some(&**server),
            Self::Cluster { seeds } => seeds.first(),
        };
        first.is_some_and(is_tls)
    }
}

pub(crate) fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn single(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| error.to_string())
}

fn with_port(host: &str, port: u16) -> String {
    let named = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if named { host.to_owned() } else { format!("{host}:{port}") }
}

/// A server like another one, at another address: with TLS if that has it.
pub(crate) fn at(like: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let address = match like.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    like.clone().set_addr(address)
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

    fn parse(url: &str) -> RedisConfig {
        url.parse().unwrap()
    }

    fn refused(url: &str) -> String {
        url.parse::<RedisConfig>().unwrap_err().to_string()
    }

    fn logins(infos: &[ConnectionInfo]) -> Vec<(Option<&str>, Option<&str>)> {
        infos.iter().map(|info| (info.redis_settings().username(), info.redis_settings().password())).collect()
    }

    #[test]
    fn layouts() {
        assert!(matches!(parse("redis://127.0.0.1").layout, Layout::Single(_)));
        assert!(matches!(parse("rediss://user:secret@redis.example:6380/2").layout, Layout::Single(_)));
        assert!(matches!(parse("unix:///run/redis.sock").layout, Layout::Single(_)));
        let Layout::Sentinel { sentinels, master, server } =
            parse("redis+sentinel://u:p@a:1,b,[::1]:3/mymaster/4").layout
        else {
            panic!("a sentinel layout was expected")
        };
        let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:1", "b:26379", "::1:3"]);
        assert_eq!((master.as_str(), server.redis_settings().db()), ("mymaster", 4));
        assert_eq!(logins(&[*server]), [(Some("u"), Some("p"))]);
        assert_eq!(logins(&sentinels), [(None, None); 3], "the data servers' password is not for the Sentinels");
        let Layout::Cluster { seeds } = parse("redis+cluster://:p@a:1,b:2/").layout else {
            panic!("a cluster layout was expected")
        };
        assert_eq!(logins(&seeds), [(None, Some("p")); 2]);
    }

    #[test]
    fn tls_is_for_all_servers_of_a_layout() {
        for (url, tls) in [
            ("redis://h", false),
            ("rediss://h", true),
            ("redis+sentinel://a,b/m", false),
            ("rediss+sentinel://a,b/m", true),
            ("redis+cluster://a,b", false),
            ("rediss+cluster://a,b", true),
        ] {
            let layout = parse(url).layout;
            assert_eq!(layout.has_tls(), tls, "{url}");
            let infos = match layout {
                Layout::Single(info) => vec![info],
                Layout::Sentinel { sentinels, server, .. } => [sentinels, vec![*server]].concat(),
                Layout::Cluster { seeds } => seeds,
            };
            assert!(infos.iter().all(|info| is_tls(info) == tls && is_tls(&at(info, "::1", 7)) == tls), "{url}");
            assert_eq!(at(&infos[0], "::1", 7).addr().to_string(), "::1:7");
        }
    }

    #[test]
    fn sentinels_have_a_login_of_their_own() {
        let url = "redis+sentinel://u:p@a,b/m?sentinel_user=w%40&sentinel_password=a%26b+c%23";
        let Layout::Sentinel { sentinels, server, .. } = parse(url).layout else { panic!("Sentinels were expected") };
        assert_eq!(logins(&sentinels), [(Some("w@"), Some("a&b+c#")); 2]);
        assert_eq!(logins(&[*server]), [(Some("u"), Some("p"))]);
        let Layout::Sentinel { sentinels, server, .. } = parse("rediss+sentinel://a/m/1?sentinel_password=p").layout
        else {
            panic!("Sentinels were expected")
        };
        assert_eq!((logins(&sentinels), logins(&[*server])), (vec![(None, Some("p"))], vec![(None, None)]));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (url, why) in [
            ("redis+sentinel://a", "the master's name is missing"),
            ("redis+sentinel://a/m?sentinel_pasword=p", "known are sentinel_user and sentinel_password"),
            ("rediss+sentinel://a/m?sentinel_user=u", "sentinel_user needs sentinel_password"),
            ("redis+cluster://a/1", "one database"),
            ("rediss+cluster://a?x=1", "no query parameters"),
            ("redis+cluster://", "redis+cluster://"),
            ("rediss://h#insecure", "certificates are always checked"),
            ("rediss+cluster://h#insecure", "certificates are always checked"),
            ("http://h", "known schemes"),
        ] {
            assert!(refused(url).contains(why), "{}", refused(url));
        }
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
}
