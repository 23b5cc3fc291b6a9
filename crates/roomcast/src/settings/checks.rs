//! Checks that look at several settings, or at what a value means: mistakes that a type does not show.

use super::foreign::FOREIGN;
use super::problem::{Problem, Source};
use super::redis::redis_config;
use super::resolve::{Given, Resolved};
use super::typed::{Adapter, Dialect, PRODUCTION};
use crate::log;
use roomcast_server::engine::{ClientFiles, TlsFiles, Transport, TrustedProxies};
use roomcast_server::{Cors, RESERVED_EVENTS};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What proxies keep idle connections for by default: nginx and AWS' load balancer.
const PROXY_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Longer than any ping interval that somebody wants, and shorter than Node's 25,000 ms read as seconds.
const LONG_PING: Duration = Duration::from_secs(3_600);

/// The longest event that can go to other servers over Redis.
const LARGEST_OVER_REDIS: usize = 8_000_000;

/// Most bytes of a server's name, as it is part of every message.
const MAX_NAME: usize = 128;

/// What a close may take after grace and window.
const CLOSE: Duration = Duration::from_millis(8_500);

/// Adds to the problems what is wrong with the settings together. `hard_limit` is that of open files.
pub(crate) fn check(resolved: &mut Resolved, hard_limit: Option<u64>) {
    listening(resolved);
    origins(resolved);
    clients(resolved);
    redis(resolved);
    limits(resolved, hard_limit);
    stopping(resolved);
    flags(resolved);
    if let Some(what) = log::mistake(&resolved.settings.log.filter) {
        resolved.error("log.filter", what);
    }
}

/// Adds what is no mistake everywhere, but often is one.
pub(crate) fn advise(resolved: &mut Resolved, given: &Given) {
    let listen = &resolved.settings.listen;
    if listen.host == "127.0.0.1" && resolved.settings.is_production() && !resolved.is_set("listen.host") {
        resolved.warn(
            "listen.host",
            "only programs of this machine can connect to 127.0.0.1; in a container, write 0.0.0.0 (HOST)",
        );
    }
    if resolved.settings.app_url.is_empty() {
        resolved.warn(
            "app_url",
            "is not set: web pages of any origin can open WebSockets to this server, with the cookies of its users",
        );
        hints(resolved, given, &["CORS_", "ALLOWED_", "APP_"]);
    }
    if resolved.settings.redis.url.is_none() {
        hints(resolved, given, &["REDIS_"]);
    }
    hints(resolved, given, &["LOG_", "PING_", "SOCKET_", "LISTEN_"]);
    files(resolved, given);
}

