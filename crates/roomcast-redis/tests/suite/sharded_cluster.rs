//! The sharded dialect over a Redis Cluster of three primaries: the contract in each mode, slots that move, primaries that are
//! relieved and die.

use crate::common::redis_process::{RedisCluster, RedisProcess, wait_until};
use crate::common::sharded_stage::{Ear, MODES, broadcast, broker_at, dialect, key, numbers, open, until_heard};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterAdapter, ClusterOptions, Outcome};
use roomcast_adapter::testkit::{Brokers, FakeRecipient, broker_contract};
use roomcast_adapter::{Action, Adapter, AdapterContext, Room, Target};
use roomcast_protocol::{Args, SocketId};
use roomcast_redis::{ShardedBroker, ShardedMode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_the_contract_in_each_mode() {
    let cluster = RedisCluster::start().await;
    let mut connections = Vec::new();
    for node in &cluster.nodes[..3] {
        let client = redis::Client::open(node.url()).unwrap();
        connections.push(client.get_multiplexed_async_connection().await.unwrap());
    }
    for mode in MODES {
        broker_contract(async |count| {
            let key = key();
            let brokers = Brokers::new((0..count).map(|_| broker_at(&cluster.url(), &key, mode))).dialect(dialect());
            let connections = connections.clone();
            brokers.inject(move |namespace, bytes| {
                let (connections, channel) = (connections.clone(), format!("{key}#{namespace}#"));
                async move {
                    for mut connection in connections {
                        // Who has not got the channel refuses.
                        let mut publish = redis::cmd("SPUBLISH");
                        let _ = publish.arg(&channel).arg(&bytes).query_async::<()>(&mut connection).await;
                    }
                }
            })
        })
        .await;
    }
}

/// The primary that has a channel: its number, as the Cluster was started.
async fn owner(cluster: &RedisCluster, channel: &str) -> usize {
    let slot: u32 = cluster.nodes[0].ask(&format!("CLUSTER KEYSLOT {channel}")).await;
    // 0 to 5460, 5461 to 10922, 10923 to 16383.
    (slot / 5_461).min(2) as usize
}

/// A namespace whose main channel is on that primary at first.
async fn namespace_at(cluster: &RedisCluster, key: &str, node: usize) -> String {
    for number in 0.. {
        let namespace = format!("/{number}");
        if owner(cluster, &format!("{key}#{namespace}#")).await == node {
            return namespace;
        }
    }
    unreachable!()
}

/// Connections that are subscribed to a channel, by node.
async fn subscribers(nodes: &[RedisProcess], channel: &str) -> usize {
    let mut all = 0;
    for node in nodes {
        all += subscribers_at(node, channel).await;
    }
    all
}

async fn subscribers_at(node: &RedisProcess, channel: &str) -> usize {
    let (_, count): (String, usize) = node.ask(&format!("PUBSUB SHARDNUMSUB {channel}")).await;
    count
}

async fn counted(broker: &Arc<ShardedBroker>, namespace: &str, servers: usize) {
    wait_until(
        "each server is counted once",
        async || matches!(broker.count(namespace).await, Ok(Some(count)) if count.servers == servers && count.complete),
    )
    .await;
}

async fn look(broker: &Arc<ShardedBroker>, namespace: &str, room: &str) {
    broker.look(namespace, &Room::from(room)).unwrap().await.unwrap();
}

struct Stage {
    cluster: RedisCluster,
    key: String,
    publisher: Arc<ShardedBroker>,
    hearers: [Arc<ShardedBroker>; 2],
}

impl Stage {
    async fn new() -> Self {
        let (cluster, key) = (RedisCluster::start().await, key());
        let broker = || broker_at(&cluster.url(), &key, ShardedMode::Dynamic);
        let (publisher, hearers) = (broker(), [broker(), broker()]);
        Self { cluster, key, publisher, hearers }
    }

    async fn open(&self, namespace: &str) -> [Arc<Ear>; 2] {
        let [one, two] = &self.hearers;
        [open(one, namespace, "aaaaaaaaaaaaaaaa").await, open(two, namespace, "bbbbbbbbbbbbbbbb").await]
    }

    async fn heard(&self, namespace: &str, target: &Target, ears: &[Arc<Ear>; 2], from: u64) {
        // Numbers of its own for each.
        for (ear, from) in ears.iter().zip([from, from + 500]) {
            until_heard(&self.publisher, namespace, target, ear, from).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves() {
    let stage = Stage::new().await;
    let (cluster, key) = (&stage.cluster, &stage.key);
    let (moves, stays) = (namespace_at(cluster, key, 0).await, namespace_at(cluster, key, 1).await);
    let (moving, staying) = (stage.open(&moves).await, stage.open(&stays).await);
    let (main, room) = (format!("{key}#{moves}#"), format!("{key}#{moves}#room#"));
    for hearer in &stage.hearers {
        look(hearer, &moves, "room").await;
    }
    stage.heard(&moves, &Target::everyone(), &moving, 0).await;
    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for node in &cluster.nodes[..3] {
            ids.push(node.ask("CLUSTER MYID").await);
        }
        ids
    };
    let mut from = 1_000;
    for (channel, target) in [(&main, Target::everyone()), (&room, Target::room("room"))] {
        let (old, slot) =
            (owner(cluster, channel).await, cluster.nodes[0].ask::<u32>(&format!("CLUSTER KEYSLOT {channel}")).await);
        let new = (old + 1) % 3;
        cluster.nodes[new].ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[old])).await;
        cluster.nodes[old].ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[new])).await;
        for node in [new, old, 3 - new - old] {
            cluster.nodes[node].ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {}", ids[new])).await;
        }
        stage.heard(&moves, &target, &moving, from).await;
        wait_until("it is subscribed once by each", async || {
            subscribers(&cluster.nodes[new..=new], channel).await == 2
                && subscribers(&cluster.nodes, channel).await == 2
        })
        .await;
        from += 1_000;
    }
    wait_until("the namespace is heard again", async || moving.iter().all(|ear| ear.hears())).await;
    for ear in &moving {
        let heard = ear.heard();
        assert_eq!((heard.connected, heard.lost), (2, 1), "each interruption is told once, and a room's is none");
        let mut heard = numbers(ear);
        heard.sort_unstable();
        assert!(heard.windows(2).all(|two| two[0] < two[1]), "each message once: {heard:?}");
    }
    assert!(staying.iter().all(|ear| ear.heard().lost == 0), "what did not move was not interrupted");
    counted(&stage.publisher, &moves, 2).await;
    counted(&stage.publisher, &stays, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_relieved_and_another_dies() {
    let mut stage = Stage::new().await;
    let mut namespaces = Vec::new();
    for node in 0..3 {
        let namespace = namespace_at(&stage.cluster, &stage.key, node).await;
        namespaces.push((namespace.clone(), stage.open(&namespace).await));
    }
    // Its replica takes over in peace.
    stage.cluster.nodes[3].ask::<()>("CLUSTER FAILOVER").await;
    stage.cluster.nodes[3].must_be_promoted().await;
    for (namespace, ears) in &namespaces {
        stage.heard(namespace, &Target::everyone(), ears, 1_000).await;
        counted(&stage.publisher, namespace, 2).await;
    }
    // Those whose answers came by it may have been interrupted, too.
    let before: Vec<usize> = namespaces.iter().map(|(_, ears)| ears[0].heard().lost).collect();
    stage.cluster.nodes[1].kill();
    wait_until("who heard by it is told", async || namespaces[1].1[0].heard().lost > before[1]).await;
    let batch: Vec<_> =
        namespaces.iter().map(|(namespace, _)| broadcast(namespace, Target::everyone(), 1_999)).collect();
    wait_until("its own messages alone are held up", async || {
        let outcomes = stage.publisher.publish(&batch).await;
        match &outcomes[..] {
            [Outcome::Sent, Outcome::Again(_), Outcome::Sent] => true,
            // On a busy machine its replica may have taken over before anything was published.
            [Outcome::Sent, Outcome::Sent, Outcome::Sent] => {
                stage.cluster.nodes[4].ask::<String>("INFO replication").await.contains("role:master")
            }
            _ => false,
        }
    })
    .await;
    stage.cluster.nodes[4].must_be_promoted().await;
    for (namespace, ears) in &namespaces {
        stage.heard(namespace, &Target::everyone(), ears, 2_000).await;
    }
    wait_until("all are heard", async || namespaces.iter().all(|(_, ears)| ears.iter().all(|ear| ear.hears()))).await;
    let alive: Vec<&RedisProcess> = [0, 2, 3, 4, 5].iter().map(|node| &stage.cluster.nodes[*node]).collect();
    for (namespace, _) in &namespaces {
        let channel = format!("{}#{namespace}#", stage.key);
        let mut count = 0;
        for node in &alive {
            count += subscribers_at(node, &channel).await;
        }
        assert_eq!(count, 2, "{namespace}: one subscription of each server");
    }
    for broker in &stage.hearers {
        for (namespace, _) in &namespaces {
            broker.close(namespace).await;
        }
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        for (namespace, _) in &namespaces {
            counted_at_least(&stage.publisher, namespace, 0).await;
        }
    })
    .await
    .unwrap();
}

