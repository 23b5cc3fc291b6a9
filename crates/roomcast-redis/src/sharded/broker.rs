//! [`ShardedBroker`]: Redis' sharded pub/sub as Node's servers use it.

use super::ears::Ears;
use super::encode::{channel, encode};
use super::names::Names;
use super::namespace::Namespace;
use super::options::{ShardedMode, ShardedOptions};
use super::places::Places;
use super::roads::Roads;
use super::rooms::Rooms;
use super::slots::slot;
use crate::bus::Echo;
use crate::bus::topology::Topology;
use crate::config::RedisConfig;
use crate::error::RedisError;
use crate::wire::batch::Batch;
use crate::wire::read::MAX_MESSAGE;
use crate::wire::servers::{self, Servers};
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
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Time that Redis has to confirm that a namespace which is closed is not heard any more.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// When Redis has let go of a namespace no question comes any more. But one that came before it did is still to be answered.
const LINGERS: Duration = Duration::from_millis(1);

/// Redis' sharded pub/sub (Redis 7 and later) in the dialect of Node's `createShardedAdapter` (`@socket.io/redis-adapter` 8):
/// servers on it and Node's servers are equals. In a Redis Cluster each channel is on one node, so that the load is shared, where
/// classic pub/sub sends everything to every node.
///
/// - One connection to each primary that has channels of this server hears, and one publishes; questions take up to four more.
/// - A primary that dies holds up its own channels until another has its place, and no others. Its namespaces are told that they are
///   not heard.
/// - In a Cluster messages to one room keep their order, and those to more than one; but messages to different rooms may overtake one
///   another, as with Node's servers.
/// - A message has at most 8,000,000 bytes.
/// - The id of the server may be any text. Node's servers answer to whatever id they are asked by.
/// - [`close`](Broker::close) resolves when Redis has let go of the namespace, in half a second at most. Sharded channels have no
///   uncounted listeners: a question of Node's that was counted before and published after times out.
pub struct ShardedBroker {
    names: Names,
    mode: ShardedMode,
    places: Arc<Places>,
    roads: Roads,
    /// Begun with the first namespace: an emitter has none, and so is not counted as a server.
    hearing: OnceLock<Hearing>,
    rooms: Arc<Rooms>,
    /// Namespaces that are open, and their subscriptions.
    namespaces: Mutex<HashMap<Arc<str>, Open>>,
    /// Whether what this server tells of itself comes back.
    echo: Arc<Mutex<Echo>>,
}

struct Hearing {
    ears: Arc<Ears>,
    looks: AbortHandle,
}

struct Open {
    subscription: u64,
    /// `None`: it is that of the servers themselves.
    namespace: Option<Arc<Namespace>>,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

impl ShardedBroker {
    /// A broker on that Redis. Nothing is connected yet.
    pub fn new(config: RedisConfig, options: ShardedOptions) -> Arc<Self> {
        let places = Arc::new(Places::new(Arc::new(Topology::new(config))));
        Arc::new(Self {
            names: Names(options.channel_prefix.into()),
            mode: options.mode,
            roads: Roads::new(places.clone()),
            places,
            hearing: OnceLock::new(),
            rooms: Arc::default(),
            namespaces: Mutex::default(),
            echo: Arc::default(),
        })
    }

    /// Where Redis is.
    pub fn config(&self) -> &RedisConfig {
        self.places.topology.config()
    }

    /// Connects once, to learn at start whether Redis can be used, and has sharded pub/sub.
    ///
    /// # Errors
    /// [`RedisError`], with what to do about it.
    pub async fn check(&self) -> Result<(), RedisError> {
        let topology = &self.places.topology;
        let (_, mut connection) = topology.connection().await?;
        topology.check(&mut *connection).await?;
        let asked = cmd("PUBSUB").arg("SHARDNUMSUB").query_async::<Value>(&mut *connection).await;
        match asked.map_err(RedisError::from) {
            Ok(_) => Ok(()),
            Err(RedisError::Other(error)) => Err(RedisError::Other(format!(
                "{error}; the sharded dialect needs Redis 7 or later: take one, or the classic dialect on all servers"
            ))),
            Err(error) => Err(error),
        }
    }

