//! The signals that stop the program: SIGTERM and Ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at the first signal. After it, a second signal ends the process immediately.
pub(crate) async fn requested() {
    let (Some(mut terminate), Some(mut interrupt)) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process immediately.
        return std::future::pending().await;
    };
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!("{name}: disconnecting clients and stopping; a second signal stops immediately");
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!("{name} again: stopping immediately");
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
    signal(kind)
        .inspect_err(|error| tracing::warn!(%error, "cannot handle signals; they end the process immediately"))
        .ok()
}