fn listening(resolved: &mut Resolved) {
    let listen = resolved.settings.listen.clone();
    let host = listen.host.as_str();
    if host.contains("://") || host.contains('/') {
        resolved.error("listen.host", format!("{host} is a URL: write the address or name alone, such as 0.0.0.0"));
    } else if host.parse::<IpAddr>().is_err()
        && host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        resolved.error(
            "listen.host",
            format!("{host} has a port: write the address alone here, and the port as listen.port (PORT)"),
        );
    }
    if !listen.path.starts_with('/') {
        resolved.error("listen.path", format!("{} does not begin with a slash: write /{}", listen.path, listen.path));
    } else if ["/", "/healthz", "/readyz"].contains(&listen.path.as_str()) {
        resolved
            .error("listen.path", format!("{} has a use of its own: write a path such as /socket.io/", listen.path));
    }
    if let Err(error) = TrustedProxies::new(&listen.trusted_proxies) {
        resolved.error("listen.trusted_proxies", error.to_string());
    } else if listen.trusted_proxies.iter().any(|network| network.ends_with("/0")) {
        resolved.warn(
            "listen.trusted_proxies",
            "every client is a trusted proxy, and can claim any address: list your proxies only",
        );
    }
    if listen.proxy_protocol && listen.trusted_proxies.is_empty() {
        resolved.error("listen.proxy_protocol", "nobody could connect: list the proxies in listen.trusted_proxies");
    }
    match (&listen.tls_cert_file, &listen.tls_key_file) {
        (Some(_), None) => resolved.error("listen.tls_cert_file", "its key is missing: set listen.tls_key_file too"),
        (None, Some(_)) => {
            resolved.error("listen.tls_key_file", "its certificate is missing: set listen.tls_cert_file too");
        }
        (Some(certificate), Some(key)) => {
            if let Err(error) = TlsFiles::new(certificate, key).check() {
                resolved.error("listen.tls_cert_file", error.to_string());
            }
        }
        (None, None) => {}
    }
    if let Some(directory) = &listen.client_files
        && ClientFiles::read(directory).is_empty()
    {
        resolved.error(
            "listen.client_files",
            format!(
                "there is no file of the client in {}: copy there the folder `dist` of the npm package socket.io-client",
                directory.display()
            ),
        );
    }
    if (listen.tls_cert_file.is_some() || listen.proxy_protocol) && resolved.settings.internal.listen.is_none() {
        resolved.warn(
            "internal.listen",
            "is not set: `roomcast health` speaks plain HTTP, which the listener of clients does not",
        );
    }
    if listen.keep_alive_timeout < PROXY_KEEP_ALIVE && resolved.is_set("listen.keep_alive_timeout") {
        resolved.warn(
            "listen.keep_alive_timeout",
            "is shorter than the 60 s for which nginx and other proxies keep an idle connection: requests may be lost",
        );
    }
    if let Some(internal) = resolved.settings.internal.listen.clone() {
        match internal.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse::<u16>())) {
            Some((host, Ok(port))) if !host.is_empty() => {
                if port == listen.port && port != 0 && overlaps(&host, &listen.host) {
                    resolved
                        .error("internal.listen", format!("port {port} is that of the clients: choose another one"));
                }
            }
            _ => resolved.error(
                "internal.listen",
                format!("{internal} is no address with a port: write HOST:PORT, such as 127.0.0.1:9090"),
            ),
        }
    }
}

/// Whether two listeners on the same port exclude each other.
fn overlaps(one: &str, other: &str) -> bool {
    let all = |host: &str| matches!(host, "0.0.0.0" | "::" | "[::]");
    one == other || all(one) || all(other)
}

fn origins(resolved: &mut Resolved) {
    let origins = resolved.settings.app_url.clone();
    if let Err(error) = Cors::origins(&origins) {
        resolved.error("app_url", error.to_string());
    }
}

