//! [`Layout`]: the servers that a Redis URL names, and how to connect to them.

use super::url::{INSECURE, Parts, database, no_fragment, parameters, port};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

#[derive(Clone)]
pub(crate) enum Layout {
    Single(ConnectionInfo),
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// A data server, without its address.
        server: Box<ConnectionInfo>,
    },
    Cluster {
        /// The nodes in the URL: at least one.
        seeds: Vec<ConnectionInfo>,
    },
}

const PORT: u16 = 6379;

const SENTINEL_PORT: u16 = 26379;

impl Layout {
    /// Reads a URL. The error says what is wrong with it, without quoting a password.
    pub(crate) fn read(url: &str) -> Result<Self, String> {
        if url.starts_with(['"', '\'']) {
            return Err("it is in quotation marks; remove them".to_owned());
        }
        let (scheme, rest) = url.split_once("://").ok_or("it has no scheme; write redis://host:6379")?;
        match scheme {
            "redis" | "rediss" => Self::single(scheme, &Parts::of(rest)?),
            "unix" | "redis+unix" => Self::socket(rest),
            "redis+sentinel" => Self::sentinel("redis", &Parts::of(rest)?),
            "rediss+sentinel" => Self::sentinel("rediss", &Parts::of(rest)?),
            "redis+cluster" => Self::cluster("redis", &Parts::of(rest)?),
            "rediss+cluster" => Self::cluster("rediss", &Parts::of(rest)?),
            _ => Err("known schemes are redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster"
                .to_owned()),
        }
    }

    fn single(scheme: &str, parts: &Parts<'_>) -> Result<Self, String> {
        if parts.hosts.contains(',') {
            return Err(format!(
                "it has several hosts: write {scheme}+cluster:// for the nodes of a Cluster, or {scheme}+sentinel://host:26379,host:26379/master-name for Sentinels"
            ));
        }
        // Node's clients take this parameter. Here it has no effect: each connection uses the protocol that it needs.
        let [_] = version(parts.query)?;
        server(scheme, parts, parts.hosts, PORT, database(parts.path)?).map(Self::Single)
    }

    fn socket(rest: &str) -> Result<Self, String> {
        no_fragment(rest)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let [db, user, pass, _] = parameters(query, ["db", "user", "pass", "protocol"])?;
        let info = info(&format!("unix://{path}"))?;
        let mut settings = info.redis_settings().clone().set_db(database(db.as_deref().unwrap_or_default())?);
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
        if let Some(pass) = pass {
            settings = settings.set_password(pass);
        }
        Ok(Self::Single(info.set_redis_settings(settings)))
    }

