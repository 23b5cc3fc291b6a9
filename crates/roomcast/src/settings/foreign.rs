//! Variables that other software reads and that are easily set by mistake.

/// The variable, and what to write for roomcast.
pub(crate) const FOREIGN: &[(&str, &str)] = &[
    ("REDIS_HOST", "REDIS_URL=redis://host:port"),
    ("REDIS_PORT", "REDIS_URL=redis://host:port"),
    ("REDIS_URI", "REDIS_URL"),
    ("REDIS_USERNAME", "the user in REDIS_URL: redis://user@host"),
    ("REDIS_USER", "the user in REDIS_URL: redis://user@host"),
    ("REDIS_DB", "REDIS_KEY, as pub/sub ignores the number of a database"),
    ("REDIS_PREFIX", "REDIS_KEY"),
    ("REDIS_KEY_PREFIX", "REDIS_KEY"),
    ("REDIS_TLS", "REDIS_URL=rediss://host:port"),
    ("REDIS_SENTINELS", "REDIS_URL=redis+sentinel://host:port,host:port/master-name"),
    ("REDIS_CLUSTER_NODES", "REDIS_URL=redis+cluster://host:port,host:port"),
    ("CORS_ORIGIN", "APP_URL"),
    ("CORS_ORIGINS", "APP_URL"),
    ("ALLOWED_ORIGINS", "APP_URL"),
    ("APP_URLS", "APP_URL, which may be a list separated by commas"),
    ("SOCKET_IO_PORT", "PORT"),
    ("LISTEN_PORT", "PORT"),
    ("LOG_LEVEL", "RUST_LOG"),
    ("PING_INTERVAL", "ROOMCAST_CLIENT_PING_INTERVAL, in seconds"),
    ("PING_TIMEOUT", "ROOMCAST_CLIENT_PING_TIMEOUT, in seconds"),
];
