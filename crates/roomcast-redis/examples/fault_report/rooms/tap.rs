//! [`Tap`]: a broker that records what another one receives.

use super::server::now;
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Count, Hears, Inbox, Looked, Message, Outcome, Outgoing, Route, SERVERS,
    Series, ServerId, Speaks,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The process of this server is unknown until it has published a message.
pub(super) const UNKNOWN: u64 = 0;

#[derive(Debug)]
pub(super) struct Tap {
    broker: Arc<dyn Broker>,
    notes: Arc<Notes>,
}

/// A message of another server that was handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handled {
    /// 0 for Node's servers, which have none.
    pub(super) process: u64,
    pub(super) series: Series,
    /// The number in its series; for a Node server, that of the message itself.
    pub(super) number: u64,
    /// It was not decoded, as it is for a room without members here.
    pub(super) passed_over: bool,
    pub(super) at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) came: Mutex<Vec<Handled>>,
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
    fn came(&self, arrival: &Arrival) -> Option<Handled> {
        let (trailer, series, number, passed_over) = match arrival {
            Arrival::Message(Message { trailer, body: body @ Body::Broadcast { data, .. }, .. }) => {
                let number = data.as_ref().iter().nth(1).and_then(|number| number.parse().ok());
                (*trailer, Series::of(body)?, number, false)
            }
            Arrival::Message(_) => return None,
            Arrival::PassedOver(trailer) => (Some(*trailer), Series::Rooms, None, true),
            other => panic!("{other:?}"),
        };
        let process = trailer.map_or(0, |trailer| trailer.process);
        let number = trailer.map_or(number, |trailer| Some(trailer.number))?;
        // In the classic dialect this server's own messages come back.
        let own = process == self.notes.process.load(Ordering::Relaxed);
        (!own).then_some(Handled { process, series, number, passed_over, at: 0 })
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
        let came: Vec<Handled> = arrivals.iter().filter_map(|arrival| self.came(arrival)).collect();
        self.inbox.receive(arrivals);
        let at = now();
        self.notes.came.lock().extend(came.into_iter().map(|came| Handled { at, ..came }));
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

    fn hears(&self, series: Series) -> Hears {
        self.broker.hears(series)
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        self.broker.route(outgoing)
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        self.broker.ready(road).await
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
