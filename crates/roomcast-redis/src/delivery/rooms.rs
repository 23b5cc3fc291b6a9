//! [`Rooms`]: subscribes the channels of the rooms that have members here.
//!
//! A hint says that a room may have got its first member or lost its last. A task then asks whether the room has
//! members, so members that came and went in between cost nothing, and hints never wait for Redis. The state is bounded
//! by the rooms that have members.

use super::listener::{Listener, Waiter};
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{BrokerError, Looked};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

/// Rooms that are checked before other tasks get their turn.
const ROOMS_PER_TURN: usize = 512;

pub(crate) trait RoomListener: Listener {
    fn namespace(&self) -> &Arc<str>;

    /// Whether the room has members here.
    fn wants(&self, room: &str) -> bool;
}

/// How a dialect subscribes the channel of a room.
pub(crate) trait RoomChannels: Send + Sync + 'static {
    type Listener: RoomListener + 'static;
    type Key: Send;

    fn subscribe(&self, room: &Room, listener: &Arc<Self::Listener>) -> Self::Key;

    /// Adds waiters, which resolve when the channel is subscribed or forbidden.
    fn wait(&self, key: &Self::Key, waiters: Vec<Waiter>);

    fn unsubscribe(&self, key: Self::Key);
}

/// Its task ends when it is dropped.
pub(crate) struct Rooms<C: RoomChannels> {
    channels: C,
    state: Mutex<State<C>>,
    hinted: Arc<Notify>,
    started: OnceLock<()>,
}

struct State<C: RoomChannels> {
    namespaces: HashMap<Arc<str>, Open<C>>,
    /// Namespaces with hints.
    hinted: HashSet<Arc<str>>,
}

struct Open<C: RoomChannels> {
    listener: Arc<C::Listener>,
    subscribed: HashMap<Room, C::Key>,
    /// Rooms to check, and who waits for each.
    hints: HashMap<Room, Vec<Waiter>>,
}

impl<C: RoomChannels> Rooms<C> {
    pub(crate) fn new(channels: C) -> Arc<Self> {
        let state = State { namespaces: HashMap::new(), hinted: HashSet::new() };
        Arc::new(Self { channels, state: Mutex::new(state), hinted: Arc::default(), started: OnceLock::new() })
    }

    /// A namespace is open. An earlier one of the same name is closed by it. Needs a tokio runtime.
    pub(crate) fn open(self: &Arc<Self>, listener: &Arc<C::Listener>) {
        self.started.get_or_init(|| drop(tokio::spawn(run(Arc::downgrade(self), self.hinted.clone()))));
        let open = Open { listener: listener.clone(), subscribed: HashMap::new(), hints: HashMap::new() };
        let mut state = self.state.lock();
        let before = state.namespaces.insert(listener.namespace().clone(), open);
        self.unsubscribe_all(before);
    }

    /// A namespace is closed, and its rooms with it, unless it was opened again.
    pub(crate) fn close(&self, listener: &Arc<C::Listener>) {
        let mut state = self.state.lock();
        if state.namespaces.get(listener.namespace()).is_some_and(|open| Arc::ptr_eq(&open.listener, listener)) {
            let closed = state.namespaces.remove(listener.namespace());
            self.unsubscribe_all(closed);
        }
    }

    /// To be called with the state locked: the same rooms may be subscribed anew a moment later.
    fn unsubscribe_all(&self, closed: Option<Open<C>>) {
        let Some(Open { subscribed, .. }) = closed else { return };
        subscribed.into_values().for_each(|key| self.channels.unsubscribe(key));
    }

    /// A room is to be checked. `None` if the namespace is not open.
    pub(crate) fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let (waiter, subscribed) = oneshot::channel();
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            let (name, _) = state.namespaces.get_key_value(namespace)?;
            state.hinted.insert(name.clone());
            let waiters = state.namespaces.get_mut(namespace)?.hints.entry(room.clone()).or_default();
            waiters.retain(|waiter| !waiter.is_closed());
            waiters.push(waiter);
        }
        self.hinted.notify_one();
        let room = room.clone();
        Some(Box::pin(async move {
            match subscribed.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(why)) => Err(BrokerError(format!("the room {room:?} is not subscribed: {why}"))),
                Err(_) => {
                    Err(BrokerError(format!("the room {room:?} is not subscribed: it or its namespace was left")))
                }
            }
        }))
    }

    /// Checks some rooms of one namespace. Returns whether there may be more.
    fn check_some(&self) -> bool {
        let (name, listener, hints) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let Some(name) = state.hinted.iter().next().cloned() else { return false };
            let Some(open) = state.namespaces.get_mut(&name) else { return state.hinted.remove(&name) };
            let rooms: Vec<Room> = open.hints.keys().take(ROOMS_PER_TURN).cloned().collect();
            if rooms.len() < ROOMS_PER_TURN {
                state.hinted.remove(&name);
            }
            let hints: Vec<_> = rooms.iter().filter_map(|room| open.hints.remove_entry(room)).collect();
            (name, open.listener.clone(), hints)
        };
        for (room, waiters) in hints {
            // Not with the state locked. A change meanwhile comes with a hint of its own.
            let is_wanted = listener.wants(&room);
            let mut state = self.state.lock();
            let Some(open) = state.namespaces.get_mut(&name).filter(|open| Arc::ptr_eq(&open.listener, &listener))
            else {
                continue;
            };
            if is_wanted {
                let subscribe = || self.channels.subscribe(&room, &listener);
                let key = open.subscribed.entry(room.clone()).or_insert_with(subscribe);
                self.channels.wait(key, waiters);
            } else {
                if let Some(key) = open.subscribed.remove(&room) {
                    self.channels.unsubscribe(key);
                }
                // The room has no members, so nothing is missed.
                waiters.into_iter().for_each(|waiter| drop(waiter.send(Ok(()))));
            }
        }
        true
    }
}

impl<C: RoomChannels> Drop for Rooms<C> {
    fn drop(&mut self) {
        self.hinted.notify_one();
    }
}

async fn run<C: RoomChannels>(rooms: Weak<Rooms<C>>, hinted: Arc<Notify>) {
    loop {
        hinted.notified().await;
        loop {
            let Some(rooms) = rooms.upgrade() else { return };
            if !rooms.check_some() {
                break;
            }
            drop(rooms);
            yield_now().await;
        }
    }
}