    fn sentinel(scheme: &str, parts: &Parts<'_>) -> Result<Self, String> {
        let [user, password] = parameters(parts.query, ["sentinel_user", "sentinel_password"])?;
        let (master, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        if master.is_empty() {
            return Err("the master's name is missing: redis+sentinel://host:port,host:port/master-name".to_owned());
        }
        let anonymous = Parts { credentials: "", ..*parts };
        let sentinel = |host: &str| {
            let info = self::server(scheme, &anonymous, host, SENTINEL_PORT, 0)?;
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
        let server = server(scheme, parts, "unused", PORT, database(db)?)?;
        Ok(Self::Sentinel { sentinels, master: master.to_owned(), server: Box::new(server) })
    }

    fn cluster(scheme: &str, parts: &Parts<'_>) -> Result<Self, String> {
        let [] = parameters(parts.query, [])?;
        if !parts.path.is_empty() {
            return Err("nothing may follow the hosts of a Cluster: it has only one database".to_owned());
        }
        let seed = |host| server(scheme, parts, host, PORT, 0);
        Ok(Self::Cluster { seeds: parts.hosts.split(',').map(seed).collect::<Result<_, _>>()? })
    }

    /// A data server. With Sentinel it has no usable address; of a Cluster it is the first seed.
    pub(crate) fn server(&self) -> Option<&ConnectionInfo> {
        match self {
            Self::Single(info) => Some(info),
            Self::Sentinel { server, .. } => Some(server),
            Self::Cluster { seeds } => seeds.first(),
        }
    }

    /// Whether the URL has a user for the Sentinels but no password, which must then come from elsewhere.
    pub(crate) fn lacks_sentinel_password(&self) -> bool {
        let Self::Sentinel { sentinels, .. } = self else { return false };
        sentinels.iter().any(|it| it.redis_settings().username().is_some() && it.redis_settings().password().is_none())
    }
}

pub(crate) fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// `protocol`, the one parameter of a single server.
fn version(query: &str) -> Result<[Option<String>; 1], String> {
    let values = parameters(query, ["protocol"])?;
    match &values {
        [Some(version)] if !matches!(&**version, "2" | "3" | "resp2" | "resp3") => {
            Err("protocol must be 2 or 3; leave it out, as RESP3 is used where it is needed".to_owned())
        }
        _ => Ok(values),
    }
}

/// A server by its host. The unspecified address (`0.0.0.0`, `[::]`) leads to this machine, as in the kernel; the
/// `redis` crate refuses it.
fn server(scheme: &str, parts: &Parts<'_>, host: &str, usual: u16, database: i64) -> Result<ConnectionInfo, String> {
    let (name, port) = match port(host) {
        Some(port) => {
            (host.strip_suffix(port).and_then(|host| host.strip_suffix(':')).unwrap_or(host), port.to_owned())
        }
        None => (host, usual.to_string()),
    };
    let name = match name {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        name => name,
    };
    info(&format!("{scheme}://{}{name}:{port}/{database}", parts.credentials))
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| error.to_string())?;
    // `no_fragment` has refused it already; certificate checks are worth a second look.
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        Err(INSECURE.to_owned())
    } else {
        Ok(info)
    }
}

