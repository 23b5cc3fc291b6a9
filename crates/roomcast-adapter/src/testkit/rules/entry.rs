//! Rules about entering a namespace in one step.

use crate::Action;
use crate::AdapterError;
use crate::Room;
use crate::Target;
use crate::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use crate::testkit::stage::{Outcome, Stage, data, must, rooms};
use crate::testkit::{CONDITION_TIMEOUT, FakeRecipient};
use roomcast_protocol::{Packet, SocketId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Sockets that enter while somebody emits without pause.
const ENTRIES: usize = 50;

fn new_id() -> Result<SocketId, String> {
    SocketId::random().map_err(|error| error.to_string())
}

fn welcome() -> Result<Arc<Packet>, String> {
    let packet = Packet::connect(crate::testkit::NAMESPACE, "{}").map_err(|error| error.to_string())?;
    Ok(Arc::new(packet))
}

pub(super) async fn in_rooms(stage: &mut Stage) -> Outcome {
    let (adapter, id, recipient) = (stage.first(), new_id()?, FakeRecipient::new());
    let inserted = adapter.insert(id, recipient.clone(), &rooms(&["x", "y", "x", id.as_str()]), Some(&welcome()?));
    must!(inserted == Ok(()), "an insert with rooms ended with {inserted:?}");
    let mut all = adapter.rooms_of(id);
    all.sort();
    let mut expected = rooms(&["x", "y", id.as_str()]);
    expected.sort();
    must!(all == expected, "a socket that was inserted into x and y is in {all:?}");
    for room in ["x", "y"] {
        let sent = adapter.apply(&Target::room(room).local(), Action::emit(&data(room, &())?));
        must!(sent.is_ok(), "an emit to {room} was refused");
    }
    let names: Vec<String> = recipient.events().into_iter().map(|event| event.name).collect();
    must!(names == ["x", "y"], "it got the events {names:?}");
    must!(recipient.packets().len() == 3, "it got {} packets, not the welcome and two", recipient.packets().len());
    Ok(())
}

/// Ends the thread that emits, however the check ends.
struct Emitting(Arc<AtomicBool>);

impl Drop for Emitting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(super) async fn welcome_first(stage: &mut Stage) -> Outcome {
    let (adapter, welcome) = (stage.first(), welcome()?);
    let (over, emitted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let emitting = Emitting(over.clone());
    let (through, count, sent) = (adapter.clone(), emitted.clone(), data("noise", &())?);
    let thread = tokio::task::spawn_blocking(move || {
        while !over.load(Ordering::Acquire) {
            if through.apply(&Target::everyone().local(), Action::emit(&sent)).is_ok() {
                count.fetch_add(1, Ordering::Release);
            }
        }
    });
    for number in 0..ENTRIES {
        let (before, id, recipient) = (emitted.load(Ordering::Acquire), new_id()?, FakeRecipient::new());
        // Not tokio's clock: if it is paused, it stands still while the other thread works.
        let deadline = Instant::now() + CONDITION_TIMEOUT;
        while emitted.load(Ordering::Acquire) == before {
            must!(Instant::now() < deadline, "an emit to everyone does not end");
            std::thread::yield_now();
        }
        let inserted = adapter.insert(id, recipient.clone(), &[], Some(&welcome));
        adapter.remove(id);
        must!(inserted == Ok(()), "an insert ended with {inserted:?}");
        let packets = recipient.packets();
        let at: Vec<usize> = (0..packets.len()).filter(|at| Arc::ptr_eq(&packets[*at], &welcome)).collect();
        must!(at == [0], "the welcome is at {at:?} of the {} packets of socket {number}", packets.len());
    }
    drop(emitting);
    thread.await.map_err(|error| error.to_string())
}

pub(super) async fn all_or_nothing(stage: &mut Stage) -> Outcome {
    let (adapter, welcome) = (stage.first(), welcome()?);
    let long = "x".repeat(MAX_ROOM_BYTES + 1);
    let many: Vec<Room> = (0..=MAX_ROOMS_PER_SOCKET).map(|number| Room::from(number.to_string())).collect();
    let id = new_id()?;
    for (rooms, refusal) in [
        (rooms(&["good", &long]), AdapterError::RoomName(MAX_ROOM_BYTES + 1)),
        (many.clone(), AdapterError::TooManyRooms),
    ] {
        let recipient = FakeRecipient::new();
        let refused = adapter.insert(id, recipient.clone(), &rooms, Some(&welcome));
        must!(refused == Err(refusal.clone()), "an insert that must end with {refusal:?} ended with {refused:?}");
        let left = adapter.rooms_of(id);
        must!(left.is_empty(), "a socket that was refused with {refusal:?} is in {} rooms", left.len());
        let sent = adapter.apply(&Target::everyone().local(), Action::emit(&data("late", &())?));
        must!(sent.is_ok(), "an emit was refused");
        let packets = recipient.packets().len();
        must!(packets == 0, "a socket that was refused with {refusal:?} got {packets} packets");
    }
    // The id is still free, and as many rooms as the limit are allowed.
    let recipient = FakeRecipient::new();
    let inserted = adapter.insert(id, recipient.clone(), &many[1..], Some(&welcome));
    must!(inserted == Ok(()), "an insert into {MAX_ROOMS_PER_SOCKET} rooms ended with {inserted:?}");
    must!(recipient.packets().len() == 1, "it got {} packets, not the welcome", recipient.packets().len());
    adapter.remove(id);
    let all = adapter.all_rooms(crate::testkit::CONDITION_TIMEOUT).await.value;
    must!(!all.contains(&Room::from("good")), "the room of a socket that was refused is left");
    Ok(())
}