fn clients(resolved: &mut Resolved) {
    let client = resolved.settings.client.clone();
    if client.transports.is_empty() {
        resolved.error("client.transports", "no client could connect: name at least one transport");
    } else if client.transports == [Transport::Polling]
        || (!client.allow_upgrades && client.transports.contains(&Transport::Polling))
    {
        resolved.warn(
            "client.transports",
            "clients stay with polling, which costs much more for each message than a WebSocket",
        );
    }
    for (key, time) in [("client.ping_interval", client.ping_interval), ("client.ping_timeout", client.ping_timeout)] {
        if time > LONG_PING {
            resolved.warn(key, format!("is {} s: Node counts milliseconds here, roomcast seconds", time.as_secs()));
        }
    }
    if resolved.settings.namespaces.is_empty() {
        resolved.error("namespaces", "no client could connect: name at least one, such as \"/\"");
    }
    for name in resolved.settings.namespaces.clone() {
        if !name.starts_with('/') {
            resolved.error("namespaces", format!("{name} does not begin with a slash: write /{name}"));
        }
    }
    if client
        .cookie
        .as_deref()
        .is_some_and(|name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
    {
        resolved.error("client.cookie", "is the name of a cookie: letters, digits, - _ and . only");
    }
}

fn redis(resolved: &mut Resolved) {
    if let Some(node_env) = resolved.settings.node_env.clone()
        && node_env != PRODUCTION
        && (node_env.eq_ignore_ascii_case(PRODUCTION) || node_env.eq_ignore_ascii_case("prod"))
    {
        resolved.error("node_env", format!("{node_env} is not production: write production, in small letters"));
    }
    let config = match redis_config(&resolved.settings) {
        Ok(config) => config,
        Err((key, what)) => {
            resolved.error(key, what);
            return;
        }
    };
    let redis = resolved.settings.redis.clone();
    if resolved.settings.adapter == Adapter::Memory {
        if redis.url.is_some() || redis.url_file.is_some() {
            let key = if redis.url.is_some() { "redis.url" } else { "redis.url_file" };
            resolved
                .warn(key, "has no effect: the adapter is memory. Set NODE_ENV=production, or the adapter to redis");
        }
        return;
    }
    let is_cluster = redis.url.as_deref().is_some_and(|url| url.trim().contains("+cluster:"));
    match redis.dialect {
        Dialect::Classic => {
            if resolved.is_set("redis.sharded_mode") {
                resolved
                    .warn("redis.sharded_mode", "has no effect: the dialect is classic. Set redis.dialect to sharded");
            }
            if redis.exact_rooms && redis.one_pattern {
                resolved.error(
                    "redis.one_pattern",
                    "cannot be used together with redis.exact_rooms: leave one of them out",
                );
            }
            if is_cluster {
                resolved.warn(
                    "redis.dialect",
                    "in a Redis Cluster every message of the classic dialect goes to all nodes; the sharded one scales",
                );
            }
        }
        Dialect::Sharded => {
            for key in ["redis.exact_rooms", "redis.one_pattern", "redis.specific_responses"] {
                if resolved.is_set(key) {
                    resolved.warn(key, "has no effect: the dialect is sharded");
                }
            }
        }
    }
    if resolved.settings.server_name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
        resolved.error("server_name", format!("is longer than {MAX_NAME} bytes"));
    }
    if redis.key.is_empty() || redis.key.contains(['#', '*', '?', '[']) {
        resolved.error("redis.key", "is the prefix of channels: it must not contain # * ? or [");
    }
    let has_database = redis.url.as_deref().and_then(database).is_some_and(|database| database != 0);
    if config.is_some() && has_database {
        resolved.warn("redis.url", "the number of the database separates nothing, as pub/sub ignores it: set redis.key (REDIS_KEY) for a second application");
    }
    if resolved.settings.client.max_payload > LARGEST_OVER_REDIS {
        resolved.warn(
            "client.max_payload",
            "an event of more than 8,000,000 bytes cannot go to other servers: its emit fails",
        );
    }
    if redis.command_timeout > redis.max_queued_age {
        resolved.warn(
            "redis.command_timeout",
            "is longer than redis.max_queued_age: messages are dropped before one attempt to publish them has failed",
        );
    }
}

/// The number of the database in a URL.
fn database(url: &str) -> Option<u64> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.split(['?', '#']).next()?.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    path.rsplit_once('/')?.1.parse().ok()
}

/// Variables of other software that somebody may have set in place of ours.
fn hints(resolved: &mut Resolved, given: &Given, prefixes: &[&str]) {
    for (name, ours) in FOREIGN.iter().filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix))) {
        if given.variables.contains_key(std::ffi::OsStr::new(name)) {
            let what = format!("roomcast does not read this variable: write {ours}");
            resolved.problems.push(Problem::warning(Source::Variable((*name).to_owned()), None, what));
        }
    }
}