/// The same server at another address; with TLS if `like` has it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Layout {
        Layout::read(url).unwrap()
    }

    fn refused(url: &str) -> String {
        Layout::read(url).map(drop).unwrap_err()
    }

    fn logins(infos: &[ConnectionInfo]) -> Vec<(Option<&str>, Option<&str>)> {
        infos.iter().map(|info| (info.redis_settings().username(), info.redis_settings().password())).collect()
    }

    #[test]
    fn layouts() {
        assert!(matches!(parse("redis://127.0.0.1"), Layout::Single(_)));
        assert!(matches!(parse("rediss://user:secret@redis.example:6380/2"), Layout::Single(_)));
        assert!(matches!(parse("unix:///run/redis.sock"), Layout::Single(_)));
        let Layout::Sentinel { sentinels, master, server } = parse("redis+sentinel://u:p@a:1,b,[::1]:3/mymaster/4")
        else {
            panic!("a sentinel layout was expected")
        };
        let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:1", "b:26379", "::1:3"]);
        assert_eq!((master.as_str(), server.redis_settings().db()), ("mymaster", 4));
        assert_eq!(logins(&[*server]), [(Some("u"), Some("p"))]);
        assert_eq!(logins(&sentinels), [(None, None); 3], "the Sentinels do not get the data servers' password");
        let Layout::Cluster { seeds } = parse("redis+cluster://:p@a:1,b:2/") else {
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
            let layout = parse(url);
            assert_eq!(layout.server().is_some_and(is_tls), tls, "{url}");
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
        let Layout::Sentinel { sentinels, server, .. } = parse(url) else { panic!("Sentinels were expected") };
        assert_eq!(logins(&sentinels), [(Some("w@"), Some("a&b+c#")); 2]);
        assert_eq!(logins(&[*server]), [(Some("u"), Some("p"))]);
        let Layout::Sentinel { sentinels, server, .. } = parse("rediss+sentinel://a/m/1?sentinel_password=p") else {
            panic!("Sentinels were expected")
        };
        assert_eq!((logins(&sentinels), logins(&[*server])), (vec![(None, Some("p"))], vec![(None, None)]));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (url, why) in [
            ("redis+sentinel://a", "the master's name is missing"),
            ("redis+sentinel://a/m?sentinel_pasword=p", "did you mean sentinel_password?"),
            ("redis+sentinel://a/m?secretsecret=p", "known are sentinel_user, sentinel_password"),
            ("redis+cluster://a/1", "only one database"),
            ("rediss+cluster://a?x=1", "no query parameters"),
            ("redis+cluster://", "the host is missing"),
            ("rediss://h#insecure", "certificates are always checked"),
            ("rediss+cluster://h#insecure", "certificates are always checked"),
            ("http://h", "known schemes"),
            ("\"redis://h\"", "quotation marks"),
            // Parameters of ioredis and redis-py.
            ("redis://h:6380?password=secret&tls=true&db=5", "user and password go before the host"),
            ("redis://h?tls=true", "rediss://"),
            ("redis://h?db=5", "redis://host:6379/5"),
            ("rediss://h?family=0", "leave it out"),
            ("rediss://h?ssl_cert_reqs=none", "REDIS_TLS_CA_FILE"),
            ("redis://h?sentinel_password=secret", "redis+sentinel://host:26379"),
            ("redis://h?protocl=3", "did you mean protocol?"),
            ("redis://h?protocol=4", "protocol must be 2 or 3"),
            ("redis://h?secretsecret", "known is protocol; in a password write %3F"),
            ("unix:///run/redis.sock?password=secret", "user and password go before the host"),
            ("unix:///run/redis.sock?pas=secret", "did you mean pass?"),
            ("redis://:p#ss@h", "write %23"),
            ("redis://:p/ss=@h", "write %2F"),
            ("redis://:p?ss@h", "write %3F"),
            ("redis://:p%ss@h", "write %25"),
            ("h:6379", "redis://host:6379"),
            ("redis://a:6379,b:6379", "redis+cluster:// for the nodes of a Cluster, or redis+sentinel://"),
            ("rediss://a,b", "rediss+cluster://"),
            ("redis://h/main", "the database must be a number"),
            ("unix:///run/redis.sock?db=x", "the database must be a number"),
            ("unix:///run/redis.sock#x", "write %23"),
        ] {
            let error = refused(url);
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }

    /// As in the kernel.
    #[test]
    fn the_unspecified_address_leads_to_this_machine() {
        for (url, address) in [
            ("redis://0.0.0.0:6379", "127.0.0.1:6379"),
            ("rediss://:p@0.0.0.0", "127.0.0.1:6379"),
            ("redis://[::]:7", "::1:7"),
            ("redis+cluster://0.0.0.0,h", "127.0.0.1:6379"),
        ] {
            assert_eq!(parse(url).server().unwrap().addr().to_string(), address, "{url}");
        }
        let Layout::Sentinel { sentinels, .. } = parse("redis+sentinel://[::],0.0.0.0:1/m") else {
            panic!("Sentinels were expected")
        };
        let addresses: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["::1:26379", "127.0.0.1:1"]);
    }

    #[test]
    fn urls_of_a_single_server() {
        let of = |url: &str| {
            let Layout::Single(info) = parse(url) else { panic!("one server was expected") };
            let settings = info.redis_settings();
            let login = (settings.username().map(str::to_owned), settings.password().map(str::to_owned));
            (info.addr().to_string(), settings.db(), login)
        };
        let login = |user: &str, password: &str| (Some(user.to_owned()), Some(password.to_owned()));
        assert_eq!(of("redis://u:p%40%2F@s@h:1/2?protocol=3"), ("h:1".to_owned(), 2, login("u", "p@/@s")));
        assert_eq!(of("redis://u@[::1]/"), ("::1:6379".to_owned(), 0, (Some("u".to_owned()), None)));
        // A + is a + in the query too: Azure's keys contain them.
        let socket = of("unix:///run/redis.sock?db=3&user=u&pass=a+b%2B%26=&protocol=2");
        assert_eq!(socket, ("/run/redis.sock".to_owned(), 3, login("u", "a+b+&=")));
        // `?sentinel_user=u` alone: the password may come from a file.
        assert!(parse("redis+sentinel://a/m?sentinel_user=u").lacks_sentinel_password());
        assert!(!parse("redis+sentinel://a/m?sentinel_user=u&sentinel_password=p").lacks_sentinel_password());
    }
}
