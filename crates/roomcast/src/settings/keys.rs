//! [`KEYS`]: every setting with its variable, flag, default and meaning. The parser of flags, that of the file, `roomcast config` and the table
//! in `docs/configuration.md` are made from it.

use super::key::{Key, key};
use super::typed::{Adapter, ClientEvent, Dialect, LogFormat, Secret};
use super::value::Kind;
use roomcast_redis::ShardedMode;
use roomcast_server::engine::{Transport, limits};
use roomcast_server::{OverRate, Parser};
use std::time::Duration;

/// The sections in their order, with what each is about. The first has the keys at the top of the file.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("", "The server"),
    ("listen", "Where clients connect, and how long their requests may take"),
    ("internal", "Metrics and health checks"),
    ("client", "What a client may do, and how long it may take"),
    ("limits", "What all clients together may use"),
    ("recovery", "Clients that come back after a lost connection"),
    ("redis", "The other servers"),
    ("health", "Readiness"),
    ("drain", "Stopping"),
    ("log", "The log"),
];

const NO_TIME: Kind = Kind::Time(Duration::ZERO, limits::LONGEST);
/// A time that must pass: nothing runs without a pause.
const TIME: Kind = Kind::Time(Duration::from_millis(100), limits::LONGEST);
const COUNT: Kind = Kind::Integer(1, u32::MAX as u64);
/// Enough for any message, and far from what overflows when it is doubled.
const MOST_BYTES: u64 = 1 << 40;

/// The key with this name.
pub(crate) fn named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

