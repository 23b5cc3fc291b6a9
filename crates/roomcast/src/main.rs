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
mod settings;
mod shutdown;
mod wiring;

use cli::{Action, Cli};
use cluster::Joined;
use exporter::Exporter;
use one_path::OnePath;
use roomcast_server::engine::{ServeOptions, bind, serve};
use roomcast_server::{Check, SocketIo};
use settings::resolve::{Given, Resolved};
use settings::typed::{ClientEvent, Drain, Settings};
use settings::{checks, show};
use shutdown::{Requested, Signals};
use std::error::Error;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use wiring::Wiring;

/// The memory of an idle connection consists of small pieces, which mimalloc packs tighter than glibc (docs/decisions/0007-allocator.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The most connections to the internal listener.
const INTERNAL_CONNECTIONS: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::read();
    let action = cli.action;
    let given = match cli.given() {
        Ok(given) => given,
        Err(error) => {
            eprintln!("roomcast: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut resolved = Resolved::new(&given);
    checks::check(&mut resolved, descriptors::hard_limit());
    match action {
        Action::Health { ready } => {
            let (host, port) = health::address(&resolved.settings);
            health::ask(&host, port, ready).await
        }
        Action::Config => {
            print!("{}", show::settings(&resolved));
            report(&resolved);
            exit_code(&resolved)
        }
        Action::CheckConfig => {
            checks::advise(&mut resolved, &given);
            report(&resolved);
            exit_code(&resolved)
        }
        Action::Serve => start(&resolved, &given).await,
    }
}

/// Prints what is wrong with the settings.
fn report(resolved: &Resolved) {
    for problem in &resolved.problems {
        eprintln!("{}: {problem}", if problem.is_error { "error" } else { "warning" });
    }
    let errors = resolved.problems.iter().filter(|problem| problem.is_error).count();
    let warnings = resolved.problems.len() - errors;
    let verdict = if errors == 0 { "a server would start" } else { "a server would not start" };
    eprintln!("{verdict}: {errors} errors, {warnings} warnings");
}

fn exit_code(resolved: &Resolved) -> ExitCode {
    if resolved.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn start(resolved: &Resolved, given: &Given) -> ExitCode {
    log::start(&resolved.settings.log);
    for problem in &resolved.problems {
        if problem.is_error {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
    if resolved.has_errors() {
        return ExitCode::FAILURE;
    }
    if let Some((path, _)) = &given.file {
        tracing::info!("settings are read from {path}; `roomcast config` shows those in effect");
    }
    match run(&resolved.settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings) -> Result<(), Box<dyn Error>> {
    // Before the log says that the server is ready, as a supervisor may send a signal from then on.
    let signals = Signals::handle();
    descriptors::raise_limit(settings.listen.max_connections);
    // First, so that nothing goes uncounted.
    let metrics = settings.internal.listen.is_some().then(Exporter::install).transpose()?;
    let Wiring { mut builder, redis } = Wiring::new(settings)?;
    let shown_redis = redis.as_ref().map(|redis| redis.config.to_string());
    let (cluster, watch) = match redis {
        Some(redis) => {
            let Joined { cluster, watch } = cluster::join(redis).await?;
            (Some(cluster), watch)
        }
        None => (None, None),
    };
    if let Some(cluster) = &cluster {
        builder = builder.cluster(cluster);
    }
    if let Some(watch) = watch {
        // The server keeps the check, and so the watch.
        builder = builder.health_check("redis", move || {
            let status = watch.status();
            Check::optional(status.ok, status.reason)
        });
    }
    let io = builder.build();
    for namespace in &settings.namespaces {
        events::serve(&io.of(namespace.as_str()), &settings.client_events, settings.limits.rooms);
    }
    if settings.client_events.contains(&ClientEvent::Publish) {
        tracing::info!("any client may join rooms and publish to them; set ROOMCAST_CLIENT_EVENTS to allow less");
    }

    let internal = match (&settings.internal.listen, metrics) {
        (Some(address), Some(metrics)) => {
            let exporter = Exporter::new(metrics, io.clone(), cluster.clone());
            Some(tokio::spawn(internal(address, exporter, &io).await?))
        }
        _ => None,
    };

    let (host, port) = (&*settings.listen.host, settings.listen.port);
    let address = format!("{host}:{port}");
    let listener = bind((host, port)).await.map_err(|error| cannot_listen(&address, &error))?;
    let local = listener.local_addr()?;
    if settings.app_url.is_empty() {
        // Browsers prevent pages of other origins from reading answers, but not from opening WebSockets.
        tracing::warn!("APP_URL is not set: web pages of any origin can open WebSockets to this server");
    }
    let origins = match settings.app_url.join(", ") {
        none if none.is_empty() => "any for WebSocket, its own for polling".to_owned(),
        origins => origins,
    };
    let version = env!("CARGO_PKG_VERSION");
    match &shown_redis {
        Some(redis) => tracing::info!(adapter = "redis", %redis, %origins, "roomcast {version} is ready"),
        None => tracing::info!(adapter = "memory", %origins, "roomcast {version} is ready"),
    }
    let scheme = if wiring::tls(&settings.listen).is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{local} (open it in two tabs to chat)");
    let shutdown = async {
        let Some(signals) = signals else { return std::future::pending().await };
        let requested = signals.requested().await;
        tokio::spawn(exit_at_deadline(settings.drain.clone(), io.clone()));
        // SIGTERM comes from a deployment, which moves the clients to other servers; Ctrl-C from a person, who does not want to wait.
        if requested == Requested::Now {
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

/// Ends the process when the time for a stop is over, so that a supervisor does not have to kill it.
async fn exit_at_deadline(drain: Drain, io: SocketIo) {
    let deadline = drain.deadline();
    tokio::time::sleep(deadline).await;
    let (seconds, clients) = (deadline.as_secs_f64(), io.connections());
    tracing::error!(
        clients,
        "the stop took longer than {seconds} s (ROOMCAST_DRAIN_DEADLINE): the program exits, with clients still connected"
    );
    std::process::exit(1);
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
