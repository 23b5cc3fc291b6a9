//! Compares rooms as dense numbers with rooms as sets: any sequence of changes and emits has the same result, and so has what the room
//! feed tells.

use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Local, Room, RoomEvent, RoomFeed, Target};
use roomcast_protocol::{Args, SocketId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Few sockets and rooms, so that they meet often.
const SOCKETS: usize = 8;
const ROOMS: usize = 5;

#[derive(Debug, Clone)]
enum Step {
    Insert(usize, Vec<Name>),
    Remove(usize),
    Join(usize, Vec<Name>),
    Leave(usize, Name),
    Emit(Aim),
    JoinAll(Aim, Vec<Name>),
    LeaveAll(Aim, Vec<Name>),
}

/// A room's name: a word, or the id of a socket, which may exist or not.
#[derive(Debug, Clone, Copy)]
enum Name {
    Word(usize),
    Own(usize),
}

#[derive(Debug, Clone)]
struct Aim {
    rooms: Vec<Name>,
    except: Vec<Name>,
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![4 => (0..ROOMS).prop_map(Name::Word), 1 => (0..SOCKETS).prop_map(Name::Own)]
}

fn aim() -> impl Strategy<Value = Aim> {
    (vec(name(), 0..4), vec(name(), 0..3)).prop_map(|(rooms, except)| Aim { rooms, except })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..SOCKETS, vec(name(), 0..3)).prop_map(|(socket, rooms)| Step::Insert(socket, rooms)),
        1 => (0..SOCKETS).prop_map(Step::Remove),
        5 => (0..SOCKETS, vec(name(), 0..4)).prop_map(|(socket, rooms)| Step::Join(socket, rooms)),
        2 => (0..SOCKETS, name()).prop_map(|(socket, room)| Step::Leave(socket, room)),
        5 => aim().prop_map(Step::Emit),
        1 => (aim(), vec(name(), 1..3)).prop_map(|(aim, rooms)| Step::JoinAll(aim, rooms)),
        1 => (aim(), vec(name(), 1..3)).prop_map(|(aim, rooms)| Step::LeaveAll(aim, rooms)),
    ]
}

/// The members of each room, as the feed has told them.
type Told = BTreeMap<Room, BTreeSet<SocketId>>;

/// Applies a change, which must fit the ones before.
fn hear(told: &mut Told, event: RoomEvent) {
    match event {
        RoomEvent::Created { room } => assert!(told.insert(room.clone(), BTreeSet::new()).is_none(), "{room} existed"),
        RoomEvent::Joined { room, socket } => assert!(told.get_mut(&room).unwrap().insert(socket), "twice in {room}"),
        RoomEvent::Left { room, socket } => assert!(told.get_mut(&room).unwrap().remove(&socket), "never in {room}"),
        RoomEvent::Deleted { room } => assert_eq!(told.remove(&room), Some(BTreeSet::new()), "members of {room}"),
        event => panic!("{event:?}"),
    }
}

/// The rooms of each socket, including its own.
type Model = BTreeMap<usize, BTreeSet<Room>>;

struct World {
    ids: Vec<SocketId>,
    recipients: Vec<Arc<CountingRecipient>>,
    local: Arc<Local>,
    model: Model,
    told: Arc<Mutex<Told>>,
}

impl World {
    fn new() -> Self {
        let (feed, told) = (Arc::<RoomFeed>::default(), Arc::<Mutex<Told>>::default());
        let heard = told.clone();
        feed.observe(move |event| hear(&mut heard.lock().unwrap(), event));
        Self {
            ids: (0..SOCKETS).map(|_| SocketId::random().unwrap()).collect(),
            recipients: (0..SOCKETS).map(|_| CountingRecipient::new()).collect(),
            local: Local::of(&AdapterContext::new("/", mpsc::channel(1).0).with_room_feed(feed)),
            model: Model::new(),
            told,
        }
    }

    fn room(&self, name: Name) -> Room {
        match name {
            Name::Word(number) => Room::from(["a", "b", "c", "d", "e"][number]),
            Name::Own(socket) => self.ids[socket].into(),
        }
    }

    fn rooms(&self, names: &[Name]) -> Vec<Room> {
        names.iter().map(|name| self.room(*name)).collect()
    }

    fn target(&self, aim: &Aim) -> Target {
        Target { rooms: self.rooms(&aim.rooms), except: self.rooms(&aim.except), local: false, one: false }
    }

