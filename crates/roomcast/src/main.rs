//! The roomcast program: a Socket.IO server with rooms and a chat page.

// In addition to the workspace's lints: code that can panic is allowed only place by place, except in tests.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod cli;
mod cluster;
mod descriptors;
mod events;
mod exporter;
mod health;
mod log;
mod one_path;
mod page;
mod shutdown;

use cli::{Action, Cli, ClientEvent};
use exporter::Exporter;
use one_path::OnePath;
use roomcast_server::engine::{ServeOptions, bind, serve};
use roomcast_server::{Cors, SocketIo};
use shutdown::{Requested, Signals};
use std::error::Error;
use std::future::Future;
use std::io;
use std::process::ExitCode;

/// The memory of an idle connection consists of small pieces, which mimalloc packs tighter than glibc (docs/decisions/0007-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The most connections to the internal listener.
const INTERNAL_CONNECTIONS: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read();
    if let Some(Action::Health { ready }) = cli.action {
        return health::ask(&cli.host, cli.port, ready).await;
    }
    log::start(cli.log_format);
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    // Before the log says that the server is ready, as a supervisor may send a signal from then on.
    let signals = Signals::handle();
    descriptors::raise_limit(cli.max_connections);
    let (grace, window) = cli.drain();
    // First, so that nothing goes uncounted.
    let metrics = cli.internal_listen.is_some().then(Exporter::install).transpose()?;
    let mut builder = SocketIo::builder()
        .drain(grace, window)
        .require_cluster(cli.health_require_redis)
        .max_connections(cli.max_connections)
        .serving(|options| options.idle_timeout = cli.keep_alive_timeout());
    let origins = cli.origins();
    if !origins.is_empty() {
        let cors = Cors::origins(&origins).map_err(|error| format!("APP_URL: {error}"))?;
        builder = builder.cors(cors.credentials(!origins.contains(&"*")));
    }
    let redis = cli.redis()?;
    let cluster =
        redis.clone().map(|redis| cluster::join(redis, cli.redis_dialect, cli.redis_sharded_mode, &cli.redis_key));
    if let Some(cluster) = &cluster {
        builder = builder.cluster(cluster);
    }
    let io = builder.build();
    events::serve(&io.of("/"), &cli.client_events);
    if cli.client_events.contains(&ClientEvent::Publish) {
        tracing::info!("any client may join rooms and publish to them; set ROOMCAST_CLIENT_EVENTS to allow less");
    }

    let internal = match (&cli.internal_listen, metrics) {
        (Some(address), Some(metrics)) => {
            let exporter = Exporter::new(metrics, io.clone(), cluster.clone());
            Some(tokio::spawn(internal(address, exporter, &io).await?))
        }
        _ => None,
    };

    let address = format!("{}:{}", cli.host, cli.port);
    let listener = bind((&*cli.host, cli.port)).await.map_err(|error| cannot_listen(&address, &error))?;
    let local = listener.local_addr()?;
    if origins.is_empty() {
        // Browsers prevent pages of other origins from reading answers, but not from opening WebSockets.
        tracing::warn!("APP_URL is not set: web pages of any origin can open WebSockets to this server");
    }
    let origins =
        if origins.is_empty() { "any for WebSocket, its own for polling".to_owned() } else { origins.join(", ") };
    let version = env!("CARGO_PKG_VERSION");
    match &redis {
        Some(redis) => tracing::info!(adapter = "redis", %redis, %origins, "roomcast {version} is ready"),
        None => tracing::info!(adapter = "memory", %origins, "roomcast {version} is ready"),
    }
    tracing::info!("listening on http://{local} (open it in two tabs to chat)");
    let shutdown = async {
        let Some(signals) = signals else { return std::future::pending().await };
        // SIGTERM comes from a deployment, which moves the clients to other servers; Ctrl-C from a person, who does not want to wait.
        if signals.requested().await == Requested::Now {
            io.close().await;
        }
    };
    io.serve_with(listener, io.health_service(OnePath("/", page::Page)), shutdown).await?;
    if let Some(internal) = internal {
        internal.abort();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Listens for scrapes and health checks. What is returned serves them; it does not end by itself.
async fn internal(
    address: &str,
    exporter: Exporter,
    io: &SocketIo,
) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let listener = bind(address).await.map_err(|error| {
        format!(
            "ROOMCAST_INTERNAL_LISTEN: cannot listen on {address}: {error}; write HOST:PORT, such as 127.0.0.1:9090"
        )
    })?;
    let local = listener.local_addr().map_err(|error| error.to_string())?;
    tracing::info!("metrics and health checks on http://{local}/metrics, /healthz and /readyz");
    let service = io.health_service(OnePath("/metrics", exporter.clone()));
    let mut options = ServeOptions::default();
    // Scrapers and orchestrators are few.
    options.max_connections = INTERNAL_CONNECTIONS;
    Ok(async move {
        let served = serve(listener, service, options, std::future::pending());
        let (_, ()) = tokio::join!(served, exporter.keep());
    })
}

fn cannot_listen(address: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses the port: stop it, or choose another port with --port or PORT"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher port with --port or PORT",
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: choose another with --host or HOST"
        }
        _ => "check --host and --port",
    };
    format!("cannot listen on {address}: {error}; {advice}")
}
