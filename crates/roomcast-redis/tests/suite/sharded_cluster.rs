//! The sharded dialect over a Redis Cluster of three primaries: the contract in each mode, slots that move, primaries
//! that hand over or die.

use crate::common::redis_process::{RedisCluster, RedisProcess, wait_until};
use crate::common::sharded_stage::{
    MODES, RecordingInbox, broadcast, broker_at, dialect, key, numbers, open, publish_until_received,
};
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
                        // Nodes that do not have the channel refuse.
                        let mut publish = redis::cmd("SPUBLISH");
                        let _ = publish.arg(&channel).arg(&bytes).query_async::<()>(&mut connection).await;
                    }
                }
            })
        })
        .await;
    }
}

/// The number of the primary that has a channel when the Cluster is started.
async fn owner(cluster: &RedisCluster, channel: &str) -> usize {
    let slot: u32 = cluster.nodes[0].ask(&format!("CLUSTER KEYSLOT {channel}")).await;
    // 0 to 5460, 5461 to 10922, 10923 to 16383.
    (slot / 5_461).min(2) as usize
}

/// A namespace whose main channel is on this primary at first.
async fn namespace_at(cluster: &RedisCluster, key: &str, node: usize) -> String {
    for number in 0.. {
        let namespace = format!("/{number}");
        if owner(cluster, &format!("{key}#{namespace}#")).await == node {
            return namespace;
        }
    }
    unreachable!()
}

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
    receivers: [Arc<ShardedBroker>; 2],
}

impl Stage {
    async fn new() -> Self {
        let (cluster, key) = (RedisCluster::start().await, key());
        let broker = || broker_at(&cluster.url(), &key, ShardedMode::Dynamic);
        let (publisher, receivers) = (broker(), [broker(), broker()]);
        Self { cluster, key, publisher, receivers }
    }

    async fn open(&self, namespace: &str) -> [Arc<RecordingInbox>; 2] {
        let [one, two] = &self.receivers;
        [open(one, namespace, "aaaaaaaaaaaaaaaa").await, open(two, namespace, "bbbbbbbbbbbbbbbb").await]
    }

