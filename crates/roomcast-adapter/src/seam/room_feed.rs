//! [`RoomFeed`]: what an adapter tells about the rooms of a namespace on its server.

use crate::limits::MAX_ROOM_EVENTS;
use crate::seam::room::Room;
use parking_lot::Mutex;
use roomcast_protocol::SocketId;
use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;

/// A room of this server has changed. The rooms named after socket ids are not told: they begin and end with their sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The room has come into being, for its first member, which is told next.
    Created {
        /// Its name.
        room: Room,
    },
    /// A socket has joined.
    Joined {
        /// The room.
        room: Room,
        /// The socket.
        socket: SocketId,
    },
    /// A socket has left the room, or the namespace.
    Left {
        /// The room.
        room: Room,
        /// The socket.
        socket: SocketId,
    },
    /// The room is gone: its last member, which was told before, has left.
    Deleted {
        /// Its name.
        room: Room,
    },
    /// [`MAX_ROOM_EVENTS`] events waited, as the observer was slower than the rooms changed, so that this many further ones were not
    /// told. What was built from them has to be built again.
    Missed {
        /// How many.
        count: u64,
    },
}

type Observer = Box<dyn Fn(RoomEvent) + Send + Sync>;

/// Where the rooms of a namespace tell of their changes. Without an observer nothing is kept, and a change costs one comparison more.
///
/// Changes are [pushed](RoomFeed::push) under the lock of the rooms, so they are told in the order in which they happened. The observer
/// is called later, [outside that lock](RoomFeed::tell), by one thread at a time.
#[derive(Default)]
pub struct RoomFeed {
    observer: OnceLock<Observer>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<RoomEvent>,
    missed: u64,
    /// A thread is calling the observer, and will call it for what is added meanwhile.
    telling: bool,
}

impl RoomFeed {
    /// Calls `observer` for each change from now on. Only the first one counts; `false` if there is one already.
    pub fn observe(&self, observer: impl Fn(RoomEvent) + Send + Sync + 'static) -> bool {
        self.observer.set(Box::new(observer)).is_ok()
    }

    /// Whether anybody observes.
    pub fn is_observed(&self) -> bool {
        self.observer.get().is_some()
    }

    /// Adds a change. Call it under the lock of the rooms, and only if the feed [is observed](RoomFeed::is_observed).
    pub fn push(&self, event: RoomEvent) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() < MAX_ROOM_EVENTS {
            waiting.events.push_back(event);
        } else {
            waiting.missed += 1;
            drop(waiting);
            metrics::counter!("roomcast_room_events_missed_total").increment(1);
        }
    }

    /// Tells what was pushed. Call it after the lock of the rooms was released. If another thread, or a caller further up on this
    /// thread's stack, is telling already, it tells this too, and the call returns at once.
    pub fn tell(&self) {
        let Some(observer) = self.observer.get() else { return };
        {
            let mut waiting = self.waiting.lock();
            if waiting.telling || waiting.events.is_empty() {
                return;
            }
            waiting.telling = true;
        }
        let mut telling = Telling { feed: self, over: false };
        while let Some(event) = telling.next() {
            observer(event);
        }
    }
}

/// The one thread that calls the observer. If that panics, the next change is told by whoever makes it.
struct Telling<'a> {
    feed: &'a RoomFeed,
    over: bool,
}

impl Telling<'_> {
    fn next(&mut self) -> Option<RoomEvent> {
        let mut waiting = self.feed.waiting.lock();
        let next = waiting.events.pop_front().or_else(|| match std::mem::take(&mut waiting.missed) {
            0 => None,
            count => Some(RoomEvent::Missed { count }),
        });
        if next.is_none() {
            // Under the lock: what is pushed later finds that nobody tells.
            waiting.telling = false;
            waiting.events = VecDeque::new();
            self.over = true;
        }
        next
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.feed.waiting.lock().telling = false;
        }
    }
}

impl fmt::Debug for RoomFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomFeed").field("observed", &self.is_observed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Weak};

    fn created(number: usize) -> RoomEvent {
        RoomEvent::Created { room: Room::from(number.to_string()) }
    }

    #[test]
    fn waiting_events_at_the_limit_and_one_past_it() {
        for (pushed, missed) in [(MAX_ROOM_EVENTS, 0), (MAX_ROOM_EVENTS + 2, 2)] {
            let (feed, told) = (RoomFeed::default(), Arc::<Mutex<Vec<RoomEvent>>>::default());
            let seen = told.clone();
            assert!(feed.observe(move |event| seen.lock().push(event)));
            assert!(!feed.observe(|_| {}));
            (0..pushed).for_each(|number| feed.push(created(number)));
            feed.tell();
            let mut told = std::mem::take(&mut *told.lock());
            if missed > 0 {
                assert_eq!(told.pop(), Some(RoomEvent::Missed { count: missed }));
            }
            assert_eq!(told, (0..MAX_ROOM_EVENTS).map(created).collect::<Vec<_>>());
        }
    }

    /// An observer that changes rooms itself, and one that panics.
    #[test]
    fn what_an_observer_adds_is_told_after_it_and_a_panic_ends_nothing() {
        let told = Arc::<Mutex<Vec<RoomEvent>>>::default();
        let feed = Arc::new_cyclic(|feed: &Weak<RoomFeed>| {
            let (made, feed, seen) = (RoomFeed::default(), feed.clone(), told.clone());
            made.observe(move |event| {
                if event == created(1) {
                    let feed = feed.upgrade().unwrap();
                    feed.push(created(3));
                    feed.tell();
                }
                assert_ne!(event, created(4), "on purpose");
                seen.lock().push(event);
            });
            made
        });
        feed.tell();
        feed.push(created(1));
        feed.push(created(2));
        feed.tell();
        assert_eq!(*told.lock(), [1, 2, 3].map(created));
        feed.push(created(4));
        feed.push(created(5));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| feed.tell())).is_err());
        feed.push(created(6));
        feed.tell();
        assert_eq!(told.lock()[3..], [5, 6].map(created));
    }
}
