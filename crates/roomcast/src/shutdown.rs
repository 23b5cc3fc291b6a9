//! The signals that stop the program: SIGTERM and Ctrl-C.

use std::fmt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How the program was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requested {
    /// By SIGTERM: there is time to move the clients to other servers.
    Drain,
    /// By Ctrl-C.
    Now,
}

/// The signals, from the moment on at which this was made: a signal that comes earlier ends the process immediately.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Handles the signals from now on. `None` if that is not possible: then they end the process immediately.
    pub(crate) fn handle() -> Option<Self> {
        Some(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves at the first signal. After it, a second signal ends the process immediately.
    pub(crate) async fn requested(mut self) -> Requested {
        let requested = self.next().await;
        tracing::info!("{requested}: disconnecting clients and stopping; a second signal stops immediately");
        tokio::spawn(async move {
            let again = self.next().await;
            tracing::warn!("{again} again: stopping immediately");
            std::process::exit(1);
        });
        requested
    }

    async fn next(&mut self) -> Requested {
        tokio::select! {
            _ = self.terminate.recv() => Requested::Drain,
            _ = self.interrupt.recv() => Requested::Now,
        }
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drain => "SIGTERM",
            Self::Now => "Ctrl-C",
        })
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::warn!(%error, "cannot handle signals; they end the process immediately"))
        .ok()
}
