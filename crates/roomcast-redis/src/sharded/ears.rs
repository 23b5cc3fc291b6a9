//! [`Ears`]: hears sharded channels, by one connection to each node that has some of them.

use super::ear::hear;
use super::places::{Places, REFRESH};
use super::slots::Node;
use super::wanted::{Heard, Tell, Wanted};
use crate::bus::denied::{Denied, Forbidden};
use crate::bus::{Before, Echo, Listener};
use crate::error::RedisError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// The channel of the roomcast servers: what this one tells there must come back.
    servers: String,
    echo: Arc<Mutex<Echo>>,
    /// Something did not, since this was asked last.
    deaf: AtomicBool,
}

struct Running {
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl Ears {
    /// Begins on the current runtime; nothing is connected before something is wanted.
    pub(super) fn start(places: Arc<Places>, servers: String, echo: Arc<Mutex<Echo>>) -> Self {
        let shared = Arc::new(Shared {
            places,
            wanted: Mutex::default(),
            telling: Mutex::default(),
            denied: Mutex::default(),
            running: Mutex::default(),
            changed: Notify::new(),
            servers,
            echo,
            deaf: AtomicBool::new(false),
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

    /// Whether what was published was found not to come back, since this was asked last.
    pub(super) fn was_deaf(&self) -> bool {
        self.shared.deaf.swap(false, Ordering::Relaxed)
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

    /// A PING is about to be sent to a node. What tells, when it is answered, whether the connection is deaf; `None`: it does not hear the
    /// channel of the servers.
    pub(super) fn before_ping(&self, node: &str) -> Option<Before> {
        let hears = self.wanted.lock().hears(node, &self.servers);
        hears.then(|| self.echo.lock().before()).flatten()
    }

    /// It was answered, and all that came before was handed on.
    ///
    /// # Errors
    /// The connection is deaf, or is to another server than the one that is published on.
    pub(super) fn must_hear(&self, before_ping: Option<Before>) -> Result<(), RedisError> {
        if !before_ping.is_some_and(|before| self.echo.lock().is_deaf(before)) {
            return Ok(());
        }
        self.deaf.store(true, Ordering::Relaxed);
        Err(RedisError::Other("Redis takes what is published, and nothing of it is heard".to_owned()))
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
