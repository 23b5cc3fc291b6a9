//! [`Subscribers`]: subscribes sharded channels, over one connection to each node that has some of them.

use super::node::Node;
use super::shared::Shared;
use super::slot_cache::{REFRESH, SlotCache};
use super::subscriber::Subscriber;
use crate::delivery::{Echo, Listener, Waiter};
use crate::topology::backoff::pause;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// A connection that ends sooner does not show that the node can be used.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the log says that a node cannot be used.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// All subscriptions of a broker. Its tasks end when it is dropped.
pub(super) struct Subscribers {
    state: Arc<State>,
    manager: AbortHandle,
}

struct State {
    shared: Arc<Shared>,
    /// The task of each node, by the node's address.
    nodes: Mutex<HashMap<Arc<str>, NodeTask>>,
    /// Subscriptions have changed, or a node's task has ended.
    changed: Notify,
}

struct NodeTask {
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl Subscribers {
    /// Starts on the current runtime. It connects when something is to be subscribed.
    pub(super) fn start(slots: Arc<SlotCache>, servers: String, echo: Arc<Mutex<Echo>>) -> Self {
        let shared = Arc::new(Shared::new(slots, servers, echo));
        let state = Arc::new(State { shared, nodes: Mutex::default(), changed: Notify::new() });
        let manager = tokio::spawn(manage(state.clone())).abort_handle();
        Self { state, manager }
    }

    /// Adds a subscription, and returns its id. `notifies`: whether the listener is told `connected` and `lost`.
    pub(super) fn add(&self, channels: Vec<String>, listener: Arc<dyn Listener>, notifies: bool) -> u64 {
        let id = self.state.shared.subscriptions.lock().add(channels, listener, notifies);
        self.state.wake();
        id
    }

    pub(super) fn wait(&self, id: u64, waiter: Waiter) {
        self.state.shared.subscriptions.lock().wait(id, waiter);
    }

    /// Removes a subscription. The receiver resolves when Redis has unsubscribed its channels; until then the listener
    /// may still receive messages.
    pub(super) fn remove(&self, id: u64) -> oneshot::Receiver<()> {
        let removed = self.state.shared.subscriptions.lock().remove(id);
        self.state.wake();
        removed
    }

    pub(super) fn was_deaf(&self) -> bool {
        self.state.shared.was_deaf()
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        self.manager.abort();
        self.state.nodes.lock().values().for_each(|node| node.task.abort());
    }
}

impl State {
    fn wake(&self) {
        self.changed.notify_one();
        self.nodes.lock().values().for_each(|node| node.changed.notify_one());
    }

    /// Starts a task for each node that needs a connection and has none.
    fn connect(self: &Arc<Self>) {
        let needed = self.shared.subscriptions.lock().nodes();
        let mut nodes = self.nodes.lock();
        nodes.retain(|_, node| !node.task.is_finished());
        for node in needed {
            if !nodes.contains_key(&node.address) {
                let (address, changed) = (node.address.clone(), Arc::new(Notify::new()));
                let task = tokio::spawn(attend(self.clone(), node, changed.clone())).abort_handle();
                nodes.insert(address, NodeTask { changed, task });
            }
        }
    }
}

/// The task of a node. It ends when nothing is to be subscribed there.
async fn attend(state: Arc<State>, node: Arc<Node>, changed: Arc<Notify>) {
    keep_subscribed(state.shared.clone(), node.clone(), changed).await;
    state.shared.subscriptions.lock().connection_ended(&node.address);
    state.shared.notify_listeners();
    state.nodes.lock().remove(&node.address);
    // Something may be wanted there by now.
    state.changed.notify_one();
}

/// Keeps a node's channels subscribed, and reconnects, until nothing is to be subscribed there. `changed`: the node's
/// subscriptions have changed.
async fn keep_subscribed(shared: Arc<Shared>, node: Arc<Node>, changed: Arc<Notify>) {
    let (mut failures, mut logged, mut predecessor) = (0_u32, None::<Instant>, None);
    loop {
        if shared.subscriptions.lock().is_idle(&node.address) {
            return;
        }
        let connected = Subscriber::connect(&shared, &node, &mut predecessor).await;
        let began = Instant::now();
        let ended = match connected {
            Ok(mut subscriber) => {
                metrics::counter!("roomcast_redis_connects_total").increment(1);
                shared.subscriptions.lock().connection_made(&node.address);
                shared.slots.connected(&node);
                let listed = shared.slots.topology.own.list(predecessor.clone());
                let ended = subscriber.serve(&changed).await;
                drop(listed);
                drop(subscriber);
                if ended.is_err() {
                    shared.slots.interrupted(&node);
                }
                let rooms = shared.subscriptions.lock().connection_ended(&node.address);
                shared.report_size();
                shared.notify_listeners();
                metrics::counter!("roomcast_redis_rooms_interrupted_total").increment(rooms as u64);
                ended
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        shared.slots.topology.suspect(&error);
        shared.slots.suspect();
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            logged = Some(Instant::now());
            tracing::warn!(
                redis = %shared.slots.topology.config(), node = %node.address, %error,
                "the subscriber is not connected to a Redis node: no messages of the other servers arrive from it; reconnecting"
            );
        }
        failures = if began.elapsed() >= SHORT_LIFE { 0 } else { failures.saturating_add(1) };
        let until = Instant::now() + if failures == 0 { Duration::ZERO } else { pause(&error, failures) };
        loop {
            tokio::select! {
                () = sleep_until(until) => break,
                // Another node may have taken its place.
                () = changed.notified() => if shared.subscriptions.lock().is_idle(&node.address) { return },
            }
        }
    }
}

/// Follows the subscriptions, and the nodes of their slots.
async fn manage(state: Arc<State>) {
    let shared = &state.shared;
    let mut known = 0;
    loop {
        let asked = shared.slots.current().await;
        if let Ok((version, slots)) = asked
            && version != known
        {
            known = version;
            shared.subscriptions.lock().set_slots(slots);
            shared.notify_listeners();
            state.wake();
        }
        state.connect();
        shared.notify_listeners();
        let again = match shared.slots.not_before() {
            Some(not_before) if shared.slots.is_suspected() => not_before,
            _ => Instant::now() + REFRESH,
        };
        tokio::select! {
            () = state.changed.notified() => {}
            () = shared.slots.suspected.notified() => {}
            () = sleep_until(again) => if !shared.slots.is_suspected() { shared.slots.suspect() },
        }
    }
}
