//! [`Lingering`]: a namespace that was closed a moment ago still receives questions.
//!
//! An asking server counts the subscribers of the request channel, publishes its question, and waits for as many
//! answers. A server that unsubscribes in between was counted, and its answer is missing: on Node the question times
//! out. So the closed namespace receives questions a moment longer by a pattern, as PUBSUB NUMSUB does not count
//! patterns.

use super::listener::NamespaceListener;
use super::names::Prefix;
use crate::bus::{Bus, Names};
use crate::delivery::rooms::RoomListener;
use crate::delivery::{Delivery, Listener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long a closed namespace receives questions: the time from an asker's count to its question, even in a busy Node
/// process.
pub(super) const LINGERS: Duration = Duration::from_millis(250);

/// How long Redis may take to confirm the pattern. A server must be able to close even when Redis is slow.
const CONFIRMATION: Duration = Duration::from_millis(500);

/// The subscription of the pattern. It ends on drop, or by itself at the latest [`CONFIRMATION`] and [`LINGERS`] after
/// it was confirmed.
pub(super) struct Lingering {
    bus: Weak<Bus>,
    key: Arc<str>,
    /// Ends the subscription; set when the pattern is confirmed.
    ending: Option<AbortHandle>,
}

impl Lingering {
    /// Subscribes the pattern. `None` if Redis is not there to confirm it, or forbids it.
    pub(super) async fn begin(bus: &Arc<Bus>, prefix: &Prefix, namespace: Arc<NamespaceListener>) -> Option<Self> {
        if !bus.may_be_counted() {
            return None;
        }
        // No namespace has such a name, as namespaces begin with a slash.
        let key: Arc<str> = format!("leaving {}", namespace.namespace()).into();
        let names = Names { patterns: vec![prefix.request_pattern(namespace.namespace())], ..Names::default() };
        namespace.begin_closing();
        let listener = Arc::new(QuestionListener { namespace, settled: Notify::new(), denied: AtomicBool::new(false) });
        bus.subscribe(&key, names, listener.clone());
        let bus = Arc::downgrade(bus);
        let mut lingering = Self { bus, key, ending: None };
        timeout(CONFIRMATION, listener.settled.notified()).await.ok()?;
        if listener.denied.load(Ordering::Acquire) {
            return None;
        }
        lingering.ending = Some(tokio::spawn(end(lingering.bus.clone(), lingering.key.clone())).abort_handle());
        Some(lingering)
    }

    pub(super) fn is_active(&self) -> bool {
        self.ending.as_ref().is_none_or(|ending| !ending.is_finished())
    }
}

async fn end(bus: Weak<Bus>, key: Arc<str>) {
    // The request channel is unsubscribed only after this task starts, and until then this server is counted.
    sleep(CONFIRMATION + LINGERS).await;
    if let Some(bus) = bus.upgrade() {
        bus.unsubscribe(&key);
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.is_active()
            && let Some(bus) = self.bus.upgrade()
        {
            if let Some(ending) = &self.ending {
                ending.abort();
            }
            bus.unsubscribe(&self.key);
        }
    }
}

struct QuestionListener {
    namespace: Arc<NamespaceListener>,
    /// The pattern is confirmed or forbidden.
    settled: Notify,
    denied: AtomicBool,
}

impl Listener for QuestionListener {
    fn receive(&self, messages: Vec<Delivery>) {
        messages.into_iter().for_each(|message| self.namespace.receive_by_pattern(message.payload));
    }

    fn connected(&self) {
        self.settled.notify_one();
    }

    fn lost(&self) {}

    fn denied(&self) -> bool {
        self.denied.store(true, Ordering::Release);
        self.settled.notify_one();
        // No operator needs to know: the subscription is short, and the namespace is closed all the same.
        false
    }
}
