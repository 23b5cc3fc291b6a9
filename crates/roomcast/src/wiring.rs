//! [`Wiring`]: what the settings set in the server, its listener and its cluster.

use crate::settings::redis::redis_config;
use crate::settings::typed::{Dialect, Limits, Listen, Recovery, Settings};
use roomcast_adapter::cluster::ClusterOptions;
use roomcast_redis::{ClassicOptions, RedisConfig, RedisWatchOptions, ShardedOptions};
use roomcast_server::engine::{Cookie, Deflate, TlsFiles, TrustedProxies};
use roomcast_server::{Builder, Cors, RateLimits, RecoveryOptions, SocketIo};
use std::time::Duration;

/// The options of all parts.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) builder: Builder,
    pub(crate) redis: Option<RedisWiring>,
}

/// The options of the cluster.
#[derive(Debug)]
pub(crate) struct RedisWiring {
    pub(crate) config: RedisConfig,
    pub(crate) dialect: DialectOptions,
    pub(crate) cluster: ClusterOptions,
    pub(crate) name: Option<String>,
    /// Redis must be usable within this time.
    pub(crate) start_timeout: Option<Duration>,
    /// Whether and how Redis is watched.
    pub(crate) watch: Option<RedisWatchOptions>,
}

/// The options of the dialect in use.
#[derive(Debug)]
pub(crate) enum DialectOptions {
    Classic(ClassicOptions),
    Sharded(ShardedOptions),
}

impl Wiring {
    /// # Errors
    /// A setting cannot be used; `checks` finds the same.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let Settings { listen, client, limits, drain, .. } = settings;
        let mut builder = SocketIo::builder()
            .path(&listen.path)
            .max_connections(listen.max_connections)
            .drain(drain.grace, drain.window)
            .require_cluster(settings.health.require_redis)
            .ping_interval(client.ping_interval)
            .ping_timeout(client.ping_timeout)
            .upgrade_timeout(client.upgrade_timeout)
            .connect_timeout(client.connect_timeout)
            .request_timeout(settings.redis.request_timeout)
            .max_payload(client.max_payload)
            .max_attachments(client.max_attachments)
            .max_depth(client.max_depth)
            .max_handlers(client.max_handlers)
            .transports(client.transports.clone())
            .allow_upgrades(client.allow_upgrades)
            .rate_limits(rate_limits(limits))
            .parser(settings.parser)
            .engine(|engine| {
                (engine.max_polling_sessions, engine.max_unjoined_sessions) =
                    (limits.polling_sessions, limits.unjoined_sessions);
                (engine.outbox.soft, engine.outbox.hard) = (limits.outbox, limits.outbox_hard);
                engine.handshakes_per_address = limits.address_handshakes;
                (engine.outbox.budget, engine.inbox_budget) = (limits.outbox_budget, limits.inbox_budget);
                engine.body_timeout = listen.body_timeout;
            })
            .serving(|serve| {
                (serve.idle_timeout, serve.header_timeout) = (listen.keep_alive_timeout, listen.header_timeout);
                serve.write_timeout = listen.write_timeout;
                (serve.proxy_protocol, serve.connections_per_address) =
                    (listen.proxy_protocol, limits.address_connections);
                serve.tls = tls(listen);
            });
        if let Some(options) = recovery(&settings.recovery) {
            builder = builder.recovery(options);
        }
        if let Some(name) = &client.cookie {
            builder = builder.cookie(Cookie { name: name.clone(), ..Cookie::default() });
        }
        let mut deflate = Deflate::default();
        deflate.threshold = client.compression_threshold;
        if client.per_message_deflate {
            builder = builder.per_message_deflate(deflate);
        }
        if client.http_compression {
            builder = builder.http_compression(deflate);
        }
        if let Some(directory) = &listen.client_files {
            builder = builder.serve_client(directory);
        }
        let origins = &settings.app_url;
        if !origins.is_empty() {
            let cors = Cors::origins(origins).map_err(|error| format!("APP_URL: {error}"))?;
            builder = builder.cors(cors.credentials(!origins.iter().any(|origin| origin == "*")));
        }
        let proxies = TrustedProxies::new(&listen.trusted_proxies);
        builder = builder.trusted_proxies(proxies.map_err(|error| format!("listen.trusted_proxies: {error}"))?);
        let redis = redis_config(settings).map_err(|(key, what)| format!("{key}: {what}"))?;
        Ok(Self { builder, redis: redis.map(|config| RedisWiring::new(config, settings)) })
    }
}

