//! [`Wanted`]: which channels are to be heard and on which node, which are, and the next step from one to the other.
//!
//! Only the difference counts, never the way to it. It decides; [`Ears`](super::ears::Ears) and its connections do.

use super::slots::{Node, Slots, slot};
use crate::bus::Listener;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Commands that are sent together. Redis serves others in between.
pub(super) const CHANNELS_PER_STEP: usize = 128;

/// After this what Redis has forbidden is tried again.
pub(super) const DENIED_PAUSE: Duration = Duration::from_secs(10);

/// After this a channel is tried again that its node would not have, for another reason than a right.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Resolves when a subject is heard, or cannot be.
pub(super) type Heard = oneshot::Sender<Result<(), String>>;

/// All that is to be heard.
#[derive(Default)]
pub(super) struct Wanted {
    subjects: HashMap<u64, Subject>,
    channels: HashMap<Arc<str>, Channel>,
    ears: HashMap<Arc<str>, Ear>,
    slots: Slots,
    next: u64,
    /// What listeners are to be told, in order.
    tells: VecDeque<Tell>,
}

/// What wants channels.
struct Subject {
    channels: Vec<Arc<str>>,
    /// Of them, those that are not heard.
    missing: usize,
    listener: Arc<dyn Listener>,
    /// A namespace is told when it is heard and when not; a room is not.
    is_told: bool,
    /// It was told that it is heard.
    told: bool,
    /// A channel of it is forbidden, or was when it was last tried.
    denied: bool,
    waiting: Vec<Heard>,
    leaving: Option<Leaving>,
}

/// A subject that is no longer wanted; its channels still bring what was sent before Redis let go of them.
struct Leaving {
    /// Channels that Redis has not let go of.
    heard: usize,
    /// Dropped when it has of all.
    _left: oneshot::Sender<()>,
}

struct Channel {
    slot: u16,
    /// The node that has it.
    home: Option<Arc<str>>,
    /// It is heard there.
    heard: bool,
    wanted_by: Vec<u64>,
    left_by: Vec<u64>,
    /// Only rooms want it: namespaces come first.
    is_room: bool,
}

/// What is known of a node.
struct Ear {
    node: Arc<Node>,
    up: bool,
    /// Channels that are to be heard there.
    wanted: usize,
    confirmed: HashSet<Arc<str>>,
    /// Channels to look at; namespaces' first.
    todo: BTreeSet<(bool, Arc<str>)>,
    /// Those that were refused, and when they are looked at again.
    later: BTreeMap<(Instant, u64), Arc<str>>,
}

impl Ear {
    /// A channel is to be looked at, once.
    fn look_at(&mut self, is_room: bool, name: Arc<str>) {
        let other = (!is_room, name);
        self.todo.remove(&other);
        self.todo.insert((is_room, other.1));
    }
}

/// A subscription to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) channel: Arc<str>,
    /// Or to end.
    pub(super) begin: bool,
}

/// What a listener is to be told.
pub(super) enum Tell {
    Connected(Arc<dyn Listener>),
    Lost(Arc<dyn Listener>),
}

impl Wanted {
    /// Wants channels for a listener; the key by which they are given up again.
    pub(super) fn add(&mut self, channels: Vec<String>, listener: Arc<dyn Listener>, is_told: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        let channels: Vec<Arc<str>> = channels.into_iter().map(Arc::from).collect();
        let missing = channels.len();
        let waiting = Vec::new();
        let subject = Subject {
            channels: channels.clone(),
            missing,
            listener,
            is_told,
            told: false,
            denied: false,
            waiting,
            leaving: None,
        };
        self.subjects.insert(id, subject);
        for name in channels {
            let slot = slot(&name);
            let channel = self.channels.entry(name.clone()).or_insert_with(|| Channel {
                slot,
                home: None,
                heard: false,
                wanted_by: Vec::new(),
                left_by: Vec::new(),
                is_room: true,
            });
            channel.is_room &= !is_told;
            let is_new = channel.wanted_by.is_empty();
            channel.wanted_by.push(id);
            let heard = channel.heard;
            for left in std::mem::take(&mut channel.left_by) {
                self.let_go(left);
            }
            if is_new {
                self.settle_home(&name);
                self.count(&name, true);
            }
            if heard {
                self.heard_by(id);
            }
        }
        id
    }

