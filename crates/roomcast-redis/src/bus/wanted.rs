//! [`Wanted`]: what is to be subscribed, what Redis has confirmed, and the next step from one to the other.
//!
//! Only the difference counts, never the way to it: what was added and removed in between costs Redis nothing, and what is kept
//! here is bounded by what is wanted and what is confirmed. It decides; [`Subscriber`](super::subscriber::Subscriber) does.

use super::routes::{Listener, Name, Names, Routes};
use crate::error::RedisError;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Names that are sent to Redis together, of those to subscribe and of those to unsubscribe. Redis serves others in between, and
/// so do we: signs of life are asked for between two steps.
pub(crate) const NAMES_PER_STEP: usize = 512;

/// After this what Redis has forbidden is tried again.
pub(crate) const DENIED_PAUSE: Duration = Duration::from_secs(10);

/// Waits until a channel is heard, or learns why it is not. Whoever waits no more drops the other end.
pub(crate) type Waiter = oneshot::Sender<Result<(), RedisError>>;

/// At so many who wait for one channel those that wait no more are looked for.
const WAITERS: usize = 16;

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Wanted {
    routes: Arc<RwLock<Routes>>,
    subscriptions: HashMap<Arc<str>, Subscription>,
    /// Those of which names are to be confirmed, by age: what comes and goes quickly does not hold up what stays.
    waiting: BTreeMap<u64, Arc<str>>,
    /// Those of which a name is forbidden, and when they wait again.
    denied: BTreeMap<(Instant, u64), Arc<str>>,
    /// All is confirmed; they are told when the connection is as far as it has to be.
    done: BTreeMap<u64, Arc<str>>,
    /// Names that this connection hears, but for those that are being unsubscribed.
    confirmed: HashSet<Name>,
    /// Those among them that nobody listens to any more.
    unwanted: HashSet<Name>,
    /// The number of the next subscription.
    next: u64,
    /// Subscriptions with a lower number were there when the connection was made: none is told before all are settled, and no
    /// channel that is counted is subscribed before all others, as other servers wait for one count to learn that this one hears all.
    begun: u64,
    uncounted_first: bool,
}

struct Subscription {
    number: u64,
    /// Those that are counted last.
    names: Vec<Name>,
    listener: Arc<dyn Listener>,
    /// Whether the listener is told. That of a channel that was only added is not: those who wait for the channel are.
    tells: bool,
    waiters: Vec<Waiter>,
    /// That all is confirmed.
    told: bool,
    /// A name is forbidden, or was when it was tried last: when it is tried again.
    denied: Option<(Instant, RedisError)>,
}

/// What is to be done next.
#[derive(Default)]
pub(crate) struct Step {
    /// All their names are confirmed.
    pub(crate) tell: Vec<Arc<dyn Listener>>,
    /// Their channels are confirmed.
    pub(crate) waited: Vec<Waiter>,
    /// How many of them were forbidden until now.
    pub(crate) healed: usize,
    pub(crate) send: Vec<Change>,
}

/// A name to subscribe or to unsubscribe.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: Name,
    /// For which subscription; `None`: it is to be unsubscribed.
    pub(crate) wanted_by: Option<(u64, Arc<str>)>,
}

impl Wanted {
    pub(crate) fn new(routes: Arc<RwLock<Routes>>) -> Self {
        Self { routes, ..Self::default() }
    }

    /// Adds a subscription; a second one of the same key changes nothing.
    pub(crate) fn add(&mut self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        if !self.subscriptions.contains_key(key) {
            self.insert(key, names.all(), listener, true);
        }
    }

    /// Adds a channel for a listener that is not told of it, or only who waits for it.
    pub(crate) fn add_channel(
        &mut self,
        key: &Arc<str>,
        channel: String,
        listener: Arc<dyn Listener>,
        waiters: Vec<Waiter>,
    ) {
        if !self.subscriptions.contains_key(key) {
            let names = Names { uncounted: vec![channel], ..Names::default() };
            self.insert(key, names.all(), listener, false);
        }
        let Some(subscription) = self.subscriptions.get_mut(key) else { return };
        let outcome = match &subscription.denied {
            _ if subscription.told => Some(Ok(())),
            Some((_, error)) => Some(Err(error.clone())),
            None => None,
        };
        if subscription.waiters.len() >= WAITERS {
            subscription.waiters.retain(|waiter| !waiter.is_closed());
        }
        for waiter in waiters {
            match &outcome {
                // Who does not wait any more need not be told.
                Some(outcome) => drop(waiter.send(outcome.clone())),
                None => subscription.waiters.push(waiter),
            }
        }
    }

