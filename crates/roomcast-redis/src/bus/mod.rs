//! [`Bus`]: pub/sub on a Redis, whatever is said on it: one connection that hears, one that publishes, a few that ask.

mod arrivals;
mod changes;
mod counts;
pub(crate) mod denied;
mod echo;
mod hearing;
pub(crate) mod pool;
mod predecessors;
mod publisher;
mod role;
pub(crate) mod routes;
mod seeds;
mod sentinel;
mod subscriber;
pub(crate) mod topology;
mod votes;
mod wanted;

pub(crate) use echo::{Before, Echo};
pub(crate) use routes::{Heard, Listener, Names};
pub(crate) use wanted::Waiter;

use crate::config::RedisConfig;
use crate::error::RedisError;
use counts::Counts;
use parking_lot::Mutex;
use publisher::Publisher;
use redis::{Value, cmd};
use role::lives;
use roomcast_adapter::cluster::{Count, Outcome};
use std::sync::{Arc, OnceLock};
use subscriber::Subscriber;
use topology::Topology;

/// One for each broker. Nothing is connected before it is needed. What it hears with ends when it is dropped.
pub(crate) struct Bus {
    topology: Arc<Topology>,
    lane: Arc<Publisher>,
    echo: Arc<Mutex<Echo>>,
    counts: Arc<Counts>,
    /// Begun with the first subscription: an emitter has none, and so is not counted as a server.
    subscriber: OnceLock<Subscriber>,
}

impl Bus {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self {
            topology: Arc::new(Topology::new(config)),
            lane: Arc::default(),
            echo: Arc::default(),
            counts: Arc::default(),
            subscriber: OnceLock::new(),
        }
    }

    /// Where Redis is.
    pub(crate) fn config(&self) -> &RedisConfig {
        self.topology.config()
    }

    /// Redis' CLIENT LIST shows this id from now on. The first that is told counts.
    pub(crate) fn is_of(&self, server: &str) {
        self.topology.owner.is(server);
    }

    /// Connects once, to learn at start whether Redis can be used.
    pub(crate) async fn check(&self) -> Result<(), RedisError> {
        let (_, mut connection) = self.topology.connection().await?;
        lives(cmd("PING").query_async(&mut *connection).await)?;
        // Who hears needs the third protocol. Without a number this only asks.
        match cmd("HELLO").query_async::<Value>(&mut *connection).await.map_err(RedisError::from) {
            Err(error @ RedisError::Protocol(_)) => Err(error),
            _ => self.topology.check(&mut *connection).await,
        }
    }

    /// Adds a subscription; a second one of the same key changes nothing. Needs a tokio runtime.
    pub(crate) fn subscribe(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        let begin = || Subscriber::start(self.topology.clone(), self.lane.clone(), self.echo.clone());
        self.subscriber.get_or_init(begin).add(key, names, listener);
    }

    /// Adds a channel whose subscribers nobody counts, for a listener that is not told of it: who waits for it is. One that is added
    /// again has more who wait. It is removed as subscriptions are, by its key, and nobody waits any more.
    pub(crate) fn add_channel(
        &self,
        key: &Arc<str>,
        channel: String,
        listener: Arc<dyn Listener>,
        waiters: Vec<Waiter>,
    ) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.add_channel(key, channel, listener, waiters);
        }
    }

    /// Removes a subscription.
    pub(crate) fn unsubscribe(&self, key: &str) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.remove(key);
        }
    }

    /// Whether Redis may count this server among a channel's subscribers: it does from a moment before the confirmation on.
    pub(crate) fn may_be_counted(&self) -> bool {
        self.subscriber.get().is_some_and(Subscriber::may_be_counted)
    }

    /// Publishes on channels, in order, and tells what became of each message; the error is that of the connection. `spare`: the
    /// channel of messages without which a server can do.
    pub(crate) async fn publish(
        &self,
        messages: &[(String, Vec<u8>)],
        spare: &str,
    ) -> Result<Vec<Outcome>, RedisError> {
        let at = |address: &str| {
            if let Some(subscriber) = self.subscriber.get() {
                subscriber.move_to(address);
            }
        };
        self.lane.publish(&self.topology, messages, spare, at).await
    }

    /// Subscribers of a channel on all servers of this Redis.
    pub(crate) async fn subscribers(&self, channel: &str) -> Result<Count, RedisError> {
        self.counts.of(&self.topology, channel).await
    }

    /// Whether what is published here is heard here. Who publishes and hears messages of its own tells it of them; the rest happens
    /// by itself.
    pub(crate) fn echo(&self) -> &Arc<Mutex<Echo>> {
        &self.echo
    }
}
