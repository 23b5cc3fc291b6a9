//! [`Subscriptions`]: what is to be subscribed, what Redis has confirmed, and the next step from one to the other.
//!
//! Only the difference counts, not the history: what was added and removed in between costs Redis nothing, and what is
//! kept here is bounded by what is wanted and what is confirmed. This state machine decides; `Subscriber` sends the
//! changes.

use super::changes::Change;
use super::names::{Name, Names};
use super::routes::Routes;
use crate::delivery::denied::DENIED_PAUSE;
use crate::delivery::{Listener, Waiter};
use crate::error::RedisError;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

/// Most names to subscribe, and most to unsubscribe, that are sent to Redis at once. Redis serves other clients between
/// two steps, and we check that the connection lives.
pub(crate) const NAMES_PER_STEP: usize = 512;

/// When a channel has this many waiters, those that have stopped waiting are removed.
const WAITERS: usize = 16;

#[derive(Default)]
pub(crate) struct Subscriptions {
    routes: Arc<RwLock<Routes>>,
    by_key: HashMap<Arc<str>, Subscription>,
    /// Subscriptions with unconfirmed names, oldest first: those that come and go quickly do not hold up those that
    /// stay.
    pending: BTreeMap<u64, Arc<str>>,
    /// Subscriptions with a forbidden name, by the time at which they become pending again.
    denied: BTreeMap<(Instant, u64), Arc<str>>,
    /// Subscriptions whose names are all confirmed, and that are still to be announced; see `first_new`.
    complete: BTreeMap<u64, Arc<str>>,
    /// Names that are subscribed on this connection, without those that are being unsubscribed.
    confirmed: HashSet<Name>,
    /// Confirmed names that have no listener any more.
    unwanted: HashSet<Name>,
    next_number: u64,
    /// Subscriptions with a lower number existed when the connection was made. None is announced before all of these
    /// are settled, and no counted channel is subscribed before all their other names, because the other servers take
    /// one count as the sign that this server receives everything.
    first_new: u64,
    uncounted_first: bool,
}

struct Subscription {
    number: u64,
    /// The counted ones last.
    names: Vec<Name>,
    listener: Arc<dyn Listener>,
    /// Whether the listener is told `connected` and `lost`. For a single added channel only waiters are told.
    notifies: bool,
    waiters: Vec<Waiter>,
    /// All names are confirmed, and that was announced.
    is_connected: bool,
    /// A name is forbidden, or was when it was tried last; with the time of the next attempt.
    denied: Option<(Instant, RedisError)>,
}

#[derive(Default)]
pub(crate) struct Step {
    /// Listeners whose subscriptions are now confirmed.
    pub(crate) connected: Vec<Arc<dyn Listener>>,
    /// Waiters whose channels are now confirmed.
    pub(crate) waiters: Vec<Waiter>,
    /// How many of these subscriptions were forbidden before.
    pub(crate) recovered: usize,
    pub(crate) changes: Vec<Change>,
}

impl Subscriptions {
    pub(crate) fn new(routes: Arc<RwLock<Routes>>) -> Self {
        Self { routes, ..Self::default() }
    }

    /// Adds a subscription; if the key is taken, nothing changes.
    pub(crate) fn add(&mut self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        if !self.by_key.contains_key(key) {
            self.insert(key, names.all(), listener, true);
        }
    }

    /// Adds a single uncounted channel, whose listener is not told of the subscription's state; if the key is taken,
    /// nothing changes.
    pub(crate) fn add_channel(&mut self, key: &Arc<str>, channel: String, listener: Arc<dyn Listener>) {
        if !self.by_key.contains_key(key) {
            let names = Names { uncounted: vec![channel], ..Names::default() };
            self.insert(key, names.all(), listener, false);
        }
    }

    pub(crate) fn wait(&mut self, key: &str, waiters: Vec<Waiter>) {
        let Some(subscription) = self.by_key.get_mut(key) else { return };
        let outcome = match &subscription.denied {
            _ if subscription.is_connected => Some(Ok(())),
            Some((_, error)) => Some(Err(error.to_string())),
            None => None,
        };
        if subscription.waiters.len() >= WAITERS {
            subscription.waiters.retain(|waiter| !waiter.is_closed());
        }
        for waiter in waiters {
            match &outcome {
                // It may have stopped waiting.
                Some(outcome) => drop(waiter.send(outcome.clone())),
                None => subscription.waiters.push(waiter),
            }
        }
    }

    fn insert(&mut self, key: &Arc<str>, names: Vec<Name>, listener: Arc<dyn Listener>, notifies: bool) {
        let mut routes = self.routes.write();
        for name in &names {
            routes.add(name, &listener);
            self.unwanted.remove(name);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.pending.insert(number, key.clone());
        let waiters = Vec::new();
        let subscription =
            Subscription { number, names, listener, notifies, waiters, is_connected: false, denied: None };
        self.by_key.insert(key.clone(), subscription);
    }

    /// The number of names that are subscribed.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, key: &str) {
        let Some(removed) = self.by_key.remove(key) else { return };
        self.pending.remove(&removed.number);
        if let Some((at, _)) = removed.denied {
            self.denied.remove(&(at, removed.number));
        }
        self.complete.remove(&removed.number);
        let mut routes = self.routes.write();
        for name in removed.names {
            routes.remove(&name, &removed.listener);
            if !routes.has(&name) && self.confirmed.contains(&name) {
                self.unwanted.insert(name);
            }
        }
    }

