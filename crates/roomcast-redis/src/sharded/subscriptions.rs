//! [`Subscriptions`]: which channels are to be subscribed and on which node, which are, and the next step from one to
//! the other.
//!
//! Only the difference counts, not the history. This state machine decides; the connections of
//! [`Subscribers`](super::subscribers::Subscribers) send the changes.

use super::node::Node;
use super::node_subscriptions::{Change, NodeSubscriptions};
use super::slots::{Slots, slot};
use super::subscription::{Notice, Subscription};
use crate::delivery::denied::DENIED_PAUSE;
use crate::delivery::{Listener, Waiter};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most commands that are sent at once. Redis serves other clients in between.
pub(super) const CHANNELS_PER_STEP: usize = 128;

/// After this, a channel that its node refused for another reason than a missing right is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Subscriptions {
    by_id: HashMap<u64, Subscription>,
    channels: HashMap<Arc<str>, Channel>,
    nodes: HashMap<Arc<str>, NodeSubscriptions>,
    slots: Slots,
    next_id: u64,
    /// What listeners are to be told, in order.
    notices: VecDeque<Notice>,
}

struct Channel {
    slot: u16,
    /// The address of the node that has the slot.
    node: Option<Arc<str>>,
    /// Whether the channel is subscribed on that node.
    is_subscribed: bool,
    /// Ids of the subscriptions that want it.
    wanted_by: Vec<u64>,
    /// Ids of the subscriptions that are being removed and had it.
    removed_by: Vec<u64>,
    /// Only rooms want it. Namespaces come first.
    is_room: bool,
}

