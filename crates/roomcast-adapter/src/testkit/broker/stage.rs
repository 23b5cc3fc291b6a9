//! [`BrokerStage`]: what the check of a rule works with: brokers, and inboxes that record.

use crate::Room;
use crate::Target;
use crate::cluster::Broker;
use crate::cluster::Trailer;
use crate::cluster::{Arrival, Inbox, Looked, Outcome as Published, Outgoing, ServerId};
use crate::cluster::{Body, Message};
use crate::testkit::broker::brokers::{Brokers, Dialect};
use crate::testkit::stage::{Outcome, data, eventually, eventually_async, must, within_timeout};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// The name of events that are not part of a check.
const FENCE: &str = "testkit:fence";

/// The namespace of checks that need only one.
pub(crate) const NAMESPACE: &str = "/broker";

/// Most characters of a message in a report.
const TOLD_CHARACTERS: usize = 300;

/// An inbox that records what arrives, in order.
pub(crate) struct RecordingInbox {
    heard: Mutex<Vec<InboxEvent>>,
    /// The rooms that have members here; `None` means all.
    rooms: Mutex<Option<Vec<String>>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum InboxEvent {
    Message(Message),
    PassedOver(Trailer),
    Malformed,
    Connected,
    Lost,
}

impl RecordingInbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { heard: Mutex::default(), rooms: Mutex::default() })
    }

    /// An inbox that wants only this room.
    pub(crate) fn wanting(room: &str) -> Arc<Self> {
        let inbox = Self::new();
        inbox.enter(room);
        inbox
    }

    /// From now on this room has members.
    pub(crate) fn enter(&self, room: &str) {
        self.rooms.lock().get_or_insert_default().push(room.to_owned());
    }

    /// From now on this room has no members.
    pub(crate) fn leave(&self, room: &str) {
        self.rooms.lock().get_or_insert_default().retain(|it| it != room);
    }

    pub(crate) fn heard(&self) -> Vec<InboxEvent> {
        self.heard.lock().clone()
    }

    pub(crate) fn count(&self, what: &InboxEvent) -> usize {
        self.heard.lock().iter().filter(|heard| *heard == what).count()
    }

    /// The messages that arrived, without fences.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let heard = self.heard.lock();
        let messages = heard.iter().filter_map(|heard| match heard {
            InboxEvent::Message(message) if !is_fence(message) => Some(message.clone()),
            _ => None,
        });
        messages.collect()
    }

    fn add(&self, heard: InboxEvent) {
        self.heard.lock().push(heard);
    }

    fn has_fence(&self, number: u64) -> bool {
        let is_it =
            |heard: &InboxEvent| matches!(heard, InboxEvent::Message(message) if fence_number(message) == Some(number));
        self.heard.lock().iter().rev().any(is_it)
    }
}

impl Inbox for RecordingInbox {
    fn wants(&self, room: &str) -> bool {
        self.rooms.lock().as_ref().is_none_or(|rooms| rooms.iter().any(|it| it == room))
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.add(match arrival {
                Arrival::Message(message) => InboxEvent::Message(message),
                Arrival::PassedOver(trailer) => InboxEvent::PassedOver(trailer),
                Arrival::Malformed(_) => InboxEvent::Malformed,
            });
        }
    }

    fn connected(&self) {
        self.add(InboxEvent::Connected);
    }

    fn lost(&self) {
        self.add(InboxEvent::Lost);
    }
}

fn fence_number(message: &Message) -> Option<u64> {
    let Body::Broadcast { data, .. } = &message.body else { return None };
    let (name, number): (String, u64) = data.parse().ok()?;
    (name == FENCE).then_some(number)
}

fn is_fence(message: &Message) -> bool {
    fence_number(message).is_some()
}

/// An open namespace of a broker.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) broker: usize,
    pub(crate) namespace: Arc<str>,
    pub(crate) inbox: Arc<RecordingInbox>,
}

/// The brokers, each as the broker of a server.
pub(crate) struct BrokerStage {
    pub(crate) brokers: Brokers,
    pub(crate) open: Vec<Open>,
    fence: u64,
}

impl BrokerStage {
    pub(crate) fn new(brokers: Brokers, expected: usize) -> Result<Self, String> {
        must!(brokers.brokers.len() == expected, "{} brokers were made, not {expected}", brokers.brokers.len());
        Ok(Self { brokers, open: Vec::new(), fence: 0 })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.brokers.dialect
    }

    pub(crate) fn broker(&self, number: usize) -> Arc<dyn Broker> {
        self.brokers.brokers[number].clone()
    }

    /// The id of a broker's server.
    pub(crate) fn id(number: usize) -> ServerId {
        ServerId::from(format!("{:016x}", 0xbeef_0000 + number).as_str())
    }

    /// Opens a namespace at a broker, and waits until messages arrive.
    pub(crate) async fn open(&mut self, broker: usize, namespace: &str) -> Result<Arc<RecordingInbox>, String> {
        self.open_with(broker, namespace, RecordingInbox::new()).await
    }

    pub(crate) async fn open_with(
        &mut self,
        broker: usize,
        namespace: &str,
        inbox: Arc<RecordingInbox>,
    ) -> Result<Arc<RecordingInbox>, String> {
        let namespace: Arc<str> = namespace.into();
        self.broker(broker).open(&namespace, &Self::id(broker), inbox.clone());
        let connected = eventually(|| inbox.count(&InboxEvent::Connected) > 0).await;
        must!(connected, "broker {broker} never called `connected` for {namespace}");
        self.open.push(Open { broker, namespace, inbox: inbox.clone() });
        Ok(inbox)
    }

