//! [`Namespace`]: what comes on the channels of a namespace.

use super::decode::{decode, trailer};
use super::encode::Tail;
use super::names::Names;
use super::options::ShardedMode;
use crate::bus::{Heard, Listener};
use bytes::Bytes;
use roomcast_adapter::cluster::{Arrival, Body, Inbox, ServerId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Hears the channels of a namespace, those of its rooms too.
pub(super) struct Namespace {
    pub(super) name: Arc<str>,
    main: String,
    own: String,
    id: ServerId,
    tail: Tail,
    mode: ShardedMode,
    pub(super) inbox: Arc<dyn Inbox>,
    /// Only questions matter still: who asks may have counted this server before it left.
    leaving: AtomicBool,
}

impl Namespace {
    pub(super) fn new(names: &Names, mode: ShardedMode, name: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) -> Self {
        Self {
            name: name.clone(),
            main: names.main(name),
            own: names.room(name, id.as_str()),
            id: id.clone(),
            tail: Tail::of(id, name),
            mode,
            inbox,
            leaving: AtomicBool::new(false),
        }
    }

    /// What is always subscribed: the channel of all, and that of answers to this server.
    pub(super) fn channels(&self) -> Vec<String> {
        vec![self.main.clone(), self.own.clone()]
    }

    /// It is being closed.
    pub(super) fn leaves(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// The room whose channel this is.
    fn room<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let room = channel.strip_prefix(&self.main)?.strip_suffix('#')?;
        (channel != self.own && self.mode.has_channel(room)).then_some(room)
    }

    /// `None`: it is for another namespace, or our own.
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

impl Listener for Namespace {
    fn heard(&self, heard: Vec<Heard>) {
        let mut arrivals = Vec::with_capacity(heard.len());
        let leaving = self.leaving.load(Ordering::Acquire);
        for Heard { channel, payload, .. } in heard {
            let Some(arrival) = std::str::from_utf8(&channel).ok().and_then(|channel| self.read(channel, payload))
            else {
                continue;
            };
            let body = match &arrival {
                Arrival::Message(message) => Some(&message.body),
                _ => None,
            };
            if leaving && !body.is_some_and(Body::is_question) {
                continue;
            }
            let may_change_rooms = body.is_some_and(|body| !matches!(body, Body::Broadcast { .. }));
            arrivals.push(arrival);
            if may_change_rooms {
                // What comes behind it is decoded only for rooms that have members.
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
