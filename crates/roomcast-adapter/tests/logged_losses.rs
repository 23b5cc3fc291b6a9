//! What is logged of losses. It is a program of its own, as tracing's cache of interest is for all threads: a thread without a subscriber
//! that comes to a line first can make it silent for all.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "what the suite's helpers have"
)]

#[path = "suite/cluster_faults/stage.rs"]
mod stage;

use parking_lot::Mutex;
use roomcast_adapter::cluster::MemoryNetwork;
use stage::{ACQUAINTED, Server, pass};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A lost tail is counted at the second announcement after it, and announcements come every second.
const COUNTED: Duration = Duration::from_secs(3);

/// The field `messages` of this thread's warnings.
#[derive(Clone, Default)]
struct LoggedLosses(Arc<Mutex<Vec<String>>>);

impl Visit for LoggedLosses {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "messages" {
            self.0.lock().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for LoggedLosses {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
}

/// Without anything that the application does, the log says whose messages were lost, in one line for ten seconds.
#[tokio::test(start_paused = true)]
async fn every_loss_is_logged_with_its_sender() {
    let logged = LoggedLosses::default();
    let _log = tracing::subscriber::set_default(logged.clone());
    let network = MemoryNetwork::new();
    let servers = ["a", "b", "c"].map(|name| Server::new(&network, name));
    pass(ACQUAINTED).await;
    // Messages of one sender are lost on their way to the two others.
    let lose = async |from: usize, messages: usize| {
        network.lose(messages);
        (0..messages).for_each(|_| servers[from].emit());
        pass(COUNTED).await;
    };
    lose(0, 2).await;
    // `b` and `c` say so.
    assert_eq!(*logged.0.lock(), ["\"2 of a\""; 2]);
    lose(1, 1).await;
    lose(0, 3).await;
    // Only `a` has written no line in the last ten seconds.
    assert_eq!(logged.0.lock().split_off(2), ["\"1 of b\""]);
    pass(Duration::from_secs(10)).await;
    let mut lines = logged.0.lock().split_off(2);
    lines.sort();
    assert_eq!(lines, ["\"3 of a\"", "\"3 of a, 1 of b\""]);
}
