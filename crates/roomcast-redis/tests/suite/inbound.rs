//! Every payload that was published by hand for a Node server (`vectors/inbound-classic.json`) is published for ours:
//! what its client receives, what it answers, and which rooms the client is in afterwards.

use crate::common::redis_process::RedisProcess;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, PushInfo, PushKind, cmd, from_redis_value};
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::testkit::{FakeRecipient, eventually};
use roomcast_adapter::{Adapter, AdapterContext, Room, ServerEvent};
use roomcast_protocol::msgpack::{Reader, to_json};
use roomcast_protocol::{Args, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Reactions that are not Node's, and why.
const DEVIATIONS: [(&str, &str); 6] = [
    (
        "broadcast with packet type 3 (ACK) and id",
        "it is not an event: Node's clients get an answer to another question",
    ),
    ("broadcast with an id in the packet", "the id is the sender's; the event is delivered without it"),
    (
        "broadcast with packet type 5 (BINARY_EVENT) and a Buffer",
        "clients get the event, where Node sends bytes that no client can read",
    ),
    ("request type 2 REMOTE_JOIN with opts, own uid", "a server has applied its own request at the call"),
    ("request type 6 SERVER_SIDE_EMIT with requestId null", "nobody can be waiting for an answer to null"),
    (
        "request type 6 SERVER_SIDE_EMIT of event \"error\" without listener",
        "an event like any other; Node's process ends",
    ),
];

/// The effects of one payload.
#[derive(Debug, Default, PartialEq)]
struct Reaction {
    received: Vec<Value>,
    answers: Vec<Value>,
    rooms: BTreeSet<String>,
    events: Vec<Value>,
}

/// A server with one client, which acknowledges every event that asks for it.
struct Stage {
    adapter: Arc<ClusterAdapter>,
    id: SocketId,
    client: Arc<FakeRecipient>,
    events: mpsc::Receiver<ServerEvent>,
    publisher: redis::aio::MultiplexedConnection,
    answers: mpsc::UnboundedReceiver<PushInfo>,
    fences: u32,
    _tap: redis::aio::MultiplexedConnection,
}

const SOCKET: &str = "auto1---------------";

impl Stage {
    async fn open(redis: &RedisProcess) -> Self {
        let broker = ClassicBroker::new(redis.url().parse().unwrap(), ClassicOptions::default());
        let cluster = Cluster::with_id("nodeB0".into(), broker, ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let publisher = Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let (sender, answers) = mpsc::unbounded_channel();
        let tap = Client::open(format!("{}/?protocol=resp3", redis.url()).into_connection_info().unwrap()).unwrap();
        let config = AsyncConnectionConfig::new().set_push_sender(sender);
        let mut tap = tap.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        tap.subscribe("socket.io-response#/#").await.unwrap();
        let (id, client) = (SOCKET.parse().unwrap(), FakeRecipient::new());
        let mut stage = Self { adapter, id, client, events, publisher, answers, fences: 0, _tap: tap };
        stage.enter();
        stage.settled().await;
        stage
    }

    fn enter(&mut self) {
        self.client = FakeRecipient::new();
        self.adapter.insert(self.id, self.client.clone(), &[], None).unwrap();
        drop(self.adapter.join(self.id, &[Room::from("room1")]).unwrap());
        let adapter: Arc<dyn Adapter> = self.adapter.clone();
        self.client.answer(&adapter, self.id, Args::of("ack-value").unwrap());
    }

    async fn publish(&mut self, channel: &str, payload: &[u8]) {
        cmd("PUBLISH").arg(channel).arg(payload).query_async::<()>(&mut self.publisher).await.unwrap();
    }

    /// The next answer of the server, if one arrives by then. Payloads published by hand on the same channel have no
    /// `uid`.
    async fn next_answer(&mut self, until: Instant) -> Option<Value> {
        loop {
            let push = timeout_at(until, self.answers.recv()).await.ok()??;
            if push.kind != PushKind::Message {
                continue;
            }
            let payload: Vec<u8> = from_redis_value(push.data.into_iter().nth(1).unwrap()).unwrap();
            let text = if payload.starts_with(b"{") {
                payload
            } else {
                let mut text = Vec::new();
                let read = to_json(&mut Reader::new(&payload), &mut text, &mut Vec::new(), 16);
                if read.is_ok() { text } else { continue }
            };
            let mut answer: Value = serde_json::from_slice(&text).unwrap();
            // The fields that we add.
            let added = answer.as_object_mut().and_then(|fields| {
                fields.remove("rc");
                fields.remove("uid")
            });
            if added == Some(json!("nodeB0")) {
                return Some(answer);
            }
        }
    }

    /// Waits until everything published before has taken effect: questions are answered in order, unless the server is
    /// new to the namespace. Returns the answers until then.
    async fn settled(&mut self) -> Vec<Value> {
        let mut answers = Vec::new();
        for _ in 0..200 {
            self.fences += 1;
            let fence = format!("fence{}", self.fences);
            let question = json!({"uid": "zzzzzz", "requestId": fence, "type": 1}).to_string();
            self.publish("socket.io-request#/#", question.as_bytes()).await;
            let until = Instant::now() + Duration::from_secs(1);
            while let Some(answer) = self.next_answer(until).await {
                match answer["requestId"].as_str() {
                    Some(id) if id == fence => return answers,
                    Some(id) if id.starts_with("fence") => {}
                    _ => answers.push(answer),
                }
            }
        }
        panic!("the server answers nothing");
    }

    fn rooms(&self) -> BTreeSet<String> {
        self.adapter.rooms_of(self.id).iter().map(ToString::to_string).collect()
    }
}

/// An event as the client reads it: name and arguments, without the id of the acknowledgement, as each server counts
/// its own.
fn event(packet: &roomcast_adapter::testkit::ReceivedEvent) -> Value {
    let mut event = vec![json!(packet.name)];
    event.extend(packet.args.as_ref().iter().map(|item| serde_json::from_str(item).unwrap()));
    json!({"event": event, "asks": packet.ack.is_some()})
}

/// The same for recorded frames: `42["x",1]`, `420["x",1]`, `451-[…]` and its attachments.
fn recorded(frames: &[Value]) -> Vec<Value> {
    let texts = frames.iter().filter_map(Value::as_str).filter(|text| !text.starts_with("41"));
    texts
        .map(|text| {
            let at = text.find('[').unwrap_or(text.len());
            let data: Value = serde_json::from_str(&text[at..]).unwrap_or_else(|_| json!(text));
            let digits = text[2..at].rsplit('-').next().unwrap_or_default();
            json!({"event": data, "asks": !digits.is_empty()})
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_payload_published_by_hand_has_the_recorded_effect() {
    let redis = RedisProcess::start().await;
    let mut stage = Stage::open(&redis).await;
    let mut deviating = BTreeSet::new();
    let mut before = stage.rooms();
    for test in &crate::common::by_hand::tests() {
        // After some payloads a new Node server was started.
        if let Some(rooms) = test.rooms_after.as_ref().filter(|rooms| rooms.len() == 2) {
            for room in before.iter().filter(|room| !rooms.contains(room)) {
                stage.adapter.leave(stage.id, room);
            }
        }
        let received = stage.client.events().len();
        stage.publish(&test.channel, &test.payload()).await;
        let mut seen = Reaction::default();
        while seen.answers.len() < test.node_commands.len() {
            let count = seen.answers.len();
            seen.answers.extend(stage.settled().await);
            // Answers of clients and handlers are not ordered with the others.
            while let Ok(ServerEvent { data, reply }) = stage.events.try_recv() {
                seen.events.push(serde_json::from_str(&format!("[{}]", data.items())).unwrap());
                reply.map(|reply| reply.send(Args::of("pong").unwrap()));
            }
            if seen.answers.len() == count && DEVIATIONS.iter().any(|(name, _)| *name == test.name) {
                break;
            }
        }
        seen.answers.extend(stage.settled().await);
        while let Ok(ServerEvent { data, .. }) = stage.events.try_recv() {
            seen.events.push(serde_json::from_str(&format!("[{}]", data.items())).unwrap());
        }
        seen.received = stage.client.events()[received..].iter().map(event).collect();
        seen.rooms = stage.rooms();

        let gone = test.client_received.iter().any(|frame| frame.as_str() == Some("41"));
        if gone {
            assert!(eventually(|| stage.client.disconnects() == [false]).await, "{}", test.name);
        }
        let mut expected = Reaction {
            received: recorded(&test.client_received),
            answers: test.node_commands.iter().map(|answer| answer.decoded.clone()).collect(),
            rooms: match &test.rooms_after {
                Some(rooms) if !gone => rooms.iter().cloned().collect(),
                _ => before.clone(),
            },
            events: Vec::new(),
        };
        assert!(test.node_commands.iter().all(|answer| answer.channel == "socket.io-response#/#"));
        // The recorded server logged the arguments of one event, and the whole of another: only their number is
        // compared.
        let events = if test.crash.is_some() { 0 } else { test.server_side_events.len() };
        let nobody_listens = test.name.contains("nobody listens");
        expected.events =
            if nobody_listens { seen.events.clone() } else { seen.events.iter().take(events).cloned().collect() };
        for sockets in [&mut seen.answers, &mut expected.answers] {
            for socket in sockets.iter_mut().filter_map(|answer| answer.get_mut("sockets")?.as_array_mut()).flatten() {
                if let Some(socket) = socket.as_object_mut() {
                    // This test's client has an empty handshake.
                    socket.remove("handshake");
                }
            }
            for answer in sockets.iter_mut() {
                for rooms in ["/rooms", "/sockets/0/rooms"] {
                    if let Some(Value::Array(rooms)) = answer.pointer_mut(rooms) {
                        rooms.sort_by_key(ToString::to_string);
                    }
                }
            }
        }
        if seen != expected || seen.events.len() < events {
            assert!(
                DEVIATIONS.iter().any(|(name, _)| *name == test.name),
                "{}: seen {seen:#?}, recorded {expected:#?} and {events} events",
                test.name
            );
            deviating.insert(test.name.clone());
            // The following payloads start with Node's rooms.
            let missing: Vec<Room> = expected.rooms.difference(&seen.rooms).map(Room::from).collect();
            drop(stage.adapter.join(stage.id, &missing).unwrap());
        }
        before = stage.rooms();
    }
    assert_eq!(deviating, DEVIATIONS.iter().map(|(name, _)| (*name).to_owned()).collect(), "the deviations are stale");
}
