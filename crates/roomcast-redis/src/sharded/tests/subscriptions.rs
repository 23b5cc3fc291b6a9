//! Random histories of subscriptions, against a fake Cluster whose slots move, whose nodes die, and which forbids
//! channels.

use crate::delivery::denied::DENIED_PAUSE;
use crate::delivery::listener::doubles::FakeListener;
use crate::sharded::node::Node;
use crate::sharded::node_subscriptions::Change;
use crate::sharded::slots::{Slots, slot};
use crate::sharded::subscription::Notice;
use crate::sharded::subscriptions::{CHANNELS_PER_STEP, Subscriptions};
use parking_lot::Mutex;
use proptest::prelude::*;
use redis::IntoConnectionInfo;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

const NODES: usize = 3;

/// A Cluster, and a connection to each node.
struct Cluster {
    nodes: Vec<Arc<Node>>,
    /// The node of each channel's slot, where it is not the first.
    moved: BTreeMap<u16, usize>,
    /// What is subscribed on the connection to each node; `None` if there is no connection.
    connections: Vec<Option<HashSet<Arc<str>>>>,
    forbidden: HashSet<String>,
    now: Instant,
}

impl Cluster {
    fn new() -> Self {
        let node = |number| Node::new(format!("redis://127.0.0.1:{}", 7_000 + number).into_connection_info().unwrap());
        Self {
            nodes: (0..NODES).map(node).collect(),
            moved: BTreeMap::new(),
            connections: vec![None; NODES],
            forbidden: HashSet::new(),
            now: Instant::now(),
        }
    }

    fn owner(&self, channel: &str) -> usize {
        self.moved.get(&slot(channel)).copied().unwrap_or(0)
    }

    fn slots(&self) -> Slots {
        let mut slots = Slots::all_of(self.nodes[0].clone());
        for (slot, node) in &self.moved {
            slots.moved(*slot, "127.0.0.1", 7_000 + *node as u16);
        }
        slots
    }

    /// A slot moves: its old node unsubscribes the channel.
    fn moves(&mut self, subscriptions: &mut Subscriptions, channel: &str, to: usize) {
        let from = self.owner(channel);
        self.moved.insert(slot(channel), to);
        if from != to
            && let Some(subscribed) = &mut self.connections[from]
        {
            let moved: Vec<Arc<str>> = subscribed.extract_if(|it| slot(it) == slot(channel)).collect();
            moved.iter().for_each(|it| subscriptions.dropped(&self.nodes[from].address.clone(), it));
        }
        notify(subscriptions);
    }

    fn dies(&mut self, subscriptions: &mut Subscriptions, node: usize) {
        self.connections[node] = None;
        subscriptions.connection_ended(&self.nodes[node].address);
        notify(subscriptions);
    }

    /// One step on a node; `meanwhile` runs before the node answers. Returns how many changes it was sent.
    fn step(
        &mut self,
        subscriptions: &mut Subscriptions,
        node: usize,
        meanwhile: impl FnOnce(&mut Subscriptions),
    ) -> usize {
        let address = self.nodes[node].address.clone();
        if self.connections[node].is_none() {
            if !subscriptions.nodes().iter().any(|it| it.address == address) {
                return 0;
            }
            self.connections[node] = Some(HashSet::new());
            subscriptions.connection_made(&address);
        }
        let changes = subscriptions.step(&address, self.now);
        notify(subscriptions);
        assert!(changes.len() <= CHANNELS_PER_STEP);
        let sent = changes.len();
        meanwhile(subscriptions);
        for change in changes {
            let owner = self.owner(&change.channel);
            let Some(subscribed) = &mut self.connections[node] else { break };
            match change {
                Change { subscribe: true, .. } if owner != node => {
                    subscriptions.refuse(&address, &change, None, self.now);
                    subscriptions.set_slots(self.slots());
                }
                Change { subscribe: true, ref channel } if self.forbidden.contains(&**channel) => {
                    subscriptions.refuse(&address, &change, Some("no"), self.now);
                }
                Change { subscribe, channel } => {
                    if subscribe {
                        assert!(subscribed.insert(channel.clone()), "{channel} was subscribed");
                    } else {
                        subscribed.remove(&channel);
                    }
                    subscriptions.confirm(&address, Change { channel, subscribe });
                }
            }
            notify(subscriptions);
        }
        sent
    }

