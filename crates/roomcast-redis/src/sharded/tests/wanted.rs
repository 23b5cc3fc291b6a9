//! Random histories of what is wanted, beside a Cluster whose slots move, whose nodes die and which forbids channels.

use crate::bus::routes::doubles::Ear;
use crate::sharded::slots::{Node, Slots, slot};
use crate::sharded::wanted::{CHANNELS_PER_STEP, Change, DENIED_PAUSE, Tell, Wanted};
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
    /// What the connection to each node is subscribed to; `None`: there is none.
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

    /// A slot moves: its old node lets go of the channel.
    fn moves(&mut self, wanted: &mut Wanted, channel: &str, to: usize) {
        let from = self.owner(channel);
        self.moved.insert(slot(channel), to);
        if from != to
            && let Some(subscribed) = &mut self.connections[from]
        {
            let moved: Vec<Arc<str>> = subscribed.extract_if(|it| slot(it) == slot(channel)).collect();
            moved.iter().for_each(|it| wanted.dropped(&self.nodes[from].address.clone(), it));
        }
        tell(wanted);
    }

    fn dies(&mut self, wanted: &mut Wanted, node: usize) {
        self.connections[node] = None;
        wanted.end(&self.nodes[node].address);
        tell(wanted);
    }

    /// One step on a node. What is wanted may change before it answers.
    fn step(&mut self, wanted: &mut Wanted, node: usize, meanwhile: impl FnOnce(&mut Wanted)) -> usize {
        let address = self.nodes[node].address.clone();
        if self.connections[node].is_none() {
            if !wanted.nodes().iter().any(|it| it.address == address) {
                return 0;
            }
            self.connections[node] = Some(HashSet::new());
            wanted.begin(&address);
        }
        let changes = wanted.step(&address, self.now);
        tell(wanted);
        assert!(changes.len() <= CHANNELS_PER_STEP);
        let sent = changes.len();
        meanwhile(wanted);
        for change in changes {
            let owner = self.owner(&change.channel);
            let Some(subscribed) = &mut self.connections[node] else { break };
            match change {
                Change { begin: true, .. } if owner != node => {
                    wanted.refused(&address, &change, None, self.now);
                    wanted.settle(self.slots());
                }
                Change { begin: true, ref channel } if self.forbidden.contains(&**channel) => {
                    wanted.refused(&address, &change, Some("no"), self.now);
                }
                Change { begin, channel } => {
                    if begin {
                        assert!(subscribed.insert(channel.clone()), "{channel} was subscribed");
                    } else {
                        subscribed.remove(&channel);
                    }
                    wanted.taken(&address, Change { channel, begin });
                }
            }
            tell(wanted);
        }
        sent
    }

    /// Until nothing is left to do.
    fn settle(&mut self, wanted: &mut Wanted) {
        wanted.settle(self.slots());
        tell(wanted);
        let until = self.now + DENIED_PAUSE / 2;
        for _ in 0..200 {
            let sent: usize = (0..NODES).map(|node| self.step(wanted, node, |_| {})).sum();
            let retry = self.nodes.iter().filter_map(|node| wanted.next_retry(&node.address)).min();
            match retry {
                _ if sent > 0 => {}
                // What is forbidden is tried later.
                Some(at) if at < until => self.now = at,
                _ => return,
            }
        }
        panic!("it never settles");
    }
}

fn tell(wanted: &mut Wanted) {
    while let Some(tell) = wanted.tell() {
        match tell {
            Tell::Connected(listener) => listener.connected(),
            Tell::Lost(listener) => listener.lost(),
        }
    }
}

#[derive(Debug, Clone)]
enum Deed {
    /// A subject of these channels is wanted, or no longer.
    Flip(usize),
    /// The same before the answer of the next step.
    FlipAmid(usize, usize),
    Step(usize),
    Move(usize, usize),
    /// The same, and our map is told of it.
    MoveAndTell(usize, usize),
    Die(usize),
    Forbid(usize, bool),
    Wait,
}

fn deed() -> impl Strategy<Value = Deed> {
    let (subject, node, channel) = (0..SUBJECTS.len(), 0..NODES, 0..CHANNELS.len());
    prop_oneof![
        4 => subject.clone().prop_map(Deed::Flip),
        2 => (node.clone(), subject).prop_map(|(node, subject)| Deed::FlipAmid(node, subject)),
        6 => node.clone().prop_map(Deed::Step),
        1 => (channel.clone(), node.clone()).prop_map(|(channel, node)| Deed::Move(channel, node)),
        1 => (channel.clone(), node.clone()).prop_map(|(channel, node)| Deed::MoveAndTell(channel, node)),
        1 => node.prop_map(Deed::Die),
        1 => (channel, any::<bool>()).prop_map(|(channel, forbid)| Deed::Forbid(channel, forbid)),
        1 => Just(Deed::Wait),
    ]
}

const CHANNELS: [&str; 6] = ["a", "a own", "b", "b own", "a room", "b room"];

/// Channels of each, and whether it is a namespace. The third shares one with the first, and the last with the second.
const SUBJECTS: [(&[&str], bool); 6] = [
    (&["a", "a own"], true),
    (&["b", "b own"], true),
    (&["a"], false),
    (&["a room"], false),
    (&["b room"], false),
    (&["b own"], false),
];

struct Subject {
    id: u64,
    ear: Arc<Ear>,
    heard: oneshot::Receiver<Result<(), String>>,
}

