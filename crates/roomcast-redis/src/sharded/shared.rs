//! [`Shared`]: the state that the connections to all nodes have in common.

use super::slot_cache::SlotCache;
use super::subscription::Notice;
use super::subscriptions::Subscriptions;
use crate::delivery::denied::{DeniedLog, Forbidden};
use crate::delivery::{Echo, Mark};
use crate::error::RedisError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Shared {
    pub(super) slots: Arc<SlotCache>,
    pub(super) subscriptions: Mutex<Subscriptions>,
    /// Held while listeners are notified, so that notices keep their order.
    notifying: Mutex<()>,
    denied_log: Mutex<DeniedLog>,
    /// The channel of the roomcast servers: this server's own announcements must come back on it.
    servers: String,
    echo: Arc<Mutex<Echo>>,
    /// A connection was found deaf since [`was_deaf`](Self::was_deaf) was last called.
    deaf: AtomicBool,
}

impl Shared {
    pub(super) fn new(slots: Arc<SlotCache>, servers: String, echo: Arc<Mutex<Echo>>) -> Self {
        Self {
            slots,
            subscriptions: Mutex::default(),
            notifying: Mutex::default(),
            denied_log: Mutex::default(),
            servers,
            echo,
            deaf: AtomicBool::new(false),
        }
    }

    /// How many channels are subscribed, for metrics. To be called after each change.
    pub(super) fn report_size(&self) {
        let channels = self.subscriptions.lock().subscribed();
        metrics::gauge!("roomcast_redis_subscriptions").set(channels as f64);
    }

    /// Passes the pending notices to their listeners.
    pub(super) fn notify_listeners(&self) {
        let _notifying = self.notifying.lock();
        loop {
            // The subscriptions are unlocked before the listener is called, as it may add or remove some.
            let notice = self.subscriptions.lock().next_notice();
            match notice {
                Some(Notice::Connected(listener)) => listener.connected(),
                Some(Notice::Lost(listener)) => listener.lost(),
                None => return,
            }
        }
    }

    pub(super) fn report_denied(&self, forbidden: Vec<Forbidden>) {
        if !forbidden.is_empty() {
            let count = self.subscriptions.lock().denied();
            self.denied_log.lock().report(self.slots.topology.config(), count, forbidden);
        }
    }

    /// To be called before a PING is sent to a node; the mark goes to [`check_echo`](Self::check_echo). `None` if the
    /// servers' channel is not subscribed there.
    pub(super) fn mark(&self, node: &str) -> Option<Mark> {
        let is_subscribed = self.subscriptions.lock().is_subscribed(node, &self.servers);
        is_subscribed.then(|| self.echo.lock().mark()).flatten()
    }

    /// To be called when the PING is answered, and all that arrived before the answer was passed on.
    ///
    /// # Errors
    /// The connection is deaf, or leads to another server than the publisher's.
    pub(super) fn check_echo(&self, before_ping: Option<Mark>) -> Result<(), RedisError> {
        if !before_ping.is_some_and(|before| self.echo.lock().is_deaf(before)) {
            return Ok(());
        }
        self.deaf.store(true, Ordering::Relaxed);
        Err(RedisError::Other("messages that this server publishes do not arrive on the connection".to_owned()))
    }

    /// Whether a connection was found deaf since the last call.
    pub(super) fn was_deaf(&self) -> bool {
        self.deaf.swap(false, Ordering::Relaxed)
    }
}
