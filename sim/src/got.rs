//! [`Got`]: what a socket has got.

use parking_lot::Mutex;

/// What a socket has got: the numbers of events, in order, and how often it was disconnected.
#[derive(Debug, Default)]
pub(crate) struct Got {
    events: Mutex<Vec<(u64, Option<String>)>>,
    disconnects: Mutex<usize>,
}

impl Got {
    /// An event, and the last argument of it that is a string, which clients take for an offset.
    pub(crate) fn event(&self, n: u64, offset: Option<String>) {
        self.events.lock().push((n, offset));
    }

    pub(crate) fn disconnect(&self) {
        *self.disconnects.lock() += 1;
    }

    /// The events after the first `from`.
    pub(crate) fn since(&self, from: usize) -> Vec<u64> {
        self.events.lock().get(from..).unwrap_or_default().iter().map(|(n, _)| *n).collect()
    }

    /// All events with their offsets.
    pub(crate) fn offsets(&self) -> Vec<(u64, Option<String>)> {
        self.events.lock().clone()
    }

    pub(crate) fn disconnects(&self) -> usize {
        *self.disconnects.lock()
    }
}
