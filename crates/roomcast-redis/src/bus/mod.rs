//! [`Bus`]: pub/sub on a Redis, whatever is said on it: one connection that hears, one that publishes, a few that ask.

mod arrivals;
mod denied;
mod lane;
mod pool;
mod role;
mod routes;
mod seeds;
mod sentinel;
mod subscriber;
mod topology;
mod votes;
mod wanted;

pub(crate) use routes::{Heard, Listener, Names};

use crate::config::RedisConfig;
use crate::error::RedisError;
use lane::Lane;
use redis::cmd;
use roomcast_adapter::cluster::{Count, Outcome};
use std::sync::{Arc, OnceLock};
use subscriber::Subscriber;
use topology::Topology;

/// One for each broker. Nothing is connected before it is needed. What it hears with ends when it is dropped.
pub(crate) struct Bus {
    topology: Arc<Topology>,
    lane: Lane,
    /// Begun with the first subscription: an emitter has none, and so is not counted as a server.
    subscriber: OnceLock<Subscriber>,
}

impl Bus {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self { topology: Arc::new(Topology::new(config)), lane: Lane::default(), subscriber: OnceLock::new() }
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
        match cmd("PING").query_async::<()>(&mut *connection).await.map_err(RedisError::from) {
            // It may be forbidden where all that is needed is not.
            Ok(()) | Err(RedisError::Permission(_)) => self.topology.check(&mut *connection).await,
            Err(error) => Err(error),
        }
    }

    /// Adds a subscription; a second one of the same key changes nothing. Needs a tokio runtime.
    pub(crate) fn subscribe(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        let begin = || Subscriber::start(self.topology.clone());
        self.subscriber.get_or_init(begin).add(key, names, listener);
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
        self.topology.subscribers(channel).await
    }

    /// A subscription hears nothing that it should: both connections are made anew. Tells whether it was believed to hear.
    pub(crate) async fn is_deaf(&self, key: &str) -> bool {
        let given_up = self.subscriber.get().is_some_and(|subscriber| subscriber.reconnect(key));
        if given_up {
            // It may be the lane that is on a server which nobody else uses any more.
            self.lane.close().await;
        }
        given_up
    }
}
