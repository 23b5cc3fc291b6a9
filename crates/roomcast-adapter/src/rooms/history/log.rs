//! [`Log`]: what was emitted in a namespace lately, in the order in which it was delivered.

use crate::limits::{RECOVERY_ENTRY_BYTES, RECOVERY_GONE_ROOMS};
use crate::seam::recovery::RecoverySpace;
use crate::seam::room::Room;
use crate::seam::target::Target;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roomcast_protocol::Packet;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// What was emitted, by position: 1, 2, 3, … The packets are those that the recipients got, not copies. For each room
/// there is a list of the positions that it got, so that what a client missed is found without a look at the rest.
#[derive(Debug)]
pub(crate) struct Log {
    space: Arc<RecoverySpace>,
    entries: VecDeque<Entry>,
    /// Position of the first entry.
    start: u64,
    /// Positions of what everyone got.
    everyone: VecDeque<u64>,
    by_room: HashMap<Room, VecDeque<u64>, RandomState>,
    gone: Gone,
}

#[derive(Debug)]
pub(crate) struct Entry {
    at: Instant,
    pub(crate) packet: Arc<Packet>,
    /// Empty: everyone.
    rooms: SmallVec<[Room; 1]>,
    pub(crate) except: SmallVec<[Room; 1]>,
    /// The rooms are socket ids.
    pub(crate) one: bool,
}

/// The latest positions that are no longer in the log.
#[derive(Debug, Default)]
struct Gone {
    everyone: u64,
    by_room: HashMap<Room, u64, RandomState>,
    /// That of the rooms that were forgotten.
    others: u64,
}

impl Entry {
    fn cost(&self) -> usize {
        self.packet.size().saturating_add(RECOVERY_ENTRY_BYTES)
    }

    /// Whether `room` is one of its rooms.
    pub(crate) fn is_for(&self, room: &str) -> bool {
        self.rooms.iter().any(|other| **other == *room)
    }
}

impl Log {
    pub(crate) fn new(space: Arc<RecoverySpace>) -> Self {
        Self {
            space,
            entries: VecDeque::new(),
            start: 1,
            everyone: VecDeque::new(),
            by_room: HashMap::default(),
            gone: Gone::default(),
        }
    }

    /// The position that the next entry gets.
    pub(crate) fn next(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Adds what was emitted, and cuts what exceeds the bounds.
    pub(crate) fn push(&mut self, packet: Arc<Packet>, target: &Target, now: Instant) {
        let position = self.next();
        let mut rooms = SmallVec::new();
        for room in &target.rooms {
            // The list's own name is shared: a room that is named anew for each event is not kept as often.
            let (room, list) = match self.by_room.get_key_value_mut(&**room) {
                Some((name, list)) => (name.clone(), list),
                None => (room.clone(), self.by_room.entry(room.clone()).or_default()),
            };
            if list.back() != Some(&position) {
                list.push_back(position);
            }
            rooms.push(room);
        }
        if rooms.is_empty() {
            self.everyone.push_back(position);
        }
        let entry = Entry { at: now, packet, rooms, except: target.except.iter().cloned().collect(), one: target.one };
        self.space.add_to_log(entry.cost());
        self.entries.push_back(entry);
        self.cut(now);
    }

    /// Cuts what is too old, and what exceeds the bounds.
    pub(crate) fn cut(&mut self, now: Instant) {
        let bounds = self.space.bounds();
        let (most, age) = (bounds.packets, bounds.age);
        while let Some(first) = self.entries.front() {
            let is_old = now.saturating_duration_since(first.at) > age;
            if !is_old && self.entries.len() <= most && !self.space.log_is_over() {
                break;
            }
            self.cut_first();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Forgets everything, as there is no session that it could be for. Positions go on.
    pub(crate) fn clear(&mut self) {
        self.space.take_from_log(self.entries.iter().map(Entry::cost).sum());
        let start = self.next();
        self.entries = VecDeque::new();
        self.everyone = VecDeque::new();
        self.by_room = HashMap::default();
        (self.start, self.gone) = (start, Gone::default());
    }

    fn cut_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let position = self.start;
        self.start += 1;
        self.space.take_from_log(entry.cost());
        if entry.rooms.is_empty() {
            self.everyone.pop_front();
            self.gone.everyone = position;
        }
        for room in entry.rooms {
            if let Some(list) = self.by_room.get_mut(&*room) {
                if list.front() == Some(&position) {
                    list.pop_front();
                }
                if list.is_empty() {
                    self.by_room.remove(&*room);
                }
            }
            self.gone.note(room, position);
        }
    }

    /// Whether something that left the log at `from` or later was for everyone.
    pub(crate) fn is_gone_for_everyone(&self, from: u64) -> bool {
        self.gone.everyone >= from
    }

    /// Whether something that left the log at `from` or later was, or may have been, for a room.
    pub(crate) fn is_gone_for(&self, room: &str, from: u64) -> bool {
        self.gone.by_room.get(room).copied().unwrap_or(self.gone.others) >= from
    }

    /// The positions of what everyone got, from `from` on.
    pub(crate) fn of_everyone(&self, from: u64) -> impl Iterator<Item = u64> {
        let first = self.everyone.partition_point(|position| *position < from);
        self.everyone.range(first..).copied()
    }

    /// The positions of what a room got, from `from` up to but without `to`.
    pub(crate) fn of_room(&self, room: &str, from: u64, to: u64) -> impl Iterator<Item = u64> {
        self.by_room.get(room).into_iter().flat_map(move |list| {
            let first = list.partition_point(|position| *position < from);
            list.range(first..).copied().take_while(move |position| *position < to)
        })
    }

    pub(crate) fn at(&self, position: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(self.start)?).ok()?)
    }