pub(crate) const KEYS: &[Key] = &[
    key(
        ["node_env", "NODE_ENV", "node-env"],
        Kind::Text,
        "",
        "`production` enables the Redis adapter, with which several servers form one cluster, and the drain at SIGTERM",
        |s, v| s.node_env = Some(v.text()),
    ),
    key(
        ["app_url", "APP_URL", "app-url"],
        Kind::List,
        "",
        "Web origins whose pages may use the server: such as https://app.example.com, or https://*.example.com for all subdomains, or * for all \
         origins. Without it, pages of any origin can open WebSockets, but only pages of the server's own origin can use HTTP long-polling",
        |s, v| s.app_url = v.list(),
    ),
    key(
        ["adapter", "ROOMCAST_ADAPTER", "adapter"],
        Kind::Choice(&[
            ("memory", "no other servers: this one is on its own"),
            ("redis", "over Redis, also together with Node servers that use @socket.io/redis-adapter"),
        ]),
        "memory",
        "How this server reaches the other servers",
        |s, v| s.adapter = if v.is("redis") { Adapter::Redis } else { Adapter::Memory },
    )
    .production("redis"),
    key(
        ["server_name", "ROOMCAST_SERVER_NAME", "server-name"],
        Kind::Text,
        "",
        "The name of this server in the cluster, such as the name of its pod. No two servers may have the same at the same time. Without it, \
         the name is random",
        |s, v| s.server_name = Some(v.text()),
    ),
    key(
        ["namespaces", "ROOMCAST_NAMESPACES", "namespaces"],
        Kind::List,
        "/",
        "The namespaces in which clients may send events. As in Node, clients can always join `/`",
        |s, v| s.namespaces = v.list(),
    ),
    key(
        ["client_events", "ROOMCAST_CLIENT_EVENTS", "client-events"],
        Kind::Choices(&[("join", "join rooms"), ("leave", "leave rooms"), ("publish", "emit events to rooms")]),
        "join,leave,publish",
        "The events that clients may send. Any client may join any room and publish to it; with an empty list (as a variable: `none`) only other \
         servers and emitters publish",
        |s, v| {
            let event = |name: &String| match name.as_str() {
                "join" => Some(ClientEvent::Join),
                "leave" => Some(ClientEvent::Leave),
                "publish" => Some(ClientEvent::Publish),
                _ => None,
            };
            s.client_events = v.list().iter().filter_map(event).collect();
        },
    ),
    key(
        ["parser", "ROOMCAST_PARSER", "parser"],
        Kind::Choice(&[
            ("default", "socket.io-parser, which every client has"),
            ("msgpack", "socket.io-msgpack-parser"),
        ]),
        "default",
        "How packets to and from clients are written; all clients need the same parser. The chat page has the default one",
        |s, v| s.parser = if v.is("msgpack") { Parser::MessagePack } else { Parser::Default },
    ),
    key(
        ["listen.host", "HOST", "host"],
        Kind::Text,
        "127.0.0.1",
        "Address or host name to listen on; 0.0.0.0 stands for all IPv4 addresses of the machine",
        |s, v| s.listen.host = v.text(),
    ),
    key(
        ["listen.port", "PORT", "port"],
        Kind::Integer(0, 65_535),
        "3000",
        "Port to listen on; 0 stands for any free port",
        |s, v| s.listen.port = u16::try_from(v.number()).unwrap_or_default(),
    ),
    key(
        ["listen.path", "ROOMCAST_LISTEN_PATH", "path"],
        Kind::Text,
        "/socket.io/",
        "Path of the requests of clients: the option `path` of the client",
        |s, v| s.listen.path = v.text(),
    ),
    key(
        ["listen.max_connections", "MAX_CONNECTIONS", "max-connections"],
        COUNT,
        "100000",
        "Most connections at once, and most sessions; a further client is answered with 503",
        |s, v| s.listen.max_connections = v.number(),
    ),
    key(
        ["listen.keep_alive_timeout", "KEEP_ALIVE_TIMEOUT", "keep-alive-timeout"],
        NO_TIME,
        "75",
        "Time for which an idle HTTP connection is kept open; must be longer than a proxy in front keeps idle connections",
        |s, v| s.listen.keep_alive_timeout = v.time(),
    ),
    key(
        ["listen.header_timeout", "ROOMCAST_LISTEN_HEADER_TIMEOUT", "header-timeout"],
        TIME,
        "10",
        "Time for the head of a request; a client that takes longer is disconnected",
        |s, v| s.listen.header_timeout = v.time(),
    ),
    key(
        ["listen.body_timeout", "ROOMCAST_LISTEN_BODY_TIMEOUT", "body-timeout"],
        TIME,
        "30",
        "Time for the body of a POST; then it is answered with 408, and the session is closed",
        |s, v| s.listen.body_timeout = v.time(),
    ),
    key(
        ["listen.write_timeout", "ROOMCAST_LISTEN_WRITE_TIMEOUT", "write-timeout"],
        TIME,
        "20",
        "Time in which an eighth of a waiting HTTP answer must leave; a client that reads less is disconnected",
        |s, v| s.listen.write_timeout = v.time(),
    ),
    key(
        ["listen.tls_cert_file", "ROOMCAST_LISTEN_TLS_CERT_FILE", "tls-cert-file"],
        Kind::Path,
        "",
        "File with the certificate of this server and those that it was signed by (PEM). With it the listener speaks TLS (https, wss); a new file \
         is used within 10 s",
        |s, v| s.listen.tls_cert_file = Some(v.path()),
    ),
    key(
        ["listen.tls_key_file", "ROOMCAST_LISTEN_TLS_KEY_FILE", "tls-key-file"],
        Kind::Path,
        "",
        "File with the private key of the certificate (PEM, not encrypted)",
        |s, v| s.listen.tls_key_file = Some(v.path()),
    ),
    key(
        ["listen.trusted_proxies", "ROOMCAST_LISTEN_TRUSTED_PROXIES", "trusted-proxies"],
        Kind::List,
        "",
        "Addresses or networks of the proxies in front of the server, such as `10.0.0.0/8`. What they say about a client's address is believed \
         (`X-Forwarded-For`)",
        |s, v| s.listen.trusted_proxies = v.list(),
    ),
    key(
        ["listen.proxy_protocol", "ROOMCAST_LISTEN_PROXY_PROTOCOL", "proxy-protocol"],
        Kind::Bool,
        "false",
        "Whether each connection begins with a header of the PROXY protocol, version 1 or 2. Only `trusted_proxies` can connect then",
        |s, v| s.listen.proxy_protocol = v.is_true(),
    ),
    key(
        ["listen.client_files", "ROOMCAST_LISTEN_CLIENT_FILES", "client-files"],
        Kind::Path,
        "",
        "Directory with the files of the JavaScript client, to be served under the path: `dist` of the npm package socket.io-client",
        |s, v| s.listen.client_files = Some(v.path()),
    ),
    key(
        ["internal.listen", "ROOMCAST_INTERNAL_LISTEN", "internal-listen"],
        Kind::Text,
        "",
        "Address and port for /metrics (Prometheus), /healthz and /readyz, such as 127.0.0.1:9090. Keep it from the public",
        |s, v| s.internal.listen = Some(v.text()),
    ),
    key(
        ["client.transports", "ROOMCAST_CLIENT_TRANSPORTS", "client-transports"],
        Kind::Choices(&[("polling", "HTTP long-polling"), ("websocket", "WebSocket")]),
        "polling,websocket",
        "The transports that clients may use",
        |s, v| {
            let transport = |name: &String| match name.as_str() {
                "polling" => Some(Transport::Polling),
                "websocket" => Some(Transport::WebSocket),
                _ => None,
            };
            s.client.transports = v.list().iter().filter_map(transport).collect();
        },
    ),
    key(
        ["client.allow_upgrades", "ROOMCAST_CLIENT_ALLOW_UPGRADES", "client-allow-upgrades"],
        Kind::Bool,
        "true",
        "Whether a client that began with polling may change to a WebSocket",
        |s, v| s.client.allow_upgrades = v.is_true(),
    ),
    key(
        ["client.cookie", "ROOMCAST_CLIENT_COOKIE", "client-cookie"],
        Kind::Text,
        "",
        "Name of a cookie with the session's id, for load balancers that keep clients at their server by a cookie of the server",
        |s, v| s.client.cookie = Some(v.text()),
    ),
    key(
        ["client.ping_interval", "ROOMCAST_CLIENT_PING_INTERVAL", "client-ping-interval"],
        TIME,
        "25",
        "Time from a client's pong to the next ping",
        |s, v| s.client.ping_interval = v.time(),
    ),
    key(
        ["client.ping_timeout", "ROOMCAST_CLIENT_PING_TIMEOUT", "client-ping-timeout"],
        TIME,
        "20",
        "Time for the answer to a ping; a client that takes longer is disconnected",
        |s, v| s.client.ping_timeout = v.time(),
    ),
    key(
        ["client.upgrade_timeout", "ROOMCAST_CLIENT_UPGRADE_TIMEOUT", "client-upgrade-timeout"],
        TIME,
        "10",
        "Time for a change of transport",
        |s, v| s.client.upgrade_timeout = v.time(),
    ),
    key(
        ["client.connect_timeout", "ROOMCAST_CLIENT_CONNECT_TIMEOUT", "client-connect-timeout"],
        TIME,
        "45",
        "Time until a client must have joined a namespace",
        |s, v| s.client.connect_timeout = v.time(),
    ),
    key(
        ["client.max_payload", "ROOMCAST_CLIENT_MAX_PAYLOAD", "client-max-payload"],
        Kind::Bytes(1_000, MOST_BYTES),
        "1000000",
        "Most bytes of one message of a client, of a POST, and of the attachments of a packet: the option `maxHttpBufferSize` of Node",
        |s, v| s.client.max_payload = v.number(),
    ),
    key(
        ["client.max_attachments", "ROOMCAST_CLIENT_MAX_ATTACHMENTS", "client-max-attachments"],
        Kind::Integer(0, 1_000_000),
        "10",
        "Most binary attachments of a packet of a client",
        |s, v| s.client.max_attachments = v.number(),
    ),
    key(
        ["client.max_depth", "ROOMCAST_CLIENT_MAX_DEPTH", "client-max-depth"],
        Kind::Integer(1, 1_024),
        "128",
        "Most levels of nesting in the JSON of a client",
        |s, v| s.client.max_depth = v.number(),
    ),
    key(
        ["client.max_handlers", "ROOMCAST_CLIENT_MAX_HANDLERS", "client-max-handlers"],
        COUNT,
        "1024",
        "Most requests of one client that are processed at the same time; then nothing more is read from it",
        |s, v| s.client.max_handlers = v.number(),
    ),
    key(
        ["client.per_message_deflate", "ROOMCAST_CLIENT_PER_MESSAGE_DEFLATE", "client-per-message-deflate"],
        Kind::Bool,
        "false",
        "Whether WebSocket messages are compressed for clients that can, from `client.compression_threshold` on. A broadcast is compressed once",
        |s, v| s.client.per_message_deflate = v.is_true(),
    ),
    key(
        ["client.http_compression", "ROOMCAST_CLIENT_HTTP_COMPRESSION", "client-http-compression"],
        Kind::Bool,
        "false",
        "Whether answers by HTTP long-polling, and the files of `listen.client_files`, are compressed",
        |s, v| s.client.http_compression = v.is_true(),
    ),
    key(
        ["client.compression_threshold", "ROOMCAST_CLIENT_COMPRESSION_THRESHOLD", "client-compression-threshold"],
        Kind::Bytes(0, MOST_BYTES),
        "1024",
        "Bytes from which on a message or an answer is compressed, where that is on",
        |s, v| s.client.compression_threshold = v.number(),
    ),
    key(
        ["limits.polling_sessions", "ROOMCAST_LIMITS_POLLING_SESSIONS", "limits-polling-sessions"],
        COUNT,
        "25000",
        "Most sessions that use polling; each may cost 18 kB more than a WebSocket",
        |s, v| s.limits.polling_sessions = v.number(),
    ),
    key(
        ["limits.unjoined_sessions", "ROOMCAST_LIMITS_UNJOINED_SESSIONS", "limits-unjoined-sessions"],
        COUNT,
        "25000",
        "Most sessions that have joined no namespace; the oldest of them makes room for a new one",
        |s, v| s.limits.unjoined_sessions = v.number(),
    ),
    key(
        ["limits.rooms", "ROOMCAST_LIMITS_ROOMS", "limits-rooms"],
        Kind::Integer(0, 10_000),
        "1000",
        "Most rooms that a client may join by `join`; a further one is refused",
        |s, v| s.limits.rooms = v.number(),
    ),
    key(
        ["limits.outbox", "ROOMCAST_LIMITS_OUTBOX", "limits-outbox"],
        Kind::Bytes(1_024, MOST_BYTES),
        "1 MiB",
        "Bytes that may wait for a client before it must keep a pace: an eighth of them in each `client.ping_timeout`",
        |s, v| s.limits.outbox = v.number(),
    ),
    key(
        ["limits.outbox_hard", "ROOMCAST_LIMITS_OUTBOX_HARD", "limits-outbox-hard"],
        Kind::Bytes(1_024, MOST_BYTES),
        "16 MiB",
        "Bytes that may wait for a client at all; then it is disconnected at once",
        |s, v| s.limits.outbox_hard = v.number(),
    ),
    key(
        ["limits.outbox_budget", "ROOMCAST_LIMITS_OUTBOX_BUDGET", "limits-outbox-budget"],
        Kind::Bytes(1_024, MOST_BYTES),
        "",
        "Bytes that may wait for all clients together; then those for whom most waits are disconnected. Without it, a quarter of the memory of \
         the machine or container, and at least 64 MiB",
        |s, v| s.limits.outbox_budget = Some(v.number()),
    ),
    key(
        ["limits.inbox_budget", "ROOMCAST_LIMITS_INBOX_BUDGET", "limits-inbox-budget"],
        Kind::Bytes(1_024, MOST_BYTES),
        "",
        "Bytes that messages of all clients may hold while they are not complete; then the clients whose messages began first are disconnected. \
         At least twice `client.max_payload`. Without it, an eighth of the memory of the machine or container, and at least 32 MiB",
        |s, v| s.limits.inbox_budget = Some(v.number()),
    ),
    key(
        ["limits.events", "ROOMCAST_LIMITS_EVENTS", "limits-events"],
        Kind::Rate,
        "",
        "How many events a client may send, such as `20/s burst 100`",
        |s, v| s.limits.events = v.rate(),
    ),
    key(
        ["limits.bytes", "ROOMCAST_LIMITS_BYTES", "limits-bytes"],
        Kind::Rate,
        "",
        "How many bytes a client may send in events and acknowledgements, such as `100k/s burst 2M`",
        |s, v| s.limits.bytes = v.rate(),
    ),
    key(
        ["limits.address_events", "ROOMCAST_LIMITS_ADDRESS_EVENTS", "limits-address-events"],
        Kind::Rate,
        "",
        "How many events all clients of one address may send together; an IPv6 address counts by its first 64 bits",
        |s, v| s.limits.address_events = v.rate(),
    ),
    key(
        ["limits.address_bytes", "ROOMCAST_LIMITS_ADDRESS_BYTES", "limits-address-bytes"],
        Kind::Rate,
        "",
        "How many bytes all clients of one address may send together",
        |s, v| s.limits.address_bytes = v.rate(),
    ),
    key(
        ["limits.address_connections", "ROOMCAST_LIMITS_ADDRESS_CONNECTIONS", "limits-address-connections"],
        Kind::Rate,
        "",
        "How many TCP connections an address may open; further ones are answered with 429. Trusted proxies are exempt",
        |s, v| s.limits.address_connections = v.rate(),
    ),
    key(
        ["limits.address_handshakes", "ROOMCAST_LIMITS_ADDRESS_HANDSHAKES", "limits-address-handshakes"],
        Kind::Rate,
        "",
        "How many sessions the clients of an address may begin; further ones are answered with 429",
        |s, v| s.limits.address_handshakes = v.rate(),
    ),
    key(
        ["limits.over", "ROOMCAST_LIMITS_OVER", "limits-over"],
        Kind::Choice(&[
            ("drop", "it is dropped"),
            ("error", "it is dropped, and an acknowledgement that the client awaits says so"),
            ("disconnect", "the same, and the client is disconnected"),
        ]),
        "drop",
        "What becomes of an event over one of these rates",
        |s, v| {
            s.limits.over = match v.text().as_str() {
                "error" => OverRate::Error,
                "disconnect" => OverRate::Disconnect,
                _ => OverRate::Drop,
            }
        },
    ),
    key(
        ["limits.warning", "ROOMCAST_LIMITS_WARNING", "limits-warning"],
        Kind::Text,
        "",
        "Name of an event that a client is sent when it exceeds a rate, with `{limit, retryAfterMs}`, at most every 10 s. With `disconnect` it is \
         disconnected only if it goes on",
        |s, v| s.limits.warning = Some(v.text()),
    ),
    key(
        ["redis.url", "REDIS_URL", "redis-url"],
        Kind::Text,
        "",
        "Where Redis is: redis://, rediss://, unix://, redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port. A \
         user and password are written user:password@ after the slashes; rediss+… uses TLS",
        |s, v| s.redis.url = Some(v.text()),
    ),
    key(
        ["redis.url_file", "REDIS_URL_FILE", "redis-url-file"],
        Kind::Path,
        "",
        "File with the URL of Redis, in place of `redis.url`; it is read at the start",
        |s, v| s.redis.url_file = Some(v.path()),
    ),
    key(
        ["redis.password", "REDIS_PASSWORD", "redis-password"],
        Kind::Secret,
        "",
        "Password of Redis, in place of the one in the URL; the user is that of the URL",
        |s, v| s.redis.password = Some(Secret(v.text())),
    ),
    key(
        ["redis.password_file", "REDIS_PASSWORD_FILE", "redis-password-file"],
        Kind::Path,
        "",
        "File with the password of Redis, read again for each new connection; the user is that of the URL",
        |s, v| s.redis.password_file = Some(v.path()),
    ),
    key(
        ["redis.sentinel_password", "REDIS_SENTINEL_PASSWORD", "redis-sentinel-password"],
        Kind::Secret,
        "",
        "Password of the Sentinels, if they have one; their user is `sentinel_user` of the URL",
        |s, v| s.redis.sentinel_password = Some(Secret(v.text())),
    ),
    key(
        ["redis.sentinel_password_file", "REDIS_SENTINEL_PASSWORD_FILE", "redis-sentinel-password-file"],
        Kind::Path,
        "",
        "File with the password of the Sentinels, read again for each new connection",
        |s, v| s.redis.sentinel_password_file = Some(v.path()),
    ),
    key(
        ["redis.tls_ca_file", "REDIS_TLS_CA_FILE", "redis-tls-ca-file"],
        Kind::Path,
        "",
        "File with the CA certificates that the certificate of Redis is verified with, in place of the system's root certificates",
        |s, v| s.redis.tls_ca_file = Some(v.path()),
    ),
    key(
        ["redis.tls_cert_file", "REDIS_TLS_CERT_FILE", "redis-tls-cert-file"],
        Kind::Path,
        "",
        "File with the client certificate that this server presents to Redis",
        |s, v| s.redis.tls_cert_file = Some(v.path()),
    ),
    key(
        ["redis.tls_key_file", "REDIS_TLS_KEY_FILE", "redis-tls-key-file"],
        Kind::Path,
        "",
        "File with the private key of the client certificate",
        |s, v| s.redis.tls_key_file = Some(v.path()),
    ),
    key(
        ["redis.key", "REDIS_KEY", "redis-key"],
        Kind::Text,
        "socket.io",
        "Prefix of all channels on Redis: the option `key` of createAdapter, or `channelPrefix` of createShardedAdapter. Must be the same for all \
         servers and emitters of a cluster, and must differ from that of another cluster on the same Redis",
        |s, v| s.redis.key = v.text(),
    ),
    key(
        ["redis.dialect", "REDIS_DIALECT", "redis-dialect"],
        Kind::Choice(&[
            ("classic", "PUBLISH and SUBSCRIBE, as createAdapter of @socket.io/redis-adapter: every server receives all messages"),
            ("sharded", "SPUBLISH and SSUBSCRIBE, as createShardedAdapter: needs Redis 7, and in a Redis Cluster each channel belongs to one shard"),
        ]),
        "classic",
        "Protocol over Redis. Must be the same for all servers and emitters of a cluster",
        |s, v| s.redis.dialect = if v.is("sharded") { Dialect::Sharded } else { Dialect::Classic },
    ),
    key(
        ["redis.sharded_mode", "REDIS_SHARDED_MODE", "redis-sharded-mode"],
        Kind::Choice(&[
            ("static", "no room has a channel of its own"),
            ("dynamic", "all rooms except the private rooms of sockets"),
            ("dynamic-private", "all rooms"),
        ]),
        "dynamic",
        "In the sharded dialect, which rooms have a channel of their own: the option `subscriptionMode`. Must be the same for all servers",
        |s, v| {
            s.redis.sharded_mode = match v.text().as_str() {
                "static" => ShardedMode::Static,
                "dynamic-private" => ShardedMode::DynamicPrivate,
                _ => ShardedMode::Dynamic,
            }
        },
    ),
    key(
        ["redis.specific_responses", "REDIS_SPECIFIC_RESPONSES", "redis-specific-responses"],
        Kind::Bool,
        "false",
        "In the classic dialect, whether answers go to the asking server alone: the option `publishOnSpecificResponseChannel`. Pays from some ten \
         servers on",
        |s, v| s.redis.specific_responses = v.is_true(),
    ),
    key(
        ["redis.exact_rooms", "REDIS_EXACT_ROOMS", "redis-exact-rooms"],
        Kind::Bool,
        "false",
        "In the classic dialect, whether to subscribe to the channels of rooms with members here, in place of all. Pays with many rooms, each on \
         few servers",
        |s, v| s.redis.exact_rooms = v.is_true(),
    ),
    key(
        ["redis.one_pattern", "REDIS_ONE_PATTERN", "redis-one-pattern"],
        Kind::Bool,
        "false",
        "In the classic dialect, whether to subscribe to one pattern for all namespaces. Pays with hundreds of namespaces on most servers",
        |s, v| s.redis.one_pattern = v.is_true(),
    ),
    key(
        ["redis.request_timeout", "REDIS_REQUEST_TIMEOUT", "redis-request-timeout"],
        TIME,
        "5",
        "Time for other servers' answers; then an answer is partial, and says so",
        |s, v| s.redis.request_timeout = v.time(),
    ),
    key(
        ["redis.connect_timeout", "REDIS_CONNECT_TIMEOUT", "redis-connect-timeout"],
        TIME,
        "5",
        "Time for a connection to Redis",
        |s, v| s.redis.connect_timeout = v.time(),
    ),
    key(
        ["redis.command_timeout", "REDIS_COMMAND_TIMEOUT", "redis-command-timeout"],
        TIME,
        "2",
        "Time for the answer of Redis to a command",
        |s, v| s.redis.command_timeout = v.time(),
    ),
    key(
        ["redis.max_queued_bytes", "REDIS_MAX_QUEUED_BYTES", "redis-max-queued-bytes"],
        Kind::Bytes(1_000, MOST_BYTES),
        "64 MB",
        "Bytes of messages to other servers that may wait for Redis; then the oldest are dropped and counted",
        |s, v| s.redis.max_queued_bytes = v.number(),
    ),
    key(
        ["redis.max_queued_age", "REDIS_MAX_QUEUED_AGE", "redis-max-queued-age"],
        TIME,
        "5",
        "Age at which a message to other servers that waits for Redis is dropped and counted",
        |s, v| s.redis.max_queued_age = v.time(),
    ),
    key(
        ["redis.start_timeout", "REDIS_START_TIMEOUT", "redis-start-timeout"],
        TIME,
        "",
        "Time within which Redis must be usable at the start; otherwise the program exits. A wrong password or a missing right ends it at once. \
         Without it, the program starts in any case and is not ready until it reaches Redis",
        |s, v| s.redis.start_timeout = Some(v.time()),
    ),
    key(
        ["redis.watch", "REDIS_WATCH", "redis-watch"],
        Kind::Bool,
        "true",
        "Whether the memory, the clients and the role of Redis are watched: metrics, warnings, and a check in /readyz. Needs the rights `+info`, \
         `+client|list` and `+config|get`; without them the log says so once",
        |s, v| s.redis.watch = v.is_true(),
    ),
    key(
        ["redis.watch_interval", "REDIS_WATCH_INTERVAL", "redis-watch-interval"],
        Kind::Time(Duration::from_secs(1), limits::LONGEST),
        "15",
        "Time between two such looks at Redis",
        |s, v| s.redis.watch_interval = v.time(),
    ),
    key(
        ["health.require_redis", "ROOMCAST_HEALTH_REQUIRE_REDIS", "health-require-redis"],
        Kind::Bool,
        "true",
        "Whether /readyz answers 503 while this server does not reach the other servers. If all servers lose Redis at once, none is ready then, \
         although each still serves its own clients",
        |s, v| s.health.require_redis = v.is_true(),
    ),
    key(
        ["drain.grace", "ROOMCAST_DRAIN_GRACE", "drain-grace"],
        NO_TIME,
        "0",
        "Time after SIGTERM in which the server goes on as before, except that /readyz answers 503, so that load balancers stop sending clients to it",
        |s, v| s.drain.grace = v.time(),
    )
    .production("5"),
    key(
        ["drain.window", "ROOMCAST_DRAIN_WINDOW", "drain-window"],
        NO_TIME,
        "0",
        "Time over which clients are then disconnected evenly, so that not all reconnect at the same moment",
        |s, v| s.drain.window = v.time(),
    )
    .production("10"),
    key(
        ["drain.deadline", "ROOMCAST_DRAIN_DEADLINE", "drain-deadline"],
        TIME,
        "",
        "Time after the signal at which the program exits, even if clients are still connected. Should be shorter than what the supervisor allows \
         (30 s in Kubernetes). Without it, grace and window and 10 s, as a close takes at most 8.5 s",
        |s, v| s.drain.deadline = Some(v.time()),
    ),
    key(
        ["recovery.max_disconnection", "ROOMCAST_RECOVERY_MAX_DISCONNECTION", "recovery-max-disconnection"],
        TIME,
        "",
        "Time for which a session is kept after its connection was lost. A client that is back in time has its rooms again and gets what it \
        missed. Without it, no session is kept (with Node's option: 120). Several servers need sticky sessions",
        |s, v| s.recovery.max_disconnection = Some(v.time()),
    ),
    key(
        ["recovery.packets", "ROOMCAST_RECOVERY_PACKETS", "recovery-packets"],
        COUNT,
        "65536",
        "Events of a namespace that are kept for clients that come back. Beyond it the oldest go, and a client that may have missed them gets a new session",
        |s, v| s.recovery.packets = v.number(),
    ),
    key(
        ["recovery.bytes", "ROOMCAST_RECOVERY_BYTES", "recovery-bytes"],
        Kind::Bytes(1_000, MOST_BYTES),
        "32 MB",
        "Bytes of such events in all namespaces; each counts 320 more",
        |s, v| s.recovery.bytes = v.number(),
    ),
    key(
        ["log.format", "LOG_FORMAT", "log-format"],
        Kind::Choice(&[("text", "text for people"), ("json", "one JSON object per line")]),
        "text",
        "Format of the log, which goes to standard error",
        |s, v| s.log.format = if v.is("json") { LogFormat::Json } else { LogFormat::Text },
    ),
    key(
        ["log.filter", "RUST_LOG", "log-filter"],
        Kind::Text,
        "info",
        "What is logged, such as `info` or `info,roomcast_engine=debug`",
        |s, v| s.log.filter = v.text(),
    ),
];
