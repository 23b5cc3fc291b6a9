//! A broadcast allocates for the packet, not for its recipients. `allocation_counter` counts reallocations, too.

use roomcast_adapter::{Action, Adapter, Details, Local, Recipient, Room, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

/// Counts wakes, as a writer that sleeps until something is in its outbox.
#[derive(Debug, Default)]
struct Writer(AtomicU64);

impl Wake for Writer {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A recipient whose writer is woken for each packet, as with an outbox that was empty.
#[derive(Debug)]
struct Sleeping(Waker);

impl Recipient for Sleeping {
    fn deliver(&self, _packet: &Arc<Packet>, wakes: &mut Wakes) {
        wakes.push(self.0.clone());
    }

    fn disconnect(&self, _close: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

/// A namespace with sockets in a few rooms, and the writer that they share.
fn namespace(sockets: usize) -> (Arc<Local>, Arc<Writer>) {
    let (local, writer) = (Local::new("/"), Arc::new(Writer::default()));
    for number in 0..sockets {
        let id = SocketId::random().unwrap();
        local.insert(id, Arc::new(Sleeping(Waker::from(writer.clone()))), &[], None).unwrap();
        let rooms = ["lobby", if number % 2 == 0 { "even" } else { "odd" }];
        local.join(id, &rooms.map(Room::from)).unwrap();
    }
    (local, writer)
}

/// The allocations of a broadcast after two similar ones, and how many writers it woke.
fn allocations(sockets: usize, target: &Target) -> (u64, u64) {
    let (local, writer) = namespace(sockets);
    let data = Args::event("news", &("a text of some length", 42)).unwrap();
    let broadcast = || local.apply(target, Action::emit(&data)).unwrap();
    broadcast();
    broadcast();
    let before = writer.0.load(Ordering::Relaxed);
    let info = allocation_counter::measure(broadcast);
    (info.count_total, writer.0.load(Ordering::Relaxed) - before)
}

#[test]
fn a_recipient_costs_no_allocation() {
    let rooms = Target { rooms: vec!["lobby".into(), "even".into()], ..Target::default() };
    // Each target, and the share of the sockets that it selects.
    for (target, share) in [
        (Target::everyone(), 1),
        (Target::room("lobby"), 1),
        (rooms, 1),
        (Target::room("lobby").except("odd"), 2),
        (Target::everyone().except("odd"), 2),
    ] {
        let (few, many) = (allocations(10, &target), allocations(1_000, &target));
        assert_eq!((few.1, many.1), (10 / share, 1_000 / share), "woken by {target:?}");
        assert_eq!(few.0, many.0, "allocations of a broadcast to 10 and to 1,000 sockets, {target:?}");
        assert!(few.0 > 0, "the packet itself is on the heap, so a count of 0 is a counter that does not count");
        println!("{target:?}: {} allocations", few.0);
    }
}

#[test]
fn an_emit_for_nobody_allocates_nothing() {
    assert_eq!(allocations(10, &Target::room("nobody")), (0, 0));
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8]))).count_total, 1);
}
