//! The cost of counting the members of a room over several servers: the bytes through Redis do not grow with the
//! members.

use crate::common::fault_proxy::FaultProxy;
use crate::common::redis_process::{RedisProcess, wait_until};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Adapter, AdapterContext, Room, ServerEvent, Target};
use roomcast_protocol::SocketId;
use roomcast_redis::{ClassicBroker, ClassicOptions, ShardedBroker, ShardedOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const SERVERS: usize = 3;
const MEMBERS: usize = 10_000;

/// Questions whose bytes are measured one by one. During some of them a server announces itself, which happens three
/// times a second, so they measure too much; the median measures a question.
const QUESTIONS: usize = 21;

/// How often it is checked whether bytes still arrive.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// A server whose Redis connections all go through a proxy.
struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    proxy: FaultProxy,
    _events: mpsc::Receiver<ServerEvent>,
}

impl Server {
    async fn new(redis: &RedisProcess, broker: impl Fn(&str) -> Arc<dyn Broker>) -> Self {
        let proxy = FaultProxy::start(redis.port).await;
        let cluster = Cluster::new(broker(&proxy.url()), ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        Self { cluster, adapter, proxy, _events: events }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    asked: u64,
    answered: u64,
}

impl Moved {
    fn of(servers: &[Server]) -> Self {
        Self {
            asked: servers.iter().map(|server| server.proxy.asked()).sum(),
            answered: servers.iter().map(|server| server.proxy.answered()).sum(),
        }
    }

    /// The bytes when no more arrive: messages for the other servers may arrive later than the answers.
    async fn settled(servers: &[Server]) -> Self {
        let mut before = Self::of(servers);
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let now = Self::of(servers);
            if now == before {
                return now;
            }
            before = now;
        }
    }
}

/// The bytes of a question to count `members`: the median of several.
async fn bytes_of_a_count(members: usize, broker: impl Fn(&str) -> Arc<dyn Broker>) -> Moved {
    let redis = RedisProcess::start().await;
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(Server::new(&redis, &broker).await);
    }
    for server in &servers {
        wait_until("the servers know each other", async || {
            let counted = server.adapter.server_count().await;
            server.cluster.members("/").len() == SERVERS - 1 && counted.is_complete() && counted.value == SERVERS
        })
        .await;
    }
    for number in 0..members {
        let (id, adapter) = (SocketId::random().unwrap(), &servers[number % SERVERS].adapter);
        adapter.insert(id, CountingRecipient::new(), &[], None).unwrap();
        drop(adapter.join(id, &[Room::from("room")]).unwrap());
    }
    let mut all = Vec::new();
    for _ in 0..QUESTIONS {
        let before = Moved::settled(&servers).await;
        let answer = servers[0].adapter.count(&Target::room("room"), Duration::from_secs(5)).await;
        assert!(answer.is_complete(), "{answer:?}");
        assert_eq!(answer.value, members);
        let after = Moved::settled(&servers).await;
        all.push(Moved { asked: after.asked - before.asked, answered: after.answered - before.answered });
    }
    all.sort_unstable_by_key(|moved| moved.asked + moved.answered);
    all[QUESTIONS / 2]
}

fn classic(url: &str) -> Arc<dyn Broker> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default())
}

fn sharded(url: &str) -> Arc<dyn Broker> {
    ShardedBroker::new(url.parse().unwrap(), ShardedOptions::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_ten_thousand_members_sends_numbers_and_no_members() {
    for (name, broker, passed_on) in [
        // In the classic dialect all three servers receive the answers.
        ("classic", classic as fn(&str) -> Arc<dyn Broker>, 2_200),
        ("sharded", sharded, 1_500),
    ] {
        let (few, many) = (bytes_of_a_count(10, broker).await, bytes_of_a_count(MEMBERS, broker).await);
        println!("{name}: {few:?} for 10 members, {many:?} for {MEMBERS}");
        assert!(many.asked <= 1_000, "{name}: servers sent Redis {} bytes", many.asked);
        assert!(many.answered <= passed_on, "{name}: Redis passed on {} bytes", many.answered);
        // The numbers have three more digits, in two answers.
        let more = (many.asked + many.answered).saturating_sub(few.asked + few.answered);
        assert!(more <= 50, "{name}: {more} bytes more for {MEMBERS} members than for 10");
    }
}