impl Subscriptions {
    pub(super) fn add(&mut self, channels: Vec<String>, listener: Arc<dyn Listener>, notifies: bool) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let channels: Vec<Arc<str>> = channels.into_iter().map(Arc::from).collect();
        self.by_id.insert(id, Subscription::new(channels.clone(), listener, notifies));
        for name in channels {
            let slot = slot(&name);
            let channel = self.channels.entry(name.clone()).or_insert_with(|| Channel {
                slot,
                node: None,
                is_subscribed: false,
                wanted_by: Vec::new(),
                removed_by: Vec::new(),
                is_room: true,
            });
            channel.is_room &= !notifies;
            let is_new = channel.wanted_by.is_empty();
            channel.wanted_by.push(id);
            let is_subscribed = channel.is_subscribed;
            for removed in std::mem::take(&mut channel.removed_by) {
                self.channel_removed(removed);
            }
            if is_new {
                self.place(&name);
                self.count(&name, true);
            }
            if is_subscribed {
                self.channel_subscribed(id);
            }
        }
        id
    }

    pub(super) fn wait(&mut self, id: u64, waiter: Waiter) {
        if let Some(subscription) = self.by_id.get_mut(&id) {
            subscription.wait(waiter);
        }
    }

    /// A subscription is no longer wanted. The receiver resolves when Redis has unsubscribed its channels; until then
    /// its listener may still receive messages.
    pub(super) fn remove(&mut self, id: u64) -> oneshot::Receiver<()> {
        let (sender, done) = oneshot::channel();
        let Some(subscription) = self.by_id.get_mut(&id).filter(|it| it.removal.is_none()) else { return done };
        subscription.begin_removal(sender);
        let channels = subscription.channels.clone();
        let mut subscribed = 0;
        for name in channels {
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.wanted_by.retain(|wants| *wants != id);
            if !channel.wanted_by.is_empty() {
                continue;
            }
            if channel.is_subscribed {
                channel.removed_by.push(id);
                subscribed += 1;
            }
            self.count(&name, false);
            self.forget_unused(&name);
        }
        match self.by_id.get_mut(&id).and_then(|subscription| subscription.removal.as_mut()) {
            Some(removal) if subscribed > 0 => removal.subscribed = subscribed,
            _ => {
                self.by_id.remove(&id);
            }
        }
        done
    }

    /// The nodes of the slots have changed.
    pub(super) fn set_slots(&mut self, slots: Slots) {
        self.slots = slots;
        let names: Vec<Arc<str>> = self.channels.keys().cloned().collect();
        for name in names {
            self.place(&name);
        }
    }

    /// Nodes that need a connection.
    pub(super) fn nodes(&mut self) -> Vec<Arc<Node>> {
        self.nodes.retain(|_, it| it.is_connected || it.wanted > 0);
        self.nodes.values().filter(|it| it.wanted > 0).map(|it| it.node.clone()).collect()
    }

    /// Whether no channel is wanted or confirmed on a node.
    pub(super) fn is_idle(&self, node: &str) -> bool {
        self.nodes.get(node).is_none_or(|it| it.wanted == 0 && it.confirmed.is_empty())
    }

    /// The number of channels that are subscribed, on all nodes.
    pub(super) fn subscribed(&self) -> usize {
        self.nodes.values().map(|it| it.confirmed.len()).sum()
    }

    /// Whether a channel is subscribed on a node.
    pub(super) fn is_subscribed(&self, node: &str, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|it| it.is_subscribed && it.node.as_deref() == Some(node))
    }

    /// There is a new connection to a node, on which nothing is subscribed yet.
    pub(super) fn connection_made(&mut self, node: &str) {
        self.connection_ended(node);
        let Some(on_node) = self.nodes.get_mut(node) else { return };
        let wanted = |channel: &Channel| channel.node.as_deref() == Some(node) && !channel.wanted_by.is_empty();
        let channels = self.channels.iter().filter(|(_, channel)| wanted(channel));
        on_node.connection_made(channels.map(|(name, channel)| (channel.is_room, name.clone())).collect());
    }

    /// The connection to a node has ended. Returns how many rooms were subscribed on it.
    pub(super) fn connection_ended(&mut self, node: &str) -> usize {
        let confirmed = self.nodes.get_mut(node).map(NodeSubscriptions::connection_ended).unwrap_or_default();
        confirmed.iter().filter(|name| self.lose(node, name)).count()
    }

    /// The next changes on a node. All of them must be answered before the next step.
    pub(super) fn step(&mut self, node: &str, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(on_node) = self.nodes.get_mut(node) else { return changes };
        while let Some(name) = on_node.take_retry(now) {
            let is_room = self.channels.get(&name).is_none_or(|channel| channel.is_room);
            on_node.set_due(is_room, name);
        }
        while changes.len() < CHANNELS_PER_STEP
            && let Some(name) = self.nodes.get_mut(node).and_then(NodeSubscriptions::next_due)
        {
            let channel = self.channels.get(&name);
            let wanted = channel.is_some_and(|it| !it.wanted_by.is_empty() && it.node.as_deref() == Some(node));
            let Some(on_node) = self.nodes.get_mut(node) else { break };
            match (wanted, on_node.confirmed.contains(&name)) {
                (false, false) => {}
                // Its slot has moved away and back.
                (true, true) => {
                    self.confirmed(node, &name);
                }
                (true, false) => changes.push(Change { channel: name, subscribe: true }),
                (false, true) => {
                    // From here on it may be unsubscribed.
                    on_node.confirmed.remove(&name);
                    if let Some(channel) = self.channels.get_mut(&name).filter(|it| it.node.as_deref() == Some(node)) {
                        channel.is_subscribed = false;
                    }
                    changes.push(Change { channel: name, subscribe: false });
                }
            }
        }
        changes
    }

    /// When a refused channel is to be tried again on a node.
    pub(super) fn next_retry(&self, node: &str) -> Option<Instant> {
        self.nodes.get(node)?.next_retry()
    }

    /// A node has made a change. Returns how many subscriptions are complete now that were forbidden before.
    pub(super) fn confirm(&mut self, node: &str, change: Change) -> usize {
        let Change { channel: name, subscribe } = change;
        if !subscribe {
            let removed = self.channels.get_mut(&name).map(|channel| std::mem::take(&mut channel.removed_by));
            removed.into_iter().flatten().for_each(|id| self.channel_removed(id));
            // It may be wanted again by now.
            self.set_due(node, &name);
            self.forget_unused(&name);
            return 0;
        }
        let Some(on_node) = self.nodes.get_mut(node) else { return 0 };
        on_node.confirmed.insert(name.clone());
        self.confirmed(node, &name)
    }

    /// A channel is confirmed on a node. Returns how many subscriptions are complete now that were forbidden before. If
    /// no subscription wants the channel there, it is due, to be unsubscribed.
    fn confirmed(&mut self, node: &str, name: &str) -> usize {
        let is_wanted = |it: &Channel| it.node.as_deref() == Some(node) && !it.wanted_by.is_empty();
        let Some(channel) = self.channels.get_mut(name).filter(|it| is_wanted(it)) else {
            self.set_due(node, name);
            return 0;
        };
        if std::mem::replace(&mut channel.is_subscribed, true) {
            return 0;
        }
        let wanted_by = channel.wanted_by.clone();
        wanted_by.into_iter().filter(|id| self.channel_subscribed(*id)).count()
    }

    /// A node refuses a change. `denied`: why, if a right is missing. Returns the listeners of subscriptions that were
    /// not forbidden before.
    pub(super) fn refuse(
        &mut self,
        node: &str,
        change: &Change,
        denied: Option<&str>,
        now: Instant,
    ) -> Vec<Arc<dyn Listener>> {
        let name = &change.channel;
        if !change.subscribe {
            // A node that refuses to unsubscribe a channel does not have it.
            self.confirm(node, change.clone());
            return Vec::new();
        }
        let pause = if denied.is_some() { DENIED_PAUSE } else { RETRY_PAUSE };
        let number = self.next_id;
        self.next_id += 1;
        if let Some(on_node) = self.nodes.get_mut(node) {
            on_node.retry_at(now + pause, number, name.clone());
        }
        let (Some(why), Some(channel)) = (denied, self.channels.get(name)) else { return Vec::new() };
        let mut newly = Vec::new();
        for id in channel.wanted_by.clone() {
            if let Some(subscription) = self.by_id.get_mut(&id)
                && subscription.deny(why)
            {
                newly.push(subscription.listener.clone());
            }
        }
        newly
    }

    /// A node has unsubscribed a channel without being asked to: its slot is moving.
    pub(super) fn dropped(&mut self, node: &str, name: &str) {
        let Some(name) = self.nodes.get_mut(node).and_then(|it| it.confirmed.take(name)) else { return };
        self.lose(node, &name);
        self.set_due(node, &name);
    }

    pub(super) fn denied(&self) -> usize {
        self.by_id.values().filter(|subscription| subscription.denied).count()
    }

    /// The listeners of a channel, each once.
    pub(super) fn listeners(&self, channel: &str) -> Vec<Arc<dyn Listener>> {
        let Some(channel) = self.channels.get(channel) else { return Vec::new() };
        let mut listeners: Vec<Arc<dyn Listener>> = Vec::with_capacity(1);
        for id in channel.wanted_by.iter().chain(&channel.removed_by) {
            if let Some(subscription) = self.by_id.get(id)
                && !listeners.iter().any(|known| Arc::ptr_eq(known, &subscription.listener))
            {
                listeners.push(subscription.listener.clone());
            }
        }
        listeners
    }

    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// A channel of a subscription is subscribed. Returns whether the subscription is complete now and was forbidden
    /// before.
    fn channel_subscribed(&mut self, id: u64) -> bool {
        let notices = &mut self.notices;
        self.by_id.get_mut(&id).is_some_and(|subscription| subscription.channel_subscribed(notices))
    }

    /// A channel that was confirmed on a node is not any more. Returns whether it was subscribed there for rooms alone.
    fn lose(&mut self, node: &str, name: &str) -> bool {
        let is_subscribed = |it: &Channel| it.is_subscribed && it.node.as_deref() == Some(node);
        let Some(channel) = self.channels.get_mut(name).filter(|it| is_subscribed(it)) else { return false };
        channel.is_subscribed = false;
        let (is_room, wanted_by) = (channel.is_room, channel.wanted_by.clone());
        for id in std::mem::take(&mut channel.removed_by) {
            self.channel_removed(id);
        }
        for id in &wanted_by {
            if let Some(subscription) = self.by_id.get_mut(id) {
                subscription.channel_lost(&mut self.notices);
            }
        }
        self.forget_unused(name);
        is_room && !wanted_by.is_empty()
    }

    /// A channel of a subscription that is being removed is unsubscribed.
    fn channel_removed(&mut self, id: u64) {
        let Some(removal) = self.by_id.get_mut(&id).and_then(|it| it.removal.as_mut()) else { return };
        removal.subscribed = removal.subscribed.saturating_sub(1);
        if removal.subscribed == 0 {
            self.by_id.remove(&id);
        }
    }

    /// Assigns a channel to the node that has its slot now.
    fn place(&mut self, name: &Arc<str>) {
        let Some(channel) = self.channels.get(name) else { return };
        let node = self.slots.of(channel.slot).cloned();
        let (before, now) = (channel.node.clone(), node.as_ref().map(|node| node.address.clone()));
        if before == now {
            return;
        }
        let wanted = !channel.wanted_by.is_empty();
        if wanted {
            self.count(name, false);
        }
        if let Some(before) = &before {
            self.lose(before, name);
            self.set_due(before, name);
        }
        if let Some(node) = node {
            self.nodes.entry(node.address.clone()).or_insert_with(|| NodeSubscriptions::new(node));
        }
        if let Some(channel) = self.channels.get_mut(name) {
            channel.node = now;
        }
        if wanted {
            self.count(name, true);
        }
    }

    /// Counts a channel on its node as wanted, or as no longer wanted; and it is due.
    fn count(&mut self, name: &Arc<str>, wanted: bool) {
        let Some(node) = self.channels.get(name).and_then(|channel| channel.node.clone()) else { return };
        if let Some(on_node) = self.nodes.get_mut(&node) {
            on_node.wanted = if wanted { on_node.wanted + 1 } else { on_node.wanted.saturating_sub(1) };
        }
        self.set_due(&node, name);
    }

    fn set_due(&mut self, node: &str, name: &str) {
        let (name, is_room) = match self.channels.get_key_value(name) {
            Some((name, channel)) => (name.clone(), channel.is_room),
            None => (name.into(), true),
        };
        if let Some(on_node) = self.nodes.get_mut(node).filter(|it| it.is_connected) {
            on_node.set_due(is_room, name);
        }
    }

    fn forget_unused(&mut self, name: &str) {
        let unused = |it: &Channel| it.wanted_by.is_empty() && it.removed_by.is_empty() && !it.is_subscribed;
        if self.channels.get(name).is_some_and(unused) {
            self.channels.remove(name);
        }
    }
}
