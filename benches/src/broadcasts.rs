//! [`broadcasts`]: the broadcast bench, for any adapter.

use criterion::{BenchmarkId, Criterion, Throughput};
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Room, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Numbers of sockets in the namespace, all on this server.
const SOCKETS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// Sizes of the event's argument in bytes.
const PAYLOADS: [usize; 3] = [16, 128, 4_096];

/// Number of overlapping rooms. Each socket is in three of them.
const OVERLAPPING: usize = 8;

/// One of this many sockets is in the room that is excluded.
const LEFT_OUT: usize = 10;

/// Sockets in the small room, for every size of the namespace.
const FEW: usize = 10;

/// Measures broadcasts and membership changes through an adapter that `make` creates. The recipients only count, so this is the cost of the
/// adapter itself, from the call to the last recipient. The throughput is in recipients.
///
/// An adapter that starts tasks needs a tokio runtime: enter it before the call.
///
/// # Panics
/// If the adapter refuses a socket, or does not reach the recipients that a target names.
pub fn broadcasts<A: Adapter + ?Sized>(criterion: &mut Criterion, name: &str, make: impl Fn(AdapterContext) -> Arc<A>) {
    for target in ["everyone", "one_room", "room_of_10", "two_rooms", "eight_rooms", "room_with_except"] {
        let mut group = criterion.benchmark_group(format!("{name}/{target}"));
        // About 90 cases: with a second and a half for each, and little bootstrapping, the whole bench takes some three minutes.
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20)
            .nresamples(10_000);
        for sockets in SOCKETS {
            let namespace = Namespace::new(&make, sockets);
            let (target, expected) = namespace.target(target);
            namespace.check(&target, expected);
            group.throughput(Throughput::Elements(expected as u64));
            for payload in PAYLOADS {
                let data = event(payload);
                group.bench_function(
                    BenchmarkId::new(format!("{sockets}_sockets"), format!("{payload}_B")),
                    |bencher| {
                        bencher.iter(|| namespace.adapter.apply(&target, Action::emit(&data)));
                    },
                );
            }
        }
    }
    membership(criterion, name, make);
}

/// Sockets that are inserted and removed, and join and leave, among sockets that stay.
fn membership<A: Adapter + ?Sized>(criterion: &mut Criterion, name: &str, make: impl Fn(AdapterContext) -> Arc<A>) {
    let mut group = criterion.benchmark_group(format!("{name}/membership"));
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    for sockets in SOCKETS {
        let namespace = Namespace::new(&make, sockets);
        let adapter = &namespace.adapter;
        let (id, recipient) = (SocketId::random().expect("the system has random bytes"), CountingRecipient::new());
        group.bench_function(BenchmarkId::new("insert_remove", sockets), |bencher| {
            bencher.iter(|| {
                let inserted = adapter.insert(id, recipient.clone(), &[], None);
                adapter.remove(id);
                inserted
            });
        });
        adapter.insert(id, recipient, &[], None).expect("it has been removed");
        let room = [Room::from("one")];
        group.bench_function(BenchmarkId::new("join_leave", sockets), |bencher| {
            bencher.iter(|| {
                let joined = adapter.join(id, &room).is_ok();
                adapter.leave(id, "one");
                joined
            });
        });
    }
}

/// An adapter with sockets in rooms.
struct Namespace<A: ?Sized> {
    adapter: Arc<A>,
    recipients: Vec<Arc<CountingRecipient>>,
    /// Kept open, as a namespace does. No other server sends anything.
    _server_events: mpsc::Receiver<ServerEvent>,
}

impl<A: Adapter + ?Sized> Namespace<A> {
    fn new(make: &impl Fn(AdapterContext) -> Arc<A>, sockets: usize) -> Self {
        let (server_events, events) = mpsc::channel(MAX_SERVER_EVENTS);
        let adapter = make(AdapterContext::new("/", server_events));
        let recipients: Vec<_> = (0..sockets).map(|_| CountingRecipient::new()).collect();
        for (number, recipient) in recipients.iter().enumerate() {
            let id = SocketId::random().expect("the system has random bytes");
            adapter.insert(id, recipient.clone(), &[], None).expect("a new id is not taken");
            let mut rooms = vec![Room::from("one")];
            // The first room is also socket 0's third, so that rooms overlap even in a namespace with one socket.
            rooms.extend(
                [number, number + 1, number * 3].map(|room| Room::from(format!("room {}", room % OVERLAPPING))),
            );
            if number % LEFT_OUT == LEFT_OUT - 1 {
                rooms.push(Room::from("out"));
            }
            // Spread over the namespace, as the members of a room usually are.
            if number % sockets.div_ceil(FEW) == 0 {
                rooms.push(Room::from("few"));
            }
            // One third is only in "left", one in both, one only in "right".
            rooms.extend((number % 3 != 2).then(|| Room::from("left")));
            rooms.extend((number % 3 != 0 || sockets == 1).then(|| Room::from("right")));
            adapter.join(id, &rooms).expect("a handful of rooms is allowed");
        }
        Self { adapter, recipients, _server_events: events }
    }

    /// A target by its name in the report, and the number of sockets that it names.
    fn target(&self, name: &str) -> (Target, usize) {
        let several = |rooms: Vec<Room>| Target { rooms, ..Target::default() };
        let sockets = self.recipients.len();
        match name {
            "one_room" => (Target::room("one"), sockets),
            "room_of_10" => (Target::room("few"), sockets.min(FEW)),
            "two_rooms" => (several(vec!["left".into(), "right".into()]), sockets),
            "eight_rooms" => (several((0..OVERLAPPING).map(|room| format!("room {room}").into()).collect()), sockets),
            "room_with_except" => (Target::room("one").except("out"), sockets - sockets / LEFT_OUT),
            _ => (Target::everyone(), sockets),
        }
    }

    fn check(&self, target: &Target, expected: usize) {
        let sum = || self.recipients.iter().map(|recipient| recipient.count()).sum::<u64>();
        let before = sum();
        self.adapter.apply(target, Action::emit(&event(1))).expect("a small event is not refused");
        assert_eq!(sum() - before, expected as u64, "{target:?} does not reach the sockets that it names");
    }
}

fn event(payload: usize) -> Args {
    Args::event("message", &"x".repeat(payload)).expect("text can be emitted")
}
