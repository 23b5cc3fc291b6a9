//! [`Ears`]: hears sharded channels, by one connection to each node that has some of them.

use super::ear::hear;
use super::places::{Places, REFRESH};
use super::slots::Node;
use super::wanted::{Heard, Tell, Wanted};
use crate::bus::Listener;
use crate::bus::denied::{Denied, Forbidden};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// All subscriptions of a broker. Its tasks end with it.
pub(super) struct Ears {
    shared: Arc<Shared>,
    manager: AbortHandle,
}

/// What its tasks have in common.
pub(super) struct Shared {
    pub(super) places: Arc<Places>,
    pub(super) wanted: Mutex<Wanted>,
    /// Held while listeners are told, so that they are told in order.
    telling: Mutex<()>,
    denied: Mutex<Denied>,
    /// Connections, by the node's address.
    running: Mutex<HashMap<Arc<str>, Running>>,
    /// What is wanted has changed.
    changed: Notify,
}

struct Running {
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl Ears {
    /// Begins on the current runtime; nothing is connected before something is wanted.
    pub(super) fn start(places: Arc<Places>) -> Self {
        let shared = Arc::new(Shared {
            places,
            wanted: Mutex::default(),
            telling: Mutex::default(),
            denied: Mutex::default(),
            running: Mutex::default(),
            changed: Notify::new(),
        });
        let manager = tokio::spawn(manage(shared.clone())).abort_handle();
        Self { shared, manager }
    }

    /// Wants channels. The listener is told when it hears and when not, if it `is_told`.
    pub(super) fn add(&self, channels: Vec<String>, listener: Arc<dyn Listener>, is_told: bool) -> u64 {
        let id = self.shared.wanted.lock().add(channels, listener, is_told);
        self.shared.wake();
        id
    }

    /// Who waits until they are heard, or cannot be.
    pub(super) fn wait(&self, id: u64, waiting: Heard) {
        self.shared.wanted.lock().wait(id, waiting);
    }

    /// Gives them up. Resolves when Redis has let go of them; until then the listener may hear.
    pub(super) fn leave(&self, id: u64) -> oneshot::Receiver<()> {
        let left = self.shared.wanted.lock().leave(id);
        self.shared.wake();
        left
    }

    /// Ends all connections, which are made anew.
    pub(super) fn reconnect(&self) {
        for running in self.shared.running.lock().drain() {
            running.1.task.abort();
            self.shared.wanted.lock().end(&running.0);
        }
        self.shared.places.suspect();
        self.shared.wake();
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.manager.abort();
        self.shared.running.lock().values().for_each(|running| running.task.abort());
    }
}

impl Shared {
    fn wake(&self) {
        self.changed.notify_one();
        self.running.lock().values().for_each(|running| running.changed.notify_one());
    }

    /// Tells listeners what they are to be told.
    pub(super) fn tell(&self) {
        let _telling = self.telling.lock();
        loop {
            // Let go of before the listener is told, as it may want something.
            let tell = self.wanted.lock().tell();
            match tell {
                Some(Tell::Connected(listener)) => listener.connected(),
                Some(Tell::Lost(listener)) => listener.lost(),
                None => return,
            }
        }
    }

    pub(super) fn denied(&self, forbidden: Vec<Forbidden>) {
        if !forbidden.is_empty() {
            let count = self.wanted.lock().denied();
            self.denied.lock().tell(self.places.topology.config(), count, forbidden);
        }
    }

    /// One connection to each node that has something to hear.
    fn connect(self: &Arc<Self>) {
        let nodes = self.wanted.lock().nodes();
        let mut running = self.running.lock();
        running.retain(|_, running| !running.task.is_finished());
        for node in nodes {
            if !running.contains_key(&node.address) {
                let (address, changed) = (node.address.clone(), Arc::new(Notify::new()));
                let task = tokio::spawn(attend(self.clone(), node, changed.clone())).abort_handle();
                running.insert(address, Running { changed, task });
            }
        }
    }
}

/// Hears a node as long as something is to be heard there.
async fn attend(shared: Arc<Shared>, node: Arc<Node>, changed: Arc<Notify>) {
    hear(shared.clone(), node.clone(), changed).await;
    shared.wanted.lock().end(&node.address);
    shared.tell();
    shared.running.lock().remove(&node.address);
    // Something may be wanted there by now.
    shared.changed.notify_one();
}

/// Keeps up with what is wanted and where it is.
async fn manage(shared: Arc<Shared>) {
    let mut known = 0;
    loop {
        let asked = shared.places.current().await;
        if let Ok((version, slots)) = asked
            && version != known
        {
            known = version;
            shared.wanted.lock().settle(slots);
            shared.tell();
            shared.wake();
        }
        shared.connect();
        shared.tell();
        let again = match shared.places.not_before() {
            Some(not_before) if shared.places.is_suspected() => not_before,
            _ => Instant::now() + REFRESH,
        };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = shared.places.suspected.notified() => {}
            () = sleep_until(again) => if !shared.places.is_suspected() { shared.places.suspect() },
        }
    }
}
