//! What roomcast servers tell one another of themselves, in every dialect alike: JSON on channels that Node neither hears nor counts.

use super::read::{Malformed, check_size, hex};
use super::write::{TRAILER, object, quoted};
use crate::bus::{Before, Echo, Heard, Listener};
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Alive, Arrival, Body, Inbox, Message, Outcome, Outgoing, ServerId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The channel that all of them hear.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}-roomcast#")
}

/// The channel of one server.
pub(crate) fn channel_of(prefix: &str, server: &str) -> String {
    format!("{prefix}-roomcast#{server}#")
}

/// `{alive, to, uid, rc}`, or with `hello` in place of `alive`. `None`: it is not one of these messages.
pub(crate) fn write(message: &Message) -> Option<Vec<u8>> {
    let mut fields = vec![match &message.body {
        Body::Alive(alive) => ("alive", json!(alive).to_string()),
        Body::Hello => ("hello", "true".to_owned()),
        Body::Goodbye => ("alive", "null".to_owned()),
        _ => return None,
    }];
    fields.extend(message.to.as_ref().map(|to| ("to", quoted(to.as_str()))));
    fields.extend(message.sender.as_ref().map(|sender| ("uid", quoted(sender.as_str()))));
    fields.extend(message.trailer.map(|trailer| (TRAILER, quoted(&trailer.to_hex()))));
    Some(object(&fields))
}

/// What a roomcast server tells of itself.
#[derive(Deserialize)]
struct OfServer<'a> {
    uid: String,
    to: Option<String>,
    alive: Option<Alive>,
    #[serde(default)]
    hello: bool,
    #[serde(borrow)]
    rc: Option<&'a RawValue>,
}

/// What roomcast servers tell one another of themselves.
pub(crate) fn read(payload: &Bytes) -> Result<Message, Malformed> {
    check_size(payload)?;
    let of: OfServer<'_> = serde_json::from_slice(payload)?;
    let body = match of.alive {
        Some(alive) => Body::Alive(alive),
        None if of.hello => Body::Hello,
        None => Body::Goodbye,
    };
    let to = of.to.map(|to| ServerId::from(&*to));
    Ok(Message { sender: Some(ServerId::from(&*of.uid)), to, trailer: hex(of.rc), body })
}

/// The number of an announcement that all hear, its publisher too.
fn number(message: &Message) -> Option<u64> {
    let is_for_all = message.to.is_none() && matches!(message.body, Body::Alive(_));
    message.trailer.filter(|_| is_for_all).map(|trailer| trailer.serial)
}

/// Redis has taken these of a batch, before which the machine was in this state.
pub(crate) fn went_out(echo: &Mutex<Echo>, before: Option<Before>, batch: &[Outgoing], outcomes: &[Outcome]) {
    let Some(before) = before else { return };
    let sent = batch.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Sent);
    if let Some(last) = sent.filter_map(|(outgoing, _)| number(&outgoing.message)).max() {
        echo.lock().taken(last, before);
    }
}

/// Hears the roomcast servers, itself too: that is the proof that it hears.
pub(crate) struct Servers {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) id: ServerId,
    /// Compares own announcements that come with signs of life: that they come proves that this server hears.
    pub(crate) echo: Arc<Mutex<Echo>>,
}

impl Servers {
    fn proves(&self, own: &Message) {
        if let Some(number) = number(own) {
            self.echo.lock().heard(number);
        }
    }
}

impl Listener for Servers {
    fn heard(&self, messages: Vec<Heard>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        for heard in messages {
            match read(&Bytes::from(heard.payload)) {
                Ok(message) if message.sender.as_ref() == Some(&self.id) => self.proves(&message),
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
