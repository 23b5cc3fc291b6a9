//! Servers in one process over a real Redis: the contracts of adapters and brokers, order, names, the emitter.

use crate::common::contract_wire::{Wire, key};
use crate::common::fault_proxy::FaultProxy;
use crate::common::redis_process::{RedisProcess, wait_until};
use redis::AsyncCommands;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, Cluster, ClusterAdapter, ClusterOptions, Emitter, Inbox, Losses, Message,
};
use roomcast_adapter::testkit::{Dialect, FakeRecipient, Servers, adapter_contract, broker_contract, eventually};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, Room, ServerEvent, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

fn broker(redis: &RedisProcess, key: &str, specific: bool) -> Arc<ClassicBroker> {
    broker_at(&redis.url(), key, specific)
}

fn broker_at(url: &str, key: &str, specific: bool) -> Arc<ClassicBroker> {
    let mut options = ClassicOptions::default();
    options.key = key.to_owned();
    options.publish_on_specific_response_channel = specific;
    ClassicBroker::new(url.parse().unwrap(), options)
}

/// The dialect cannot carry every question for ids: it is one of old servers, without exceptions.
fn dialect() -> Dialect {
    let arrives = |message: Message| Some(message).filter(|it| !matches!(it.body, Body::FetchIds { .. }));
    Dialect { arrives, echo: false, ..Dialect::default() }
}

