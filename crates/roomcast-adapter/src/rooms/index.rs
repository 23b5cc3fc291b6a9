//! [`Index`]: the sockets and rooms of a namespace on one server, stored under small dense numbers.
#![expect(
    clippy::indexing_slicing,
    reason = "slots and rooms are numbers that this file itself gives out, and `hot`, `cold` and `rooms` never shrink while \
              one is known: `by_id`, `by_name`, the rooms' slots and the sockets' places hold no other \
              (tests/suite/rooms_model.rs walks them at random); checked access would add a branch for each recipient of a \
              broadcast"
)]

use crate::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use crate::seam::error::AdapterError;
use crate::seam::recipient::Recipient;
use crate::seam::room::Room;
use crate::seam::room_feed::{RoomEvent, RoomFeed};
use crate::seam::target::Target;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use roomcast_protocol::SocketId;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Which sockets are in which rooms, for a namespace on this server.
///
/// A socket has a small number, its slot; a room is a vector of slots. A broadcast walks that vector and touches one
/// 24-byte entry of `hot` per member. The room named after a socket's id has no vector: it is found through `by_id`.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// What a broadcast touches, by slot.
    hot: Vec<Hot>,
    /// What only a change of membership touches, by slot.
    cold: Vec<Cold>,
    free_slots: Vec<u32>,
    /// Slots, by the id in `cold`.
    by_id: HashTable<u32>,
    hasher: RandomState,
    rooms: Vec<Members>,
    free_rooms: Vec<u32>,
    /// Clients choose room names, so the hasher is seeded: foldhash's seed is random per process.
    by_name: HashMap<Room, u32, RandomState>,
    /// The number of the current walk. A slot that carries this mark was visited already or is left out.
    walk: u32,
    /// Who wants to know of changes.
    feed: Arc<RoomFeed>,
}

#[derive(Debug, Default)]
struct Hot {
    recipient: Option<Arc<dyn Recipient>>,
    mark: u32,
}