fn limits(resolved: &mut Resolved, hard_limit: Option<u64>) {
    let (limits, most) = (resolved.settings.limits.clone(), resolved.settings.listen.max_connections);
    if limits.outbox_hard < limits.outbox {
        resolved.error(
            "limits.outbox_hard",
            "is less than limits.outbox: a client would be disconnected before it must keep a pace",
        );
    }
    if limits.outbox_budget.is_some_and(|budget| budget < limits.outbox) {
        resolved.error("limits.outbox_budget", "is less than limits.outbox, which one client may use");
    }
    if let Some(name) = limits.warning.as_deref()
        && RESERVED_EVENTS.contains(&name)
    {
        resolved.error(
            "limits.warning",
            format!("{name} is a name of Socket.IO itself: write another one, such as slow down"),
        );
    }
    let rates = [limits.events, limits.bytes, limits.address_events, limits.address_bytes];
    if rates.iter().all(Option::is_none) {
        for key in ["limits.over", "limits.warning"] {
            if resolved.is_set(key) {
                resolved.warn(key, "has no effect: no rate is limited. Set limits.events or another one");
            }
        }
    }
    if let Some(hard) = hard_limit
        && (hard as usize) < most
        && resolved.is_set("listen.max_connections")
    {
        resolved.warn(
            "listen.max_connections",
            format!("the hard limit of open files is {hard}: fewer clients can connect. Raise it (ulimit -Hn, LimitNOFILE of systemd)"),
        );
    }
}

fn stopping(resolved: &mut Resolved) {
    let drain = resolved.settings.drain.clone();
    let least = drain.grace.saturating_add(drain.window).saturating_add(CLOSE);
    if drain.deadline.is_some_and(|deadline| deadline < least) {
        resolved.warn(
            "drain.deadline",
            format!(
                "is shorter than grace, window and the 8.5 s of a close together: clients may be cut. Write at least {}",
                least.as_secs_f64()
            ),
        );
    }
}

/// Secrets that all users of the machine can see.
fn flags(resolved: &mut Resolved) {
    for key in ["redis.url", "redis.password", "redis.sentinel_password"] {
        let has_password = key != "redis.url" || resolved.settings.redis.url.as_deref().is_some_and(has_password);
        if matches!(resolved.source(key), Source::Flag(_)) && has_password {
            resolved
                .warn(key, "every user of this machine sees the password of a flag (ps): use the variable or a file");
        }
    }
}

/// Files with secrets that are missing, or that everybody can read.
fn files(resolved: &mut Resolved, given: &Given) {
    let redis = &resolved.settings.redis;
    let has_secret =
        redis.url.as_deref().is_some_and(has_password) || redis.password.is_some() || redis.sentinel_password.is_some();
    let mut files: Vec<(&'static str, PathBuf)> = [
        ("redis.url_file", &redis.url_file),
        ("redis.password_file", &redis.password_file),
        ("redis.sentinel_password_file", &redis.sentinel_password_file),
        ("redis.tls_key_file", &redis.tls_key_file),
        ("listen.tls_key_file", &resolved.settings.listen.tls_key_file),
    ]
    .into_iter()
    .filter_map(|(key, file)| Some((key, file.clone()?)))
    .collect();
    if let (Some((path, _)), true) = (&given.file, has_secret) {
        let in_file = ["redis.url", "redis.password", "redis.sentinel_password"]
            .into_iter()
            .find(|key| matches!(resolved.source(key), Source::File { .. }));
        files.extend(in_file.map(|key| (key, PathBuf::from(path))));
    }
    for (key, file) in files {
        match is_public(&file) {
            Ok(true) => {
                resolved.warn(key, format!("every user of this machine can read {}: chmod 600 it", file.display()));
            }
            Ok(false) => {}
            // It may be written later.
            Err(error) => resolved.warn(key, format!("{} cannot be read now: {error}", file.display())),
        }
    }
}

fn has_password(url: &str) -> bool {
    url.rsplit_once('@')
        .is_some_and(|(before, _)| before.split_once("://").is_some_and(|(_, login)| login.contains(':')))
        || url.contains("password=")
        || url.contains("pass=")
}

