//! The conformance server: a program through which a client in any language can use everything that the library offers. Its counterpart on
//! the npm packages is `e2e/reference-server.mjs`; the same scripts run against both.
//!
//! Environment: `HOST`, `PORT`, `SERVER_NAME`, `PING_INTERVAL_MS`, `PING_TIMEOUT_MS`, `CONNECT_TIMEOUT_MS`,
//! `UPGRADE_TIMEOUT_MS`, `MAX_PAYLOAD`, `MAX_OUTBOX_BYTES`, `CORS_ORIGIN`; `ADAPTER` (`memory`, `classic`, `sharded`), `REDIS_URL`,
//! `REDIS_KEY`, `SUBSCRIPTION_MODE` (`static`, `dynamic`, `dynamic-private`). The program refuses to start with another value for one of [`NOT_OFFERED_YET`].

mod call;
mod events;

use events::{serve, server_event};
use metrics_exporter_prometheus::PrometheusBuilder;
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, ShardedBroker, ShardedMode, ShardedOptions};
use roomcast_server::{Builder, ConnectError, Cors, Socket, SocketId, SocketIo};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::signal::unix::{SignalKind, signal};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Settings that so far accept only one value. Further settings of recovery and of the streams adapter have no effect without these.
const NOT_OFFERED_YET: [(&str, &str); 5] = [
    ("PARSER", "default"),
    ("RECOVERY_MS", "0"),
    ("PER_MESSAGE_DEFLATE", "0"),
    ("HTTP_COMPRESSION", "0"),
    ("SERVE_CLIENT", "0"),
];

/// Records metrics as the program does, for benches that compare a server with and without them. Nothing scrapes them.
fn record_metrics(one_in: u32) -> Outcome<()> {
    let buckets = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let recorder = PrometheusBuilder::new().set_buckets(&buckets)?.install_recorder()?;
    roomcast_server::measure_durations(one_in);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(5));
            recorder.run_upkeep();
        }
    });
    Ok(())
}

#[tokio::main]
async fn main() -> Outcome<()> {
    if let Ok(one_in) = var("METRICS") {
        record_metrics(one_in.parse()?)?;
    }
    let io = builder()?.build();
    let server: Arc<str> = match var("SERVER_NAME") {
        Ok(name) => name.into(),
        Err(_) => SocketId::random()?.to_string().into(),
    };

    // Comes first, because other servers send requests as soon as the namespace exists, and wait for the answers.
    for name in ["/", "/custom", "/guarded", "/late"] {
        io.of(name).on_server_event_fallback(server_event(&server));
    }
    for name in ["/", "/custom"] {
        io.of(name).on_connection(|socket: Socket| async move { socket.emit("auth", auth(&socket)) });
    }
    io.of("/guarded").middleware(|socket: Socket| async move { admit(token(&socket) == "secret") });
    let dynamic = io.of_matching(|name| {
        name.strip_prefix("/dyn-")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    dynamic.middleware(|socket: Socket| async move { admit(token(&socket) != "no") });
    serve(&dynamic, &server);
    dynamic.on_server_event_fallback(server_event(&server));
    for name in ["/", "/guarded"] {
        serve(&io.of(name), &server);
    }

    let lookups = another_thread()?;
    io.of("/late").middleware(move |socket: Socket| {
        let lookups = lookups.clone();
        async move {
            let auth: Value = socket.auth().unwrap_or_default();
            let wait = Duration::from_millis(auth["wait"].as_u64().unwrap_or(20));
            let looked_up = lookups.spawn(async move { tokio::time::sleep(wait).await }).await;
            looked_up.map_err(|error| ConnectError::new(error.to_string()))
        }
    });
    let name = server.clone();
    io.of("/late").on_connection(move |socket: Socket| {
        let name = name.clone();
        async move { serve(&socket, &name) }
    });
    let listener =
        roomcast_server::engine::bind(format!("{}:{}", setting("HOST", "127.0.0.1"), setting("PORT", "3000"))).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    io.serve(listener, stop).await?;
    Ok(())
}

/// The builder with the options of the environment.
fn builder() -> Outcome<Builder> {
    for (name, supported) in NOT_OFFERED_YET {
        let asked = setting(name, supported);
        if asked != supported {
            return Err(format!("{name}={asked} is not offered yet, only {supported}").into());
        }
    }
    let mut builder = SocketIo::builder()
        .ping_interval(milliseconds("PING_INTERVAL_MS", 25_000)?)
        .ping_timeout(milliseconds("PING_TIMEOUT_MS", 20_000)?)
        .connect_timeout(milliseconds("CONNECT_TIMEOUT_MS", 45_000)?)
        .upgrade_timeout(milliseconds("UPGRADE_TIMEOUT_MS", 10_000)?)
        .max_payload(setting("MAX_PAYLOAD", "1000000").parse()?);
    if let Ok(bytes) = var("MAX_OUTBOX_BYTES") {
        let bytes = bytes.parse()?;
        builder = builder.max_outbox(bytes);
    }
    if let Ok(origins) = var("CORS_ORIGIN") {
        builder = builder.cors(Cors::origins(origins.split(','))?);
    }
    match &*setting("ADAPTER", "memory") {
        "memory" => Ok(builder),
        "classic" => {
            let url = var("REDIS_URL").map_err(|_| "ADAPTER=classic needs REDIS_URL")?;
            let mut options = ClassicOptions::default();
            if let Ok(key) = var("REDIS_KEY") {
                options.key = key;
            }
            let broker = ClassicBroker::new(url.parse()?, options);
            Ok(builder.cluster(&Cluster::new(broker, ClusterOptions::default())))
        }
        "sharded" => {
            let url = var("REDIS_URL").map_err(|_| "ADAPTER=sharded needs REDIS_URL")?;
            let mut options = ShardedOptions::default();
            if let Ok(key) = var("REDIS_KEY") {
                options.channel_prefix = key;
            }
            options.mode = match &*setting("SUBSCRIPTION_MODE", "dynamic") {
                "static" => ShardedMode::Static,
                "dynamic" => ShardedMode::Dynamic,
                "dynamic-private" => ShardedMode::DynamicPrivate,
                other => return Err(format!("SUBSCRIPTION_MODE={other} is not a mode").into()),
            };
            let broker = ShardedBroker::new(url.parse()?, options);
            Ok(builder.cluster(&Cluster::new(broker, ClusterOptions::default())))
        }
        other => Err(format!("ADAPTER={other} is not offered yet, only memory, classic and sharded").into()),
    }
}

fn setting(name: &str, default: &str) -> String {
    var(name).unwrap_or_else(|_| default.to_owned())
}

fn milliseconds(name: &str, default: u64) -> Outcome<Duration> {
    Ok(Duration::from_millis(var(name).map_or(Ok(default), |text| text.parse())?))
}

/// The auth payload, or an empty object if the client sent none.
fn auth(socket: &Socket) -> Box<RawValue> {
    socket.auth().unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `auth.token`, or null if there is none.
fn token(socket: &Socket) -> Value {
    let mut auth: Value = socket.auth().unwrap_or_default();
    auth.get_mut("token").map(Value::take).unwrap_or_default()
}

fn admit(allowed: bool) -> Result<(), ConnectError> {
    if allowed { Ok(()) } else { Err(ConnectError::new("not authorized").with_data(&json!({"code": 401}))) }
}

/// A runtime on a thread of its own, such as database clients have. That thread wakes a task that waits for a job there, whatever the main
/// runtime's threads do at that moment. A timer of the main runtime would wake the task on one of those threads.
fn another_thread() -> Outcome<Handle> {
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("look-ups".to_owned()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