/// Wants a subject, or gives it up.
fn flip(
    wanted: &mut Wanted,
    open: &mut HashMap<usize, Subject>,
    left: &Mutex<Vec<oneshot::Receiver<()>>>,
    subject: usize,
) {
    match open.remove(&subject) {
        Some(Subject { id, ear, .. }) => {
            left.lock().push(wanted.leave(id));
            tell(wanted);
            ear.forget();
        }
        None => {
            let (channels, is_told) = SUBJECTS[subject];
            let (ear, (waiting, heard)) = (Arc::<Ear>::default(), oneshot::channel());
            let id = wanted.add(channels.iter().map(ToString::to_string).collect(), ear.clone(), is_told);
            wanted.wait(id, waiting);
            open.insert(subject, Subject { id, ear, heard });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Whatever happened: in the end each channel that is wanted is subscribed once, on the node that has it, and nothing else is.
    #[test]
    fn what_is_wanted_is_heard_once_and_where_it_is(deeds in prop::collection::vec(deed(), 1..120)) {
        let (mut wanted, mut cluster) = (Wanted::default(), Cluster::new());
        let (mut open, left) = (HashMap::new(), Mutex::default());
        wanted.settle(cluster.slots());
        for deed in deeds {
            match deed {
                Deed::Flip(subject) => flip(&mut wanted, &mut open, &left, subject),
                Deed::FlipAmid(node, subject) => {
                    cluster.step(&mut wanted, node, |wanted| flip(wanted, &mut open, &left, subject));
                }
                Deed::Step(node) => {
                    cluster.step(&mut wanted, node, |_| {});
                }
                Deed::Move(channel, node) => cluster.moves(&mut wanted, CHANNELS[channel], node),
                Deed::MoveAndTell(channel, node) => {
                    cluster.moves(&mut wanted, CHANNELS[channel], node);
                    wanted.settle(cluster.slots());
                    tell(&mut wanted);
                }
                Deed::Die(node) => cluster.dies(&mut wanted, node),
                Deed::Forbid(channel, true) => {
                    cluster.forbidden.insert(CHANNELS[channel].to_owned());
                }
                Deed::Forbid(channel, false) => {
                    cluster.forbidden.remove(CHANNELS[channel]);
                }
                Deed::Wait => cluster.now += Duration::from_secs(1),
            }
            tell(&mut wanted);
        }
        cluster.settle(&mut wanted);
        let wants: BTreeSet<&str> = open.keys().flat_map(|subject| SUBJECTS[*subject].0.iter().copied()).collect();
        // What was forbidden is tried again, and is heard then.
        cluster.forbidden.clear();
        cluster.now += DENIED_PAUSE;
        cluster.settle(&mut wanted);
        let mut heard: Vec<(&str, usize)> = Vec::new();
        for (number, subscribed) in cluster.connections.iter().enumerate() {
            heard.extend(subscribed.iter().flatten().map(|channel| (&**channel, number)));
        }
        heard.sort_unstable();
        let expected: Vec<(&str, usize)> = wants.iter().map(|channel| (*channel, cluster.owner(channel))).collect();
        prop_assert_eq!(heard, expected);
        for (subject, Subject { ear, heard, .. }) in &mut open {
            prop_assert_eq!(ear.hears(), SUBJECTS[*subject].1, "subject {}", subject);
            prop_assert!(heard.try_recv().is_ok(), "who waits is told");
        }
        for left in left.lock().iter_mut() {
            prop_assert!(left.try_recv() == Err(oneshot::error::TryRecvError::Closed), "Redis has let go of what was left");
        }
        prop_assert_eq!(wanted.denied(), 0);
    }
}

#[test]
fn namespaces_come_before_rooms_and_changes_go_out_in_chunks() {
    let (mut wanted, mut cluster) = (Wanted::default(), Cluster::new());
    wanted.settle(cluster.slots());
    for number in 0..CHANNELS_PER_STEP {
        wanted.add(vec![format!("a room {number}")], Arc::<Ear>::default(), false);
    }
    let ear = Arc::<Ear>::default();
    wanted.add(vec!["z".to_owned()], ear.clone(), true);
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), CHANNELS_PER_STEP);
    assert!(ear.hears());
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), 1);
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), 0);
}

#[test]
fn what_is_forbidden_is_told_at_once_and_tried_again_at_the_time_and_not_before() {
    let (mut wanted, mut cluster) = (Wanted::default(), Cluster::new());
    wanted.settle(cluster.slots());
    cluster.forbidden.insert("a room".to_owned());
    let id = wanted.add(vec!["a room".to_owned()], Arc::<Ear>::default(), false);
    let wait = |wanted: &mut Wanted| {
        let (waiting, heard) = oneshot::channel();
        wanted.wait(id, waiting);
        heard
    };
    let mut first = wait(&mut wanted);
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), 1);
    assert!(first.try_recv().unwrap().is_err() && wait(&mut wanted).try_recv().unwrap().is_err());
    assert_eq!(wanted.denied(), 1);
    cluster.forbidden.clear();
    cluster.now += DENIED_PAUSE - Duration::from_millis(1);
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), 0);
    cluster.now += Duration::from_millis(1);
    assert_eq!(cluster.step(&mut wanted, 0, |_| {}), 1);
    assert!(wait(&mut wanted).try_recv().unwrap().is_ok());
    assert_eq!(wanted.denied(), 0);
}
