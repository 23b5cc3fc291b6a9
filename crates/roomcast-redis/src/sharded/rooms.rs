//! [`ShardedRooms`]: channels of rooms, where the mode gives a room a channel of its own.

use super::listener::NamespaceListener;
use super::names::Names;
use super::subscribers::Subscribers;
use crate::delivery::Waiter;
use crate::delivery::rooms::{RoomChannels, RoomListener};
use roomcast_adapter::Room;
use std::sync::Arc;

pub(super) struct ShardedRooms {
    pub(super) names: Names,
    pub(super) subscribers: Arc<Subscribers>,
}

impl RoomChannels for ShardedRooms {
    type Listener = NamespaceListener;
    type Key = u64;

    fn subscribe(&self, room: &Room, listener: &Arc<NamespaceListener>) -> u64 {
        self.subscribers.add(vec![self.names.room(listener.namespace(), room)], listener.clone(), false)
    }

    fn wait(&self, key: &u64, waiters: Vec<Waiter>) {
        waiters.into_iter().for_each(|waiter| self.subscribers.wait(*key, waiter));
    }

    fn unsubscribe(&self, key: u64) {
        drop(self.subscribers.remove(key));
    }
}
