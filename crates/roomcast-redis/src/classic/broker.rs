//! [`ClassicBroker`]: Redis pub/sub as Node's servers use it.

use super::encode::encode;
use super::lingering::{LINGERS, Lingering};
use super::listener::{Broadcasts, NamespaceListener};
use super::names::Prefix;
use super::options::ClassicOptions;
use super::rooms::ClassicRooms;
use super::router::Router;
use crate::bus::{Bus, Names};
use crate::config::RedisConfig;
use crate::delivery::rooms::Rooms;
use crate::delivery::{Delivery, Listener as _};
use crate::error::RedisError;
use crate::topology::backoff::patiently;
use crate::watch::{RedisWatch, RedisWatchOptions};
use crate::wire::batch::Batch;
use crate::wire::read::MAX_MESSAGE;
use crate::wire::servers::{self, ServersListener};
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Broker, BrokerError, Count, Hears, Inbox, Looked, Outcome, Outgoing, SERVERS, Series, ServerId,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// This many closed namespaces need not be cleaned up.
const FEW: usize = 64;

/// Redis pub/sub in the dialect of `@socket.io/redis-adapter` 8. Servers with this broker and Node's servers form one
/// cluster as equals.
pub struct ClassicBroker {
    prefix: Prefix,
    specific_responses: bool,
    bus: Arc<Bus>,
    broadcasts: Broadcasts,
    /// Set if one pattern is subscribed for all namespaces.
    router: Option<Arc<Router>>,
    /// Set if the channels of rooms are subscribed one by one.
    rooms: Option<Arc<Rooms<ClassicRooms>>>,
    namespaces: Mutex<Namespaces>,
}

/// The namespaces that are open, or were a moment ago.
#[derive(Default)]
struct Namespaces {
    all: HashMap<Arc<str>, Namespace>,
    /// At this size, namespaces that were closed long ago are removed.
    clean_up_at: usize,
}

impl Namespaces {
    /// Removes namespaces that were closed long ago, if there may be many: thousands may be closed at once.
    fn clean_up(&mut self) {
        if self.all.len() >= self.clean_up_at {
            self.all.retain(|_, it| it.listener.is_some() || it.lingering.as_ref().is_some_and(Lingering::is_active));
            self.clean_up_at = 2 * self.all.len() + FEW;
        }
    }
}

#[derive(Default)]
struct Namespace {
    /// While it is open.
    listener: Option<Arc<NamespaceListener>>,
    /// For a moment after it was closed.
    lingering: Option<Lingering>,
}

impl ClassicBroker {
    /// Creates a broker for this Redis. It does not connect yet.
    pub fn new(config: RedisConfig, options: ClassicOptions) -> Arc<Self> {
        let prefix = Prefix(options.key.into());
        let bus = Arc::new(Bus::new(config));
        if options.exact_rooms && options.one_pattern {
            tracing::warn!(
                "ClassicOptions: exact_rooms subscribes no pattern, so one_pattern has no effect; unset one of them"
            );
        }
        let one_pattern = options.one_pattern && !options.exact_rooms;
        let router = one_pattern.then(|| Arc::new(Router::new(&prefix)));
        let broadcasts = match &router {
            Some(router) => Broadcasts::OnePattern(router.clone()),
            None if options.exact_rooms => Broadcasts::Channels,
            None => Broadcasts::Pattern,
        };
        let rooms = || Rooms::new(ClassicRooms { bus: bus.clone(), prefix: prefix.clone() });
        Arc::new(Self {
            rooms: options.exact_rooms.then(rooms),
            prefix,
            specific_responses: options.publish_on_specific_response_channel,
            bus,
            broadcasts,
            router,
            namespaces: Mutex::default(),
        })
    }

    /// Where Redis is.
    pub fn config(&self) -> &RedisConfig {
        self.bus.config()
    }

    /// Connects once, to learn at start whether Redis can be used.
    ///
    /// # Errors
    /// [`RedisError`], with what to do about it.
    pub async fn check(&self) -> Result<(), RedisError> {
        self.bus.check().await
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
        RedisWatch::start(self.bus.topology().clone(), options)
    }

    /// For benches: the channel and payload of a message.
    #[doc(hidden)]
    pub fn encoded(&self, outgoing: &Outgoing) -> Option<(String, Vec<u8>)> {
        encode(outgoing, &self.prefix, self.specific_responses).ok()
    }

