//! [`Bus`]: classic pub/sub on a Redis, whatever the messages say: one connection that subscribes, one that publishes,
//! and a few for questions.

mod arrivals;
mod changes;
mod connection;
mod counts;
mod names;
mod predecessors;
mod publisher;
mod routes;
mod subscriber;
mod subscriptions;

pub(crate) use names::Names;

use crate::config::RedisConfig;
use crate::delivery::{Echo, Listener, Waiter};
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::role::check_ping;
use counts::Counts;
use parking_lot::Mutex;
use publisher::Publisher;
use redis::{Value, cmd};
use roomcast_adapter::cluster::{Count, Outcome};
use std::sync::{Arc, OnceLock};
use subscriber::Subscriber;

/// One for each broker. It connects when a connection is needed; its subscriptions end when it is dropped.
pub(crate) struct Bus {
    topology: Arc<Topology>,
    publisher: Arc<Publisher>,
    echo: Arc<Mutex<Echo>>,
    counts: Arc<Counts>,
    /// Started by the first subscription. An emitter has none, and so is not counted as a server.
    subscriber: OnceLock<Subscriber>,
}

impl Bus {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self {
            topology: Arc::new(Topology::new(config)),
            publisher: Arc::default(),
            echo: Arc::default(),
            counts: Arc::default(),
            subscriber: OnceLock::new(),
        }
    }

    /// The servers of this Redis.
    pub(crate) fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        self.topology.config()
    }

    /// Sets the server id that Redis' CLIENT LIST shows. Only the first one counts.
    pub(crate) fn set_server(&self, id: &str) {
        self.topology.names.set_server(id);
    }

    /// Connects once, to learn at start whether Redis can be used.
    pub(crate) async fn check(&self) -> Result<(), RedisError> {
        let (_, mut connection) = self.topology.connection().await?;
        check_ping(cmd("PING").query_async(&mut *connection).await)?;
        // The subscriber needs RESP3. HELLO without a version changes nothing.
        match cmd("HELLO").query_async::<Value>(&mut *connection).await.map_err(RedisError::from) {
            Err(error @ RedisError::Protocol(_)) => Err(error),
            _ => self.topology.check(&mut *connection).await,
        }
    }

    /// Adds a subscription under a key; if the key is taken, nothing changes. Needs a tokio runtime.
    pub(crate) fn subscribe(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        let start = || Subscriber::start(self.topology.clone(), self.publisher.clone(), self.echo.clone());
        self.subscriber.get_or_init(start).add(key, names, listener);
    }

    /// Subscribes one channel whose subscribers nobody counts. Its listener is told neither `connected` nor `lost`;
    /// waiters are.
    pub(crate) fn add_channel(&self, key: &Arc<str>, channel: String, listener: Arc<dyn Listener>) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.add_channel(key, channel, listener);
        }
    }

    /// Adds waiters until a channel is subscribed, or forbidden. They are dropped when its subscription is removed.
    pub(crate) fn wait(&self, key: &str, waiters: Vec<Waiter>) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.wait(key, waiters);
        }
    }

    pub(crate) fn unsubscribe(&self, key: &str) {
        if let Some(subscriber) = self.subscriber.get() {
            subscriber.remove(key);
        }
    }

    /// Whether Redis may count this server among a channel's subscribers. It does from a moment before it confirms the
    /// subscription.
    pub(crate) fn may_be_counted(&self) -> bool {
        self.subscriber.get().is_some_and(Subscriber::may_be_counted)
    }

    /// Publishes messages with their channels, in order, and returns the outcome of each; the error is that of the
    /// connection. `expendable`: the channel of messages that a server can do without.
    pub(crate) async fn publish(
        &self,
        messages: &[(String, Vec<u8>)],
        expendable: &str,
    ) -> Result<Vec<Outcome>, RedisError> {
        let connected = |address: &str| {
            if let Some(subscriber) = self.subscriber.get() {
                subscriber.move_to(address);
            }
        };
        self.publisher.publish(&self.topology, messages, expendable, connected).await
    }

    /// Subscribers of a channel, summed over all servers of this Redis.
    pub(crate) async fn subscribers(&self, channel: &str) -> Result<Count, RedisError> {
        self.counts.of(&self.topology, channel).await
    }

    /// Detects a deaf subscriber connection. Whoever publishes and receives the server's own messages reports them
    /// here; the bus does the rest.
    pub(crate) fn echo(&self) -> &Arc<Mutex<Echo>> {
        &self.echo
    }
}