    /// What the contract says: sockets in any of the rooms, and in none of `except`.
    fn meant(&self, target: &Target) -> Vec<usize> {
        let any = |rooms: &[Room], of: &BTreeSet<Room>| rooms.iter().any(|room| of.contains(room));
        let meant =
            |of: &BTreeSet<Room>| (target.rooms.is_empty() || any(&target.rooms, of)) && !any(&target.except, of);
        self.model.iter().filter(|(_, rooms)| meant(rooms)).map(|(socket, _)| *socket).collect()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Insert(socket, names) => {
                let (id, rooms) = (self.ids[*socket], self.rooms(names));
                let taken = self.local.insert(id, self.recipients[*socket].clone(), &rooms, None).is_err();
                assert_eq!(taken, self.model.contains_key(socket));
                self.model.entry(*socket).or_insert_with(|| rooms.into_iter().chain([id.into()]).collect());
            }
            Step::Remove(socket) => {
                self.local.remove(self.ids[*socket]);
                self.model.remove(socket);
            }
            Step::Join(socket, names) => {
                let rooms = self.rooms(names);
                self.local.join(self.ids[*socket], &rooms).unwrap();
                self.model.entry(*socket).and_modify(|joined| joined.extend(rooms));
                self.model.retain(|_, rooms| !rooms.is_empty());
            }
            Step::Leave(socket, name) => {
                let room = self.room(*name);
                self.local.leave(self.ids[*socket], &room);
                self.leave(*socket, &[room]);
            }
            Step::Emit(aim) => self.emit(&self.target(aim)),
            Step::JoinAll(aim, names) => {
                let (target, rooms) = (self.target(aim), self.rooms(names));
                let meant = self.meant(&target);
                self.local.apply(&target, Action::Join(&rooms)).unwrap();
                for socket in meant {
                    self.model.get_mut(&socket).unwrap().extend(rooms.clone());
                }
            }
            Step::LeaveAll(aim, names) => {
                let (target, rooms) = (self.target(aim), self.rooms(names));
                let meant = self.meant(&target);
                self.local.apply(&target, Action::Leave(&rooms)).unwrap();
                meant.into_iter().for_each(|socket| self.leave(socket, &rooms));
            }
        }
    }

    fn leave(&mut self, socket: usize, rooms: &[Room]) {
        let own = Room::from(self.ids[socket]);
        if let Some(joined) = self.model.get_mut(&socket) {
            joined.retain(|room| *room == own || !rooms.contains(room));
        }
    }

    fn emit(&self, target: &Target) {
        let before: Vec<u64> = self.recipients.iter().map(|recipient| recipient.count()).collect();
        self.local.apply(target, Action::emit(&Args::event("e", &()).unwrap())).unwrap();
        let meant = self.meant(target);
        for (socket, before) in before.into_iter().enumerate() {
            let got = self.recipients[socket].count() - before;
            assert_eq!(got, u64::from(meant.contains(&socket)), "socket {socket} of {target:?}, in {:?}", self.model);
        }
        assert_eq!(self.local.count_sockets(target), meant.len());
    }

    fn compare(&self) {
        for (socket, id) in self.ids.iter().enumerate() {
            let rooms = self.local.rooms_of(*id);
            let set: BTreeSet<Room> = rooms.iter().cloned().collect();
            assert_eq!(set.len(), rooms.len(), "a room is told twice: {rooms:?}");
            assert_eq!(set, self.model.get(&socket).cloned().unwrap_or_default(), "rooms of socket {socket}");
        }
        let mut all = self.local.rooms();
        all.sort();
        let expected: BTreeSet<Room> = self.model.values().flatten().cloned().collect();
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        let mut joined = Told::new();
        for (socket, rooms) in &self.model {
            let id = self.ids[*socket];
            for room in rooms.iter().filter(|room| ***room != *id.as_str()) {
                joined.entry(room.clone()).or_default().insert(id);
            }
        }
        assert_eq!(*self.told.lock().unwrap(), joined, "what was told");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn local_does_what_sets_do(steps in vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.compare();
        }
        for socket in 0..SOCKETS {
            world.take(&Step::Remove(socket));
            world.compare();
        }
        assert_eq!(world.local.sizes(), (0, 0, 0));
    }
}