    /// Steps until nothing is left to do.
    fn settle(&mut self, subscriptions: &mut Subscriptions) {
        subscriptions.set_slots(self.slots());
        notify(subscriptions);
        let until = self.now + DENIED_PAUSE / 2;
        for _ in 0..200 {
            let sent: usize = (0..NODES).map(|node| self.step(subscriptions, node, |_| {})).sum();
            let retry = self.nodes.iter().filter_map(|node| subscriptions.next_retry(&node.address)).min();
            match retry {
                _ if sent > 0 => {}
                // Forbidden channels are retried later.
                Some(at) if at < until => self.now = at,
                _ => return,
            }
        }
        panic!("the subscriptions never settle");
    }
}

fn notify(subscriptions: &mut Subscriptions) {
    while let Some(notice) = subscriptions.next_notice() {
        match notice {
            Notice::Connected(listener) => listener.connected(),
            Notice::Lost(listener) => listener.lost(),
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A subscription is added, or removed.
    Flip(usize),
    /// The same, before the next step is answered.
    FlipAmid(usize, usize),
    Step(usize),
    Move(usize, usize),
    /// The same, and our slots are updated.
    MoveAndLearn(usize, usize),
    Die(usize),
    Forbid(usize, bool),
    Wait,
}

fn event() -> impl Strategy<Value = Event> {
    let (which, node, channel) = (0..SUBSCRIPTIONS.len(), 0..NODES, 0..CHANNELS.len());
    prop_oneof![
        4 => which.clone().prop_map(Event::Flip),
        2 => (node.clone(), which).prop_map(|(node, which)| Event::FlipAmid(node, which)),
        6 => node.clone().prop_map(Event::Step),
        1 => (channel.clone(), node.clone()).prop_map(|(channel, node)| Event::Move(channel, node)),
        1 => (channel.clone(), node.clone()).prop_map(|(channel, node)| Event::MoveAndLearn(channel, node)),
        1 => node.prop_map(Event::Die),
        1 => (channel, any::<bool>()).prop_map(|(channel, forbid)| Event::Forbid(channel, forbid)),
        1 => Just(Event::Wait),
    ]
}

const CHANNELS: [&str; 6] = ["a", "a own", "b", "b own", "a room", "b room"];

/// The channels of each subscription, and whether it is a namespace's. The third shares a channel with the first, and
/// the last with the second.
const SUBSCRIPTIONS: [(&[&str], bool); 6] = [
    (&["a", "a own"], true),
    (&["b", "b own"], true),
    (&["a"], false),
    (&["a room"], false),
    (&["b room"], false),
    (&["b own"], false),
];

struct Subscribed {
    id: u64,
    listener: Arc<FakeListener>,
    resolved: oneshot::Receiver<Result<(), String>>,
}

/// Adds a subscription, or removes it.
fn flip(
    subscriptions: &mut Subscriptions,
    open: &mut HashMap<usize, Subscribed>,
    removals: &Mutex<Vec<oneshot::Receiver<()>>>,
    which: usize,
) {
    match open.remove(&which) {
        Some(Subscribed { id, listener, .. }) => {
            removals.lock().push(subscriptions.remove(id));
            notify(subscriptions);
            listener.reset();
        }
        None => {
            let (channels, notifies) = SUBSCRIPTIONS[which];
            let (listener, (waiter, resolved)) = (Arc::<FakeListener>::default(), oneshot::channel());
            let id = subscriptions.add(channels.iter().map(ToString::to_string).collect(), listener.clone(), notifies);
            subscriptions.wait(id, waiter);
            open.insert(which, Subscribed { id, listener, resolved });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Whatever happened: in the end each subscriptions channel is subscribed once, on the node that has it, and
    /// nothing else is.
    #[test]
    fn wanted_channels_are_subscribed_once_and_on_their_nodes(events in prop::collection::vec(event(), 1..120)) {
        let (mut subscriptions, mut cluster) = (Subscriptions::default(), Cluster::new());
        let (mut open, removals) = (HashMap::new(), Mutex::default());
        subscriptions.set_slots(cluster.slots());
        for event in events {
            match event {
                Event::Flip(which) => flip(&mut subscriptions, &mut open, &removals, which),
                Event::FlipAmid(node, which) => {
                    cluster.step(&mut subscriptions, node, |subscriptions| flip(subscriptions, &mut open, &removals, which));
                }
                Event::Step(node) => {
                    cluster.step(&mut subscriptions, node, |_| {});
                }
                Event::Move(channel, node) => cluster.moves(&mut subscriptions, CHANNELS[channel], node),
                Event::MoveAndLearn(channel, node) => {
                    cluster.moves(&mut subscriptions, CHANNELS[channel], node);
                    subscriptions.set_slots(cluster.slots());
                    notify(&mut subscriptions);
                }
                Event::Die(node) => cluster.dies(&mut subscriptions, node),
                Event::Forbid(channel, true) => {
                    cluster.forbidden.insert(CHANNELS[channel].to_owned());
                }
                Event::Forbid(channel, false) => {
                    cluster.forbidden.remove(CHANNELS[channel]);
                }
                Event::Wait => cluster.now += Duration::from_secs(1),
            }
            notify(&mut subscriptions);
        }
        cluster.settle(&mut subscriptions);
        let wants: BTreeSet<&str> = open.keys().flat_map(|which| SUBSCRIPTIONS[*which].0.iter().copied()).collect();
        // Forbidden channels are retried, and are subscribed then.
        cluster.forbidden.clear();
        cluster.now += DENIED_PAUSE;
        cluster.settle(&mut subscriptions);
        let mut found: Vec<(&str, usize)> = Vec::new();
        for (number, subscribed) in cluster.connections.iter().enumerate() {
            found.extend(subscribed.iter().flatten().map(|channel| (&**channel, number)));
        }
        found.sort_unstable();
        let expected: Vec<(&str, usize)> = wants.iter().map(|channel| (*channel, cluster.owner(channel))).collect();
        prop_assert_eq!(found, expected);
        for (which, Subscribed { listener, resolved, .. }) in &mut open {
            prop_assert_eq!(listener.is_connected(), SUBSCRIPTIONS[*which].1, "which {}", which);
            prop_assert!(resolved.try_recv().is_ok(), "a waiter still waits");
        }
        for removal in removals.lock().iter_mut() {
            prop_assert!(removal.try_recv() == Err(oneshot::error::TryRecvError::Closed), "a removal never finished");
        }
        prop_assert_eq!(subscriptions.denied(), 0);
    }
}

#[test]
fn namespaces_come_before_rooms_and_changes_go_out_in_chunks() {
    let (mut subscriptions, mut cluster) = (Subscriptions::default(), Cluster::new());
    subscriptions.set_slots(cluster.slots());
    for number in 0..CHANNELS_PER_STEP {
        subscriptions.add(vec![format!("a room {number}")], Arc::<FakeListener>::default(), false);
    }
    let listener = Arc::<FakeListener>::default();
    subscriptions.add(vec!["z".to_owned()], listener.clone(), true);
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), CHANNELS_PER_STEP);
    assert!(listener.is_connected());
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), 1);
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), 0);
}

#[test]
fn a_forbidden_channel_fails_at_once_and_is_retried_at_its_time_and_not_before() {
    let (mut subscriptions, mut cluster) = (Subscriptions::default(), Cluster::new());
    subscriptions.set_slots(cluster.slots());
    cluster.forbidden.insert("a room".to_owned());
    let id = subscriptions.add(vec!["a room".to_owned()], Arc::<FakeListener>::default(), false);
    let wait = |subscriptions: &mut Subscriptions| {
        let (waiter, resolved) = oneshot::channel();
        subscriptions.wait(id, waiter);
        resolved
    };
    let mut first = wait(&mut subscriptions);
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), 1);
    assert!(first.try_recv().unwrap().is_err() && wait(&mut subscriptions).try_recv().unwrap().is_err());
    assert_eq!(subscriptions.denied(), 1);
    cluster.forbidden.clear();
    cluster.now += DENIED_PAUSE - Duration::from_millis(1);
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), 0);
    cluster.now += Duration::from_millis(1);
    assert_eq!(cluster.step(&mut subscriptions, 0, |_| {}), 1);
    assert!(wait(&mut subscriptions).try_recv().unwrap().is_ok());
    assert_eq!(subscriptions.denied(), 0);
}
