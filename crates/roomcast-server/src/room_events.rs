//! How changes of rooms reach the handlers of a namespace.

use crate::handler::BoxedRoom;
use crate::parts::Namespace;
use crate::task;
use roomcast_adapter::RoomEvent;
use std::sync::Arc;

impl Namespace {
    /// Has the adapter tell of its rooms from now on, if there are handlers for that.
    pub(crate) fn watch_rooms(&self) {
        let feed = &self.0.room_feed;
        if feed.is_observed() || self.room_handlers().is_empty() {
            return;
        }
        // A weak reference: the namespace has the feed.
        let namespace = Arc::downgrade(&self.0);
        feed.observe(move |event| {
            if let Some(namespace) = namespace.upgrade() {
                Self(namespace).tell_room_event(&event);
            }
        });
    }

    fn room_handlers(&self) -> Vec<BoxedRoom<Self>> {
        self.each(|handlers| handlers.rooms.read().clone()).into_iter().flatten().flatten().collect()
    }

    fn tell_room_event(&self, event: &RoomEvent) {
        if let RoomEvent::Missed { count } = event {
            tracing::warn!(
                namespace = self.name(),
                count,
                "changes of rooms were not told, because their handlers are slower than the rooms change. Let them return sooner"
            );
        }
        for handler in self.room_handlers() {
            let (namespace, event) = (self.clone(), event.clone());
            task::run("room event", move || Some(handler(namespace, event)), ());
        }
    }
}
