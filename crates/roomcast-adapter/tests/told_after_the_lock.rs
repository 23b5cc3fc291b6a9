//! Log lines about an emit or a change are written outside the namespace's lock: logs may be emitted to its rooms.
#![allow(clippy::unwrap_used)] // Helpers of tests, where a failure is a panic.

use parking_lot::Mutex;
use roomcast_adapter::limits::{MAX_PENDING_ACKS, MAX_ROOM_BYTES};
use roomcast_adapter::testkit::FakeRecipient;
use roomcast_adapter::{Action, Adapter, Emit, Local, Room, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Calls the namespace from another thread at each log line, so that a held lock shows as a missing answer.
#[derive(Clone)]
struct Curious(Arc<Local>, Arc<Mutex<Vec<bool>>>);

impl Subscriber for Curious {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let (local, (answer, answered)) = (self.0.clone(), mpsc::channel());
        std::thread::spawn(move || answer.send(local.sizes()));
        self.1.lock().push(answered.recv_timeout(Duration::from_secs(5)).is_ok());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_log_layer_may_call_the_namespace_that_the_line_is_about() {
    let (local, id) = (Local::new("/"), SocketId::random().unwrap());
    local.insert(id, FakeRecipient::new(), &[], None).unwrap();
    let curious = Curious(local.clone(), Arc::default());
    let data = Args::event("x", &()).unwrap();
    let mut asked = Vec::new();
    tracing::subscriber::with_default(curious.clone(), || {
        for _ in 0..=MAX_PENDING_ACKS {
            asked.push(local.emit_for_acks(&Target::everyone(), Emit::of(&data), || {}).unwrap());
        }
        assert_eq!(*curious.1.lock(), [true], "of an acknowledgement over the limit");
        let long = Room::from("x".repeat(MAX_ROOM_BYTES + 1));
        local.apply(&Target::everyone(), Action::Join(&[long])).unwrap();
        assert_eq!(*curious.1.lock(), [true, true], "of a join that is refused");
    });
}