    fn insert(&mut self, key: &Arc<str>, names: Vec<Name>, listener: Arc<dyn Listener>, tells: bool) {
        let mut routes = self.routes.write();
        for name in &names {
            routes.add(name, &listener);
            self.unwanted.remove(name);
        }
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, key.clone());
        let waiters = Vec::new();
        let subscription = Subscription { number, names, listener, tells, waiters, told: false, denied: None };
        self.subscriptions.insert(key.clone(), subscription);
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, key: &str) {
        let Some(removed) = self.subscriptions.remove(key) else { return };
        self.waiting.remove(&removed.number);
        if let Some((at, _)) = removed.denied {
            self.denied.remove(&(at, removed.number));
        }
        self.done.remove(&removed.number);
        let mut routes = self.routes.write();
        for name in removed.names {
            routes.remove(&name, &removed.listener);
            if !routes.has(&name) && self.confirmed.contains(&name) {
                self.unwanted.insert(name);
            }
        }
    }

    /// There is a new connection, which hears nothing yet.
    pub(crate) fn begin(&mut self) {
        self.confirmed.clear();
        self.unwanted.clear();
        self.denied.clear();
        self.done.clear();
        self.waiting = self.subscriptions.iter().map(|(key, it)| (it.number, key.clone())).collect();
        self.begun = self.next;
        self.uncounted_first = true;
    }

    /// The connection has ended: who was told that it hears.
    pub(crate) fn end(&mut self) -> Vec<Arc<dyn Listener>> {
        let told = self.subscriptions.values_mut().filter_map(|it| {
            let told = std::mem::take(&mut it.told) && it.tells;
            told.then(|| it.listener.clone())
        });
        told.collect()
    }

    /// Whether all subscriptions that were there when the connection was made are confirmed, or forbidden.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.range(..self.begun).next().is_none()
    }

    /// When something that is forbidden is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.denied.first_key_value().map(|((at, _), _)| *at)
    }

    /// Subscriptions of which a name is forbidden.
    pub(crate) fn denied(&self) -> usize {
        self.denied.len()
    }

    /// What is to be done next. Every change must be answered before the next step.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        while let Some(first) = self.denied.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), key) = first.remove_entry();
            self.waiting.insert(number, key);
        }
        let mut step = Step { send: self.leave(), ..Step::default() };
        self.subscribe(&mut step.send);
        if self.is_settled() {
            for key in std::mem::take(&mut self.done).into_values() {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.told = true;
                    step.healed += usize::from(subscription.denied.take().is_some());
                    step.waited.append(&mut subscription.waiters);
                    step.tell.extend(subscription.tells.then(|| subscription.listener.clone()));
                }
            }
        }
        step
    }

    /// What is to be unsubscribed: first those by which this server is counted.
    fn leave(&mut self) -> Vec<Change> {
        let counted = self.unwanted.iter().filter(|name| name.is_counted);
        let names = counted.chain(self.unwanted.iter().filter(|name| !name.is_counted)).take(NAMES_PER_STEP);
        let changes: Vec<_> = names.map(|name| Change { name: name.clone(), wanted_by: None }).collect();
        for change in &changes {
            self.unwanted.remove(&change.name);
            self.confirmed.remove(&change.name);
        }
        changes
    }

    /// What is to be subscribed: those of a subscription's names that are counted when it has the others.
    fn subscribe(&mut self, changes: &mut Vec<Change>) {
        let most = changes.len() + NAMES_PER_STEP;
        let mut done = Vec::new();
        let until = if self.uncounted_first { self.begun } else { u64::MAX };
        for (&number, key) in self.waiting.range(..until) {
            let Some(subscription) = self.subscriptions.get(key) else { continue };
            let missing = || subscription.names.iter().filter(|name| !self.confirmed.contains(*name));
            let is_counted = missing().all(|name| name.is_counted);
            if self.uncounted_first && is_counted {
                continue;
            }
            if missing().next().is_none() {
                done.push(number);
            }
            let change = |name: &Name| Change { name: name.clone(), wanted_by: Some((number, key.clone())) };
            let room = most.saturating_sub(changes.len());
            changes.extend(missing().filter(|name| name.is_counted == is_counted).take(room).map(change));
            if changes.len() >= most {
                break;
            }
        }
        for number in done {
            self.done.extend(self.waiting.remove(&number).map(|key| (number, key)));
        }
        if self.uncounted_first && changes.len() + NAMES_PER_STEP == most {
            self.uncounted_first = false;
            self.subscribe(changes);
        }
    }

    /// Redis has taken a change.
    pub(crate) fn taken(&mut self, change: Change) {
        if change.wanted_by.is_some() {
            if !self.routes.read().has(&change.name) {
                self.unwanted.insert(change.name.clone());
            }
            self.confirmed.insert(change.name);
        }
    }

    /// Redis forbids a change. The subscription's listener, if it is new that it is forbidden.
    pub(crate) fn refused(&mut self, change: &Change, error: &RedisError, now: Instant) -> Option<Arc<dyn Listener>> {
        let (number, key) = change.wanted_by.as_ref()?;
        let subscription = self.subscriptions.get_mut(key).filter(|it| it.number == *number)?;
        self.waiting.remove(number);
        let at = now + DENIED_PAUSE;
        self.denied.insert((at, *number), key.clone());
        for waiter in subscription.waiters.drain(..) {
            let _ = waiter.send(Err(error.clone()));
        }
        subscription.denied.replace((at, error.clone())).is_none().then(|| subscription.listener.clone())
    }
}

#[cfg(test)]
mod tests;
