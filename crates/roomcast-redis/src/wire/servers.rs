//! Announcements of roomcast servers to each other, the same in both dialects: JSON on channels that Node neither
//! subscribes nor counts.

use super::read::{Malformed, check_size, read_trailer};
use super::write::{TRAILER, object, quoted};
use crate::delivery::{Delivery, Echo, Listener, Mark};
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Alive, Arrival, Body, Inbox, Message, Outcome, Outgoing, ServerId};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::time::Instant;

pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}-roomcast#")
}

pub(crate) fn channel_of(prefix: &str, server: &str) -> String {
    format!("{prefix}-roomcast#{server}#")
}

/// Writes `{alive, to, uid, rc}`, or with `hello` in place of `alive`. `None` if the message is not an announcement.
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

#[derive(Deserialize)]
struct Announcement<'a> {
    uid: String,
    to: Option<String>,
    alive: Option<Alive>,
    #[serde(default)]
    hello: bool,
    #[serde(borrow)]
    rc: Option<&'a RawValue>,
}

pub(crate) fn read(payload: &Bytes) -> Result<Message, Malformed> {
    check_size(payload)?;
    let read: Announcement<'_> = serde_json::from_slice(payload)?;
    let body = match read.alive {
        Some(alive) => Body::Alive(alive),
        None if read.hello => Body::Hello,
        None => Body::Goodbye,
    };
    let to = read.to.map(|to| ServerId::from(&*to));
    Ok(Message { sender: Some(ServerId::from(&*read.uid)), to, trailer: read_trailer(read.rc), body })
}

/// The number of an announcement to all servers, which its publisher receives too.
fn number(message: &Message) -> Option<u64> {
    let is_for_all = message.to.is_none() && matches!(message.body, Body::Alive(_));
    message.trailer.filter(|_| is_for_all).map(|trailer| trailer.serial)
}

/// Announcements are about to be published: the way of the last one is measured, until its own server hears it. Returns
/// the mark of `echo` for [`note_published`].
pub(crate) fn note_sending(echo: &Mutex<Echo>, batch: &[Outgoing]) -> Option<Mark> {
    let last = batch.iter().filter_map(|outgoing| number(&outgoing.message)).max();
    let mut echo = echo.lock();
    if let Some(last) = last {
        echo.sends(last, Instant::now());
    }
    echo.mark()
}

/// Reports the announcements that Redis has taken to `echo`. `before`: its mark from before the batch was published.
pub(crate) fn note_published(echo: &Mutex<Echo>, before: Option<Mark>, batch: &[Outgoing], outcomes: &[Outcome]) {
    let Some(before) = before else { return };
    let sent = batch.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Sent);
    if let Some(last) = sent.filter_map(|(outgoing, _)| number(&outgoing.message)).max() {
        echo.lock().published(last, before);
    }
}

/// Receives the announcements of all servers. Those of its own server prove that the subscriber connection is not deaf.
pub(crate) struct ServersListener {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) id: ServerId,
    pub(crate) echo: Arc<Mutex<Echo>>,
}

impl ServersListener {
    fn note_own(&self, own: &Message) {
        if let Some(number) = number(own) {
            let lag = self.echo.lock().received(number, Instant::now());
            if let Some(lag) = lag {
                metrics::histogram!("roomcast_cluster_delivery_lag_seconds").record(lag);
            }
        }
    }
}

impl Listener for ServersListener {
    fn receive(&self, messages: Vec<Delivery>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        for message in messages {
            match read(&Bytes::from(message.payload)) {
                Ok(message) if message.sender.as_ref() == Some(&self.id) => self.note_own(&message),
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
