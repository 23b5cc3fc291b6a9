//! [`Servers`]: what roomcast servers tell one another of themselves.

use super::decode;
use crate::bus::{Heard, Listener};
use bytes::Bytes;
use roomcast_adapter::cluster::{Arrival, Inbox, ServerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Hears the roomcast servers, itself too: that is the proof that it hears.
pub(super) struct Servers {
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) id: ServerId,
    pub(super) unheard: Arc<AtomicU32>,
}

impl Listener for Servers {
    fn heard(&self, messages: Vec<Heard>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        for heard in messages {
            match decode::servers(&Bytes::from(heard.payload)) {
                Ok(message) if message.sender.as_ref() == Some(&self.id) => self.unheard.store(0, Ordering::Relaxed),
                Ok(message) => arrivals.push(Arrival::Message(message)),
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.unheard.store(0, Ordering::Relaxed);
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}