    /// Who waits until a subject is heard.
    pub(super) fn wait(&mut self, id: u64, heard: Heard) {
        let Some(subject) = self.subjects.get_mut(&id) else { return };
        if subject.missing == 0 {
            let _ = heard.send(Ok(()));
        } else if subject.denied {
            let _ = heard.send(Err("Redis forbids its channel, which is tried again every 10 s".to_owned()));
        } else {
            // Those that gave up are forgotten.
            subject.waiting.retain(|waiting| !waiting.is_closed());
            subject.waiting.push(heard);
        }
    }

    /// A subject is no longer wanted. What resolves when Redis has let go of its channels; until then its listener still hears.
    pub(super) fn leave(&mut self, id: u64) -> oneshot::Receiver<()> {
        let (sender, left) = oneshot::channel();
        let Some(subject) = self.subjects.get_mut(&id).filter(|subject| subject.leaving.is_none()) else { return left };
        subject.waiting.clear();
        subject.told = false;
        let channels = subject.channels.clone();
        subject.leaving = Some(Leaving { heard: 0, _left: sender });
        let mut still = 0;
        for name in channels {
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            channel.wanted_by.retain(|wants| *wants != id);
            if !channel.wanted_by.is_empty() {
                continue;
            }
            if channel.heard {
                channel.left_by.push(id);
                still += 1;
            }
            self.count(&name, false);
            self.forget_unused(&name);
        }
        match self.subjects.get_mut(&id).and_then(|subject| subject.leaving.as_mut()) {
            Some(leaving) if still > 0 => leaving.heard = still,
            _ => {
                self.subjects.remove(&id);
            }
        }
        left
    }

    /// Where channels are from now on.
    pub(super) fn settle(&mut self, slots: Slots) {
        self.slots = slots;
        let names: Vec<Arc<str>> = self.channels.keys().cloned().collect();
        for name in names {
            self.settle_home(&name);
        }
    }

    /// Nodes that have something to hear, or something that is heard and should not be.
    pub(super) fn nodes(&mut self) -> Vec<Arc<Node>> {
        self.ears.retain(|_, ear| ear.up || ear.wanted > 0);
        self.ears.values().filter(|ear| ear.wanted > 0).map(|ear| ear.node.clone()).collect()
    }

    /// Whether nothing is to be heard on a node, and nothing is.
    pub(super) fn is_idle(&self, node: &str) -> bool {
        self.ears.get(node).is_none_or(|ear| ear.wanted == 0 && ear.confirmed.is_empty())
    }