    /// For benches: a broadcast of another server has arrived for a namespace that is open here.
    #[doc(hidden)]
    pub fn receive(&self, namespace: &str, channel: &str, payload: Vec<u8>) {
        let listener = self.namespaces.lock().all.get(namespace).and_then(|namespace| namespace.listener.clone());
        if let Some(listener) = listener {
            listener.receive(vec![Delivery { by_pattern: true, channel: channel.as_bytes().to_vec(), payload }]);
        }
    }
}

impl ClassicBroker {
    /// To be called before the namespace's names are subscribed.
    fn opened(&self, namespace: &Arc<NamespaceListener>) {
        if let Some(router) = &self.router {
            router.add(namespace);
        }
        if let Some(rooms) = &self.rooms {
            rooms.open(namespace);
        }
    }

    /// To be called after the namespace's names are unsubscribed.
    fn closed(&self, namespace: &Arc<NamespaceListener>) {
        if let Some(router) = &self.router {
            router.remove(namespace);
        }
        if let Some(rooms) = &self.rooms {
            rooms.close(namespace);
        }
    }
}

#[async_trait]
impl Broker for ClassicBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.bus.set_server(id.as_str());
        let prefix = &self.prefix;
        if &**namespace == SERVERS {
            let channels = vec![prefix.server(id.as_str()), prefix.servers()];
            let names = Names { channels, ..Names::default() };
            let listener = ServersListener { inbox, id: id.clone(), echo: self.bus.echo().clone() };
            return self.bus.subscribe(namespace, names, Arc::new(listener));
        }
        let listener = {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.all.entry(namespace.clone()).or_default();
            open.lingering = None;
            let is_new = open.listener.is_none();
            let new = || Arc::new(NamespaceListener::new(prefix, namespace, id, inbox).with(self.broadcasts.clone()));
            let listener = open.listener.get_or_insert_with(new).clone();
            if is_new {
                self.opened(&listener);
            }
            listener
        };
        self.bus.subscribe(namespace, listener.names(prefix), listener);
    }

    async fn close(&self, namespace: &str) {
        let listener = {
            let mut namespaces = self.namespaces.lock();
            namespaces.clean_up();
            namespaces.all.get_mut(namespace).and_then(|open| open.listener.take())
        };
        let lingering = match &listener {
            Some(listener) => Lingering::begin(&self.bus, &self.prefix, listener.clone()).await,
            None => None,
        };
        self.bus.unsubscribe(namespace);
        if let Some(listener) = listener {
            self.closed(&listener);
        }
        if let Some(lingering) = lingering {
            let mut namespaces = self.namespaces.lock();
            let closed = namespaces.all.entry(namespace.into()).or_default();
            if closed.listener.is_none() {
                closed.lingering = Some(lingering);
            }
        }
    }

    fn lingers(&self) -> Duration {
        LINGERS
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let before = servers::note_sending(self.bus.echo(), batch);
        let written = Batch::of(batch, |outgoing| encode(outgoing, &self.prefix, self.specific_responses));
        let sent = if written.messages.is_empty() {
            Ok(Vec::new())
        } else {
            self.bus.publish(&written.messages, &self.prefix.servers()).await
        };
        let failure = sent.as_ref().err().map(|error| format!("{}: {error}", self.config()));
        let outcomes = written.outcomes(sent.unwrap_or_default(), failure);
        servers::note_published(self.bus.echo(), before, batch, &outcomes);
        outcomes
    }

    fn hears(&self, series: Series) -> Hears {
        if series == Series::Rooms && self.rooms.is_some() { Hears::Some } else { Hears::All }
    }

    fn looks(&self) -> bool {
        self.rooms.is_some()
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        self.rooms.as_ref()?.look(namespace, room)
    }

    fn largest(&self) -> usize {
        MAX_MESSAGE
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let channel = if namespace == SERVERS { self.prefix.servers() } else { self.prefix.request(namespace) };
        self.bus.subscribers(&channel).await.map(Some).map_err(|error| BrokerError(error.to_string()))
    }
}

impl fmt::Debug for ClassicBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicBroker")
            .field("redis", self.config())
            .field("prefix", &self.prefix.0)
            .finish_non_exhaustive()
    }
}
