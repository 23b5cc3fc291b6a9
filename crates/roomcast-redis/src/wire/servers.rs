//! What roomcast servers tell one another of themselves, in every dialect alike: JSON on channels that Node neither hears nor counts.

use super::read::{Malformed, check_size, hex};
use super::write::{TRAILER, object, quoted};
use crate::bus::{Echo, Heard, Listener};
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Alive, Arrival, Body, Inbox, Message, ServerId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
pub(crate) fn echo(message: &Message) -> Option<u64> {
    let is_for_all = message.to.is_none() && matches!(message.body, Body::Alive(_));
    message.trailer.filter(|_| is_for_all).map(|trailer| trailer.serial)
}

/// What an own announcement that has come proves: that this server hears.
pub(crate) enum Proof {
    /// To the machine that compares it with signs of life.
    Echo(Arc<Mutex<Echo>>),
    /// To the count of those that were published since one was heard.
    Unheard(Arc<AtomicU32>),
}

/// Hears the roomcast servers, itself too: that is the proof that it hears.
pub(crate) struct Servers {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) id: ServerId,
    pub(crate) proof: Proof,
}

impl Servers {
    fn proves(&self, own: &Message) {
        match &self.proof {
            Proof::Echo(machine) => {
                if let Some(number) = echo(own) {
                    machine.lock().heard(number);
                }
            }
            Proof::Unheard(count) => count.store(0, Ordering::Relaxed),
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
        match &self.proof {
            Proof::Echo(machine) => machine.lock().connected(),
            Proof::Unheard(count) => count.store(0, Ordering::Relaxed),
        }
        self.inbox.connected();
    }

    fn lost(&self) {
        if let Proof::Echo(machine) = &self.proof {
            machine.lock().lost();
        }
        self.inbox.lost();
    }
}
