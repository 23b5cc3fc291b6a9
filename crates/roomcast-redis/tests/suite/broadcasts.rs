//! The ways to subscribe broadcasts: a pattern for each namespace, one pattern for all, or a channel for each room with
//! members here. An inbox stands in for the cluster adapter and its rooms.

use crate::common::contract_wire::{Wire, key};
use crate::common::fault_proxy::FaultProxy;
use crate::common::redis_process::{RedisProcess, wait_until};
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Cluster, ClusterOptions, Count, Hears, Inbox, Looked, Message, Outcome,
    Outgoing, Series,
};
use roomcast_adapter::testkit::{Dialect, Servers, adapter_contract, broker_contract, eventually};
use roomcast_adapter::{Room, Target};
use roomcast_protocol::Args;
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const EXACT: fn(&mut ClassicOptions) = |options| options.exact_rooms = true;
const ONE_PATTERN: fn(&mut ClassicOptions) = |options| options.one_pattern = true;
const PATTERNS: fn(&mut ClassicOptions) = |_| {};

fn broker(url: &str, key: &str, set: fn(&mut ClassicOptions)) -> Arc<ClassicBroker> {
    let mut options = ClassicOptions::default();
    options.key = key.to_owned();
    set(&mut options);
    ClassicBroker::new(url.parse().unwrap(), options)
}

/// A namespace of a server, with rooms that have members there.
#[derive(Default)]
struct RoomInbox {
    rooms: Mutex<HashSet<String>>,
    received: Mutex<Vec<String>>,
    connected: AtomicUsize,
}

impl Inbox for RoomInbox {
    fn wants(&self, room: &str) -> bool {
        self.rooms.lock().unwrap().contains(room)
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            match arrival {
                Arrival::Message(Message { body: Body::Broadcast { data, .. }, .. }) => {
                    self.received.lock().unwrap().push(data.parse::<(String,)>().unwrap().0);
                }
                Arrival::Malformed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) {}
}

impl RoomInbox {
    async fn open(broker: &ClassicBroker, namespace: &str, id: &str) -> Arc<Self> {
        let inbox = Arc::<Self>::default();
        broker.open(&namespace.into(), &id.into(), inbox.clone());
        inbox.is_connected(1).await;
        inbox
    }

    async fn is_connected(&self, times: usize) {
        wait_until("the namespace is connected", async || self.connected.load(Ordering::Relaxed) >= times).await;
    }

    async fn join(&self, broker: &ClassicBroker, namespace: &str, room: &str) -> Result<(), BrokerError> {
        self.rooms.lock().unwrap().insert(room.to_owned());
        broker.look(namespace, &room.into()).unwrap().await
    }

    fn leave(&self, broker: &ClassicBroker, namespace: &str, room: &str) -> Looked {
        self.rooms.lock().unwrap().remove(room);
        broker.look(namespace, &room.into()).unwrap()
    }