    fn ears(&self) -> &Arc<Ears> {
        let hearing = self.hearing.get_or_init(|| {
            let ears = Arc::new(Ears::start(self.places.clone(), self.names.servers(), self.echo.clone()));
            let looks = tokio::spawn(self.rooms.clone().attend(self.names.clone(), ears.clone())).abort_handle();
            Hearing { ears, looks }
        });
        &hearing.ears
    }
}

#[async_trait]
impl Broker for ShardedBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.places.topology.owner.is(id.as_str());
        let ears = self.ears();
        let mut namespaces = self.namespaces.lock();
        if namespaces.contains_key(namespace) {
            return;
        }
        let open = if &**namespace == SERVERS {
            let channels = vec![self.names.servers(), self.names.server(id.as_str())];
            let listener = Servers { inbox, id: id.clone(), echo: self.echo.clone() };
            Open { subscription: ears.add(channels, Arc::new(listener), true), namespace: None }
        } else {
            let listener = Arc::new(Namespace::new(&self.names, self.mode, namespace, id, inbox));
            self.rooms.open(&listener);
            let subscription = ears.add(listener.channels(), listener.clone(), true);
            Open { subscription, namespace: Some(listener) }
        };
        namespaces.insert(namespace.clone(), open);
    }

    async fn close(&self, namespace: &str) {
        let left = {
            let Some(open) = self.namespaces.lock().remove(namespace) else { return };
            if let Some(namespace) = &open.namespace {
                namespace.leaves();
            }
            let ears = self.ears();
            for room in self.rooms.close(namespace) {
                ears.leave(room);
            }
            ears.leave(open.subscription)
        };
        let _ = timeout(CLOSE_TIMEOUT, left).await;
    }

    fn lingers(&self) -> Duration {
        LINGERS
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let written = Batch::of(batch, |outgoing| encode(outgoing, &self.names, self.mode));
        if self.hearing.get().is_some_and(|hearing| hearing.ears.was_deaf()) {
            // Where it was published it was not heard.
            self.roads.close();
        }
        let before = self.echo.lock().before();
        let sent = match &written.messages[..] {
            [] => Vec::new(),
            messages => self.roads.publish(messages).await,
        };
        let outcomes = written.outcomes(sent, None);
        servers::went_out(&self.echo, before, batch, &outcomes);
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let channel = if namespace == SERVERS { self.names.servers() } else { self.names.main(namespace) };
        let counted = self.places.topology.subscribers("SHARDNUMSUB", &[channel.as_str().into()]).await;
        counted.map(|counts| counts.into_iter().next()).map_err(|error| BrokerError(error.to_string()))
    }

    fn speaks(&self, question: &Body) -> Speaks {
        match question {
            Body::FetchRooms { .. } => Speaks::Ours,
            _ => Speaks::Everybody,
        }
    }

    fn hears(&self, lane: Series) -> Hears {
        match (lane, self.mode) {
            (Series::Main, _) | (_, ShardedMode::Static) => Hears::All,
            // The channels of rooms are on different nodes.
            _ if self.places.is_cluster() => Hears::EachRoom,
            _ => Hears::Some,
        }
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        if !self.places.is_cluster() {
            return Route::default();
        }
        let slot = slot(&channel(outgoing, &self.names, self.mode));
        Route { channel: u64::from(slot) + 1, road: u64::from(self.places.road(slot)) }
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        let Ok(road) = u16::try_from(road) else { return Ok(()) };
        self.roads.ready(road).await.map_err(|error| BrokerError(format!("{}: {error}", self.config())))
    }

    fn looks(&self) -> bool {
        self.mode != ShardedMode::Static
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        if !self.mode.has_channel(room) {
            return None;
        }
        let heard = self.rooms.look(namespace, room)?;
        Some(Box::pin(async move {
            match heard.await {
                Ok(heard) => heard.map_err(BrokerError),
                Err(_) => Err(BrokerError("the room is not wanted any more".to_owned())),
            }
        }))
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
