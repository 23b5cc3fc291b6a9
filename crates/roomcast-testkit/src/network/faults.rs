//! [`Faults`]: what is wrong with a server's connection to the others.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::watch;

/// What is wrong with a server's connection to the others. At first nothing is.
#[derive(Debug)]
pub(crate) struct Faults {
    delay: Mutex<Duration>,
    /// Messages that will be lost.
    to_lose: Mutex<usize>,
    frozen: watch::Sender<bool>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { delay: Mutex::default(), to_lose: Mutex::default(), frozen: watch::Sender::new(false) }
    }
}

impl Faults {
    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    pub(crate) fn delay(&self) -> Duration {
        *self.delay.lock()
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// Waits while the connection is frozen.
    pub(crate) async fn thawed(&self) {
        // The sender is in `self`, so this cannot fail.
        drop(self.frozen.subscribe().wait_for(|frozen| !frozen).await);
    }

    pub(crate) fn lose(&self, messages: usize) {
        *self.to_lose.lock() = messages;
    }

    /// Whether the next message is lost.
    pub(crate) fn loses(&self) -> bool {
        let mut to_lose = self.to_lose.lock();
        let loses = *to_lose > 0;
        *to_lose = to_lose.saturating_sub(1);
        loses
    }
}
