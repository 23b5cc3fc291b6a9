//! [`Rooms`]: the rooms whose channels are heard, by what the namespaces want when they are looked at.

use super::ears::Ears;
use super::names::Names;
use super::namespace::Namespace;
use super::wanted::Heard as Waiting;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Hints that wait, and the rooms that are heard. Both are bounded by the rooms of this server.
#[derive(Default)]
pub(super) struct Rooms {
    state: Mutex<State>,
    looked: Notify,
}

#[derive(Default)]
struct State {
    namespaces: HashMap<Arc<str>, Open>,
    /// Rooms to look at.
    hints: HashMap<(Arc<str>, Room), Vec<Waiting>>,
}

struct Open {
    namespace: Arc<Namespace>,
    /// The room's subscription.
    heard: HashMap<Room, u64>,
}

impl Rooms {
    /// A namespace is open.
    pub(super) fn open(&self, namespace: &Arc<Namespace>) {
        let open = Open { namespace: namespace.clone(), heard: HashMap::new() };
        self.state.lock().namespaces.insert(namespace.name.clone(), open);
    }

    /// A namespace is closed: the subscriptions of its rooms, to be given up.
    pub(super) fn close(&self, namespace: &str) -> Vec<u64> {
        let mut state = self.state.lock();
        state.hints.retain(|(name, _), _| **name != *namespace);
        state.namespaces.remove(namespace).into_iter().flat_map(|open| open.heard.into_values()).collect()
    }

    /// A room is to be looked at. Resolves when it is heard, if it is to be.
    pub(super) fn look(&self, namespace: &str, room: &Room) -> Option<oneshot::Receiver<Result<(), String>>> {
        let (sender, resolves) = oneshot::channel();
        {
            let mut state = self.state.lock();
            let name = state.namespaces.get(namespace)?.namespace.name.clone();
            let waiting = state.hints.entry((name, room.clone())).or_default();
            waiting.retain(|waiting| !waiting.is_closed());
            waiting.push(sender);
        }
        self.looked.notify_one();
        Some(resolves)
    }

    /// Works hints off as long as it lives.
    pub(super) async fn attend(self: Arc<Self>, names: Names, ears: Arc<Ears>) {
        loop {
            let hint = {
                let mut state = self.state.lock();
                let next = state.hints.keys().next().cloned();
                next.and_then(|key| state.hints.remove_entry(&key))
            };
            match hint {
                Some(((namespace, room), waiting)) => self.work_off(&names, &ears, &namespace, &room, waiting),
                None => self.looked.notified().await,
            }
        }
    }

    fn work_off(&self, names: &Names, ears: &Ears, namespace: &str, room: &Room, waiting: Vec<Waiting>) {
        let Some(of) = self.state.lock().namespaces.get(namespace).map(|open| open.namespace.clone()) else { return };
        // Nothing is held while it is asked. What changes meanwhile comes with a hint of its own.
        let wants = of.inbox.wants(room);
        let mut state = self.state.lock();
        let Some(open) = state.namespaces.get_mut(namespace).filter(|open| Arc::ptr_eq(&open.namespace, &of)) else {
            return;
        };
        let heard = match (wants, open.heard.get(room).copied()) {
            (true, Some(heard)) => heard,
            (true, None) => {
                let heard = ears.add(vec![names.room(namespace, room)], of, false);
                open.heard.insert(room.clone(), heard);
                heard
            }
            (false, heard) => {
                open.heard.remove(room);
                drop(state);
                if let Some(heard) = heard {
                    ears.leave(heard);
                }
                waiting.into_iter().for_each(|waiting| drop(waiting.send(Ok(()))));
                return;
            }
        };
        drop(state);
        for waiting in waiting {
            ears.wait(heard, waiting);
        }
    }
}
