//! [`Namespace`]: what is heard on the channels of a namespace, as messages.

use super::decode;
use super::names::Prefix;
use super::router::Router;
use crate::bus::{Heard, Listener, Names};
use crate::wire::read::Malformed;
use bytes::Bytes;
use roomcast_adapter::cluster::{Arrival, Inbox, Message, ServerId};
use std::sync::Arc;

/// How broadcasts are heard.
#[derive(Clone)]
pub(super) enum HearsBy {
    /// By a pattern of the namespace.
    Pattern,
    /// By a pattern of all namespaces, which this one shares out.
    OnePattern(Arc<Router>),
    /// By the main channel, and by those of rooms that others see to.
    Channels,
}

/// Hears the channels of a namespace.
pub(super) struct Namespace {
    hears: HearsBy,
    namespace: Arc<str>,
    broadcast: String,
    request: String,
    id: ServerId,
    inbox: Arc<dyn Inbox>,
    /// While it is being closed: the last request that came by its channel.
    last: parking_lot::Mutex<Last>,
}

/// Requests come by their channel and by a pattern for a moment. Redis sends the one right before the other.
#[derive(Default)]
struct Last {
    leaving: bool,
    request: Option<Vec<u8>>,
}

impl Namespace {
    pub(super) fn new(prefix: &Prefix, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) -> Self {
        Self {
            hears: HearsBy::Pattern,
            namespace: namespace.clone(),
            broadcast: prefix.broadcast(namespace),
            request: prefix.request(namespace),
            id: id.clone(),
            inbox,
            last: parking_lot::Mutex::default(),
        }
    }

    pub(super) fn with(self, hears: HearsBy) -> Self {
        Self { hears, ..self }
    }

    /// Whether anybody here is in a room.
    pub(super) fn wants(&self, room: &str) -> bool {
        self.inbox.wants(room)
    }

    pub(super) fn name(&self) -> &str {
        &self.namespace
    }

    /// From now on requests may come by a pattern too.
    pub(super) fn leaves(&self) {
        self.last.lock().leaving = true;
    }

    /// A request has come by a pattern: only a question matters still, and only if it did not come by the channel.
    pub(super) fn asked(&self, request: Vec<u8>) {
        if self.last.lock().request.take_if(|last| *last == request).is_some() {
            return;
        }
        match decode::request(&Bytes::from(request), &self.namespace) {
            Ok(Some(message)) if message.sender.as_ref() != Some(&self.id) && message.body.is_question() => {
                self.inbox.receive(vec![Arrival::Message(message)]);
            }
            Ok(_) => {}
            Err(error) => self.inbox.receive(vec![Arrival::Malformed(error.to_string())]),
        }
    }

    /// What it subscribes to, in Node's order.
    pub(super) fn names(&self, prefix: &Prefix) -> Names {
        let response = prefix.response(&self.namespace);
        let own = prefix.response_to(&self.namespace, self.id.as_str());
        let (patterns, uncounted) = match self.hears {
            HearsBy::Pattern => (vec![prefix.pattern(&self.namespace)], Vec::new()),
            HearsBy::OnePattern(_) => (vec![prefix.pattern_of_all()], Vec::new()),
            HearsBy::Channels => (Vec::new(), vec![self.broadcast.clone()]),
        };
        Names { patterns, uncounted, channels: vec![self.request.clone(), response, own] }
    }

    /// `None`: it is for another namespace, or our own.
    fn decode(&self, channel: &str, payload: Vec<u8>) -> Result<Option<Arrival>, Malformed> {
        let message = |message: Option<Message>| message.map(Arrival::Message);
        let payload = Bytes::from(payload);
        // A namespace that is the beginning of another hears the other's too; the packet tells which is meant.
        if let Some(room) = channel.strip_prefix(&self.broadcast) {
            // Node takes the last character off, whatever it is.
            let mut room = room.chars();
            room.next_back();
            let room = room.as_str();
            if !room.is_empty() && !self.inbox.wants(room) {
                return Ok(decode::trailer(&payload, &self.namespace).map(Arrival::PassedOver));
            }
            return decode::broadcast(&payload, &self.namespace, &self.id).map(message);
        }
        if channel == self.request {
            let mut last = self.last.lock();
            if last.leaving {
                last.request = Some(payload.to_vec());
            }
            drop(last);
            return decode::request(&payload, &self.namespace).map(message);
        }
        if decode::answers(&payload).is_some_and(|request| !self.inbox.awaits(request)) {
            return Ok(None);
        }
        decode::response(&payload).map(|answer| Some(Arrival::Message(answer)))
    }
}

impl Listener for Namespace {
    fn heard(&self, heard: Vec<Heard>) {
        // What is handed on together.
        let mut arrivals = Vec::with_capacity(heard.len());
        for Heard { by_pattern, channel, payload } in heard {
            let is_broadcast = by_pattern || channel.starts_with(self.broadcast.as_bytes());
            let decoded = match std::str::from_utf8(&channel) {
                Ok(channel) => self.decode(channel, payload),
                Err(_) => Err(Malformed::Utf8),
            };
            match decoded {
                Ok(Some(Arrival::Message(message))) if message.sender.as_ref() == Some(&self.id) => {}
                Ok(Some(arrival)) => {
                    arrivals.push(arrival);
                    if !is_broadcast {
                        // A request may change rooms, and what comes behind it is decoded only for rooms that have members.
                        self.inbox.receive(std::mem::take(&mut arrivals));
                    }
                }
                Ok(None) => {}
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn for_patterns(&self) -> Option<Arc<dyn Listener>> {
        match &self.hears {
            HearsBy::OnePattern(router) => Some(router.clone()),
            _ => None,
        }
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}
