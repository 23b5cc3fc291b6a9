//! [`MemoryBroker`]: the servers of one process, for tests and as the example to copy. Its network misbehaves on command.

use crate::cluster::seam::broker::{Broker, BrokerError, Count, Hears, Looked, Outcome, Outgoing, SERVERS};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::inbox::Arrival;
use crate::cluster::seam::inbox::Inbox;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::series::Series;
use crate::seam::room::Room;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// A network that [`MemoryBroker`]s share.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Network>>);

#[derive(Debug, Default)]
struct Network {
    next: u64,
    subscriptions: HashMap<Arc<str>, Vec<Subscription>>,
    /// Brokers that are cut off.
    cut_off: Vec<u64>,
    delay: Duration,
    /// Messages that will be lost on their in_flight, to everybody.
    to_lose: usize,
    /// Messages that will come twice.
    to_double: usize,
    /// Broadcasts to one room come only to those who hear it.
    exact_rooms: bool,
}

struct Subscription {
    broker: u64,
    server: ServerId,
    inbox: Arc<dyn Inbox>,
    /// Messages on their in_flight, each with the time of its arrival.
    in_flight: mpsc::UnboundedSender<(Instant, Outgoing)>,
    /// Rooms that are heard, if rooms are heard each by itself.
    rooms: HashSet<Room>,
    /// Hands them over; ends with the subscription, so that what is on its in_flight then does not come.
    arriving: AbortHandle,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.arriving.abort();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("broker", &self.broker).finish_non_exhaustive()
    }
}

impl MemoryNetwork {
    /// A network without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The broker of one server.
    pub fn broker(&self) -> Arc<MemoryBroker> {
        let mut network = self.0.lock();
        network.next += 1;
        Arc::new(MemoryBroker {
            number: network.next,
            exact_rooms: network.exact_rooms,
            looking: Mutex::default(),
            network: self.clone(),
        })
    }

    /// From now on messages take that long; their order stays.
    pub fn delay(&self, delay: Duration) {
        self.0.lock().delay = delay;
    }

    /// The next `count` messages are lost to everybody.
    pub fn lose(&self, count: usize) {
        self.0.lock().to_lose = count;
    }

    /// The next `count` messages come twice.
    pub fn double(&self, count: usize) {
        self.0.lock().to_double = count;
    }

    /// As brokers do that have a channel for each room: of broadcasts to one room come only those to rooms that a server hears. To be
    /// told before any broker is made.
    pub fn exact_rooms(&self) {
        self.0.lock().exact_rooms = true;
    }

    /// Cuts a broker off from the network, or joins it again.
    pub fn cut_off(&self, broker: &MemoryBroker, cut: bool) {
        let told: Vec<Arc<dyn Inbox>> = {
            let mut network = self.0.lock();
            network.cut_off.retain(|number| *number != broker.number);
            if cut {
                network.cut_off.push(broker.number);
            }
            let all = network.subscriptions.values().flatten();
            all.filter(|subscription| subscription.broker == broker.number).map(|it| it.inbox.clone()).collect()
        };
        for inbox in told {
            if cut { inbox.lost() } else { inbox.connected() }
        }
    }
}

impl MemoryNetwork {
    /// Ends a subscription. It is given back so that it is dropped outside the lock: an inbox's end may be somebody's code.
    fn unsubscribe(&self, broker: u64, namespace: &str) -> Option<Subscription> {
        let mut network = self.0.lock();
        let subscriptions = network.subscriptions.get_mut(namespace)?;
        let position = subscriptions.iter().position(|subscription| subscription.broker == broker)?;
        let subscription = subscriptions.swap_remove(position);
        if subscriptions.is_empty() {
            network.subscriptions.remove(namespace);
        }
        Some(subscription)
    }
}

/// The room of a broadcast to one room.
fn room_of(message: &Message) -> Option<&Room> {
    match &message.body {
        Body::Broadcast { target, .. } if Series::of(&message.body) == Some(Series::Rooms) => target.rooms.first(),
        _ => None,
    }
}

/// As brokers do that tell by the channel which room a broadcast is for: what nobody here wants is not decoded.
fn arrival(inbox: &dyn Inbox, outgoing: Outgoing) -> Arrival {
    let message = outgoing.message;
    match message.trailer.filter(|_| room_of(&message).is_some_and(|room| !inbox.wants(room))) {
        Some(trailer) => Arrival::PassedOver(trailer),
        None => Arrival::Message(message),
    }
}

