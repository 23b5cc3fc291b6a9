//! [`Listener`]: receives the messages of a subscription, and learns whether the subscription stands.

use std::sync::Arc;
use tokio::sync::oneshot;

/// The receiver of a subscription's messages.
pub(crate) trait Listener: Send + Sync {
    /// Messages have arrived, in this order.
    fn receive(&self, messages: Vec<Delivery>);

    /// Redis has confirmed every name of the subscription, and what arrived before the last confirmation was passed on.
    fn connected(&self);

    /// Nothing arrives for now. Called only after `connected`.
    fn lost(&self);

    /// Redis forbids a name, which is retried every 10 s. Returns whether an operator must know.
    fn denied(&self) -> bool {
        true
    }

    /// The listener for what arrives by the patterns, if it is another: one that several subscriptions share receives
    /// each message once.
    fn pattern_listener(&self) -> Option<Arc<dyn Listener>> {
        None
    }
}

/// A message as Redis delivered it.
#[derive(Clone)]
pub(crate) struct Delivery {
    /// It matched a pattern; otherwise its channel is subscribed by name.
    pub(crate) by_pattern: bool,
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Learns that a channel is subscribed, or why it is not. Whoever stops waiting drops the receiving end.
pub(crate) type Waiter = oneshot::Sender<Result<(), String>>;

#[cfg(test)]
pub(crate) mod doubles {
    use super::{Delivery, Listener};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A listener that remembers whether it is connected, and fails the test if it is told the same twice.
    #[derive(Default)]
    pub(crate) struct FakeListener(AtomicBool);

    impl FakeListener {
        pub(crate) fn is_connected(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        /// It may be told `connected` again.
        pub(crate) fn reset(&self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    impl Listener for FakeListener {
        fn receive(&self, _: Vec<Delivery>) {}

        fn connected(&self) {
            assert!(!self.0.swap(true, Ordering::Relaxed), "connected twice");
        }

        fn lost(&self) {
            assert!(self.0.swap(false, Ordering::Relaxed), "lost without having been connected");
        }
    }
}
