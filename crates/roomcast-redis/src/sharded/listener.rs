//! [`NamespaceListener`]: reads the messages on the channels of a namespace.

use super::decode::{decode, trailer};
use super::encode::Tail;
use super::names::Names;
use super::options::ShardedMode;
use crate::delivery::rooms::RoomListener;
use crate::delivery::{Delivery, Listener};
use bytes::Bytes;
use roomcast_adapter::cluster::{Arrival, Body, Inbox, ServerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Its channels include those of the namespace's rooms.
pub(super) struct NamespaceListener {
    name: Arc<str>,
    main: String,
    own: String,
    id: ServerId,
    tail: Tail,
    mode: ShardedMode,
    inbox: Arc<dyn Inbox>,
    /// The namespace is being closed. Only questions still matter: the asking server may have counted this one before.
    closing: AtomicBool,
}

impl NamespaceListener {
    pub(super) fn new(names: &Names, mode: ShardedMode, name: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) -> Self {
        Self {
            name: name.clone(),
            main: names.main(name),
            own: names.room(name, id.as_str()),
            id: id.clone(),
            tail: Tail::of(id, name),
            mode,
            inbox,
            closing: AtomicBool::new(false),
        }
    }

    /// The channels that are always subscribed: the one for all servers, and the one for answers to this server.
    pub(super) fn channels(&self) -> Vec<String> {
        vec![self.main.clone(), self.own.clone()]
    }

    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The room that has this channel, if it is a room's.
    fn room<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let room = channel.strip_prefix(&self.main)?.strip_suffix('#')?;
        (channel != self.own && self.mode.has_channel(room)).then_some(room)
    }

    /// `None` if the message is for another namespace, or this server's own.
    fn read(&self, channel: &str, payload: Vec<u8>) -> Option<Arrival> {
        if self.tail.ends(&payload) {
            return None;
        }
        if self.room(channel).is_some_and(|room| !self.inbox.wants(room)) {
            return trailer(&payload, &self.name).map(Arrival::PassedOver);
        }
        match decode(&Bytes::from(payload), &self.name, &self.id) {
            Ok(message) => message.map(Arrival::Message),
            Err(error) => Some(Arrival::Malformed(error.to_string())),
        }
    }
}

impl RoomListener for NamespaceListener {
    fn namespace(&self) -> &Arc<str> {
        &self.name
    }

    fn wants(&self, room: &str) -> bool {
        self.inbox.wants(room)
    }
}

impl Listener for NamespaceListener {
    fn receive(&self, messages: Vec<Delivery>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        let closing = self.closing.load(Ordering::Acquire);
        for Delivery { channel, payload, .. } in messages {
            let Some(arrival) = std::str::from_utf8(&channel).ok().and_then(|channel| self.read(channel, payload))
            else {
                continue;
            };
            let body = match &arrival {
                Arrival::Message(message) => Some(&message.body),
                _ => None,
            };
            if closing && !body.is_some_and(Body::is_question) {
                continue;
            }
            let may_change_rooms = body.is_some_and(|body| !matches!(body, Body::Broadcast { .. }));
            arrivals.push(arrival);
            if may_change_rooms {
                // Broadcasts after it are decoded only for rooms that have members.
                self.inbox.receive(std::mem::take(&mut arrivals));
            }
        }
        if !arrivals.is_empty() {
            self.inbox.receive(arrivals);
        }
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}
