//! Sharded brokers, and inboxes that remember.

use super::redis_process::wait_until;
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Arrival, Body, Broker, Inbox, Message, Outcome, Outgoing};
use roomcast_adapter::testkit::Dialect;
use roomcast_protocol::Args;
use roomcast_redis::{RedisConfig, ShardedBroker, ShardedMode, ShardedOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const MODES: [ShardedMode; 3] = [ShardedMode::Static, ShardedMode::Dynamic, ShardedMode::DynamicPrivate];

/// A prefix that no other cluster on the same Redis has.
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

/// What the dialect cannot carry: what only servers before 4.0 ask and answer.
pub(crate) fn dialect() -> Dialect {
    Dialect {
        arrives: |message: Message| {
            Some(message).filter(|it| !matches!(it.body, Body::FetchIds { .. } | Body::Ids { .. } | Body::Done { .. }))
        },
        echo: false,
        ..Dialect::default()
    }
}

/// Remembers what it hears; somebody is in every room.
#[derive(Default)]
pub(crate) struct Ear(Mutex<Heard>);

#[derive(Default, Clone)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<Message>,
    pub(crate) malformed: usize,
    pub(crate) connected: usize,
    pub(crate) lost: usize,
}

impl Ear {
    pub(crate) fn heard(&self) -> Heard {
        self.0.lock().unwrap().clone()
    }

    /// Whether it was told last that messages come.
    pub(crate) fn hears(&self) -> bool {
        let heard = self.0.lock().unwrap();
        heard.connected > heard.lost
    }
}

impl Inbox for Ear {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let mut heard = self.0.lock().unwrap();
        for arrival in arrivals {
            match arrival {
                Arrival::Message(message) => heard.messages.push(message),
                Arrival::Malformed(_) => heard.malformed += 1,
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

/// A broadcast of a server that is not open here.
pub(crate) fn broadcast(namespace: &str, target: Target, number: u64) -> Outgoing {
    let data = Args::event("n", &number).unwrap();
    let body = Body::Broadcast { data, target, volatile: false, compress: true };
    let message = Message { sender: Some("0000000000000001".into()), to: None, trailer: None, body };
    Outgoing { namespace: namespace.into(), message }
}

/// The numbers of broadcasts that were heard.
pub(crate) fn numbers(ear: &Ear) -> Vec<u64> {
    let number = |message: Message| match message.body {
        Body::Broadcast { data, .. } => data.parse::<(String, u64)>().ok().map(|(_, number)| number),
        _ => None,
    };
    ear.heard().messages.into_iter().filter_map(number).collect()
}

/// Opens a namespace, and waits until it is heard.
pub(crate) async fn open(broker: &Arc<ShardedBroker>, namespace: &str, id: &str) -> Arc<Ear> {
    let ear = Arc::<Ear>::default();
    broker.open(&namespace.into(), &id.into(), ear.clone());
    wait_until("the namespace is heard", async || ear.hears()).await;
    ear
}

/// Publishes until it is heard: what is lost on the way is lost.
pub(crate) async fn until_heard(broker: &Arc<ShardedBroker>, namespace: &str, target: &Target, ear: &Ear, from: u64) {
    let number = AtomicUsize::new(from as usize);
    wait_until("what is published is heard", async || {
        let number = number.fetch_add(1, Ordering::Relaxed) as u64;
        let sent = broker.publish(&[broadcast(namespace, target.clone(), number)]).await == [Outcome::Sent];
        sent && numbers(ear).iter().any(|heard| *heard >= from)
    })
    .await;
}