/// As many are counted, though a node may be down.
async fn counted_at_least(broker: &Arc<ShardedBroker>, namespace: &str, servers: usize) {
    wait_until(
        "nobody is counted any more",
        async || matches!(broker.count(namespace).await, Ok(Some(count)) if count.servers == servers),
    )
    .await;
}

/// A primary that does nothing keeps its connections. When it goes on it is a replica, and nobody is counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_frozen_and_goes_on_later() {
    let stage = Stage::new().await;
    let (frozen, other) =
        (namespace_at(&stage.cluster, &stage.key, 2).await, namespace_at(&stage.cluster, &stage.key, 0).await);
    let (ears, others) = (stage.open(&frozen).await, stage.open(&other).await);
    stage.heard(&frozen, &Target::everyone(), &ears, 0).await;
    stage.cluster.nodes[2].freeze();
    stage.cluster.nodes[5].must_be_promoted().await;
    stage.heard(&frozen, &Target::everyone(), &ears, 1_000).await;
    stage.cluster.nodes[2].thaw();
    wait_until("it has become a replica", async || !stage.cluster.nodes[2].is_primary().await).await;
    stage.heard(&frozen, &Target::everyone(), &ears, 2_000).await;
    stage.heard(&other, &Target::everyone(), &others, 2_000).await;
    for namespace in [&frozen, &other] {
        counted(&stage.publisher, namespace, 2).await;
        let channel = format!("{}#{namespace}#", stage.key);
        assert_eq!(subscribers(&stage.cluster.nodes, &channel).await, 2);
    }
    assert!(ears.iter().chain(&others).all(|ear| ear.hears()));
}

