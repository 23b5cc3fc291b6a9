//! [`MemoryBroker`]: connects servers within one process, for tests and as an example. Its network fails on command.

use crate::cluster::seam::broker::{Broker, BrokerError, Count, Hears, Looked, Outcome, Outgoing, SERVERS};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::inbox::Arrival;
use crate::cluster::seam::inbox::Inbox;
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
    /// The number of messages that will be lost for all receivers.
    to_lose: usize,
    /// The number of messages that will arrive twice.
    to_double: usize,
    /// Broadcasts to one room reach only servers that are subscribed to the room.
    exact_rooms: bool,
}

struct Subscription {
    broker: u64,
    server: ServerId,
    inbox: Arc<dyn Inbox>,
    /// Messages in flight, each with the time of its arrival.
    in_flight: mpsc::UnboundedSender<(Instant, Outgoing)>,
    /// Rooms that are subscribed, if rooms are subscribed one by one.
    rooms: HashSet<Room>,
    /// The task that hands messages over. It ends with the subscription, so what is in flight then does not arrive.
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

    /// From now on messages take this long. Their order stays.
    pub fn delay(&self, delay: Duration) {
        self.0.lock().delay = delay;
    }

    /// The next `count` messages are lost to everybody.
    pub fn lose(&self, count: usize) {
        self.0.lock().to_lose = count;
    }

    /// The next `count` messages arrive twice.
    pub fn double(&self, count: usize) {
        self.0.lock().to_double = count;
    }

    /// Behaves like brokers that have a channel for each room: of broadcasts to one room, a server receives only those
    /// to rooms that it subscribes to. Call it before making any broker.
    pub fn exact_rooms(&self) {
        self.0.lock().exact_rooms = true;
    }

    /// Cuts a broker off from the network, or reconnects it.
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
    /// Ends a subscription, and returns it to be dropped outside the lock: dropping an inbox may run foreign code.
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

/// As brokers do whose channels tell the room of a broadcast: a message that nobody here wants is not decoded.
fn arrival(inbox: &dyn Inbox, outgoing: Outgoing) -> Arrival {
    let message = outgoing.message;
    match message.trailer.filter(|_| message.body.room().is_some_and(|room| !inbox.wants(room))) {
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
            let room = outgoing.message.body.room().filter(|_| network.exact_rooms);
            // A message between servers that is for one server has a channel of its own.
            let to = outgoing.message.to.as_ref().filter(|_| &*outgoing.namespace == SERVERS);
            let hears = |it: &&Subscription| {
                room.is_none_or(|room| it.rooms.contains(room)) && to.is_none_or(|to| *to == it.server)
            };
            for subscription in subscriptions.iter().filter(|it| !network.cut_off.contains(&it.broker)).filter(hears) {
                for _ in 0..times {
                    // If the receiver is gone, it has closed its namespace meanwhile.
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
        // One call at a time, so that the latest answer is the one that is stored.
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
