//! Measures what announcements cost: messages and bytes delivered in a second, by number of servers, in virtual time.
//! `cargo run --release -p roomcast-adapter --example announcements -- [servers…, 10 100 1000] [rooms]`. With `rooms`
//! each server has members in a thousand rooms of its own, on a network that carries each room separately, and emits to
//! a room of another server every second. A thousand servers take some minutes, and 1 GB.

#![allow(clippy::unwrap_used)] // It is a measurement.

use async_trait::async_trait;
use roomcast_adapter::cluster::{
    Body, Broker, BrokerError, Cluster, ClusterAdapter, ClusterOptions, Count, Hears, Inbox, Looked, MemoryBroker,
    MemoryNetwork, Outcome, Outgoing, SERVERS, Series, ServerId,
};
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Room, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Counts what is published to servers.
#[derive(Debug)]
struct Counting {
    inner: Arc<MemoryBroker>,
    messages: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    servers: u64,
}

#[async_trait]
impl Broker for Counting {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.inner.open(namespace, id, inbox);
    }

    async fn close(&self, namespace: &str) {
        self.inner.close(namespace).await;
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        for Outgoing { message, .. } in batch.iter().filter(|outgoing| &*outgoing.namespace == SERVERS) {
            let receivers = if message.to.is_some() { 1 } else { self.servers };
            let alive = match &message.body {
                Body::Alive(alive) => serde_json::to_string(alive).unwrap().len(),
                _ => 4,
            };
            // `{"alive":…,"uid":"0123456789abcdef","rc":"<60 digits>"}`, and what Redis adds around it.
            let size = alive as u64 + 106 + 60;
            self.messages.fetch_add(receivers, Ordering::Relaxed);
            self.bytes.fetch_add(receivers * size, Ordering::Relaxed);
        }
        self.inner.publish(batch).await
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.inner.count(namespace).await
    }

    fn hears(&self, series: Series) -> Hears {
        self.inner.hears(series)
    }

    fn looks(&self) -> bool {
        self.inner.looks()
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        self.inner.look(namespace, room)
    }
}

/// A server's adapter for a namespace.
type Place = (Arc<ClusterAdapter>, mpsc::Receiver<ServerEvent>);

/// The number of rooms of a server, each with one member.
const ROOMS: u64 = 1_000;

fn room(server: u64, number: u64) -> Room {
    Room::from(format!("room {number} of {server}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tokio::time::pause();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let with_rooms = words.pop_if(|last| last == "rooms").is_some();
    let sizes: Vec<u64> = words.iter().map(|servers| servers.parse().unwrap()).collect();
    let sizes = if sizes.is_empty() { vec![10, 100, 1_000] } else { sizes };
    for servers in sizes {
        let (network, messages, bytes) =
            (MemoryNetwork::new(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        if with_rooms {
            network.exact_rooms();
        }
        let member = CountingRecipient::new();
        let taken = || (messages.swap(0, Ordering::Relaxed), bytes.swap(0, Ordering::Relaxed));
        let mut all = Vec::new();
        for number in 0..servers {
            let broker =
                Counting { inner: network.broker(), messages: messages.clone(), bytes: bytes.clone(), servers };
            let id = ServerId::from(format!("{number:016x}").as_str());
            let cluster = Cluster::with_id(id, Arc::new(broker), ClusterOptions::default());
            let [main, other] = ["/", "/chat"].map(|namespace| {
                let (server_events, events) = mpsc::channel(1);
                (cluster.adapter(AdapterContext::new(namespace, server_events)), events)
            });
            if with_rooms {
                let (id, rooms) =
                    (SocketId::random().unwrap(), (0..ROOMS).map(|n| room(number, n)).collect::<Vec<_>>());
                main.0.insert(id, member.clone(), &rooms, None).unwrap();
            }
            all.push((cluster, main, other));
            // The servers do not all start at once.
            sleep(Duration::from_millis(7)).await;
        }
        let event = Args::event("e", &()).unwrap();
        let seconds = async |all: &[(Cluster, Place, Place)], seconds: u64| {
            for second in 0..seconds {
                sleep(Duration::from_secs(1)).await;
                if with_rooms {
                    for (number, (_, (adapter, _), _)) in (0..).zip(all) {
                        let there = (number + 1 + second) % servers;
                        adapter.apply(&Target::room(room(there, second)), Action::emit(&event)).unwrap();
                    }
                }
            }
        };
        seconds(&all, 30).await;
        let (_, before) = (taken(), member.count());
        seconds(&all, 60).await;
        let (sent, size) = taken();
        let known: usize = all.iter().map(|(cluster, ..)| cluster.members("/").len()).sum();
        println!(
            "{servers} servers: {} deliveries and {:.2} MB a second; each knows {:.1} others; {} events came",
            sent / 60,
            size as f64 / 60e6,
            known as f64 / servers as f64,
            member.count() - before
        );
    }
}
