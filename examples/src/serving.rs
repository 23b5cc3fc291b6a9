//! Where the examples listen, and when they stop.

use roomcast::engine::bind;
use std::env::var;
use std::error::Error;
use std::future::Future;
use std::io;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What an example's `main` and its handlers return: any error stops the one, and answers the other's client.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Listens on `HOST` and `PORT` of the environment, 127.0.0.1 and 3000 by default, and says so. The log goes to standard error.
///
/// # Errors
/// The address cannot be listened on.
pub async fn listener() -> io::Result<TcpListener> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(io::stderr).init();
    let (host, port) =
        (var("HOST").unwrap_or_else(|_| "127.0.0.1".into()), var("PORT").unwrap_or_else(|_| "3000".into()));
    let listener = bind(format!("{host}:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(listener)
}

/// Resolves at SIGTERM or SIGINT.
///
/// # Errors
/// The signals cannot be received.
pub fn stopped() -> io::Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