#[cfg(unix)]
fn is_public(file: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(file)?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_public(file: &Path) -> std::io::Result<bool> {
    std::fs::metadata(file).map(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files for these tests.
    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("roomcast-checks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn told(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Vec<String> {
        let given = Given {
            file: (!file.is_empty()).then(|| ("r.toml".to_owned(), file.to_owned())),
            variables: variables.iter().map(|(name, text)| (name.into(), text.into())).collect(),
            flags: flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
        };
        let mut resolved = Resolved::new(&given);
        check(&mut resolved, Some(4_096));
        advise(&mut resolved, &given);
        let kind = |problem: &Problem| if problem.is_error { "error" } else { "warning" };
        resolved.problems.iter().map(|problem| format!("{}: {problem}", kind(problem))).collect()
    }

    /// Mistakes that people made with roomcast, Node and others (found/reports.md, peers.md), each with its line and what to write.
    #[test]
    fn mistakes_of_a_configuration_file() {
        const REDIS: &str = "adapter = 'redis'\n[redis]\nurl = 'redis://h'\n";
        let redis = |line: &str| format!("{REDIS}{line}");
        for (file, expected) in [
            ("[redis]\nulr = 'redis://h'", "error: r.toml:2: redis.ulr: there is no such key: write url in [redis]"),
            ("[sever]\nport = 1", "error: r.toml:1: [sever]: there is no such section"),
            ("port = 3000", "error: r.toml:1: port: there is no such key: write port in [listen]"),
            (
                "[client]\nmaxHttpBufferSize = 1e6",
                "error: r.toml:2: client.maxHttpBufferSize: there is no such key: write max_payload",
            ),
            ("[listen]\nport = '3000'", "error: r.toml:2: listen.port: write 3000 without quotes"),
            ("[listen]\nport = 70000", "error: r.toml:2: listen.port: 70000 is not possible here"),
            ("[listen]\nport = 1\nport = 2", "error: r.toml:3: is no TOML: duplicate key"),
            (
                "[client]\nping_interval = 25000",
                "warning: r.toml:2: client.ping_interval: is 25000 s: Node counts milliseconds",
            ),
            ("[listen]\nhost = 'http://0.0.0.0'", "error: r.toml:2: listen.host: http://0.0.0.0 is a URL"),
            ("[listen]\nhost = '0.0.0.0:3000'", "error: r.toml:2: listen.host: 0.0.0.0:3000 has a port"),
            (
                "[listen]\npath = 'socket.io/'",
                "error: r.toml:2: listen.path: socket.io/ does not begin with a slash: write /socket.io/",
            ),
            ("[listen]\npath = '/readyz'", "error: r.toml:2: listen.path: /readyz has a use of its own"),
            (
                "[listen]\nkeep_alive_timeout = 5",
                "warning: r.toml:2: listen.keep_alive_timeout: is shorter than the 60 s",
            ),
            (
                "[internal]\nlisten = '9090'",
                "error: r.toml:2: internal.listen: 9090 is no address with a port: write HOST:PORT",
            ),
            (
                "[internal]\nlisten = '0.0.0.0:3000'",
                "error: r.toml:2: internal.listen: port 3000 is that of the clients",
            ),
            ("app_url = 'app.example.com'", "error: r.toml:1: app_url: "),
            ("app_url = ['https://a.example/app']", "error: r.toml:1: app_url: "),
            ("app_url = ['*', 'https://a.example']", "error: r.toml:1: app_url: \"*\" is every origin: give it alone"),
            ("namespaces = ['chat']", "error: r.toml:1: namespaces: chat does not begin with a slash: write /chat"),
            (
                "client_events = ['broadcast']",
                "error: r.toml:1: client_events: broadcast is not possible here: expected one of join, leave, publish",
            ),
            ("[client]\ntransports = []", "error: r.toml:2: client.transports: no client could connect"),
            ("[client]\ntransports = ['polling']", "warning: r.toml:2: client.transports: clients stay with polling"),
            (
                "[client]\ntransports = ['webtransport']",
                "error: r.toml:2: client.transports: webtransport is not possible here",
            ),
            ("[client]\ncookie = 'a b'", "error: r.toml:2: client.cookie: is the name of a cookie"),
            ("node_env = 'Production'", "error: r.toml:1: node_env: Production is not production: write production"),
            ("node_env = 'production'", "error: redis.url: NODE_ENV is production, but REDIS_URL is not set"),
            ("[redis]\nurl = 'redis://h'", "warning: r.toml:2: redis.url: has no effect: the adapter is memory"),
            ("adapter = 'redis'\n[redis]\nurl = 'h:6379'", "error: r.toml:3: redis.url: "),
            ("adapter = 'redis'\n[redis]\nurl = 'redis://a:1,b:2'", "error: r.toml:3: redis.url: "),
            (
                "adapter = 'redis'\n[redis]\nurl = 'redis://h/5'",
                "warning: r.toml:3: redis.url: the number of the database separates nothing",
            ),
            ("adapter = 'redis'\n[redis]\nurl = 'redis+cluster://h'", "warning: redis.dialect: in a Redis Cluster"),
            (
                &redis("tls_ca_file = '/ca'"),
                "error: r.toml:4: redis.tls_ca_file: REDIS_URL does not use TLS: write rediss://",
            ),
            (&redis("sentinel_password = 'x'"), "error: r.toml:4: redis.sentinel_password: REDIS_URL has no Sentinels"),
            (
                &redis("sharded_mode = 'static'"),
                "warning: r.toml:4: redis.sharded_mode: has no effect: the dialect is classic",
            ),
            (
                &redis("dialect = 'sharded'\nexact_rooms = true"),
                "warning: r.toml:5: redis.exact_rooms: has no effect: the dialect is sharded",
            ),
            (
                &redis("exact_rooms = true\none_pattern = true"),
                "error: r.toml:5: redis.one_pattern: cannot be used together",
            ),
            (&redis("key = 'shop*'"), "error: r.toml:4: redis.key: is the prefix of channels"),
            (
                &redis("command_timeout = 9"),
                "warning: r.toml:4: redis.command_timeout: is longer than redis.max_queued_age",
            ),
            (
                &redis("[client]\nmax_payload = '9 MB'"),
                "warning: r.toml:5: client.max_payload: an event of more than 8,000,000 bytes",
            ),
            ("[limits]\noutbox = '32 MiB'", "error: limits.outbox_hard: is less than limits.outbox"),
            ("[listen]\nproxy_protocol = true", "error: r.toml:2: listen.proxy_protocol: nobody could connect"),
            ("[listen]\ntrusted_proxies = ['10.0.0.0/33']", "error: r.toml:2: listen.trusted_proxies: "),
            (
                "[listen]\ntrusted_proxies = ['0.0.0.0/0']",
                "warning: r.toml:2: listen.trusted_proxies: every client is a trusted proxy",
            ),
            ("[listen]\ntls_key_file = '/k'", "error: r.toml:2: listen.tls_key_file: its certificate is missing"),
            (
                "[listen]\ntls_cert_file = '/c'\ntls_key_file = '/nowhere'",
                "error: r.toml:2: listen.tls_cert_file: the server's certificate, /c: ",
            ),
            ("[limits]\nover = 'disconnect'", "warning: r.toml:2: limits.over: has no effect: no rate is limited"),
            ("[limits]\nevents = 20", "error: r.toml:2: limits.events: is a number; write a text in quotes"),
            ("[limits]\nover = 'disconnect'", "warning: r.toml:2: limits.over: has no effect: no rate is limited"),
            ("[limits]\nevents = 20", "error: r.toml:2: limits.events: is a number; write a text in quotes"),
            (
                "[limits]\nwarning = 'connect'\nevents = '1/s'",
                "error: r.toml:2: limits.warning: connect is a name of Socket.IO itself",
            ),
            ("[limits]\noutbox_budget = '1 kB'", "error: r.toml:2: limits.outbox_budget: 1 kB is not possible here"),
            ("[limits]\noutbox_budget = '1 MB'", "error: r.toml:2: limits.outbox_budget: is less than limits.outbox"),
            (
                "[listen]\nmax_connections = 200000",
                "warning: r.toml:2: listen.max_connections: the hard limit of open files is 4096",
            ),
            (
                "[drain]\ngrace = 20\nwindow = 20\ndeadline = 30",
                "warning: r.toml:4: drain.deadline: is shorter than grace, window and the 8.5 s of a close together: clients may be cut. Write at least 48.5",
            ),
            ("[log]\nfilter = 'roomcast=loud'", "error: r.toml:2: log.filter: "),
        ] {
            let told = told(file, &[], &[]);
            assert!(told.iter().any(|problem| problem.starts_with(expected)), "{file}\n{expected}\n{told:#?}");
        }
    }

    #[test]
    fn mistakes_of_variables_and_flags() {
        for (variables, flags, expected) in [
            (
                &[("ROOMCAST_DRIAN_GRACE", "5")][..],
                &[][..],
                "warning: ROOMCAST_DRIAN_GRACE: there is no such variable: write ROOMCAST_DRAIN_GRACE",
            ),
            (
                &[("NODE_ENV", "production"), ("REDIS_HOST", "h")],
                &[],
                "warning: REDIS_HOST: roomcast does not read this variable: write REDIS_URL=",
            ),
            (
                &[("CORS_ORIGIN", "https://a.example")],
                &[],
                "warning: CORS_ORIGIN: roomcast does not read this variable: write APP_URL",
            ),
            (
                &[("LOG_LEVEL", "debug")],
                &[],
                "warning: LOG_LEVEL: roomcast does not read this variable: write RUST_LOG",
            ),
            (
                &[("NODE_ENV", "production"), ("REDIS_URL", "redis://h")],
                &[],
                "warning: listen.host: only programs of this machine",
            ),
            (
                &[],
                &[("redis.url", "redis://:secret@h")],
                "warning: --redis-url: every user of this machine sees the password",
            ),
            (&[("REDIS_PASSWORD_FILE", "/nowhere")], &[], "warning: REDIS_PASSWORD_FILE: /nowhere cannot be read now"),
            (&[], &[], "warning: app_url: is not set"),
        ] {
            let told = told("", variables, flags);
            assert!(told.iter().any(|problem| problem.starts_with(expected)), "{expected}\n{told:#?}");
            assert!(told.iter().all(|problem| !problem.contains("secret")), "{told:#?}");
        }
        // Set as it should be, nothing is said.
        let good = [
            ("NODE_ENV", "production"),
            ("REDIS_URL", "redis://:secret@h"),
            ("APP_URL", "https://a.example"),
            ("HOST", "0.0.0.0"),
        ];
        assert_eq!(told("", &good, &[]), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn secrets_that_everybody_can_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder().join("password");
        std::fs::write(&path, "secret").unwrap();
        let told = |mode: u32| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            self::told("", &[("REDIS_PASSWORD_FILE", path.to_str().unwrap())], &[]).join("\n")
        };
        assert!(told(0o644).contains("every user of this machine can read"));
        assert!(!told(0o640).contains("can read"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_longest_name_and_one_byte_more() {
        let told = |bytes: usize| {
            let redis = [("ROOMCAST_ADAPTER", "redis"), ("REDIS_URL", "redis://h"), ("APP_URL", "*")];
            let name = "n".repeat(bytes);
            self::told("", &[&redis[..], &[("ROOMCAST_SERVER_NAME", &name)]].concat(), &[])
        };
        assert_eq!(told(MAX_NAME), Vec::<String>::new());
        assert!(told(MAX_NAME + 1)[0].contains("ROOMCAST_SERVER_NAME: is longer than 128 bytes"));
    }

    #[test]
    fn passwords_and_databases_in_urls() {
        for (url, password, number) in [
            ("redis://h", false, None),
            ("redis://u@h:1/2", false, Some(2)),
            ("redis://u:p@h/0", true, Some(0)),
            ("redis+sentinel://a:1/m/3", false, Some(3)),
            ("redis+sentinel://a:1/m?sentinel_password=x", true, None),
            ("unix:///run/r?pass=x", true, None),
        ] {
            assert_eq!((has_password(url), database(url)), (password, number), "{url}");
        }
    }
}
