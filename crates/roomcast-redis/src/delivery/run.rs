//! [`Run`]: consecutive messages for one listener, passed on together.

use super::listener::{Delivery, Listener};
use std::sync::Arc;

/// The messages of a run to one client leave in one write, instead of one write each.
pub(crate) struct Run<L: Listener + ?Sized>(Option<(Arc<L>, Vec<Delivery>)>);

impl<L: Listener + ?Sized> Default for Run<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<L: Listener + ?Sized> Run<L> {
    /// Adds a message. The run of another listener ends, and is passed on first.
    pub(crate) fn add(&mut self, listener: Arc<L>, message: Delivery) {
        match &mut self.0 {
            Some((current, messages)) if Arc::ptr_eq(current, &listener) => messages.push(message),
            _ => {
                if let Some((listener, messages)) = self.0.replace((listener, vec![message])) {
                    listener.receive(messages);
                }
            }
        }
    }

    /// Passes on what is left.
    pub(crate) fn flush(&mut self) {
        if let Some((listener, messages)) = self.0.take() {
            listener.receive(messages);
        }
    }
}