    async fn receives(&self, event: &str) {
        wait_until(&format!("{event} arrives"), async || {
            self.received.lock().unwrap().iter().any(|received| received == event)
        })
        .await;
    }
}

async fn emit(broker: &ClassicBroker, namespace: &str, target: Target, event: &str) {
    let body = Body::Broadcast { data: Args::event(event, &()).unwrap(), target, volatile: false, compress: true };
    let message = Message { sender: Some("emits".into()), to: None, trailer: None, body };
    let outcomes = broker.publish(&[Outgoing { namespace: namespace.into(), message }]).await;
    assert_eq!(outcomes, [Outcome::Sent]);
}

async fn keeps_the_contract(set: fn(&mut ClassicOptions)) {
    let wire = Wire::start("PUBLISH").await;
    let arrives = |message: Message| Some(message).filter(|it| !matches!(it.body, Body::FetchIds { .. }));
    let dialect = || Dialect { arrives, echo: false, ..Dialect::default() };
    broker_contract(async |count| wire.brokers(count, dialect(), |url, key| broker(url, key, set)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_with_one_pattern() {
    keeps_the_contract(ONE_PATTERN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_with_exact_rooms() {
    keeps_the_contract(EXACT).await;
}

/// Servers that subscribe in different ways form one cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_of_adapters_with_mixed_subscriptions() {
    let redis = RedisProcess::start().await;
    let ways = [EXACT, PATTERNS, ONE_PATTERN];
    adapter_contract(async || {
        let key = key();
        Servers::new(3, |number, context| {
            let broker = broker(&redis.url(), &key, ways[number]);
            Cluster::new(broker, ClusterOptions::default()).adapter(context)
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_rooms_do_not_read_messages_for_rooms_without_members_here() {
    const FOREIGN: usize = 1_000;
    let redis = RedisProcess::start().await;
    let mut bytes = Vec::new();
    for set in [PATTERNS, ONE_PATTERN, EXACT] {
        let (key, proxy) = (key(), FaultProxy::start(redis.port).await);
        let (here, there) = (broker(&proxy.url(), &key, set), broker(&redis.url(), &key, set));
        let inbox = RoomInbox::open(&here, "/", "a").await;
        inbox.rooms.lock().unwrap().insert("ours".to_owned());
        if here.looks() {
            inbox.join(&here, "/", "ours").await.unwrap();
        }
        let rooms = if here.looks() { Hears::Some } else { Hears::All };
        assert_eq!((here.hears(Series::Main), here.hears(Series::Rooms)), (Hears::All, rooms));
        let before = proxy.answered();
        for number in 0..FOREIGN {
            emit(&there, "/", Target::room(format!("theirs{number}")), "of a hundred bytes").await;
        }
        emit(&there, "/", Target::room("ours"), "ours").await;
        emit(&there, "/", Target::everyone(), "all").await;
        inbox.receives("all").await;
        assert_eq!(*inbox.received.lock().unwrap(), ["ours", "all"]);
        bytes.push(proxy.answered() - before);
    }
    println!("bytes read for {FOREIGN} foreign messages and two of ours: {bytes:?}");
    assert!(bytes[0] > 50 * FOREIGN as u64 && bytes[1] > 50 * FOREIGN as u64 && bytes[2] < 1_000, "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_after_the_room_is_subscribed_arrives() {
    let redis = RedisProcess::start().await;
    let key = key();
    let (here, there) = (broker(&redis.url(), &key, EXACT), broker(&redis.url(), &key, PATTERNS));
    let inbox = RoomInbox::open(&here, "/", "a").await;
    for number in 0..300 {
        let room = format!("room{number}");
        inbox.join(&here, "/", &room).await.unwrap();
        emit(&there, "/", Target::room(&room), &room).await;
        if number % 3 == 0 {
            inbox.receives(&room).await;
            inbox.leave(&here, "/", &room).await.unwrap();
            inbox.join(&here, "/", &room).await.unwrap();
            emit(&there, "/", Target::room(&room), &format!("{room} again")).await;
        }
    }
    emit(&there, "/", Target::everyone(), "last").await;
    inbox.receives("last").await;
    assert_eq!(inbox.received.lock().unwrap().len(), 401);
}

/// The channel of room `b` of `/a` is also the channel of the namespace `/a#b`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_and_a_namespace_on_one_channel() {
    let redis = RedisProcess::start().await;
    let key = key();
    let (here, there) = (broker(&redis.url(), &key, EXACT), broker(&redis.url(), &key, EXACT));
    let subscribed = async || redis.ask::<(String, usize)>(&format!("PUBSUB NUMSUB {key}#/a#b#")).await.1;
    let (a, ab) = (RoomInbox::open(&here, "/a", "a").await, RoomInbox::open(&here, "/a#b", "a").await);
    a.join(&here, "/a", "b").await.unwrap();
    for round in ["one", "other"] {
        emit(&there, "/a", Target::room("b"), &format!("{round} to the room")).await;
        emit(&there, "/a#b", Target::everyone(), &format!("{round} to the namespace")).await;
        ab.receives(&format!("{round} to the namespace")).await;
        assert_eq!(subscribed().await, 1);
        // The room is left and joined again; the namespace stays subscribed all the time.
        a.leave(&here, "/a", "b").await.unwrap();
        a.join(&here, "/a", "b").await.unwrap();
    }
    assert_eq!(*a.received.lock().unwrap(), ["one to the room", "other to the room"]);
    assert_eq!(*ab.received.lock().unwrap(), ["one to the namespace", "other to the namespace"]);
    here.close("/a#b").await;
    emit(&there, "/a", Target::room("b"), "last").await;
    a.receives("last").await;
    assert_eq!(subscribed().await, 1);
    here.close("/a").await;
    wait_until("the channel has no subscribers", async || subscribed().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_that_come_and_go_cost_no_command_each() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let here = broker(&proxy.url(), &key(), EXACT);
    let inbox = RoomInbox::open(&here, "/", "a").await;
    proxy.stall();
    let mut looks = Vec::new();
    for number in 0..5_000 {
        let room = format!("room{number}");
        inbox.rooms.lock().unwrap().insert(room.clone());
        looks.push(here.look("/", &Room::from(&room)).unwrap());
        if number % 100 > 0 {
            looks.push(inbox.leave(&here, "/", &room));
        }
    }
    proxy.pass();
    let mut resolved = 0;
    for look in looks {
        resolved += usize::from(look.await.is_ok());
    }
    assert!(resolved >= 5_000, "{resolved}");
    let stats: String = redis.ask("INFO commandstats").await;
    let calls = |name: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")));
        line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse::<usize>().unwrap())
    };
    println!("{} subscribed, {} unsubscribed", calls("subscribe"), calls("unsubscribe"));
    // Four names of the namespace, 50 rooms, and the commands in flight when it stalled.
    assert!(calls("subscribe") < 54 + 600 && calls("unsubscribe") < 600);
    wait_until("the remaining rooms are subscribed", async || {
        redis.ask::<Vec<String>>("PUBSUB CHANNELS *#room*").await.len() == 50
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rooms_are_resubscribed_after_a_restart() {
    const ROOMS: usize = 10_000;
    let mut redis = RedisProcess::start().await;
    let key = key();
    let (here, there) = (broker(&redis.url(), &key, EXACT), broker(&redis.url(), &key, EXACT));
    let inbox = RoomInbox::open(&here, "/", "a").await;
    let began = Instant::now();
    let rooms: Vec<String> = (0..ROOMS).map(|number| format!("room{number}")).collect();
    inbox.rooms.lock().unwrap().extend(rooms.iter().cloned());
    let looks: Vec<_> = rooms.iter().map(|room| here.look("/", &room.into()).unwrap()).collect();
    for look in looks {
        look.await.unwrap();
    }
    println!("{ROOMS} rooms are subscribed after {:?}", began.elapsed());
    redis.start_again().await;
    let began = Instant::now();
    inbox.is_connected(2).await;
    println!("after a restart they are resubscribed after {:?}", began.elapsed());
    // All of them, as soon as the namespace is connected.
    assert_eq!(redis.ask::<Vec<String>>(&format!("PUBSUB CHANNELS {key}#/#room*")).await.len(), ROOMS);
    assert!(eventually(|| there.config().to_string() == redis.url()).await);
    wait_until("a broadcast is published", async || {
        let body = Body::Broadcast {
            data: Args::event("back", &()).unwrap(),
            target: Target::room("room9999"),
            volatile: false,
            compress: true,
        };
        let message = Message { sender: Some("emits".into()), to: None, trailer: None, body };
        there.publish(&[Outgoing { namespace: "/".into(), message }]).await == [Outcome::Sent]
    })
    .await;
    inbox.receives("back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_room_does_not_disturb_the_others() {
    let redis = RedisProcess::start().await;
    redis
        .ask::<()>("ACL SETUSER chat on >right resetchannels &p#/# &p#/#open* &p-* -@all +@pubsub +client +ping +hello")
        .await;
    let here = broker(&redis.url().replace("://", "://chat:right@"), "p", EXACT);
    let there = broker(&redis.url(), "p", EXACT);
    let inbox = RoomInbox::open(&here, "/", "a").await;
    let error = inbox.join(&here, "/", "secret").await.unwrap_err().to_string();
    assert!(error.contains("secret") && error.contains("forbids"), "{error}");
    inbox.join(&here, "/", "open1").await.unwrap();
    emit(&there, "/", Target::room("secret"), "too early").await;
    emit(&there, "/", Target::room("open1"), "allowed").await;
    inbox.receives("allowed").await;
    // While the refusal is known, a join fails at once.
    inbox.join(&here, "/", "secret").await.unwrap_err();
    redis.ask::<()>("ACL SETUSER chat &p#/#secret#").await;
    wait_until("the channel is tried again", async || inbox.join(&here, "/", "secret").await.is_ok()).await;
    emit(&there, "/", Target::room("secret"), "secret").await;
    inbox.receives("secret").await;
    assert_eq!(*inbox.received.lock().unwrap(), ["allowed", "secret"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pattern_is_subscribed_for_all_namespaces() {
    let redis = RedisProcess::start().await;
    let (here, there) = (broker(&redis.url(), "p*", ONE_PATTERN), broker(&redis.url(), "p*", PATTERNS));
    let mut inboxes = Vec::new();
    for number in 0..200 {
        inboxes.push(RoomInbox::open(&here, &format!("/{number}"), "a").await);
    }
    assert_eq!(redis.ask::<usize>("PUBSUB NUMPAT").await, 1);
    assert_eq!(here.count("/7").await.unwrap(), Some(Count::of(1)), "each namespace is counted by itself");
    for number in 0..200 {
        emit(&there, &format!("/{number}"), Target::everyone(), &number.to_string()).await;
    }
    for (number, inbox) in inboxes.iter().enumerate() {
        inbox.receives(&number.to_string()).await;
        assert_eq!(inbox.received.lock().unwrap().len(), 1);
    }
    here.close("/0").await;
    emit(&there, "/0", Target::everyone(), "too late").await;
    emit(&there, "/1", Target::everyone(), "goes on").await;
    inboxes[1].receives("goes on").await;
    assert_eq!(inboxes[0].received.lock().unwrap().len(), 1);
    for number in 1..200 {
        here.close(&format!("/{number}")).await;
    }
    wait_until("no pattern is left", async || redis.ask::<usize>("PUBSUB NUMPAT").await == 0).await;
}

/// The rights in docs/operations.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice() {
    const BOTH: fn(&mut ClassicOptions) = |options| (options.exact_rooms, options.one_pattern) = (true, true);
    let redis = RedisProcess::start().await;
    for (number, (set, channels, patterns)) in [
        (PATTERNS, "&p* &p#/#*", 1),
        (ONE_PATTERN, "&p* &p#*", 1),
        (EXACT, "&p*", 0),
        // Exact rooms take precedence.
        (BOTH, "&p*", 0),
    ]
    .into_iter()
    .enumerate()
    {
        // Each has a user of its own: the one before may still send a command.
        let user = format!("chat{number}");
        let rights = format!("resetchannels {channels} &p-request#/# -@all +@pubsub +client +ping");
        redis.ask::<()>(&format!("ACL SETUSER {user} reset on >right {rights}")).await;
        let here = broker(&redis.url().replace("://", &format!("://{user}:right@")), "p", set);
        let inbox = RoomInbox::open(&here, "/", "a").await;
        inbox.rooms.lock().unwrap().insert("room".to_owned());
        if here.looks() {
            inbox.join(&here, "/", "room").await.unwrap();
        }
        assert_eq!(redis.ask::<usize>("PUBSUB NUMPAT").await, patterns);
        emit(&here, "/", Target::room("room"), "to the room").await;
        emit(&here, "/", Target::everyone(), "to all").await;
        inbox.receives("to all").await;
        assert_eq!(*inbox.received.lock().unwrap(), ["to the room", "to all"]);
        here.close("/").await;
        let log = format!("{:?}", redis.ask::<redis::Value>("ACL LOG").await);
        // From Redis 7.2 on, the log has a field `timestamp-created`.
        assert!(!log.contains("\"p#") && !log.contains("\"p-"), "{log}");
        drop(here);
        wait_until("its pattern is gone", async || redis.ask::<usize>("PUBSUB NUMPAT").await == 0).await;
    }
}