/// One server's end of a [`MemoryNetwork`]. It must be used inside a tokio runtime.
#[derive(Debug)]
pub struct MemoryBroker {
    number: u64,
    exact_rooms: bool,
    looking: Mutex<()>,
    network: MemoryNetwork,
}

#[async_trait]
impl Broker for MemoryBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        let cut_off = {
            let mut network = self.network.0.lock();
            let cut_off = network.cut_off.contains(&self.number);
            let subscriptions = network.subscriptions.entry(namespace.clone()).or_default();
            if subscriptions.iter().any(|subscription| subscription.broker == self.number) {
                return;
            }
            let (in_flight, mut arriving) = mpsc::unbounded_channel::<(Instant, Outgoing)>();
            let receiver = inbox.clone();
            let task = tokio::spawn(async move {
                while let Some((at, outgoing)) = arriving.recv().await {
                    if at > Instant::now() {
                        sleep_until(at).await;
                    }
                    receiver.receive(vec![arrival(&*receiver, outgoing)]);
                }
            });
            let arriving = task.abort_handle();
            subscriptions.push(Subscription {
                broker: self.number,
                server: id.clone(),
                inbox: inbox.clone(),
                in_flight,
                rooms: HashSet::new(),
                arriving,
            });
            cut_off
        };
        if !cut_off {
            inbox.connected();
        }
    }

    async fn close(&self, namespace: &str) {
        let _closed = self.network.unsubscribe(self.number, namespace);
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let mut network = self.network.0.lock();
        let network = &mut *network;
        if network.cut_off.contains(&self.number) {
            return vec![Outcome::Again("cut off from the network".to_owned())];
        }
        let at = Instant::now() + network.delay;
        for outgoing in batch {
            if network.to_lose > 0 {
                network.to_lose -= 1;
                continue;
            }
            let times = 1 + usize::from(network.to_double > 0);
            network.to_double = network.to_double.saturating_sub(1);
            let subscriptions = network.subscriptions.get(&outgoing.namespace).map_or(&[][..], Vec::as_slice);
            let room = room_of(&outgoing.message).filter(|_| network.exact_rooms);
            // What is for one server among those that tell of themselves has a channel of its own.
            let to = outgoing.message.to.as_ref().filter(|_| &*outgoing.namespace == SERVERS);
            let hears = |it: &&Subscription| {
                room.is_none_or(|room| it.rooms.contains(room)) && to.is_none_or(|to| *to == it.server)
            };
            for subscription in subscriptions.iter().filter(|it| !network.cut_off.contains(&it.broker)).filter(hears) {
                for _ in 0..times {
                    // A receiver that is gone has closed its namespace meanwhile.
                    let _ = subscription.in_flight.send((at, outgoing.clone()));
                }
            }
        }
        vec![Outcome::Sent; batch.len()]
    }

    fn hears(&self, series: Series) -> Hears {
        if series == Series::Rooms && self.exact_rooms { Hears::Some } else { Hears::All }
    }

    fn looks(&self) -> bool {
        self.exact_rooms
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let inbox = {
            let network = self.network.0.lock();
            let mut all = network.subscriptions.get(namespace)?.iter();
            all.find(|subscription| subscription.broker == self.number)?.inbox.clone()
        };
        // One at a time, so that what is asked last is written last.
        let _looking = self.looking.lock();
        let wants = inbox.wants(room);
        let mut network = self.network.0.lock();
        let mut all = network.subscriptions.get_mut(namespace)?.iter_mut();
        let rooms = &mut all.find(|subscription| subscription.broker == self.number)?.rooms;
        if wants {
            rooms.insert(room.clone())
        } else {
            rooms.remove(room)
        };
        None
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let network = self.network.0.lock();
        if network.cut_off.contains(&self.number) {
            return Err(BrokerError("cut off from the network".to_owned()));
        }
        let all = network.subscriptions.get(namespace).map_or(&[][..], Vec::as_slice);
        let here = all.iter().filter(|subscription| !network.cut_off.contains(&subscription.broker));
        Ok(Some(Count::of(here.count())))
    }
}