    /// Waits until broadcasts arrive at both receivers.
    async fn arrives(&self, namespace: &str, target: &Target, inboxes: &[Arc<RecordingInbox>; 2], from: u64) {
        // Each receiver has numbers of its own.
        for (inbox, from) in inboxes.iter().zip([from, from + 500]) {
            publish_until_received(&self.publisher, namespace, target, inbox, from).await;
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
    for receiver in &stage.receivers {
        look(receiver, &moves, "room").await;
    }
    stage.arrives(&moves, &Target::everyone(), &moving, 0).await;
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
        stage.arrives(&moves, &target, &moving, from).await;
        wait_until("each receiver is subscribed once", async || {
            subscribers(&cluster.nodes[new..=new], channel).await == 2
                && subscribers(&cluster.nodes, channel).await == 2
        })
        .await;
        from += 1_000;
    }
    wait_until("the namespace is connected again", async || moving.iter().all(|inbox| inbox.is_connected())).await;
    for inbox in &moving {
        let received = inbox.received();
        let told = (received.connected, received.lost);
        assert_eq!(told, (2, 1), "an interruption of the namespace is reported once, and one of a room is not");
        let mut received = numbers(inbox);
        received.sort_unstable();
        assert!(received.windows(2).all(|two| two[0] < two[1]), "each message once: {received:?}");
    }
    assert!(
        staying.iter().all(|inbox| inbox.received().lost == 0),
        "the namespace that did not move was not interrupted"
    );
    counted(&stage.publisher, &moves, 2).await;
    counted(&stage.publisher, &stays, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_hands_over_and_another_dies() {
    let mut stage = Stage::new().await;
    let mut namespaces = Vec::new();
    for node in 0..3 {
        let namespace = namespace_at(&stage.cluster, &stage.key, node).await;
        namespaces.push((namespace.clone(), stage.open(&namespace).await));
    }
    // A planned failover to its replica.
    stage.cluster.nodes[3].ask::<()>("CLUSTER FAILOVER").await;
    stage.cluster.nodes[3].must_be_promoted().await;
    for (namespace, inboxes) in &namespaces {
        stage.arrives(namespace, &Target::everyone(), inboxes, 1_000).await;
        counted(&stage.publisher, namespace, 2).await;
    }
    // Namespaces whose channel for answers was on it may have been interrupted, too.
    let before: Vec<usize> = namespaces.iter().map(|(_, inboxes)| inboxes[0].received().lost).collect();
    stage.cluster.nodes[1].kill();
    wait_until("the loss is reported", async || namespaces[1].1[0].received().lost > before[1]).await;
    let batch: Vec<_> =
        namespaces.iter().map(|(namespace, _)| broadcast(namespace, Target::everyone(), 1_999)).collect();
    wait_until("only its own messages are held up", async || {
        let outcomes = stage.publisher.publish(&batch).await;
        match &outcomes[..] {
            [Outcome::Sent, Outcome::Again(_), Outcome::Sent] => true,
            // On a busy machine its replica may take over before anything is published.
            [Outcome::Sent, Outcome::Sent, Outcome::Sent] => {
                stage.cluster.nodes[4].ask::<String>("INFO replication").await.contains("role:master")
            }
            _ => false,
        }
    })
    .await;
    stage.cluster.nodes[4].must_be_promoted().await;
    for (namespace, inboxes) in &namespaces {
        stage.arrives(namespace, &Target::everyone(), inboxes, 2_000).await;
    }
    wait_until("all are connected", async || {
        namespaces.iter().all(|(_, inboxes)| inboxes.iter().all(|inbox| inbox.is_connected()))
    })
    .await;
    let alive: Vec<&RedisProcess> = [0, 2, 3, 4, 5].iter().map(|node| &stage.cluster.nodes[*node]).collect();
    for (namespace, _) in &namespaces {
        let channel = format!("{}#{namespace}#", stage.key);
        let mut count = 0;
        for node in &alive {
            count += subscribers_at(node, &channel).await;
        }
        assert_eq!(count, 2, "{namespace}: one subscription of each server");
    }
    for broker in &stage.receivers {
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

/// Waits for this count, which may be incomplete as a node is down.
async fn counted_at_least(broker: &Arc<ShardedBroker>, namespace: &str, servers: usize) {
    wait_until(
        "the count is as expected",
        async || matches!(broker.count(namespace).await, Ok(Some(count)) if count.servers == servers),
    )
    .await;
}

/// A frozen primary keeps its connections. When it goes on it becomes a replica, and no server may be counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_frozen_and_goes_on_later() {
    let stage = Stage::new().await;
    let (frozen, other) =
        (namespace_at(&stage.cluster, &stage.key, 2).await, namespace_at(&stage.cluster, &stage.key, 0).await);
    let (inboxes, others) = (stage.open(&frozen).await, stage.open(&other).await);
    stage.arrives(&frozen, &Target::everyone(), &inboxes, 0).await;
    stage.cluster.nodes[2].freeze();
    stage.cluster.nodes[5].must_be_promoted().await;
    stage.arrives(&frozen, &Target::everyone(), &inboxes, 1_000).await;
    stage.cluster.nodes[2].thaw();
    wait_until("it has become a replica", async || !stage.cluster.nodes[2].is_primary().await).await;
    stage.arrives(&frozen, &Target::everyone(), &inboxes, 2_000).await;
    stage.arrives(&other, &Target::everyone(), &others, 2_000).await;
    for namespace in [&frozen, &other] {
        counted(&stage.publisher, namespace, 2).await;
        let channel = format!("{}#{namespace}#", stage.key);
        assert_eq!(subscribers(&stage.cluster.nodes, &channel).await, 2);
    }
    assert!(inboxes.iter().chain(&others).all(|inbox| inbox.is_connected()));
}

/// The queue waits for other servers after a failed publish. A subscriber connection may have broken without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_subscriber_connection_shows_in_the_next_batch_to_its_node() {
    let stage = Stage::new().await;
    let broker = &stage.receivers[0];
    let announcements = owner(&stage.cluster, &format!("{}-roomcast#", stage.key)).await;
    let [here, elsewhere, third] = [0, 1, 2].map(|more| (announcements + more) % 3);
    let mut inboxes = Vec::new();
    for node in [here, elsewhere, third] {
        let namespace = namespace_at(&stage.cluster, &stage.key, node).await;
        let inbox = open(broker, &namespace, "aaaaaaaaaaaaaaaa").await;
        publish_until_received(broker, &namespace, &Target::everyone(), &inbox, 0).await;
        inboxes.push((node, namespace, inbox));
    }
    for (node, _, inbox) in &inboxes {
        let before = inbox.received().lost;
        assert!(stage.cluster.nodes[*node].ask::<usize>("CLIENT KILL TYPE pubsub").await >= 1);
        wait_until("it is noticed", async || inbox.received().lost > before && inbox.is_connected()).await;
    }
    let publish = async |at: usize, number: u64| {
        let (_, namespace, inbox) = &inboxes[at];
        let outcomes = broker.publish(&[broadcast(namespace, Target::everyone(), number)]).await;
        let sent = outcomes == [Outcome::Sent];
        if sent {
            wait_until("it arrives", async || numbers(inbox).contains(&number)).await;
        }
        sent
    };
    assert!(publish(0, 1_000).await, "the inbox of the announcements was told");
    assert!(!publish(1, 1_000).await, "nobody else knows");
    assert!(publish(1, 1_001).await, "once is enough");
    // Now the others must be back.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(publish(2, 1_000).await, "it was long ago");
}

struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    _events: mpsc::Receiver<roomcast_adapter::ServerEvent>,
}

impl Server {
    fn new(cluster: &RedisCluster, key: &str, mode: ShardedMode) -> Self {
        let cluster = Cluster::new(broker_at(&cluster.url(), key, mode), ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        Self { cluster, adapter, _events: events }
    }

    fn emit(&self, target: &Target, name: &str, number: u64) {
        let data = Args::event(name, &number).unwrap();
        self.adapter.apply(target, Action::emit(&data)).unwrap();
    }
}

/// Two servers that know each other, and a socket of the second in this many rooms.
async fn two_servers(cluster: &RedisCluster, mode: ShardedMode, rooms: usize) -> (Server, Server, Arc<FakeRecipient>) {
    let key = key();
    let (sender, receiver) = (Server::new(cluster, &key, mode), Server::new(cluster, &key, mode));
    let socket = FakeRecipient::new();
    let rooms: Vec<Room> = (0..rooms).map(|room| room.to_string().as_str().into()).collect();
    let id = SocketId::random().unwrap();
    receiver.adapter.insert(id, socket.clone(), &[], None).unwrap();
    receiver.adapter.join(id, &rooms).unwrap().await;
    for server in [&sender, &receiver] {
        wait_until("the servers know each other", async || server.cluster.members("/").len() == 1).await;
    }
    (sender, receiver, socket)
}

/// Messages to rooms go over the nodes that have the rooms' channels, and may overtake those to other rooms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_many_rooms_arrives_complete_and_in_order_in_each_room() {
    const ROOMS: u64 = 12;
    let cluster = RedisCluster::start().await;
    for mode in [ShardedMode::Dynamic, ShardedMode::Static] {
        let (sender, receiver, socket) = two_servers(&cluster, mode, ROOMS as usize).await;
        for number in 0..6_000 {
            let room = (number % ROOMS).to_string();
            sender.emit(&Target::room(room.as_str()), &room, number);
        }
        wait_until("all messages have arrived", async || socket.events().len() == 6_000).await;
        for room in 0..ROOMS {
            let events = socket.events().into_iter().filter(|event| event.name == room.to_string());
            let numbers: Vec<u64> = events.map(|event| event.args.parse::<(u64,)>().unwrap().0).collect();
            assert!(numbers.is_sorted(), "{mode:?}: {numbers:?}");
        }
        let losses = [sender.cluster.losses(), receiver.cluster.losses()];
        assert!(losses.iter().all(|it| (it.lost, it.doubles, it.dropped) == (0, 0, 0)), "{mode:?}: {losses:?}");
    }
}
