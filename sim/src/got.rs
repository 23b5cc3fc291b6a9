//! [`Got`]: what a socket has got.

use parking_lot::Mutex;

/// What a socket has got: the numbers of events, in order, and how often it was disconnected.
#[derive(Debug, Default)]
pub(crate) struct Got {
    events: Mutex<Vec<u64>>,
    disconnects: Mutex<usize>,
}

impl Got {
    pub(crate) fn event(&self, n: u64) {
        self.events.lock().push(n);
    }

    pub(crate) fn disconnect(&self) {
        *self.disconnects.lock() += 1;
    }

    /// The events after the first `from`.
    pub(crate) fn since(&self, from: usize) -> Vec<u64> {
        self.events.lock().get(from..).unwrap_or_default().to_vec()
    }

    pub(crate) fn disconnects(&self) -> usize {
        *self.disconnects.lock()
    }
}