/// A server of the namespace `/`.
struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    _events: mpsc::Receiver<roomcast_adapter::ServerEvent>,
}

impl Server {
    fn new(cluster: &RedisCluster, key: &str, mode: ShardedMode) -> Self {
        let cluster = Cluster::new(broker_at(&cluster.url(), key, mode), ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
        Self { cluster, adapter, _events: events }
    }

    fn emit(&self, target: &Target, name: &str, number: u64) {
        let data = Args::event(name, &number).unwrap();
        self.adapter.apply(target, Action::emit(&data)).unwrap();
    }
}

/// Two servers that hear one another, and a socket of the second that is in so many rooms.
async fn two_servers(cluster: &RedisCluster, mode: ShardedMode, rooms: usize) -> (Server, Server, Arc<FakeRecipient>) {
    let key = key();
    let (sender, hearer) = (Server::new(cluster, &key, mode), Server::new(cluster, &key, mode));
    let socket = FakeRecipient::new();
    let rooms: Vec<Room> = (0..rooms).map(|room| room.to_string().as_str().into()).collect();
    let id = SocketId::random().unwrap();
    hearer.adapter.insert(id, socket.clone(), &[], None).unwrap();
    hearer.adapter.join(id, &rooms).unwrap().await;
    for server in [&sender, &hearer] {
        wait_until("the servers know one another", async || server.cluster.members("/").len() == 1).await;
    }
    (sender, hearer, socket)
}

/// Messages to rooms go by the nodes that have the rooms' channels, and overtake those to other rooms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_many_rooms_comes_whole_and_in_the_order_of_each_room() {
    const ROOMS: u64 = 12;
    let cluster = RedisCluster::start().await;
    for mode in [ShardedMode::Dynamic, ShardedMode::Static] {
        let (sender, hearer, socket) = two_servers(&cluster, mode, ROOMS as usize).await;
        for number in 0..6_000 {
            let room = (number % ROOMS).to_string();
            sender.emit(&Target::room(room.as_str()), &room, number);
        }
        wait_until("all have come", async || socket.events().len() == 6_000).await;
        for room in 0..ROOMS {
            let events = socket.events().into_iter().filter(|event| event.name == room.to_string());
            let numbers: Vec<u64> = events.map(|event| event.args.parse::<(u64,)>().unwrap().0).collect();
            assert!(numbers.is_sorted(), "{mode:?}: {numbers:?}");
        }
        let losses = [sender.cluster.losses(), hearer.cluster.losses()];
        assert!(losses.iter().all(|it| (it.lost, it.doubles, it.dropped) == (0, 0, 0)), "{mode:?}: {losses:?}");
    }
}
