//! [`ClassicRooms`]: channels of rooms, where no pattern covers all rooms.

use super::listener::NamespaceListener;
use super::names::Prefix;
use crate::bus::Bus;
use crate::delivery::Waiter;
use crate::delivery::rooms::{RoomChannels, RoomListener};
use roomcast_adapter::Room;
use std::sync::Arc;

pub(super) struct ClassicRooms {
    pub(super) bus: Arc<Bus>,
    pub(super) prefix: Prefix,
}

impl RoomChannels for ClassicRooms {
    type Listener = NamespaceListener;
    type Key = Arc<str>;

    fn subscribe(&self, room: &Room, listener: &Arc<NamespaceListener>) -> Arc<str> {
        let namespace = listener.namespace();
        // No two rooms have the same key, and no namespace is called like one, as namespaces begin with a slash.
        let key: Arc<str> = format!("{} {namespace}{room}", namespace.len()).into();
        self.bus.add_channel(&key, self.prefix.room(namespace, room), listener.clone());
        key
    }

    fn wait(&self, key: &Arc<str>, waiters: Vec<Waiter>) {
        self.bus.wait(key, waiters);
    }

    fn unsubscribe(&self, key: Arc<str>) {
        self.bus.unsubscribe(&key);
    }
}
