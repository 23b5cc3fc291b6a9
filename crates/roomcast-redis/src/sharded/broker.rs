//! [`ShardedBroker`]: Redis' sharded pub/sub as Node's servers use it.

use super::encode::{channel, encode};
use super::listener::NamespaceListener;
use super::names::Names;
use super::options::{ShardedMode, ShardedOptions};
use super::publishers::Publishers;
use super::rooms::ShardedRooms;
use super::slot_cache::SlotCache;
use super::slots::slot;
use super::subscribers::Subscribers;
use crate::config::RedisConfig;
use crate::delivery::Echo;
use crate::delivery::rooms::Rooms;
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::backoff::patiently;
use crate::watch::{RedisWatch, RedisWatchOptions};
use crate::wire::batch::Batch;
use crate::wire::read::MAX_MESSAGE;
use crate::wire::servers::{self, ServersListener};
use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{Value, cmd};
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Body, Broker, BrokerError, Count, Hears, Inbox, Looked, Outcome, Outgoing, Route, SERVERS, Series, ServerId, Speaks,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// How long Redis may take to confirm that a closed namespace is unsubscribed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Once Redis has unsubscribed a namespace no more questions arrive. One that arrived just before is still to be
/// answered.
const LINGERS: Duration = Duration::from_millis(1);

/// Redis' sharded pub/sub (Redis 7 and later) in the dialect of Node's `createShardedAdapter`
/// (`@socket.io/redis-adapter` 8). Servers with this broker and Node's servers form one cluster as equals. In a Redis
/// Cluster each channel is on one node, which shares the load; classic pub/sub sends everything to every node.
///
/// - Each primary that has channels of this server gets a subscriber connection, and a publisher connection; questions
///   take up to four more.
/// - A primary that dies holds up only its own channels, until another takes its place. The namespaces on it are told
///   that their subscription is lost.
/// - In a Cluster, messages to the same room keep their order, and so do those to more than one room; but messages to
///   different rooms may overtake each other, as with Node's servers.
/// - A message has at most 8,000,000 bytes.
/// - The server's id may be any text. Node's servers answer to whatever id asks them.
/// - [`close`](Broker::close) resolves when Redis has unsubscribed the namespace, after half a second at most. Every
///   subscriber of a sharded channel is counted, so a question of Node's times out if it counted this server before the
///   close and is published after.
pub struct ShardedBroker {
    names: Names,
    mode: ShardedMode,
    slots: Arc<SlotCache>,
    publishers: Publishers,
    /// Started by the first namespace. An emitter has none, and so is not counted as a server.
    subscribing: OnceLock<Subscribing>,
    namespaces: Mutex<HashMap<Arc<str>, Namespace>>,
    /// Whether this server's own announcements come back.
    echo: Arc<Mutex<Echo>>,
}

struct Subscribing {
    subscribers: Arc<Subscribers>,
    rooms: Arc<Rooms<ShardedRooms>>,
}

struct Namespace {
    /// The id of its subscription.
    subscription: u64,
    /// `None` for the channels of the roomcast servers themselves.
    listener: Option<Arc<NamespaceListener>>,
}

impl ShardedBroker {
    /// Creates a broker for this Redis. It does not connect yet.
    pub fn new(config: RedisConfig, options: ShardedOptions) -> Arc<Self> {
        let slots = Arc::new(SlotCache::new(Arc::new(Topology::new(config))));
        Arc::new(Self {
            names: Names(options.channel_prefix.into()),
            mode: options.mode,
            publishers: Publishers::new(slots.clone()),
            slots,
            subscribing: OnceLock::new(),
            namespaces: Mutex::default(),
            echo: Arc::default(),
        })
    }

    /// Where Redis is.
    pub fn config(&self) -> &RedisConfig {
        self.slots.topology.config()
    }

    /// Connects once, to learn at start whether Redis can be used, and has sharded pub/sub.
    ///
    /// # Errors
    /// [`RedisError`], with what to do about it.
    pub async fn check(&self) -> Result<(), RedisError> {
        let topology = &self.slots.topology;
        let (_, mut connection) = topology.connection().await?;
        topology.check(&mut *connection).await?;
        let asked = cmd("PUBSUB").arg("SHARDNUMSUB").query_async::<Value>(&mut *connection).await;
        match asked.map_err(RedisError::from) {
            Ok(_) => Ok(()),
            Err(RedisError::Other(error)) => Err(RedisError::Other(format!(
                "{error}; the sharded dialect needs Redis 7 or later: use that, or the classic dialect on all servers"
            ))),
            Err(error) => Err(error),
        }
    }

    /// As [`check`](Self::check), but waits for a Redis that is away, up to `patience`. Errors that somebody has to
    /// correct ([`RedisError::is_lasting`]) are returned at once.
    ///
    /// # Errors
    /// The last one, with what to do about it.
    pub async fn check_within(&self, patience: Duration) -> Result<(), RedisError> {
        patiently(patience, || self.check()).await
    }

    /// Begins to watch the Redis servers that this broker uses: see [`RedisWatch`]. Needs a tokio runtime.
    pub fn watch(&self, options: RedisWatchOptions) -> RedisWatch {
        RedisWatch::start(self.slots.topology.clone(), options)
    }

