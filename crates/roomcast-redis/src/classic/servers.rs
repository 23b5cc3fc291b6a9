//! [`Servers`]: what roomcast servers tell one another of themselves.

use super::decode;
use crate::bus::{Echo, Heard, Listener};
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Body, Inbox, Message, ServerId};
use std::sync::Arc;

/// Hears the roomcast servers, itself too: that is the proof that it hears.
pub(super) struct Servers {
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) id: ServerId,
    pub(super) echo: Arc<Mutex<Echo>>,
}

/// The number of an announcement that all hear, its publisher too.
pub(super) fn echo(message: &Message) -> Option<u64> {
    let is_for_all = message.to.is_none() && matches!(message.body, Body::Alive(_));
    message.trailer.filter(|_| is_for_all).map(|trailer| trailer.serial)
}

impl Listener for Servers {
    fn heard(&self, messages: Vec<Heard>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        for heard in messages {
            match decode::servers(&Bytes::from(heard.payload)) {
                Ok(message) if message.sender.as_ref() == Some(&self.id) => {
                    if let Some(number) = echo(&message) {
                        self.echo.lock().heard(number);
                    }
                }
                Ok(message) => arrivals.push(Arrival::Message(message)),
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.echo.lock().connected();
        self.inbox.connected();
    }

    fn lost(&self) {
        self.echo.lock().lost();
        self.inbox.lost();
    }
}