    /// Opens [`NAMESPACE`] at every broker.
    pub(crate) async fn open_all(&mut self) -> Result<Vec<Arc<RecordingInbox>>, String> {
        let mut inboxes = Vec::new();
        for broker in 0..self.brokers.brokers.len() {
            inboxes.push(self.open(broker, NAMESPACE).await?);
        }
        Ok(inboxes)
    }

    /// Tells a broker to look at a room, if it wants to be told, and waits until the room is subscribed.
    pub(crate) async fn look(&self, broker: usize, namespace: &str, room: &str) -> Outcome {
        match self.hint(broker, namespace, room) {
            Some(looked) => {
                within_timeout("look", looked).await?.map_err(|error| format!("{room:?} is not heard: {error}"))
            }
            None => Ok(()),
        }
    }

    /// Tells a broker to look at a room, if it wants to be told.
    pub(crate) fn hint(&self, broker: usize, namespace: &str, room: &str) -> Option<Looked> {
        let broker = self.broker(broker);
        if broker.looks() { broker.look(namespace, &Room::from(room)) } else { None }
    }

    pub(crate) async fn close(&mut self, broker: usize, namespace: &str) -> Outcome {
        self.open.retain(|open| open.broker != broker || *open.namespace != *namespace);
        within_timeout("close", self.broker(broker).close(namespace)).await
    }

    pub(crate) async fn publish(&self, broker: usize, namespace: &str, messages: &[Message]) -> Outcome {
        let batch: Vec<Outgoing> =
            messages.iter().map(|message| Outgoing { namespace: namespace.into(), message: message.clone() }).collect();
        let outcomes = within_timeout("publish", self.broker(broker).publish(&batch)).await?;
        must!(
            outcomes.len() <= batch.len(),
            "for {} messages broker {broker} returned the outcomes {outcomes:?}",
            batch.len()
        );
        let all = outcomes.len() == batch.len() && outcomes.iter().all(|outcome| *outcome == Published::Sent);
        must!(all, "broker {broker} did not publish in {namespace}: {:?}", outcomes.last());
        Ok(())
    }

    /// A message of a broker's server to everybody, with a number.
    pub(crate) fn message(broker: usize, number: u64) -> Result<Message, String> {
        Self::message_to(broker, number, Target::everyone())
    }

    pub(crate) fn message_to(broker: usize, number: u64, target: Target) -> Result<Message, String> {
        let body = Body::Broadcast { data: data("n", &number)?, target, volatile: false, compress: true };
        Ok(Message { sender: Some(Self::id(broker)), to: None, trailer: None, body })
    }

    /// Waits until everything that a broker has published in a namespace has arrived wherever the namespace is open.
    pub(crate) async fn fence(&mut self, broker: usize, namespace: &str, target: Target) -> Outcome {
        self.fence += 1;
        let number = self.fence;
        let body = Body::Broadcast { data: data(FENCE, &number)?, target, volatile: false, compress: true };
        let fence = Message { sender: Some(Self::id(broker)), to: None, trailer: None, body };
        self.publish(broker, namespace, &[fence]).await?;
        for open in self.open.iter().filter(|open| *open.namespace == *namespace && self.hears(broker, open.broker)) {
            let came = eventually(|| open.inbox.has_fence(number)).await;
            must!(came, "messages of broker {broker} in {namespace} never arrived at broker {}", open.broker);
        }
        Ok(())
    }

    /// Waits for the same in every open namespace, from every broker.
    pub(crate) async fn settle(&mut self) -> Outcome {
        let mut namespaces: Vec<Arc<str>> = self.open.iter().map(|open| open.namespace.clone()).collect();
        namespaces.sort();
        namespaces.dedup();
        for namespace in namespaces {
            for broker in 0..self.brokers.brokers.len() {
                self.fence(broker, &namespace, Target::everyone()).await?;
            }
        }
        Ok(())
    }

    /// Whether one broker's inbox gets what another one publishes.
    pub(crate) fn hears(&self, publisher: usize, receiver: usize) -> bool {
        publisher != receiver || self.dialect().echo
    }

    /// Polls until a broker can publish.
    pub(crate) async fn published_at_last(&self, broker: usize, namespace: &str, message: &Message) -> Outcome {
        let mut last = Ok(());
        let published = eventually_async(async || {
            last = self.publish(broker, namespace, std::slice::from_ref(message)).await;
            last.is_ok()
        });
        if published.await { Ok(()) } else { last }
    }

    /// Closes what is open.
    pub(crate) async fn end(mut self) -> Outcome {
        for Open { broker, namespace, .. } in std::mem::take(&mut self.open) {
            within_timeout("close", self.broker(broker).close(&namespace)).await?;
        }
        Ok(())
    }
}

/// Messages for a report, shortened if they are long.
pub(crate) struct Messages<'a>(pub(crate) &'a [Message]);

impl fmt::Display for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.0);
        let cut: String = text.chars().take(TOLD_CHARACTERS).collect();
        f.write_str(&cut)?;
        if cut.len() < text.len() { f.write_str(" ...") } else { Ok(()) }
    }
}

/// Checks that an inbox got exactly these messages, in this order.
pub(crate) fn heard_exactly(who: &str, inbox: &RecordingInbox, expected: &[Message]) -> Outcome {
    let heard = inbox.messages();
    must!(
        heard == expected,
        "{who} got {} messages, {}, not {}, {}",
        heard.len(),
        Messages(&heard),
        expected.len(),
        Messages(expected)
    );
    Ok(())
}
