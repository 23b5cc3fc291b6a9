//! Criterion benches, one file a subject: `cargo bench -p roomcast-benches --bench protocol`. The programs in `src/bin` measure
//! whole servers; `docs/benchmarks.md` tells how to run them.
//!
//! [`broadcasts`] is the broadcast bench for any adapter. To measure your own, give it a function that makes one:
//!
//! ```no_run
//! use criterion::Criterion;
//! use roomcast_adapter::Local;
//!
//! roomcast_benches::broadcasts(&mut Criterion::default(), "mine", || Local::new("/"));
//! ```

pub mod process;
pub mod wire;

use criterion::{BenchmarkId, Criterion, Throughput};
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, Room, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::time::Duration;

/// Numbers of sockets in the namespace, all of this server.
const SOCKETS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// Bytes of an event's one argument.
const PAYLOADS: [usize; 3] = [16, 128, 4_096];

/// Rooms that overlap: each socket is in three of them.
const OVERLAPPING: usize = 8;

/// One socket in so many is in the room that is left out.
const LEFT_OUT: usize = 10;

/// Broadcasts through an adapter that `make` made, to recipients that only count: what the adapter itself costs, from the
/// call to the last recipient. The throughput is in recipients.
///
/// # Panics
/// If the adapter refuses a socket, or does not reach the recipients that a target names: then there is nothing to measure.
pub fn broadcasts<A: Adapter + ?Sized>(criterion: &mut Criterion, name: &str, make: impl Fn() -> Arc<A>) {
    for target in ["everyone", "one_room", "eight_rooms", "room_with_except"] {
        let mut group = criterion.benchmark_group(format!("{name}/{target}"));
        // 60 cases: a second and a half for each, and little bootstrapping, keep the whole at about two minutes.
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20)
            .nresamples(10_000);
        for sockets in SOCKETS {
            let namespace = Namespace::new(make(), sockets);
            let target = namespace.target(target);
            group.throughput(Throughput::Elements(namespace.named(&target)));
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
}

/// An adapter with sockets in rooms.
struct Namespace<A: ?Sized> {
    adapter: Arc<A>,
    recipients: Vec<Arc<CountingRecipient>>,
}

impl<A: Adapter + ?Sized> Namespace<A> {
    fn new(adapter: Arc<A>, sockets: usize) -> Self {
        let recipients: Vec<_> = (0..sockets).map(|_| CountingRecipient::new()).collect();
        for (number, recipient) in recipients.iter().enumerate() {
            let id = SocketId::random().expect("the system has random bytes");
            adapter.insert(id, recipient.clone()).expect("a new id is not taken");
            let mut rooms = vec![Room::from("one")];
            // The first is socket 0's third room too, so that a namespace of one socket is one with overlap.
            rooms.extend(
                [number, number + 1, number * 3].map(|room| Room::from(format!("room {}", room % OVERLAPPING))),
            );
            if number % LEFT_OUT == LEFT_OUT - 1 {
                rooms.push(Room::from("out"));
            }
            adapter.join(id, &rooms).expect("a handful of rooms is allowed");
        }
        Self { adapter, recipients }
    }

    fn target(&self, name: &str) -> Target {
        let eight = (0..OVERLAPPING).map(|room| Room::from(format!("room {room}"))).collect();
        match name {
            "one_room" => Target::room("one"),
            "eight_rooms" => Target { rooms: eight, ..Target::default() },
            "room_with_except" => Target::room("one").except("out"),
            _ => Target::everyone(),
        }
    }

    /// Number of sockets that a target names, by trying it.
    fn named(&self, target: &Target) -> u64 {
        let sum = || self.recipients.iter().map(|recipient| recipient.count()).sum::<u64>();
        let before = sum();
        self.adapter.apply(target, Action::emit(&event(1))).expect("a small event is not refused");
        let sockets = self.recipients.len();
        let expected = if target.except.is_empty() { sockets } else { sockets - sockets / LEFT_OUT };
        assert_eq!(sum() - before, expected as u64, "{target:?} does not reach whom it names");
        expected as u64
    }
}

fn event(payload: usize) -> Args {
    Args::event("message", &"x".repeat(payload)).expect("text can be emitted")
}
