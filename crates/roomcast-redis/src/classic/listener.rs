//! [`NamespaceListener`]: reads the messages on the channels of a namespace.

use super::decode;
use super::names::Prefix;
use crate::bus::Names;
use crate::delivery::rooms::RoomListener;
use crate::delivery::{Delivery, Listener};
use crate::wire::read::Malformed;
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Inbox, Message, ServerId};
use std::sync::Arc;

/// How a namespace's broadcasts are subscribed.
#[derive(Clone)]
pub(super) enum Broadcasts {
    /// By a pattern of the namespace.
    Pattern,
    /// By one pattern for all namespaces, whose messages this listener distributes.
    OnePattern(Arc<dyn Listener>),
    /// By the main channel; [`Rooms`](crate::delivery::rooms::Rooms) sees to the channels of rooms.
    Channels,
}

pub(super) struct NamespaceListener {
    broadcasts: Broadcasts,
    namespace: Arc<str>,
    broadcast_channel: String,
    request_channel: String,
    id: ServerId,
    inbox: Arc<dyn Inbox>,
    closing: Mutex<Closing>,
}

/// While a namespace is being closed, each request arrives for a moment both by the channel and by a pattern. Redis
/// sends one right after the other.
#[derive(Default)]
struct Closing {
    has_begun: bool,
    /// The last request that arrived by the channel.
    last_request: Option<Vec<u8>>,
}

impl NamespaceListener {
    pub(super) fn new(prefix: &Prefix, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) -> Self {
        Self {
            broadcasts: Broadcasts::Pattern,
            namespace: namespace.clone(),
            broadcast_channel: prefix.broadcast(namespace),
            request_channel: prefix.request(namespace),
            id: id.clone(),
            inbox,
            closing: Mutex::default(),
        }
    }

    pub(super) fn with(self, broadcasts: Broadcasts) -> Self {
        Self { broadcasts, ..self }
    }

    /// From now on requests may arrive by a pattern too.
    pub(super) fn begin_closing(&self) {
        self.closing.lock().has_begun = true;
    }

    /// A request has arrived by the pattern. It matters only if it is a question, and has not arrived by the channel.
    pub(super) fn receive_by_pattern(&self, request: Vec<u8>) {
        if self.closing.lock().last_request.take_if(|last| *last == request).is_some() {
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

    /// The names to subscribe, in Node's order.
    pub(super) fn names(&self, prefix: &Prefix) -> Names {
        let response = prefix.response(&self.namespace);
        let own = prefix.response_to(&self.namespace, self.id.as_str());
        let (patterns, uncounted) = match self.broadcasts {
            Broadcasts::Pattern => (vec![prefix.pattern(&self.namespace)], Vec::new()),
            Broadcasts::OnePattern(_) => (vec![prefix.pattern_of_all()], Vec::new()),
            Broadcasts::Channels => (Vec::new(), vec![self.broadcast_channel.clone()]),
        };
        Names { patterns, uncounted, channels: vec![self.request_channel.clone(), response, own] }
    }

    /// `None` if the message is for another namespace, or this server's own.
    fn decode(&self, channel: &str, payload: Vec<u8>) -> Result<Option<Arrival>, Malformed> {
        let message = |message: Option<Message>| message.map(Arrival::Message);
        let payload = Bytes::from(payload);
        // A namespace whose name is the beginning of another one's also gets the other's messages; the packet names the
        // namespace.
        if let Some(room) = channel.strip_prefix(&self.broadcast_channel) {
            // Node removes the last character, whatever it is.
            let mut room = room.chars();
            room.next_back();
            let room = room.as_str();
            if !room.is_empty() && !self.inbox.wants(room) {
                return Ok(decode::trailer(&payload, &self.namespace).map(Arrival::PassedOver));
            }
            return decode::broadcast(&payload, &self.namespace, &self.id).map(message);
        }
        if channel == self.request_channel {
            let mut closing = self.closing.lock();
            if closing.has_begun {
                closing.last_request = Some(payload.to_vec());
            }
            drop(closing);
            return decode::request(&payload, &self.namespace).map(message);
        }
        if decode::answers(&payload).is_some_and(|request| !self.inbox.awaits(request)) {
            return Ok(None);
        }
        decode::response(&payload).map(|answer| Some(Arrival::Message(answer)))
    }
}

impl RoomListener for NamespaceListener {
    fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    fn wants(&self, room: &str) -> bool {
        self.inbox.wants(room)
    }
}

impl Listener for NamespaceListener {
    fn receive(&self, messages: Vec<Delivery>) {
        // To be passed on together.
        let mut arrivals = Vec::with_capacity(messages.len());
        for Delivery { by_pattern, channel, payload } in messages {
            let is_broadcast = by_pattern || channel.starts_with(self.broadcast_channel.as_bytes());
            let decoded = match std::str::from_utf8(&channel) {
                Ok(channel) => self.decode(channel, payload),
                Err(_) => Err(Malformed::Utf8),
            };
            match decoded {
                Ok(Some(Arrival::Message(message))) if message.sender.as_ref() == Some(&self.id) => {}
                Ok(Some(arrival)) => {
                    arrivals.push(arrival);
                    if !is_broadcast {
                        // A request may change rooms, and broadcasts after it are decoded only for rooms that have
                        // members.
                        self.inbox.receive(std::mem::take(&mut arrivals));
                    }
                }
                Ok(None) => {}
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn pattern_listener(&self) -> Option<Arc<dyn Listener>> {
        match &self.broadcasts {
            Broadcasts::OnePattern(router) => Some(router.clone()),
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
