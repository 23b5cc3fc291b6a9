//! Sharded brokers, and inboxes that remember.

use roomcast_adapter::cluster::{Arrival, Body, Inbox, Message};
use roomcast_adapter::testkit::Dialect;
use roomcast_redis::{ShardedBroker, ShardedMode, ShardedOptions};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const MODES: [ShardedMode; 3] = [ShardedMode::Static, ShardedMode::Dynamic, ShardedMode::DynamicPrivate];

/// A prefix that no other cluster on the same Redis has.
pub(crate) fn key() -> String {
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    format!("cluster{}", CLUSTERS.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn broker_at(url: &str, key: &str, mode: ShardedMode) -> Arc<ShardedBroker> {
    let mut options = ShardedOptions::default();
    options.channel_prefix = key.to_owned();
    options.mode = mode;
    ShardedBroker::new(url.parse().unwrap(), options)
}

/// What the dialect cannot carry: what only servers before 4.0 ask and answer.
pub(crate) fn dialect() -> Dialect {
    Dialect {
        arrives: |message: Message| {
            Some(message).filter(|it| !matches!(it.body, Body::FetchIds { .. } | Body::Ids { .. } | Body::Done { .. }))
        },
        echo: false,
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
