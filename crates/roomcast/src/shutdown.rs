//! The signals that stop the program.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at SIGTERM or Ctrl-C. A second signal ends the process at once.
pub(crate) async fn requested() {
    let (Some(mut terminate), Some(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        // Without signal handlers, a signal ends the process by itself.
        return std::future::pending().await;
    };
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!("{name}: disconnecting clients and stopping; a second signal stops at once");
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: stopping at once");
        std::process::exit(1);
    });
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "Ctrl-C",
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(%error, "cannot handle signals; they end the process at once")).ok()
}
