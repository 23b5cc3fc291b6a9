//! [`RedisConfig`]: where Redis is, and how it is laid out.

use crate::error::RedisError;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use std::fmt;
use std::str::FromStr;

/// Where Redis is, read from a URL:
///
/// | URL | layout |
/// |---|---|
/// | `redis://[user:password@]host[:port][/db]` | one server |
/// | `rediss://…` | the same over TLS |
/// | `unix:///path/to/socket[?db=n&user=u&pass=p]` | the same over a Unix socket |
/// | `redis+sentinel://[user:password@]host:port,host:port/master-name[/db]` | Sentinel: the primary is asked for |
/// | `redis+cluster://[user:password@]host:port,host:port` | Cluster: any node will do to begin with |
///
/// User and password are those of the data servers. Displayed, the password is hidden.
#[derive(Clone)]
pub struct RedisConfig {
    pub(crate) layout: Layout,
    shown: String,
}

#[derive(Clone)]
pub(crate) enum Layout {
    Single(ConnectionInfo),
    Sentinel { sentinels: Vec<ConnectionInfo>, master: String, settings: RedisConnectionInfo },
    Cluster { seeds: Vec<ConnectionInfo> },
}

/// The port of Redis.
const PORT: u16 = 6379;

/// The port of Sentinel.
const SENTINEL_PORT: u16 = 26379;

impl FromStr for RedisConfig {
    type Err = RedisError;

    fn from_str(url: &str) -> Result<Self, RedisError> {
        let invalid = |why: &str| RedisError::Url { url: hide_password(url), why: why.to_owned() };
        let (scheme, rest) =
            url.trim().split_once("://").ok_or_else(|| invalid("it has no scheme such as redis://"))?;
        let layout = match scheme {
            "redis+sentinel" => {
                let (credentials, rest) = split_credentials(rest);
                let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(invalid(
                        "the master's name is missing: redis+sentinel://host:port,host:port/master-name",
                    ));
                }
                let sentinels = hosts
                    .split(',')
                    .map(|host| single(&format!("redis://{}/", with_port(host, SENTINEL_PORT))))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|why| invalid(&why))?;
                let settings = single(&format!("redis://{credentials}unused/{db}")).map_err(|why| invalid(&why))?;
                let settings = settings.redis_settings().clone();
                Layout::Sentinel { sentinels, master: master.to_owned(), settings }
            }
            "redis+cluster" => {
                let (credentials, rest) = split_credentials(rest);
                let hosts = rest.trim_end_matches('/');
                let seeds = hosts
                    .split(',')
                    .map(|host| single(&format!("redis://{credentials}{}/", with_port(host, PORT))))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|why| invalid(&why))?;
                Layout::Cluster { seeds }
            }
            "redis" | "rediss" | "unix" | "redis+unix" => {
                Layout::Single(single(url.trim()).map_err(|why| invalid(&why))?)
            }
            _ => {
                return Err(invalid("known schemes are redis, rediss, unix, redis+sentinel and redis+cluster"));
            }
        };
        Ok(Self { layout, shown: hide_password(url.trim()) })
    }
}

fn single(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| error.to_string())
}

/// `user:password@` and what follows it.
fn split_credentials(rest: &str) -> (&str, &str) {
    match rest.rfind('@') {
        Some(at) => rest.split_at(at + 1),
        None => ("", rest),
    }
}

fn with_port(host: &str, port: u16) -> String {
    let named = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if named { host.to_owned() } else { format!("{host}:{port}") }
}

/// The URL as it may stand in a log.
fn hide_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(not a URL)".to_owned() };
    let (credentials, rest) = split_credentials(rest);
    let rest = rest.split('?').next().unwrap_or_default();
    match credentials.trim_end_matches('@').split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{rest}"),
        None => format!("{scheme}://{credentials}{rest}"),
    }
}

/// The same settings at another address.
pub(crate) fn at(settings: &RedisConnectionInfo, host: &str, port: u16) -> Option<ConnectionInfo> {
    let address = ConnectionAddr::Tcp(host.to_owned(), port);
    let info = format!("redis://{host}:{port}").into_connection_info().ok()?;
    Some(info.set_addr(address).set_redis_settings(settings.clone()))
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

    #[test]
    fn layouts() {
        assert!(matches!(parse("redis://127.0.0.1").layout, Layout::Single(_)));
        assert!(matches!(parse("rediss://user:secret@redis.example:6380/2").layout, Layout::Single(_)));
        assert!(matches!(parse("unix:///run/redis.sock").layout, Layout::Single(_)));
        let Layout::Sentinel { sentinels, master, settings } =
            parse("redis+sentinel://u:p@a:1,b,c:3/mymaster/4").layout
        else {
            panic!("a sentinel layout was expected")
        };
        let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:1", "b:26379", "c:3"]);
        assert_eq!((master.as_str(), settings.db()), ("mymaster", 4));
        assert_eq!((settings.username(), settings.password()), (Some("u"), Some("p")));
        let Layout::Cluster { seeds } = parse("redis+cluster://:p@a:1,b:2").layout else {
            panic!("a cluster layout was expected")
        };
        assert_eq!(seeds.len(), 2);
        assert_eq!(seeds[1].redis_settings().password(), Some("p"));
    }

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            ("redis://user:secret@h:1/2", "redis://user:***@h:1/2"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://h", "redis://h"),
            ("unix:///run/r.sock?pass=secret", "unix:///run/r.sock"),
            ("redis+sentinel://u:se@cret@a:1/m", "redis+sentinel://u:***@a:1/m"),
        ] {
            assert_eq!(parse(url).to_string(), shown);
        }
        for url in ["", "secret", "http://user:secret@h", "redis+sentinel://u:secret@a:1", "redis://u:secret@h:x"] {
            let error = url.parse::<RedisConfig>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
