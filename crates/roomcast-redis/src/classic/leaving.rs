//! [`Leaving`]: a namespace that was closed a moment ago, and still hears questions.
//!
//! Who asks counts the subscribers of the request channel, then publishes its question, then waits for as many answers. A
//! server that unsubscribes in between was counted, and its answer is missed: Node's asker gets a timeout for it. So for a
//! moment more the questions are heard by a pattern, and PUBSUB NUMSUB does not count patterns.

use super::names::Prefix;
use super::namespace::Namespace;
use crate::bus::{Bus, Heard, Listener, Names};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long questions are heard after a namespace was closed: the time that an asker may take from its count to its question,
/// a busy Node process included.
pub(super) const LINGERS: Duration = Duration::from_millis(250);

/// Time that Redis has to confirm the pattern. A server that leaves because Redis is slow must leave all the same.
const CONFIRMATION: Duration = Duration::from_millis(500);

/// The pattern's subscription; it ends with this, or by itself when [`LINGERS`] is over, however late it was confirmed.
pub(super) struct Leaving {
    bus: Weak<Bus>,
    key: Arc<str>,
    ending: AbortHandle,
}

impl Leaving {
    /// Begins to hear questions by a pattern. `None` if Redis is not there to confirm it, or forbids it.
    pub(super) async fn begin(bus: &Arc<Bus>, prefix: &Prefix, namespace: Arc<Namespace>) -> Option<Self> {
        if !bus.may_be_counted() {
            return None;
        }
        // No namespace has such a name: they begin with a slash.
        let key: Arc<str> = format!("leaving {}", namespace.name()).into();
        let names = Names { patterns: vec![prefix.request_pattern(namespace.name())], channels: Vec::new() };
        namespace.leaves();
        let ear = Arc::new(Ear { namespace, settled: Notify::new(), denied: AtomicBool::new(false) });
        bus.subscribe(&key, names, ear.clone());
        let bus = Arc::downgrade(bus);
        let ending = tokio::spawn(end(bus.clone(), key.clone())).abort_handle();
        let leaving = Self { bus, key, ending };
        timeout(CONFIRMATION, ear.settled.notified()).await.ok()?;
        (!ear.denied.load(Ordering::Acquire)).then_some(leaving)
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.ending.is_finished()
    }
}

async fn end(bus: Weak<Bus>, key: Arc<str>) {
    sleep(CONFIRMATION + LINGERS).await;
    if let Some(bus) = bus.upgrade() {
        bus.unsubscribe(&key);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if self.goes_on()
            && let Some(bus) = self.bus.upgrade()
        {
            self.ending.abort();
            bus.unsubscribe(&self.key);
        }
    }
}

struct Ear {
    namespace: Arc<Namespace>,
    /// It is confirmed or denied.
    settled: Notify,
    denied: AtomicBool,
}

impl Listener for Ear {
    fn heard(&self, messages: Vec<Heard>) {
        messages.into_iter().for_each(|heard| self.namespace.asked(heard.payload));
    }

    fn connected(&self) {
        self.settled.notify_one();
    }

    fn lost(&self) {}

    fn denied(&self) -> bool {
        self.denied.store(true, Ordering::Release);
        self.settled.notify_one();
        // Nobody needs to know: it lives for a moment, and the namespace leaves all the same.
        false
    }
}
