//! [`Rooms`]: channels of the rooms that have members here, where no pattern is for all rooms.
//!
//! A hint says that a room may have got its first member or lost its last. A task asks then whether it has any, so what came and
//! went in between costs nothing, and hints wait for no Redis. What is kept are the rooms that have members.

use super::names::Prefix;
use super::namespace::Namespace;
use crate::bus::{Bus, Waiter};
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{BrokerError, Looked};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

/// Rooms that are looked at before other tasks have their turn.
const TOGETHER: usize = 512;

pub(super) struct Rooms {
    bus: Arc<Bus>,
    prefix: Prefix,
    state: Mutex<State>,
    hinted: Arc<Notify>,
    /// The task was begun.
    begun: OnceLock<()>,
}

#[derive(Default)]
struct State {
    open: HashMap<Arc<str>, Open>,
    /// Namespaces with rooms that are to be looked at.
    hinted: HashSet<Arc<str>>,
}

struct Open {
    namespace: Arc<Namespace>,
    /// Rooms whose channel is wanted.
    wanted: HashSet<Room>,
    /// Rooms that are to be looked at, and who waits for each.
    hints: HashMap<Room, Vec<Waiter>>,
}

impl Rooms {
    pub(super) fn new(bus: Arc<Bus>, prefix: Prefix) -> Arc<Self> {
        Arc::new(Self { bus, prefix, state: Mutex::default(), hinted: Arc::default(), begun: OnceLock::new() })
    }

    /// A namespace is open; needs a tokio runtime. One of the same name is closed by it.
    pub(super) fn open(self: &Arc<Self>, namespace: &Arc<Namespace>) {
        self.begun.get_or_init(|| drop(tokio::spawn(run(Arc::downgrade(self), self.hinted.clone()))));
        let open = Open { namespace: namespace.clone(), wanted: HashSet::new(), hints: HashMap::new() };
        let mut state = self.state.lock();
        let before = state.open.insert(namespace.name().into(), open);
        self.leave(before);
    }

    /// A namespace is closed, and its rooms with it, unless it was opened again.
    pub(super) fn close(&self, namespace: &Arc<Namespace>) {
        let mut state = self.state.lock();
        if state.open.get(namespace.name()).is_some_and(|open| Arc::ptr_eq(&open.namespace, namespace)) {
            let closed = state.open.remove(namespace.name());
            self.leave(closed);
        }
    }

    /// Called with the state locked: the same rooms may be wanted anew a moment later.
    fn leave(&self, closed: Option<Open>) {
        let Some(Open { namespace, wanted, .. }) = closed else { return };
        for room in wanted {
            self.bus.unsubscribe(&key(namespace.name(), &room));
        }
    }

    /// A room is to be looked at. `None`: the namespace is not open.
    pub(super) fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let (waiter, heard) = oneshot::channel();
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            let (name, _) = state.open.get_key_value(namespace)?;
            state.hinted.insert(name.clone());
            let waiters = state.open.get_mut(namespace)?.hints.entry(room.clone()).or_default();
            waiters.retain(|waiter| !waiter.is_closed());
            waiters.push(waiter);
        }
        self.hinted.notify_one();
        let room = room.clone();
        Some(Box::pin(async move {
            match heard.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(BrokerError(format!("the room {room:?} is not heard: {error}"))),
                Err(_) => Err(BrokerError(format!("the room {room:?} is not heard: it or its namespace was left"))),
            }
        }))
    }

    /// Looks at some rooms of one namespace. Tells whether there may be more.
    fn look_at_some(&self) -> bool {
        let (name, namespace, hints) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let Some(name) = state.hinted.iter().next().cloned() else { return false };
            let Some(open) = state.open.get_mut(&name) else { return state.hinted.remove(&name) };
            let rooms: Vec<Room> = open.hints.keys().take(TOGETHER).cloned().collect();
            if rooms.len() < TOGETHER {
                state.hinted.remove(&name);
            }
            let hints: Vec<_> = rooms.iter().filter_map(|room| open.hints.remove_entry(room)).collect();
            (name, open.namespace.clone(), hints)
        };
        for (room, waiters) in hints {
            let is_wanted = namespace.wants(&room);
            let mut state = self.state.lock();
            let Some(open) = state.open.get_mut(&name).filter(|open| Arc::ptr_eq(&open.namespace, &namespace)) else {
                continue;
            };
            let key = key(&name, &room);
            if is_wanted {
                let channel = self.prefix.room(&name, &room);
                open.wanted.insert(room);
                self.bus.add_channel(&key.into(), channel, namespace.clone(), waiters);
            } else {
                if open.wanted.remove(&room) {
                    self.bus.unsubscribe(&key);
                }
                // Nobody is in it: nothing is missed.
                waiters.into_iter().for_each(|waiter| drop(waiter.send(Ok(()))));
            }
        }
        true
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.hinted.notify_one();
    }
}

async fn run(rooms: Weak<Rooms>, hinted: Arc<Notify>) {
    loop {
        hinted.notified().await;
        loop {
            let Some(rooms) = rooms.upgrade() else { return };
            if !rooms.look_at_some() {
                break;
            }
            drop(rooms);
            yield_now().await;
        }
    }
}

/// The key of a room's subscription. No namespace has such a name, as they begin with a slash, and no two rooms have the same.
fn key(namespace: &str, room: &Room) -> String {
    format!("{} {namespace}{room}", namespace.len())
}