    /// Whether a channel is heard at a node.
    pub(super) fn hears(&self, node: &str, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.heard && channel.home.as_deref() == Some(node))
    }

    /// There is a new connection to a node, which hears nothing yet.
    pub(super) fn begin(&mut self, node: &str) {
        self.end(node);
        let Some(ear) = self.ears.get_mut(node) else { return };
        ear.up = true;
        ear.todo = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.home.as_deref() == Some(node) && !channel.wanted_by.is_empty())
            .map(|(name, channel)| (channel.is_room, name.clone()))
            .collect();
    }

    /// The connection to a node has ended. Tells how many rooms were heard by it.
    pub(super) fn end(&mut self, node: &str) -> usize {
        let Some(ear) = self.ears.get_mut(node) else { return 0 };
        ear.up = false;
        ear.todo.clear();
        ear.later.clear();
        let confirmed = std::mem::take(&mut ear.confirmed);
        confirmed.iter().filter(|name| self.unheard(node, name)).count()
    }

    /// What is to be done next on a node. Every change must be answered before the next step.
    pub(super) fn step(&mut self, node: &str, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(ear) = self.ears.get_mut(node) else { return changes };
        while let Some(first) = ear.later.first_entry().filter(|first| first.key().0 <= now) {
            let name = first.remove();
            let is_room = self.channels.get(&name).is_none_or(|channel| channel.is_room);
            ear.look_at(is_room, name);
        }
        while changes.len() < CHANNELS_PER_STEP
            && let Some((_, name)) = self.ears.get_mut(node).and_then(|ear| ear.todo.pop_first())
        {
            let channel = self.channels.get(&name);
            let wanted = channel.is_some_and(|it| !it.wanted_by.is_empty() && it.home.as_deref() == Some(node));
            let Some(ear) = self.ears.get_mut(node) else { break };
            match (wanted, ear.confirmed.contains(&name)) {
                (false, false) => {}
                // Its slot has gone and come back.
                (true, true) => {
                    self.confirmed(node, &name);
                }
                (true, false) => changes.push(Change { channel: name, begin: true }),
                (false, true) => {
                    // From here on it may have gone.
                    ear.confirmed.remove(&name);
                    if let Some(channel) = self.channels.get_mut(&name).filter(|it| it.home.as_deref() == Some(node)) {
                        channel.heard = false;
                    }
                    changes.push(Change { channel: name, begin: false });
                }
            }
        }
        changes
    }

    /// When something is to be tried again on a node.
    pub(super) fn next_retry(&self, node: &str) -> Option<Instant> {
        self.ears.get(node)?.later.first_key_value().map(|((at, _), _)| *at)
    }

    /// A node has taken a change. Tells how many subjects were forbidden until now.
    pub(super) fn taken(&mut self, node: &str, change: Change) -> usize {
        let Change { channel: name, begin } = change;
        if !begin {
            let left = self.channels.get_mut(&name).map(|channel| std::mem::take(&mut channel.left_by));
            left.into_iter().flatten().for_each(|id| self.let_go(id));
            // It may be wanted again by now.
            self.look_at(node, &name);
            self.forget_unused(&name);
            return 0;
        }
        let Some(ear) = self.ears.get_mut(node) else { return 0 };
        ear.confirmed.insert(name.clone());
        self.confirmed(node, &name)
    }

    /// A channel is confirmed on a node: who wants it hears it, and if nobody does it is to be given up. Tells how many subjects were
    /// forbidden until now.
    fn confirmed(&mut self, node: &str, name: &str) -> usize {
        let is_wanted = |it: &Channel| it.home.as_deref() == Some(node) && !it.wanted_by.is_empty();
        let Some(channel) = self.channels.get_mut(name).filter(|it| is_wanted(it)) else {
            self.look_at(node, name);
            return 0;
        };
        if std::mem::replace(&mut channel.heard, true) {
            return 0;
        }
        let wanted_by = channel.wanted_by.clone();
        wanted_by.into_iter().filter(|id| self.heard_by(*id)).count()
    }

    /// A node does not take a change. `denied`: it is forbidden, and why. The listeners to which that is new.
    pub(super) fn refused(
        &mut self,
        node: &str,
        change: &Change,
        denied: Option<&str>,
        now: Instant,
    ) -> Vec<Arc<dyn Listener>> {
        let name = &change.channel;
        if !change.begin {
            // What a node will not let go of it has not.
            self.taken(node, change.clone());
            return Vec::new();
        }
        let pause = if denied.is_some() { DENIED_PAUSE } else { RETRY_PAUSE };
        let number = self.next;
        self.next += 1;
        if let Some(ear) = self.ears.get_mut(node) {
            ear.later.insert((now + pause, number), name.clone());
        }
        let (Some(why), Some(channel)) = (denied, self.channels.get(name)) else { return Vec::new() };
        let mut newly = Vec::new();
        for id in channel.wanted_by.clone() {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            for waiting in subject.waiting.drain(..) {
                let _ = waiting.send(Err(why.to_owned()));
            }
            if !std::mem::replace(&mut subject.denied, true) {
                newly.push(subject.listener.clone());
            }
        }
        newly
    }

    /// A node has let go of a channel that it was not asked to: its slot moves.
    pub(super) fn dropped(&mut self, node: &str, name: &str) {
        let Some(name) = self.ears.get_mut(node).and_then(|ear| ear.confirmed.take(name)) else { return };
        self.unheard(node, &name);
        self.look_at(node, &name);
    }

    /// Subjects that Redis forbids.
    pub(super) fn denied(&self) -> usize {
        self.subjects.values().filter(|subject| subject.denied).count()
    }

    /// Who listens to a channel, each once.
    pub(super) fn listeners(&self, channel: &str) -> Vec<Arc<dyn Listener>> {
        let Some(channel) = self.channels.get(channel) else { return Vec::new() };
        let mut listeners: Vec<Arc<dyn Listener>> = Vec::with_capacity(1);
        for id in channel.wanted_by.iter().chain(&channel.left_by) {
            if let Some(subject) = self.subjects.get(id)
                && !listeners.iter().any(|known| Arc::ptr_eq(known, &subject.listener))
            {
                listeners.push(subject.listener.clone());
            }
        }
        listeners
    }

    /// The next thing that a listener is to be told.
    pub(super) fn tell(&mut self) -> Option<Tell> {
        self.tells.pop_front()
    }

    /// A channel of a subject is heard. Whether it was forbidden until now.
    fn heard_by(&mut self, id: u64) -> bool {
        let Some(subject) = self.subjects.get_mut(&id) else { return false };
        subject.missing = subject.missing.saturating_sub(1);
        if subject.missing > 0 {
            return false;
        }
        for waiting in subject.waiting.drain(..) {
            let _ = waiting.send(Ok(()));
        }
        if subject.is_told && !std::mem::replace(&mut subject.told, true) {
            self.tells.push_back(Tell::Connected(subject.listener.clone()));
        }
        std::mem::take(&mut subject.denied)
    }

    /// A channel that was confirmed on a node is not any more. Whether it was heard, for rooms alone.
    fn unheard(&mut self, node: &str, name: &str) -> bool {
        let Some(channel) = self.channels.get_mut(name).filter(|it| it.heard && it.home.as_deref() == Some(node))
        else {
            return false;
        };
        channel.heard = false;
        let (is_room, wanted_by) = (channel.is_room, channel.wanted_by.clone());
        for id in std::mem::take(&mut channel.left_by) {
            self.let_go(id);
        }
        for id in &wanted_by {
            let Some(subject) = self.subjects.get_mut(id) else { continue };
            subject.missing += 1;
            if std::mem::take(&mut subject.told) {
                self.tells.push_back(Tell::Lost(subject.listener.clone()));
            }
        }
        self.forget_unused(name);
        is_room && !wanted_by.is_empty()
    }

    /// Redis has let go of one of the channels of a subject that leaves.
    fn let_go(&mut self, id: u64) {
        let Some(subject) = self.subjects.get_mut(&id) else { return };
        let Some(leaving) = &mut subject.leaving else { return };
        leaving.heard = leaving.heard.saturating_sub(1);
        if leaving.heard == 0 {
            self.subjects.remove(&id);
        }
    }

    /// Puts a channel where its slot is now.
    fn settle_home(&mut self, name: &Arc<str>) {
        let Some(channel) = self.channels.get(name) else { return };
        let node = self.slots.of(channel.slot).cloned();
        let (before, now) = (channel.home.clone(), node.as_ref().map(|node| node.address.clone()));
        if before == now {
            return;
        }
        let wanted = !channel.wanted_by.is_empty();
        if wanted {
            self.count(name, false);
        }
        if let Some(before) = &before {
            self.unheard(before, name);
            self.look_at(before, name);
        }
        if let Some(node) = node {
            self.ears.entry(node.address.clone()).or_insert_with(|| Ear {
                node,
                up: false,
                wanted: 0,
                confirmed: HashSet::new(),
                todo: BTreeSet::new(),
                later: BTreeMap::new(),
            });
        }
        if let Some(channel) = self.channels.get_mut(name) {
            channel.home = now;
        }
        if wanted {
            self.count(name, true);
        }
    }

    /// A channel has begun or ceased to be wanted where it is.
    fn count(&mut self, name: &Arc<str>, wanted: bool) {
        let Some(home) = self.channels.get(name).and_then(|channel| channel.home.clone()) else { return };
        if let Some(ear) = self.ears.get_mut(&home) {
            ear.wanted = if wanted { ear.wanted + 1 } else { ear.wanted.saturating_sub(1) };
        }
        self.look_at(&home, name);
    }

    fn look_at(&mut self, node: &str, name: &str) {
        let (name, is_room) = match self.channels.get_key_value(name) {
            Some((name, channel)) => (name.clone(), channel.is_room),
            None => (name.into(), true),
        };
        if let Some(ear) = self.ears.get_mut(node).filter(|ear| ear.up) {
            ear.look_at(is_room, name);
        }
    }

    fn forget_unused(&mut self, name: &str) {
        let unused = |channel: &Channel| channel.wanted_by.is_empty() && channel.left_by.is_empty() && !channel.heard;
        if self.channels.get(name).is_some_and(unused) {
            self.channels.remove(name);
        }
    }
}