/// The files of the listener's certificate, if it speaks TLS.
pub(crate) fn tls(listen: &Listen) -> Option<TlsFiles> {
    Some(TlsFiles::new(listen.tls_cert_file.as_ref()?, listen.tls_key_file.as_ref()?))
}

fn rate_limits(limits: &Limits) -> RateLimits {
    let mut rates = RateLimits::default();
    (rates.events, rates.bytes) = (limits.events, limits.bytes);
    (rates.address_events, rates.address_bytes) = (limits.address_events, limits.address_bytes);
    rates.over = limits.over;
    rates.warning = limits.warning.clone();
    rates
}

/// Whether and how sessions are kept for clients that come back.
fn recovery(recovery: &Recovery) -> Option<RecoveryOptions> {
    let Recovery { max_disconnection, packets, bytes } = recovery;
    Some(RecoveryOptions::new().max_disconnection((*max_disconnection)?).packets(*packets).bytes(*bytes))
}

impl RedisWiring {
    fn new(config: RedisConfig, settings: &Settings) -> Self {
        let redis = &settings.redis;
        let dialect = match redis.dialect {
            Dialect::Classic => {
                let mut options = ClassicOptions::default();
                redis.key.clone_into(&mut options.key);
                options.publish_on_specific_response_channel = redis.specific_responses;
                (options.exact_rooms, options.one_pattern) = (redis.exact_rooms, redis.one_pattern);
                DialectOptions::Classic(options)
            }
            Dialect::Sharded => {
                let mut options = ShardedOptions::default();
                redis.key.clone_into(&mut options.channel_prefix);
                options.mode = redis.sharded_mode;
                DialectOptions::Sharded(options)
            }
        };
        let mut cluster = ClusterOptions::default();
        (cluster.max_queued_bytes, cluster.max_age) = (redis.max_queued_bytes, redis.max_queued_age);
        let watch = redis.watch.then(|| {
            let mut options = RedisWatchOptions::default();
            options.interval = redis.watch_interval;
            options
        });
        Self { config, dialect, cluster, name: settings.server_name.clone(), start_timeout: redis.start_timeout, watch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::key::Key;
    use crate::settings::keys::{KEYS, named};
    use crate::settings::resolve::{Given, Resolved};
    use crate::settings::value::Kind;

    /// Keys that act in the program itself, and where that is tested.
    const ELSEWHERE: &[(&str, &str)] = &[
        ("node_env", "tests/suite/settings.rs; its other defaults in resolve.rs"),
        ("adapter", "settings/redis.rs"),
        ("namespaces", "tests/suite/settings.rs"),
        ("client_events", "tests/suite/events.rs"),
        ("limits.rooms", "tests/suite/events.rs"),
        ("listen.host", "tests/suite/environment.rs"),
        ("listen.port", "tests/suite/health.rs"),
        ("internal.listen", "tests/suite/metrics.rs"),
        ("redis.url_file", "settings/redis.rs"),
        ("drain.deadline", "tests/suite/settings.rs"),
        ("log.format", "tests/suite/settings.rs"),
        ("log.filter", "tests/suite/settings.rs"),
    ];

    fn resolved(given: &Given) -> Resolved {
        let resolved = Resolved::new(given);
        assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
        resolved
    }

    /// The environment in which every setting has an effect.
    fn base() -> Given {
        let variables = [("ROOMCAST_ADAPTER", "redis"), ("REDIS_URL", "rediss+sentinel://h:1/m")];
        Given { variables: variables.map(|(name, text)| (name.into(), text.into())).into(), ..Given::default() }
    }

    /// A possible value that is not the default.
    fn other(key: &Key) -> String {
        match key.kind {
            Kind::Bool => (key.default != "true").to_string(),
            Kind::Integer(least, most) => (least + (most - least) / 3 + 1).to_string(),
            Kind::Bytes(..) => "12345678".to_owned(),
            Kind::Time(..) => "777".to_owned(),
            Kind::Text if key.name == "redis.url" => "redis://other".to_owned(),
            Kind::Text | Kind::Path | Kind::Secret => "other".to_owned(),
            Kind::List if key.name == "listen.trusted_proxies" => "10.0.0.0/8".to_owned(),
            Kind::List => "https://other.example".to_owned(),
            Kind::Choice(names) | Kind::Choices(names) => {
                names.iter().rev().find(|(name, _)| *name != key.default).unwrap().0.to_owned()
            }
            Kind::Rate => "7/s".to_owned(),
        }
    }

    #[test]
    fn every_key_reaches_its_setting_by_file_variable_and_flag() {
        let default = format!("{:?}", resolved(&Given::default()).settings);
        for key in KEYS {
            let text = other(key);
            let value = key.kind.read(&text).unwrap();
            let line = match key.section() {
                "" => format!("{} = {value}", key.short()),
                section => format!("[{section}]\n{} = {value}", key.short()),
            };
            let ways = [
                Given { file: Some(("r.toml".to_owned(), line)), ..Given::default() },
                Given { variables: [(key.variable.into(), text.clone().into())].into(), ..Given::default() },
                Given { flags: [(key.name, text.clone())].into(), ..Given::default() },
            ];
            let [file, variable, flag] = ways.map(|given| format!("{:?}", resolved(&given).settings));
            assert!(file == variable && variable == flag, "{}: {file}\n{variable}\n{flag}", key.name);
            assert_ne!(file, default, "{} sets nothing", key.name);
        }
    }

    #[test]
    fn every_setting_reaches_what_it_sets() {
        let wiring = |more: &[(&str, &str)]| {
            let mut given = base();
            given.variables.extend(more.iter().map(|(name, text)| ((*name).into(), (*text).into())));
            format!("{:?}", Wiring::new(&resolved(&given).settings).unwrap())
        };
        for key in KEYS {
            if ELSEWHERE.iter().any(|(name, _)| *name == key.name) {
                continue;
            }
            // What it needs beside it.
            let beside: &[_] = match key.name {
                "recovery.packets" | "recovery.bytes" => &[("ROOMCAST_RECOVERY_MAX_DISCONNECTION", "60")],
                "redis.sharded_mode" => &[("REDIS_DIALECT", "sharded")],
                "listen.tls_cert_file" => &[("ROOMCAST_LISTEN_TLS_KEY_FILE", "k")],
                "listen.tls_key_file" => &[("ROOMCAST_LISTEN_TLS_CERT_FILE", "c")],
                "redis.tls_cert_file" => &[("REDIS_TLS_KEY_FILE", "k")],
                "redis.tls_key_file" => &[("REDIS_TLS_CERT_FILE", "c")],
                "client.compression_threshold" => &[("ROOMCAST_CLIENT_PER_MESSAGE_DEFLATE", "true")],
                _ => &[],
            };
            let text = other(key);
            let changed = wiring(&[beside, &[(key.variable, &*text)]].concat());
            let before = if key.name.contains(".tls_") { &[] } else { beside };
            assert_ne!(changed, wiring(before), "{} = {text} has no effect", key.name);
        }
        assert!(ELSEWHERE.iter().all(|(name, _)| named(name).is_some()));
    }

    /// The table's defaults are those of the libraries.
    #[test]
    fn without_settings_the_libraries_have_their_defaults() {
        let wiring = Wiring::new(&resolved(&Given::default()).settings).unwrap();
        assert_eq!(format!("{:?}", wiring.builder), format!("{:?}", SocketIo::builder()));
        assert!(wiring.redis.is_none());
        let redis = Wiring::new(&resolved(&base()).settings).unwrap().redis.unwrap();
        assert_eq!(format!("{:?}", redis.cluster), format!("{:?}", ClusterOptions::default()));
        let classic = DialectOptions::Classic(ClassicOptions::default());
        assert_eq!(format!("{:?}", redis.dialect), format!("{classic:?}"));
    }
}