    /// There is a new connection, on which nothing is subscribed yet.
    pub(crate) fn connection_made(&mut self) {
        self.confirmed.clear();
        self.unwanted.clear();
        self.denied.clear();
        self.complete.clear();
        self.pending = self.by_key.iter().map(|(key, it)| (it.number, key.clone())).collect();
        self.first_new = self.next_number;
        self.uncounted_first = true;
    }

    /// The connection has ended. Returns the listeners to tell.
    pub(crate) fn connection_ended(&mut self) -> Vec<Arc<dyn Listener>> {
        let lost = self.by_key.values_mut().filter_map(|it| {
            let was_told = std::mem::take(&mut it.is_connected) && it.notifies;
            was_told.then(|| it.listener.clone())
        });
        lost.collect()
    }

    /// Whether each subscription that existed when the connection was made is confirmed or forbidden.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.range(..self.first_new).next().is_none()
    }

    /// When a forbidden subscription is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.denied.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many subscriptions have a forbidden name.
    pub(crate) fn denied(&self) -> usize {
        self.denied.len()
    }

    /// The next step. All its changes must be answered before the step after it.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        while let Some(first) = self.denied.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), key) = first.remove_entry();
            self.pending.insert(number, key);
        }
        let mut step = Step { changes: self.unsubscribe(), ..Step::default() };
        self.subscribe(&mut step.changes);
        if self.is_settled() {
            for key in std::mem::take(&mut self.complete).into_values() {
                if let Some(subscription) = self.by_key.get_mut(&key) {
                    subscription.is_connected = true;
                    step.recovered += usize::from(subscription.denied.take().is_some());
                    step.waiters.append(&mut subscription.waiters);
                    step.connected.extend(subscription.notifies.then(|| subscription.listener.clone()));
                }
            }
        }
        step
    }

    /// Names to unsubscribe, the counted ones first.
    fn unsubscribe(&mut self) -> Vec<Change> {
        let counted = self.unwanted.iter().filter(|name| name.is_counted);
        let names = counted.chain(self.unwanted.iter().filter(|name| !name.is_counted)).take(NAMES_PER_STEP);
        let changes: Vec<_> = names.map(|name| Change { name: name.clone(), wanted_by: None }).collect();
        for change in &changes {
            self.unwanted.remove(&change.name);
            self.confirmed.remove(&change.name);
        }
        changes
    }

    /// Adds the names to subscribe. The counted names of a subscription come when its other names are confirmed.
    fn subscribe(&mut self, changes: &mut Vec<Change>) {
        let most = changes.len() + NAMES_PER_STEP;
        let mut complete = Vec::new();
        let until = if self.uncounted_first { self.first_new } else { u64::MAX };
        for (&number, key) in self.pending.range(..until) {
            let Some(subscription) = self.by_key.get(key) else { continue };
            let missing = || subscription.names.iter().filter(|name| !self.confirmed.contains(*name));
            let is_counted = missing().all(|name| name.is_counted);
            if self.uncounted_first && is_counted {
                continue;
            }
            if missing().next().is_none() {
                complete.push(number);
            }
            let change = |name: &Name| Change { name: name.clone(), wanted_by: Some((number, key.clone())) };
            let room = most.saturating_sub(changes.len());
            changes.extend(missing().filter(|name| name.is_counted == is_counted).take(room).map(change));
            if changes.len() >= most {
                break;
            }
        }
        for number in complete {
            self.complete.extend(self.pending.remove(&number).map(|key| (number, key)));
        }
        if self.uncounted_first && changes.len() + NAMES_PER_STEP == most {
            self.uncounted_first = false;
            self.subscribe(changes);
        }
    }

    /// Redis has made a change.
    pub(crate) fn confirm(&mut self, change: Change) {
        if change.wanted_by.is_some() {
            if !self.routes.read().has(&change.name) {
                self.unwanted.insert(change.name.clone());
            }
            self.confirmed.insert(change.name);
        }
    }

    /// Redis forbids a change. Returns the subscription's listener if the subscription was not forbidden before.
    pub(crate) fn deny(&mut self, change: &Change, error: &RedisError, now: Instant) -> Option<Arc<dyn Listener>> {
        let (number, key) = change.wanted_by.as_ref()?;
        let subscription = self.by_key.get_mut(key).filter(|it| it.number == *number)?;
        self.pending.remove(number);
        let at = now + DENIED_PAUSE;
        self.denied.insert((at, *number), key.clone());
        for waiter in subscription.waiters.drain(..) {
            let _ = waiter.send(Err(error.to_string()));
        }
        subscription.denied.replace((at, error.clone())).is_none().then(|| subscription.listener.clone())
    }
}

#[cfg(test)]
mod tests;
