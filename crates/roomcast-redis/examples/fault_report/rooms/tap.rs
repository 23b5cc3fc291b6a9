//! [`Tap`]: a broker that notes what another one hears, before anything is made of it.

use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Count, Inbox, Lane, Looked, Outcome, Outgoing, SERVERS, ServerId, Speaks,
    Trailer,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing of this server has gone out yet, by which its process would be known.
pub(super) const UNKNOWN: u64 = 0;

#[derive(Debug)]
pub(super) struct Tap {
    broker: Arc<dyn Broker>,
    notes: Arc<Notes>,
}

/// A message of a roomcast server has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    pub(super) process: u64,
    pub(super) lane: Lane,
    /// In its series.
    pub(super) number: u64,
    /// Nobody here wanted it, so that it was not decoded.
    pub(super) passed_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) came: Mutex<Vec<Came>>,
    pub(super) process: AtomicU64,
}

impl Tap {
    pub(super) fn new(broker: Arc<dyn Broker>) -> (Arc<Self>, Arc<Notes>) {
        let notes = Arc::<Notes>::default();
        (Arc::new(Self { broker, notes: notes.clone() }), notes)
    }
}

struct TappedInbox {
    inbox: Arc<dyn Inbox>,
    notes: Arc<Notes>,
}

impl TappedInbox {
    fn note(&self, lane: Lane, trailer: &Trailer, passed_over: bool) {
        let (process, number) = (trailer.process, trailer.number);
        // What this server published itself comes back in the classic dialect.
        if process != self.notes.process.load(Ordering::Relaxed) {
            self.notes.came.lock().push(Came { process, lane, number, passed_over });
        }
    }
}

impl Inbox for TappedInbox {
    fn wants(&self, room: &str) -> bool {
        self.inbox.wants(room)
    }

    fn awaits(&self, request: &str) -> bool {
        self.inbox.awaits(request)
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in &arrivals {
            match arrival {
                Arrival::Message(message) => {
                    let lane =
                        Some(&message.body).filter(|body| matches!(body, Body::Broadcast { .. })).and_then(Lane::of);
                    if let (Some(lane), Some(trailer)) = (lane, &message.trailer) {
                        self.note(lane, trailer, false);
                    }
                }
                Arrival::PassedOver(trailer) => self.note(Lane::Rooms, trailer, true),
                other => panic!("{other:?}"),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}

#[async_trait]
impl Broker for Tap {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        let notes = self.notes.clone();
        let inbox = if &**namespace == SERVERS { inbox } else { Arc::new(TappedInbox { inbox, notes }) };
        self.broker.open(namespace, id, inbox);
    }

    async fn close(&self, namespace: &str) {
        self.broker.close(namespace).await;
    }

    fn lingers(&self) -> Duration {
        self.broker.lingers()
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        if let Some(trailer) = batch.first().and_then(|first| first.message.trailer) {
            self.notes.process.store(trailer.process, Ordering::Relaxed);
        }
        self.broker.publish(batch).await
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.broker.count(namespace).await
    }

    fn speaks(&self, question: &Body) -> Speaks {
        self.broker.speaks(question)
    }

    fn hears_all(&self, lane: Lane) -> bool {
        self.broker.hears_all(lane)
    }

    fn looks(&self) -> bool {
        self.broker.looks()
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        self.broker.look(namespace, room)
    }

    fn largest(&self) -> usize {
        self.broker.largest()
    }

    fn keeps_history(&self) -> bool {
        self.broker.keeps_history()
    }
}