    /// Whether the subscriber connection to the batch's node has ended since something was published there. Then the
    /// other servers have to subscribe there again, too. On the road of announcements the queue knows that already.
    fn was_interrupted(&self, batch: &[Outgoing]) -> bool {
        let may_be = self.slots.is_cluster() && self.slots.has_interruptions();
        let Some(first) = batch.first().filter(|first| may_be && &*first.namespace != SERVERS) else { return false };
        let road = self.slots.road(slot(&channel(first, &self.names, self.mode)));
        self.slots.take_interrupted(road) && road != self.slots.road(slot(&self.names.servers()))
    }

    fn subscribing(&self) -> &Subscribing {
        self.subscribing.get_or_init(|| {
            let subscribers = Subscribers::start(self.slots.clone(), self.names.servers(), self.echo.clone());
            let subscribers = Arc::new(subscribers);
            let rooms = Rooms::new(ShardedRooms { names: self.names.clone(), subscribers: subscribers.clone() });
            Subscribing { subscribers, rooms }
        })
    }
}

#[async_trait]
impl Broker for ShardedBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.slots.topology.names.set_server(id.as_str());
        let Subscribing { subscribers, rooms } = self.subscribing();
        let mut namespaces = self.namespaces.lock();
        if namespaces.contains_key(namespace) {
            return;
        }
        let open = if &**namespace == SERVERS {
            let channels = vec![self.names.servers(), self.names.server(id.as_str())];
            let listener = ServersListener { inbox, id: id.clone(), echo: self.echo.clone() };
            Namespace { subscription: subscribers.add(channels, Arc::new(listener), true), listener: None }
        } else {
            let listener = Arc::new(NamespaceListener::new(&self.names, self.mode, namespace, id, inbox));
            rooms.open(&listener);
            let subscription = subscribers.add(listener.channels(), listener.clone(), true);
            Namespace { subscription, listener: Some(listener) }
        };
        namespaces.insert(namespace.clone(), open);
    }

    async fn close(&self, namespace: &str) {
        let unsubscribed = {
            let Some(open) = self.namespaces.lock().remove(namespace) else { return };
            let Subscribing { subscribers, rooms } = self.subscribing();
            if let Some(listener) = &open.listener {
                listener.begin_closing();
                rooms.close(listener);
            }
            subscribers.remove(open.subscription)
        };
        let _ = timeout(CLOSE_TIMEOUT, unsubscribed).await;
    }

    fn lingers(&self) -> Duration {
        LINGERS
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let written = Batch::of(batch, |outgoing| encode(outgoing, &self.names, self.mode));
        if self.subscribing.get().is_some_and(|it| it.subscribers.was_deaf()) {
            // The publishers may be connected to servers that the subscribers do not use.
            self.publishers.reconnect();
        }
        if self.was_interrupted(batch) {
            let reason = format!(
                "{}: the connection on which messages of a node arrive has ended, so other servers may not receive them either",
                self.config()
            );
            return vec![Outcome::Again(reason); batch.len()];
        }
        let before = servers::note_sending(&self.echo, batch);
        let sent = match &written.messages[..] {
            [] => Vec::new(),
            messages => self.publishers.publish(messages).await,
        };
        let outcomes = written.outcomes(sent, None);
        servers::note_published(&self.echo, before, batch, &outcomes);
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let channel = if namespace == SERVERS { self.names.servers() } else { self.names.main(namespace) };
        let counted = self.slots.topology.subscribers("SHARDNUMSUB", &[channel.as_str().into()]).await;
        counted.map(|counts| counts.into_iter().next()).map_err(|error| BrokerError(error.to_string()))
    }

    fn speaks(&self, question: &Body) -> Speaks {
        match question {
            Body::FetchRooms { .. } => Speaks::Ours,
            _ => Speaks::Everybody,
        }
    }

    fn hears(&self, series: Series) -> Hears {
        match (series, self.mode) {
            (Series::Main, _) | (_, ShardedMode::Static) => Hears::All,
            // The channels of rooms are on different nodes.
            _ if self.slots.is_cluster() => Hears::EachRoom,
            _ => Hears::Some,
        }
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        if !self.slots.is_cluster() {
            return Route::default();
        }
        let slot = slot(&channel(outgoing, &self.names, self.mode));
        Route { channel: u64::from(slot) + 1, road: u64::from(self.slots.road(slot)) }
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        let Ok(road) = u16::try_from(road) else { return Ok(()) };
        self.publishers.ready(road).await.map_err(|error| BrokerError(format!("{}: {error}", self.config())))
    }

    fn looks(&self) -> bool {
        self.mode != ShardedMode::Static
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        if !self.mode.has_channel(room) {
            return None;
        }
        self.subscribing.get()?.rooms.look(namespace, room)
    }

    fn largest(&self) -> usize {
        MAX_MESSAGE
    }
}

impl fmt::Debug for ShardedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedBroker")
            .field("redis", self.config())
            .field("prefix", &self.names.0)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
