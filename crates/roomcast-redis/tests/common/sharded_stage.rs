//! Sharded brokers, and [`RecordingInbox`].

use super::redis_process::wait_until;
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Arrival, Body, Broker, Inbox, Message, Outcome, Outgoing};
use roomcast_adapter::testkit::Dialect;
use roomcast_protocol::Args;
use roomcast_redis::{RedisConfig, ShardedBroker, ShardedMode, ShardedOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const MODES: [ShardedMode; 3] = [ShardedMode::Static, ShardedMode::Dynamic, ShardedMode::DynamicPrivate];

/// A channel prefix for one cluster.
pub(crate) fn key() -> String {
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    format!("cluster{}", CLUSTERS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn broker_at(url: &str, key: &str, mode: ShardedMode) -> Arc<ShardedBroker> {
    broker_on(url.parse().unwrap(), key, mode)
}

pub(crate) fn broker_on(config: RedisConfig, key: &str, mode: ShardedMode) -> Arc<ShardedBroker> {
    let mut options = ShardedOptions::default();
    options.channel_prefix = key.to_owned();
    options.mode = mode;
    ShardedBroker::new(config, options)
}

/// The dialect lacks the questions and answers of servers before 4.0.
pub(crate) fn dialect() -> Dialect {
    Dialect {
        arrives: |message: Message| {
            Some(message).filter(|it| !matches!(it.body, Body::FetchIds { .. } | Body::Ids { .. } | Body::Done { .. }))
        },
        echo: false,
        ..Dialect::default()
    }
}

/// Records what it receives. Every room has a member here.
#[derive(Default)]
pub(crate) struct RecordingInbox(Mutex<Received>);

#[derive(Default, Clone)]
pub(crate) struct Received {
    pub(crate) messages: Vec<Message>,
    pub(crate) malformed: usize,
    pub(crate) connected: usize,
    pub(crate) lost: usize,
}

impl RecordingInbox {
    pub(crate) fn received(&self) -> Received {
        self.0.lock().unwrap().clone()
    }

    /// Whether `connected` was called last.
    pub(crate) fn is_connected(&self) -> bool {
        let received = self.0.lock().unwrap();
        received.connected > received.lost
    }
}

impl Inbox for RecordingInbox {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let mut received = self.0.lock().unwrap();
        for arrival in arrivals {
            match arrival {
                Arrival::Message(message) => received.messages.push(message),
                Arrival::Malformed(_) => received.malformed += 1,
                _ => {}
            }
        }
    }

    fn connected(&self) {
        self.0.lock().unwrap().connected += 1;
    }

    fn lost(&self) {
        self.0.lock().unwrap().lost += 1;
    }
}

pub(crate) fn broadcast(namespace: &str, target: Target, number: u64) -> Outgoing {
    let data = Args::event("n", &number).unwrap();
    let body = Body::Broadcast { data, target, volatile: false, compress: true };
    let message = Message { sender: Some("0000000000000001".into()), to: None, trailer: None, body };
    Outgoing { namespace: namespace.into(), message }
}

pub(crate) fn numbers(inbox: &RecordingInbox) -> Vec<u64> {
    let number = |message: Message| match message.body {
        Body::Broadcast { data, .. } => data.parse::<(String, u64)>().ok().map(|(_, number)| number),
        _ => None,
    };
    inbox.received().messages.into_iter().filter_map(number).collect()
}

/// Opens a namespace, and waits until it is connected.
pub(crate) async fn open(broker: &Arc<ShardedBroker>, namespace: &str, id: &str) -> Arc<RecordingInbox> {
    let inbox = Arc::<RecordingInbox>::default();
    broker.open(&namespace.into(), &id.into(), inbox.clone());
    wait_until("the namespace is connected", async || inbox.is_connected()).await;
    inbox
}

/// Publishes numbered broadcasts until one is received; those that are lost in between do not matter.
pub(crate) async fn publish_until_received(
    broker: &Arc<ShardedBroker>,
    namespace: &str,
    target: &Target,
    inbox: &RecordingInbox,
    from: u64,
) {
    let number = AtomicUsize::new(from as usize);
    wait_until("a broadcast is received", async || {
        let number = number.fetch_add(1, Ordering::Relaxed) as u64;
        let sent = broker.publish(&[broadcast(namespace, target.clone(), number)]).await == [Outcome::Sent];
        sent && numbers(inbox).iter().any(|received| *received >= from)
    })
    .await;
}
