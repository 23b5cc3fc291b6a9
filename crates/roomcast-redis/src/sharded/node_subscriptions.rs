//! [`NodeSubscriptions`]: what is subscribed on one node, and what is to be done there.

use super::node::Node;
use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) channel: Arc<str>,
    pub(super) subscribe: bool,
}

pub(super) struct NodeSubscriptions {
    pub(super) node: Arc<Node>,
    pub(super) is_connected: bool,
    /// How many channels are wanted on this node.
    pub(super) wanted: usize,
    pub(super) confirmed: HashSet<Arc<str>>,
    /// Channels to check, with whether only rooms want them: those of namespaces come first.
    due: BTreeSet<(bool, Arc<str>)>,
    /// Refused channels, by the time at which they are due again.
    refused: BTreeMap<(Instant, u64), Arc<str>>,
}

impl NodeSubscriptions {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            is_connected: false,
            wanted: 0,
            confirmed: HashSet::new(),
            due: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// There is a new connection, on which nothing is subscribed yet. `due`: the channels to subscribe.
    pub(super) fn connection_made(&mut self, due: BTreeSet<(bool, Arc<str>)>) {
        self.is_connected = true;
        self.due = due;
    }

    /// The connection has ended. Returns the channels that were confirmed on it.
    pub(super) fn connection_ended(&mut self) -> HashSet<Arc<str>> {
        self.is_connected = false;
        self.due.clear();
        self.refused.clear();
        std::mem::take(&mut self.confirmed)
    }

    /// A channel is to be checked.
    pub(super) fn set_due(&mut self, is_room: bool, channel: Arc<str>) {
        // It may be due as a channel of the other kind.
        let other = (!is_room, channel);
        self.due.remove(&other);
        self.due.insert((is_room, other.1));
    }

    pub(super) fn next_due(&mut self) -> Option<Arc<str>> {
        self.due.pop_first().map(|(_, channel)| channel)
    }

    /// A refused channel is due again at this time. `number` tells apart those with the same time.
    pub(super) fn retry_at(&mut self, at: Instant, number: u64, channel: Arc<str>) {
        self.refused.insert((at, number), channel);
    }

    /// Takes out a refused channel whose time has come.
    pub(super) fn take_retry(&mut self, now: Instant) -> Option<Arc<str>> {
        self.refused.first_entry().filter(|first| first.key().0 <= now).map(OccupiedEntry::remove)
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.refused.first_key_value().map(|((at, _), _)| *at)
    }
}