fn contract_cluster(redis: &RedisProcess, servers: usize) -> Servers {
    let key = key();
    // Servers with the option and without it understand each other.
    Servers::new(servers, |number, context| {
        Cluster::new(broker(redis, &key, number == 1), ClusterOptions::default()).adapter(context)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_keep_the_contract() {
    let redis = RedisProcess::start().await;
    adapter_contract(async || contract_cluster(&redis, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_keep_the_contract() {
    let redis = RedisProcess::start().await;
    adapter_contract(async || contract_cluster(&redis, 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_the_contract() {
    let wire = Wire::start("PUBLISH").await;
    for specific in [false, true] {
        broker_contract(async |count| wire.brokers(count, dialect(), |url, key| broker_at(url, key, specific)).await)
            .await;
    }
}

/// A server's part of a namespace.
struct Server {
    servers: Cluster,
    adapter: Arc<ClusterAdapter>,
    events: mpsc::Receiver<ServerEvent>,
}

fn server(broker: Arc<ClassicBroker>, namespace: &str) -> Server {
    open(&Cluster::new(broker, ClusterOptions::default()), namespace)
}

fn open(servers: &Cluster, namespace: &str) -> Server {
    let (server_events, events) = mpsc::channel(64);
    let adapter = servers.adapter(AdapterContext::new(namespace, server_events));
    Server { servers: servers.clone(), adapter, events }
}

impl Server {
    async fn counts(&self, expected: usize) {
        wait_until("the servers are counted", async || {
            let count = self.adapter.server_count().await;
            count.is_complete() && count.value == expected
        })
        .await;
    }

    fn emit(&self, target: &Target, name: &str) {
        self.adapter.apply(target, Action::emit(&Args::event(name, &()).unwrap())).unwrap();
    }

    fn socket(&self, rooms: &[&str]) -> (SocketId, Arc<FakeRecipient>) {
        let (id, recipient) = (SocketId::random().unwrap(), FakeRecipient::new());
        self.adapter.insert(id, recipient.clone(), &[], None).unwrap();
        let rooms: Vec<Room> = rooms.iter().map(|room| Room::from(*room)).collect();
        drop(self.adapter.join(id, &rooms).unwrap());
        (id, recipient)
    }
}

const PUBLISHERS: usize = 10;
const MESSAGES: usize = 10_000;

/// How long anything may take that must happen eventually, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most messages in flight at once.
const AHEAD: usize = 5_000;

/// The last number of each publisher, and the first publisher and number that were out of order.
type Seen = ([usize; PUBLISHERS], Option<(usize, usize)>);

#[derive(Debug, Default)]
struct InOrder {
    seen: Mutex<Seen>,
    count: AtomicUsize,
    come: Notify,
}

impl Recipient for InOrder {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let text = packet.text().unwrap().strip_prefix("42/order,").unwrap();
        let (_, publisher, number): (String, usize, usize) = serde_json::from_str(text).unwrap();
        self.count.fetch_add(1, Ordering::Relaxed);
        self.come.notify_waiters();
        let (last, wrong) = &mut *self.seen.lock().unwrap();
        if last[publisher] + 1 != number {
            wrong.get_or_insert((publisher, number));
        }
        last[publisher] = number;
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_ten_publishers_through_one_server_arrive_in_order() {
    let redis = RedisProcess::start().await;
    // On a busy machine a message may wait for longer than messages are kept by default; here none may be lost.
    let mut options = ClusterOptions::default();
    options.max_age = PATIENCE;
    let [one, other] = [(); 2].map(|()| open(&Cluster::new(broker(&redis, "order", false), options.clone()), "/order"));
    one.counts(2).await;
    let (here, there) = (Arc::new(InOrder::default()), Arc::new(InOrder::default()));
    one.adapter.insert(SocketId::random().unwrap(), here.clone(), &[], None).unwrap();
    other.adapter.insert(SocketId::random().unwrap(), there.clone(), &[], None).unwrap();
    let publish = |publisher: usize| {
        let (adapter, here, there) = (one.adapter.clone(), here.clone(), there.clone());
        async move {
            for number in 1..=MESSAGES {
                // The queue is bounded and drops the surplus; Redis' buffer for a slow subscriber is bounded too.
                let coming_after = async {
                    loop {
                        let come = there.come.notified();
                        if here.count.load(Ordering::Relaxed) <= there.count.load(Ordering::Relaxed) + AHEAD {
                            break;
                        }
                        come.await;
                    }
                };
                tokio::time::timeout(PATIENCE, coming_after).await.unwrap();
                let data = Args::event("n", &(publisher, number)).unwrap();
                adapter.apply(&Target::everyone(), Action::emit(&data)).unwrap();
            }
        }
    };
    let tasks: Vec<_> = (0..PUBLISHERS).map(|publisher| tokio::spawn(publish(publisher))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let complete = || there.seen.lock().unwrap().0 == [MESSAGES; PUBLISHERS];
    let all = eventually(complete).await;
    let losses = [&one, &other].map(|server| server.servers.losses());
    assert!(all, "{:?} of {MESSAGES} each, {losses:?}", there.seen.lock().unwrap());
    for (at, recipient) in [&here, &there].iter().enumerate() {
        let wrong = recipient.seen.lock().unwrap().1;
        assert_eq!(wrong, None, "publisher and number out of order at server {at}, {losses:?}");
    }
    // A message that was sent again, because Redis was slow to confirm it, arrives twice, and the second is dropped.
    let losses = Losses { doubles: 0, ..other.servers.losses() };
    assert_eq!(losses, Losses::default());
}

/// Names that are the beginning of others, contain characters of patterns, or look like a room's channel: a broadcast
/// to room `b` of `/a` has the same channel as a broadcast in `/a#b`.
const NAMES: [&str; 5] = ["/a", "/a#b", "/*", "/[a-z]", r"/a\*"];
const ROOMS: [&str; 3] = ["x#", "b", "*"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_arrives_once_where_it_belongs() {
    let redis = RedisProcess::start().await;
    let clusters = [(); 2].map(|()| Cluster::new(broker(&redis, "names", false), ClusterOptions::default()));
    let servers = clusters.each_ref().map(|cluster| NAMES.map(|name| open(cluster, name)));
    for server in servers.iter().flatten() {
        server.counts(2).await;
    }
    let sockets = servers.each_ref().map(|all| all.each_ref().map(|server| ROOMS.map(|room| server.socket(&[room]).1)));
    for (from, all) in servers.iter().enumerate() {
        for (server, name) in all.iter().zip(NAMES) {
            for room in ROOMS {
                server.emit(&Target::room(room), &format!("{from} {name} to {room}"));
            }
            server.emit(&Target::everyone(), &format!("{from} {name} to all"));
        }
    }
    for (at, all) in sockets.iter().enumerate() {
        for (sockets, name) in all.iter().zip(NAMES) {
            for (socket, room) in sockets.iter().zip(ROOMS) {
                let names = |socket: &FakeRecipient| -> BTreeMap<String, usize> {
                    let mut names = BTreeMap::new();
                    for event in socket.events() {
                        assert_eq!(event.namespace, name);
                        *names.entry(event.name).or_default() += 1;
                    }
                    names
                };
                let expected: BTreeMap<String, usize> = [0, 1]
                    .iter()
                    .flat_map(|from| [format!("{from} {name} to {room}"), format!("{from} {name} to all")])
                    .map(|event| (event, 1))
                    .collect();
                let came = eventually(|| names(socket).len() >= expected.len()).await;
                assert!(came, "{:?} arrived for {room} of {name} at server {at}", names(socket));
            }
        }
    }
    // A surplus message may arrive later than the rest, but not later than messages that are published after it.
    for (server, name) in servers.iter().flat_map(|all| all.iter().zip(NAMES)) {
        server.emit(&Target::everyone(), &format!("{name} last"));
    }
    for (sockets, name) in sockets.iter().flat_map(|all| all.iter().zip(NAMES)) {
        for socket in sockets {
            let last = || socket.events().iter().filter(|event| event.name == format!("{name} last")).count() == 2;
            assert!(eventually(last).await, "the last of {name}");
            assert_eq!(socket.events().len(), 6, "{:?}", socket.events());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emitter_reaches_all_servers_and_is_not_counted_as_one() {
    let redis = RedisProcess::start().await;
    let [mut one, mut other] = [(); 2].map(|()| server(broker(&redis, "emitter", false), "/chat"));
    one.counts(2).await;
    let emitter = Emitter::new(broker(&redis, "emitter", false)).of("chat");
    let (near, far) = (one.socket(&["lobby"]), other.socket(&["lobby"]));
    let (outside, left_out) = (one.socket(&[]), other.socket(&["lobby", "quiet"]));

    // Until both servers are subscribed: only the first one has counted.
    for socket in [&near, &far] {
        wait_until("the emitter reaches a server", async || {
            emitter.clone().to(Room::from(socket.0)).emit("ready", &()).await.unwrap();
            socket.1.events().iter().any(|event| event.name == "ready")
        })
        .await;
    }

    emitter.clone().to("lobby").except("quiet").emit("hello", &("world", 1)).await.unwrap();
    emitter.clone().to("lobby").except("quiet").sockets_join(&[Room::from("joined")]).await.unwrap();
    emitter.clone().to("joined").emit("joined", &()).await.unwrap();
    emitter.clone().to("joined").sockets_leave(&[Room::from("lobby")]).await.unwrap();
    emitter.clone().emit("all", &()).await.unwrap();
    let names = |socket: &(SocketId, Arc<FakeRecipient>)| -> Vec<String> {
        socket.1.events().into_iter().map(|event| event.name).filter(|name| name != "ready").collect()
    };
    for socket in [&near, &far, &outside, &left_out] {
        assert!(eventually(|| names(socket).contains(&"all".to_owned())).await);
    }
    assert_eq!((names(&near), names(&far)), (vec!["hello".into(), "joined".into(), "all".into()], names(&near)));
    assert_eq!((names(&outside), names(&left_out)), (vec!["all".into()], vec!["all".into()]));
    let rooms = |server: &Server, socket: &(SocketId, Arc<FakeRecipient>)| {
        let mut rooms = server.adapter.rooms_of(socket.0);
        rooms.retain(|room| **room != *socket.0.as_str());
        rooms
    };
    assert_eq!((rooms(&one, &near), rooms(&other, &far)), (vec![Room::from("joined")], vec![Room::from("joined")]));

    emitter.server_side_emit("told", &("data", 2)).await.unwrap();
    for server in [&mut one, &mut other] {
        let event = server.events.recv().await.unwrap();
        assert_eq!(event.data, Args::event("told", &("data", 2)).unwrap());
        assert!(event.reply.is_none());
    }
    emitter.clone().to("joined").disconnect_sockets(true).await.unwrap();
    for socket in [&near, &far] {
        assert!(eventually(|| socket.1.disconnects() == [true]).await);
    }
    assert!(outside.1.disconnects().is_empty() && left_out.1.disconnects().is_empty());
    one.counts(2).await;
}

/// Counts the calls of `connected`.
#[derive(Default)]
struct ConnectedCounter(AtomicUsize);

impl Inbox for ConnectedCounter {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, _: Vec<Arrival>) {}

    fn connected(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_that_are_opened_while_connecting_are_told_once() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let broker = broker_at(&proxy.url(), "once", false);
    let open = |number: usize| {
        let counter = Arc::<ConnectedCounter>::default();
        broker.open(&format!("/{number}").into(), &"a".into(), counter.clone());
        counter
    };
    proxy.stall();
    let mut all = vec![open(0)];
    assert!(eventually(|| proxy.accepted() > 0).await);
    all.extend((1..50).map(open));
    proxy.pass();
    // Changes are made in order: when the last namespace is told, all others have been.
    for number in 50..52 {
        all.push(open(number));
        assert!(eventually(|| all.iter().all(|counter| counter.0.load(Ordering::Relaxed) > 0)).await);
    }
    let counts: Vec<usize> = all.iter().map(|counter| counter.0.load(Ordering::Relaxed)).collect();
    assert_eq!(counts, [1; 52]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_have_names_in_redis() {
    let redis = RedisProcess::start().await;
    // Redis does not allow spaces in a name.
    let cluster = Cluster::with_id("pod 1".into(), broker(&redis, "named", false), ClusterOptions::default());
    let server = open(&cluster, "/");
    server.counts(1).await;
    let emitting = broker(&redis, "named", false);
    Emitter::new(emitting.clone()).of("/").emit("hello", &()).await.unwrap();
    for name in ["roomcast-pod-1-hears", "roomcast-pod-1-publishes", "roomcast-pod-1-asks", "roomcast-publishes"] {
        wait_until("a connection has that name", async || {
            redis.ask::<String>("CLIENT LIST").await.contains(&format!(" name={name} "))
        })
        .await;
    }
}

/// Namespaces that a client opens and closes quickly cost Redis nothing; only those that stay do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_that_come_and_go_cost_no_command_each() {
    const TIMES: usize = 5_000;
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let broker = broker_at(&proxy.url(), "flaps", false);
    let open = |namespace: &str| {
        let counter = Arc::<ConnectedCounter>::default();
        broker.open(&namespace.into(), &"a".into(), counter.clone());
        counter
    };
    proxy.stall();
    let first = open("/first");
    assert!(eventually(|| proxy.accepted() > 0).await);
    for _ in 0..TIMES {
        open("/flaps");
        broker.close("/flaps").await;
    }
    proxy.pass();
    let is_connected = |counter: &ConnectedCounter| counter.0.load(Ordering::Relaxed) == 1;
    assert!(eventually(|| is_connected(&first)).await);
    // A later namespace does not wait for those.
    let last = open("/last");
    assert!(eventually(|| is_connected(&last)).await);
    let stats: String = redis.ask("INFO commandstats").await;
    let changes: Vec<&str> = stats.lines().filter(|line| line.contains("subscribe:")).collect();
    let calls = |line: &&str| line.split(['=', ',']).nth(1).unwrap().parse::<usize>().unwrap();
    assert_eq!(
        changes.iter().map(calls).sum::<usize>(),
        4,
        "a pattern and a channel command for each that is left: {changes:?}"
    );
}

/// A server that counted this one waits for its answer, even if this one unsubscribes before the question is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_leaves_still_answers_servers_that_counted_it() {
    let redis = RedisProcess::start().await;
    let asker = redis::Client::open(redis.url()).unwrap();
    let mut commands = asker.get_multiplexed_async_connection().await.unwrap();
    let (pushes, mut pushed) = mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(pushes);
    let third = redis::IntoConnectionInfo::into_connection_info(format!("{}/?protocol=resp3", redis.url())).unwrap();
    let asker = redis::Client::open(third).unwrap();
    let mut subscriber = asker.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let channel = "leaving-request#/a*b#";
    subscriber.subscribe(&[channel, "leaving-response#/a*b#"]).await.unwrap();
    // Polls without a pause, as the time that a server promises begins when the count changes.
    let mut subscribers = async |expected: usize| {
        let counting = async {
            loop {
                let mut count = redis::cmd("PUBSUB");
                let count = count.arg("NUMSUB").arg(channel).query_async::<(String, usize)>(&mut commands);
                if count.await.unwrap().1 == expected {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), counting).await.unwrap();
    };

    // A server promises to answer a question that arrives within 250 ms, but not a later one: an attempt in which this
    // process was too slow to ask proves nothing.
    let (id, asked) = loop {
        // Redis is asked and not the server, which leaves itself out. The asker is the other subscriber.
        let one = server(broker(&redis, "leaving", false), "/a*b");
        let (id, _) = one.socket(&["room"]);
        subscribers(2).await;
        let begin = Instant::now();
        let closing = tokio::spawn({
            let adapter = one.adapter.clone();
            async move { adapter.close().await }
        });
        subscribers(1).await;
        let mut questions = redis::pipe();
        let asked = begin.elapsed().as_nanos();
        for question in [
            format!(r#"{{"uid":"a","requestId":"1 {asked}","type":1}}"#),
            format!(r#"{{"uid":"a","requestId":"2 {asked}","type":0,"rooms":[]}}"#),
        ] {
            questions.publish(channel, question).ignore();
        }
        let mut asking = subscriber.clone();
        questions.query_async::<()>(&mut asking).await.unwrap();
        let in_time = begin.elapsed() < Duration::from_millis(200);
        closing.await.unwrap();
        if in_time {
            break (id, asked);
        }
    };
    let mut texts = Vec::new();
    while texts.len() < 2 {
        let push = tokio::time::timeout(Duration::from_secs(10), pushed.recv()).await.unwrap().unwrap();
        let from = |push: &redis::PushInfo| redis::from_redis_value::<String>(push.data[0].clone()).unwrap();
        if push.kind == redis::PushKind::Message && from(&push).contains("response") {
            let text: String = redis::from_redis_value(push.data.into_iter().nth(1).unwrap()).unwrap();
            let text = serde_json::from_str::<serde_json::Value>(&text).unwrap();
            if text["requestId"].as_str().unwrap().ends_with(&format!(" {asked}")) {
                texts.push(text);
            }
        }
    }
    texts.sort_by_key(|text| text["requestId"].to_string());
    assert_eq!(texts[0]["requestId"], format!("1 {asked}"));
    assert_eq!(texts[0]["rooms"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&texts[1]["requestId"], &texts[1]["sockets"]),
        (&format!("2 {asked}").into(), &serde_json::json!([id.as_str()]))
    );
}

/// When a server leaves, questions begin to arrive by a pattern in place of the channel. None is lost between the two,
/// not even one that has arrived by the channel and waits to be passed on when Redis confirms the pattern.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_question_is_lost_at_the_moment_a_server_leaves() {
    const SERVERS: usize = 20;
    const QUESTIONS: usize = 40;
    let redis = RedisProcess::start().await;
    let (pushes, mut pushed) = mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(pushes);
    let third = redis::IntoConnectionInfo::into_connection_info(format!("{}/?protocol=resp3", redis.url())).unwrap();
    let asker = redis::Client::open(third).unwrap();
    let mut asking = asker.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        // The asker counts as the other server, for which this one stays a moment longer.
        asking
            .subscribe(&[format!("between-request#/{number}#"), format!("between-response#/{number}#")])
            .await
            .unwrap();
        servers.push(server(broker(&redis, "between", false), &format!("/{number}")));
    }
    for server in &servers {
        wait_until("the server is counted", async || server.adapter.server_count().await.value == 2).await;
    }
    let rounds = servers.iter().enumerate().map(|(number, server)| {
        let (adapter, mut asking) = (server.adapter.clone(), asking.clone());
        tokio::spawn(async move {
            let closing = tokio::spawn(async move { adapter.close().await });
            let (begin, mut asked) = (Instant::now(), 0);
            while asked < QUESTIONS && begin.elapsed() < Duration::from_millis(150) {
                let question = format!(r#"{{"uid":"a","requestId":"{number} {asked}","type":1}}"#);
                asking.publish::<_, _, ()>(format!("between-request#/{number}#"), question).await.unwrap();
                asked += 1;
            }
            closing.await.unwrap();
            asked
        })
    });
    let mut expected = BTreeSet::new();
    for (number, round) in rounds.collect::<Vec<_>>().into_iter().enumerate() {
        expected.extend((0..round.await.unwrap()).map(|asked| format!("{number} {asked}")));
    }
    // The answers are published before the server has closed, and Redis keeps the order on a connection.
    asking.publish::<_, _, ()>("between-response#/0#", r#"{"requestId":"end"}"#).await.unwrap();
    let mut answered = Vec::new();
    loop {
        let push = tokio::time::timeout(Duration::from_secs(10), pushed.recv()).await.unwrap().unwrap();
        let text = |value: &redis::Value| redis::from_redis_value::<String>(value.clone()).unwrap_or_default();
        if push.kind != redis::PushKind::Message || !text(&push.data[0]).contains("response") {
            continue;
        }
        let answer: serde_json::Value = serde_json::from_str(&text(&push.data[1])).unwrap();
        match answer["requestId"].as_str().unwrap() {
            "end" => break,
            request => answered.push(request.to_owned()),
        }
    }
    let once: BTreeSet<String> = answered.iter().cloned().collect();
    let missing: Vec<&String> = expected.difference(&once).collect();
    assert!(missing.is_empty(), "of {} questions {missing:?} were not answered", expected.len());
    assert_eq!(answered.len(), once.len(), "questions were answered twice");
}
