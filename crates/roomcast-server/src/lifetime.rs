//! [`Lifetime`]: whether the server is draining or closed, and which handlers its close has to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, watch};

/// Shared by the server, its namespaces and their sockets.
pub(crate) struct Lifetime {
    closed: watch::Sender<bool>,
    draining: AtomicBool,
    /// Handlers of disconnects that have not ended.
    handlers: AtomicUsize,
    no_handlers: Notify,
}

/// A handler of a disconnect that has not ended.
pub(crate) struct DisconnectHandlerGuard(Arc<Lifetime>);

impl Drop for DisconnectHandlerGuard {
    fn drop(&mut self) {
        if self.0.handlers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.no_handlers.notify_waiters();
        }
    }
}

impl Lifetime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            closed: watch::channel(false).0,
            draining: AtomicBool::new(false),
            handlers: AtomicUsize::new(0),
            no_handlers: Notify::new(),
        })
    }

    /// The server is closed from now on.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// The server is about to be closed: it is not ready for clients any more.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Resolves when the server is closed.
    pub(crate) async fn closed(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// A handler of a disconnect begins.
    pub(crate) fn disconnect_handler(self: &Arc<Self>) -> DisconnectHandlerGuard {
        self.handlers.fetch_add(1, Ordering::AcqRel);
        DisconnectHandlerGuard(self.clone())
    }

    /// Number of disconnect handlers that have not ended.
    pub(crate) fn disconnect_handlers(&self) -> usize {
        self.handlers.load(Ordering::Acquire)
    }

    /// Resolves when no disconnect handler runs.
    pub(crate) async fn no_disconnect_handlers(&self) {
        loop {
            let mut none = std::pin::pin!(self.no_handlers.notified());
            // Registered before the count is read, so that a notification in between is not missed.
            none.as_mut().enable();
            if self.disconnect_handlers() == 0 {
                return;
            }
            none.await;
        }
    }
}