#[derive(Debug)]
struct Cold {
    id: SocketId,
    /// The socket's rooms, and its position in each room's vector. Up to two need no heap memory.
    rooms: SmallVec<[Membership; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Membership {
    room: u32,
    position: u32,
}

#[derive(Debug, Default)]
struct Members {
    name: Option<Room>,
    slots: Vec<u32>,
}

impl Index {
    /// An empty index that pushes its changes to a feed.
    pub(crate) fn telling(feed: Arc<RoomFeed>) -> Self {
        Self { feed, ..Self::default() }
    }

    /// Adds a socket to all of `rooms`, or refuses it. A refused recipient is dropped here, under the lock; the caller
    /// keeps a clone, as dropping the last one may run foreign code.
    pub(crate) fn insert(
        &mut self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
    ) -> Result<(), AdapterError> {
        if self.slot_of(id).is_some() {
            return Err(AdapterError::Duplicate(id));
        }
        self.insert_alone(id, recipient);
        self.join(id, rooms).inspect_err(|_| drop(self.remove(id)))
    }

    fn insert_alone(&mut self, id: SocketId, recipient: Arc<dyn Recipient>) {
        let cold = Cold { id, rooms: SmallVec::new() };
        let hot = Hot { recipient: Some(recipient), mark: 0 };
        let slot = match self.free_slots.pop() {
            Some(slot) => {
                self.hot[slot as usize] = hot;
                self.cold[slot as usize] = cold;
                slot
            }
            None => {
                push_tightly(&mut self.hot, hot);
                push_tightly(&mut self.cold, cold);
                self.hot.len() as u32 - 1
            }
        };
        let Self { by_id, hasher, cold, .. } = self;
        by_id.insert_unique(hasher.hash_one(id), slot, |slot| hasher.hash_one(cold[*slot as usize].id));
    }

    fn slot_of(&self, id: SocketId) -> Option<u32> {
        self.by_id.find(self.hasher.hash_one(id), |slot| self.cold[*slot as usize].id == id).copied()
    }

    /// Removes a socket. Drop the returned recipient outside the lock: that may run foreign code.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Arc<dyn Recipient>> {
        let found = self.by_id.find_entry(self.hasher.hash_one(id), |slot| self.cold[*slot as usize].id == id);
        let slot = found.ok()?.remove().0;
        for place in std::mem::take(&mut self.cold[slot as usize].rooms) {
            self.remove_member(slot, place);
        }
        let recipient = self.hot[slot as usize].recipient.take();
        if self.by_id.is_empty() {
            // When the last socket has left, the storage of a burst is released.
            *self = Self { walk: self.walk, feed: std::mem::take(&mut self.feed), ..Self::default() };
        } else {
            self.free_slots.push(slot);
        }
        recipient
    }

    /// Gives a socket another recipient. Drop the returned one outside the lock.
    pub(crate) fn replace(&mut self, id: SocketId, recipient: Arc<dyn Recipient>) -> Option<Arc<dyn Recipient>> {
        match self.slot_of(id) {
            Some(slot) => self.hot[slot as usize].recipient.replace(recipient),
            None => Some(recipient),
        }
    }

    /// Puts a socket into all of `rooms`, or into none. Unknown ids are ignored.
    pub(crate) fn join(&mut self, id: SocketId, rooms: &[Room]) -> Result<(), AdapterError> {
        if let Some(room) = rooms.iter().find(|room| room.len() > MAX_ROOM_BYTES) {
            return Err(AdapterError::RoomName(room.len()));
        }
        let Some(slot) = self.slot_of(id) else {
            return Ok(());
        };
        if self.cold[slot as usize].rooms.len().saturating_add(rooms.len()) > MAX_ROOMS_PER_SOCKET {
            // Near the limit, count only the new rooms: not the socket's own, not joined yet, and each name once.
            let is_new = |room: &&Room| room[..] != *id.as_str() && !self.is_member(slot, room);
            let new: HashSet<&Room, RandomState> = rooms.iter().filter(is_new).collect();
            if self.cold[slot as usize].rooms.len().saturating_add(new.len()) > MAX_ROOMS_PER_SOCKET {
                return Err(AdapterError::TooManyRooms);
            }
        }
        for room in rooms {
            if room[..] != *id.as_str() && !self.is_member(slot, room) {
                self.add_member(slot, room);
            }
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self, id: SocketId, room: &str) {
        let (Some(slot), Some(&number)) = (self.slot_of(id), self.by_name.get(room)) else {
            return;
        };
        let places = &mut self.cold[slot as usize].rooms;
        if let Some(at) = places.iter().position(|place| place.room == number) {
            let place = places.swap_remove(at);
            self.remove_member(slot, place);
        }
    }

    pub(crate) fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        match self.slot_of(id) {
            Some(slot) => self.rooms_of_slot(slot),
            None => Vec::new(),
        }
    }

    /// The names of rooms with members, including the rooms named after socket ids.
    pub(crate) fn all_rooms(&self) -> Vec<Room> {
        let own =
            self.by_id.iter().map(|slot| Room::from(self.id_of(*slot))).filter(|room| !self.by_name.contains_key(room));
        own.chain(self.by_name.keys().cloned()).collect()
    }

    /// Whether any socket may match, ignoring `except`. `false` for most broadcasts of other servers.
    pub(crate) fn may_match(&self, target: &Target) -> bool {
        if target.rooms.is_empty() {
            return !self.by_id.is_empty();
        }
        target.rooms.iter().any(
            |room| {
                if target.one { self.by_room_of_id(room).is_some() } else { self.has_room(room) }
            },
        )
    }

    /// Whether the room has members.
    pub(crate) fn has_room(&self, room: &str) -> bool {
        self.by_name.contains_key(room) || self.by_room_of_id(room).is_some()
    }

    /// Calls `visit` once for each matching socket.
    // A function of its own: where it is inlined, the compiler may read the vectors' addresses again for each recipient.
    #[inline(never)]
    pub(crate) fn walk(&mut self, target: &Target, mut visit: impl FnMut(u32, &Arc<dyn Recipient>)) {
        let mut visit = |slot: u32, hot: &Hot| {
            if let Some(recipient) = &hot.recipient {
                visit(slot, recipient);
            }
        };
        // One room and no exceptions need no marks: a room holds each socket once.
        if let ([room], []) = (&target.rooms[..], &target.except[..]) {
            let members = self.joined(target, room);
            for (at, &slot) in members.iter().enumerate() {
                prefetch(members.get(at + PREFETCH_DISTANCE).and_then(|slot| self.hot.get(*slot as usize)));
                visit(slot, &self.hot[slot as usize]);
            }
            if let Some(slot) = self.by_room_of_id(room) {
                visit(slot, &self.hot[slot as usize]);
            }
            return;
        }
        let walk = self.next_walk();
        for room in &target.except {
            let own = self.by_room_of_id(room);
            let members = self.by_name.get(room).map(|room| &self.rooms[*room as usize].slots[..]);
            for slot in members.unwrap_or_default().iter().copied().chain(own) {
                self.hot[slot as usize].mark = walk;
            }
        }
        if target.rooms.is_empty() {
            for (slot, hot) in self.hot.iter().enumerate().filter(|(_, hot)| hot.mark != walk) {
                prefetch(self.hot.get(slot + PREFETCH_DISTANCE));
                visit(slot as u32, hot);
            }
            return;
        }
        for room in &target.rooms {
            let own = self.by_room_of_id(room);
            let room = self.by_name.get(room).filter(|_| !target.one).map(|room| &self.rooms[*room as usize].slots[..]);
            for slot in room.unwrap_or_default().iter().copied().chain(own) {
                let hot = &mut self.hot[slot as usize];
                if hot.mark != walk {
                    hot.mark = walk;
                    visit(slot, hot);
                }
            }
        }
    }

    /// The id of the socket in a slot.
    pub(crate) fn id_of(&self, slot: u32) -> SocketId {
        self.cold[slot as usize].id
    }

    pub(crate) fn rooms_of_slot(&self, slot: u32) -> Vec<Room> {
        let cold = &self.cold[slot as usize];
        let joined = cold.rooms.iter().filter_map(|place| self.rooms[place.room as usize].name.clone());
        std::iter::once(Room::from(cold.id)).chain(joined).collect()
    }

    /// Number of sockets.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The number of rooms that sockets have joined.
    pub(crate) fn room_count(&self) -> usize {
        self.by_name.len()
    }

    /// The sockets that joined a room, unless the target means socket ids.
    fn joined(&self, target: &Target, room: &str) -> &[u32] {
        let room = if target.one { None } else { self.by_name.get(room) };
        room.map(|room| &self.rooms[*room as usize].slots[..]).unwrap_or_default()
    }

    fn by_room_of_id(&self, room: &str) -> Option<u32> {
        self.slot_of(room.parse().ok()?)
    }

    /// Whether a socket is in a room.
    pub(crate) fn is_in(&self, id: SocketId, room: &str) -> bool {
        *id.as_str() == *room || self.slot_of(id).is_some_and(|slot| self.is_member(slot, room))
    }

    /// The recipient of a socket.
    pub(crate) fn recipient(&self, id: SocketId) -> Option<Arc<dyn Recipient>> {
        self.hot[self.slot_of(id)? as usize].recipient.clone()
    }

    fn is_member(&self, slot: u32, room: &str) -> bool {
        let Some(&number) = self.by_name.get(room) else {
            return false;
        };
        // Search the shorter list: the socket's rooms, or the room's sockets.
        let (places, slots) = (&self.cold[slot as usize].rooms, &self.rooms[number as usize].slots);
        if places.len() <= slots.len() {
            places.iter().any(|place| place.room == number)
        } else {
            slots.contains(&slot)
        }
    }

    fn add_member(&mut self, slot: u32, room: &Room) {
        let number = match self.by_name.get(room) {
            Some(&number) => number,
            None => {
                let number = self.free_rooms.pop().unwrap_or_else(|| {
                    self.rooms.push(Members::default());
                    self.rooms.len() as u32 - 1
                });
                self.rooms[number as usize].name = Some(room.clone());
                self.by_name.insert(room.clone(), number);
                if self.feed.is_observed() {
                    self.feed.push(RoomEvent::Created { room: room.clone() });
                }
                number
            }
        };
        let slots = &mut self.rooms[number as usize].slots;
        slots.push(slot);
        let position = slots.len() as u32 - 1;
        self.cold[slot as usize].rooms.push(Membership { room: number, position });
        if self.feed.is_observed() {
            self.feed.push(RoomEvent::Joined { room: room.clone(), socket: self.id_of(slot) });
        }
    }

    /// Removes a member from a room. The room's last member takes over its position; a room without members is removed.
    fn remove_member(&mut self, slot: u32, place: Membership) {
        if self.feed.is_observed()
            && let Some(room) = self.rooms[place.room as usize].name.clone()
        {
            self.feed.push(RoomEvent::Left { room, socket: self.id_of(slot) });
        }
        let members = &mut self.rooms[place.room as usize];
        members.slots.swap_remove(place.position as usize);
        if let Some(&moved) = members.slots.get(place.position as usize) {
            let places = &mut self.cold[moved as usize].rooms;
            if let Some(moved) = places.iter_mut().find(|moved| moved.room == place.room) {
                moved.position = place.position;
            }
        } else if members.slots.is_empty() {
            members.slots = Vec::new();
            if let Some(name) = members.name.take() {
                self.by_name.remove(&name);
                if self.feed.is_observed() {
                    self.feed.push(RoomEvent::Deleted { room: name });
                }
            }
            self.free_rooms.push(place.room);
        }
    }

    /// The mark of the next walk. After 2^32 walks all marks are reset, so that marks of earlier walks never count.
    fn next_walk(&mut self) -> u32 {
        self.walk = self.walk.wrapping_add(1);
        if self.walk == 0 {
            self.walk = 1;
            for hot in &mut self.hot {
                hot.mark = 0;
            }
        }
        self.walk
    }
}
/// How many recipients ahead of the current one are prefetched. Nothing depends on the value, so nothing waits for it.
const PREFETCH_DISTANCE: usize = 6;

fn prefetch(hot: Option<&Hot>) {
    if let Some(Hot { recipient: Some(recipient), .. }) = hot {
        recipient.prefetch();
    }
}

/// Pushes without doubling the capacity: the list has an entry per socket, and doubling would reserve room for as many
/// sockets again, which may never come.
fn push_tightly<T>(list: &mut Vec<T>, value: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(4));
    }
    list.push(value);
}