    /// Numbers of entries, of rooms with a list, and of rooms of which something has left the log.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.by_room.len(), self.gone.by_room.len())
    }
}

impl Gone {
    fn note(&mut self, room: Room, position: u64) {
        if let Some(latest) = self.by_room.get_mut(&*room) {
            *latest = position;
            return;
        }
        if self.by_room.len() >= RECOVERY_GONE_ROOMS {
            self.by_room = HashMap::default();
            // Other rooms of the same event may be among them.
            self.others = position;
        }
        self.by_room.insert(room, position);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.space.take_from_log(self.entries.iter().map(Entry::cost).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::recovery::RecoveryBounds;

    fn log(packets: usize) -> Log {
        Log::new(RecoverySpace::new(RecoveryBounds { packets, ..RecoveryBounds::default() }))
    }

    fn push(log: &mut Log, target: &Target) {
        log.push(Arc::new(Packet::binary(b"x").unwrap()), target, Instant::now());
    }

    #[test]
    fn lists_of_rooms_go_with_their_last_event() {
        let mut log = log(2);
        let twice = Target { rooms: vec!["a".into(), "b".into(), "a".into()], ..Target::default() };
        for target in [&twice, &Target::everyone(), &Target::room("b"), &Target::room("b"), &Target::room("c")] {
            push(&mut log, target);
        }
        assert_eq!((log.start(), log.next(), log.sizes()), (4, 6, (2, 2, 2)));
        assert_eq!(log.of_room("b", 0, u64::MAX).collect::<Vec<_>>(), [4]);
        assert!(log.of_room("a", 0, u64::MAX).next().is_none() && log.of_everyone(0).next().is_none());
        assert!(log.is_gone_for("a", 1) && !log.is_gone_for("a", 2));
        assert!(log.is_gone_for("b", 3) && !log.is_gone_for("b", 4) && !log.is_gone_for("c", 1));
        assert!(log.is_gone_for_everyone(2) && !log.is_gone_for_everyone(3));
    }

    #[test]
    fn rooms_that_have_gone_at_the_bound_and_one_past_it() {
        let mut log = log(0);
        push(&mut log, &Target::room("first"));
        for number in 1..RECOVERY_GONE_ROOMS {
            push(&mut log, &Target::room(number.to_string()));
        }
        assert_eq!(log.sizes(), (0, 0, RECOVERY_GONE_ROOMS));
        assert!(!log.is_gone_for("first", 2) && !log.is_gone_for("never", 1));
        push(&mut log, &Target::room("last"));
        assert_eq!(log.sizes(), (0, 0, 1));
        assert!(log.is_gone_for("first", 2) && log.is_gone_for("never", 1), "nothing is known of other rooms any more");
    }
}
