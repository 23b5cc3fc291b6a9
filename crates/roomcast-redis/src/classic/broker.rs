//! [`ClassicBroker`]: Redis pub/sub as Node's servers use it.

use super::encode::encode;
use super::leaving::{LINGERS, Leaving};
use super::names::Prefix;
use super::namespace::{HearsBy, Namespace};
use super::options::ClassicOptions;
use super::rooms::Rooms;
use super::router::Router;
use crate::bus::{Bus, Heard, Listener as _, Names};
use crate::config::RedisConfig;
use crate::error::RedisError;
use crate::wire::batch::Batch;
use crate::wire::read::MAX_MESSAGE;
use crate::wire::servers::{self, Servers};
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

/// So many closed namespaces are no matter.
const FEW: usize = 64;

/// Redis pub/sub in the dialect of `@socket.io/redis-adapter` 8: servers on it and Node's servers are equals.
pub struct ClassicBroker {
    prefix: Prefix,
    specific_responses: bool,
    bus: Arc<Bus>,
    hears: HearsBy,
    /// Those with members here, if their channels are subscribed one by one.
    rooms: Option<Arc<Rooms>>,
    /// Those that are open, or were a moment ago.
    namespaces: Mutex<Namespaces>,
}

#[derive(Default)]
struct Namespaces {
    all: HashMap<Arc<str>, Open>,
    /// At so many those that were closed long ago are looked for.
    look_at: usize,
}

impl Namespaces {
    /// Those that were closed long ago are forgotten. It is done now and then: thousands may be closed at once.
    fn forget(&mut self) {
        if self.all.len() >= self.look_at {
            self.all.retain(|_, open| open.heard.is_some() || open.leaving.as_ref().is_some_and(Leaving::goes_on));
            self.look_at = 2 * self.all.len() + FEW;
        }
    }
}

/// What the broker knows of a namespace.
#[derive(Default)]
struct Open {
    heard: Option<Arc<Namespace>>,
    /// It was closed a moment ago.
    leaving: Option<Leaving>,
}

impl ClassicBroker {
    /// A broker on that Redis. Nothing is connected yet.
    pub fn new(config: RedisConfig, options: ClassicOptions) -> Arc<Self> {
        let prefix = Prefix(options.key.into());
        let bus = Arc::new(Bus::new(config));
        let hears = match (options.exact_rooms, options.one_pattern) {
            (true, one_pattern) => {
                if one_pattern {
                    tracing::warn!(
                        "ClassicOptions: with exact_rooms no pattern is subscribed, so one_pattern is passed over"
                    );
                }
                HearsBy::Channels
            }
            (false, true) => HearsBy::OnePattern(Arc::new(Router::new(&prefix))),
            (false, false) => HearsBy::Pattern,
        };
        Arc::new(Self {
            rooms: options.exact_rooms.then(|| Rooms::new(bus.clone(), prefix.clone())),
            prefix,
            specific_responses: options.publish_on_specific_response_channel,
            bus,
            hears,
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

    /// For benches: a message's channel and what is published on it.
    #[doc(hidden)]
    pub fn encoded(&self, outgoing: &Outgoing) -> Option<(String, Vec<u8>)> {
        encode(outgoing, &self.prefix, self.specific_responses).ok()
    }

    /// For benches: a broadcast of another server has come to a namespace that is open here.
    #[doc(hidden)]
    pub fn hear(&self, namespace: &str, channel: &str, payload: Vec<u8>) {
        let heard = self.namespaces.lock().all.get(namespace).and_then(|open| open.heard.clone());
        if let Some(heard) = heard {
            heard.heard(vec![Heard { by_pattern: true, channel: channel.as_bytes().to_vec(), payload }]);
        }
    }
}

impl ClassicBroker {
    /// A namespace is open, before its names are subscribed.
    fn begin(&self, namespace: &Arc<Namespace>) {
        if let HearsBy::OnePattern(router) = &self.hears {
            router.add(namespace);
        }
        if let Some(rooms) = &self.rooms {
            rooms.open(namespace);
        }
    }

    /// It is closed, and its names are not subscribed any more.
    fn end(&self, namespace: &Arc<Namespace>) {
        if let HearsBy::OnePattern(router) = &self.hears {
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
        self.bus.is_of(id.as_str());
        let prefix = &self.prefix;
        if &**namespace == SERVERS {
            let channels = vec![prefix.server(id.as_str()), prefix.servers()];
            let names = Names { channels, ..Names::default() };
            let listener = Servers { inbox, id: id.clone(), echo: self.bus.echo().clone() };
            return self.bus.subscribe(namespace, names, Arc::new(listener));
        }
        let listener = {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.all.entry(namespace.clone()).or_default();
            open.leaving = None;
            let is_new = open.heard.is_none();
            let new = || Arc::new(Namespace::new(prefix, namespace, id, inbox).with(self.hears.clone()));
            let listener = open.heard.get_or_insert_with(new).clone();
            if is_new {
                self.begin(&listener);
            }
            listener
        };
        self.bus.subscribe(namespace, listener.names(prefix), listener);
    }

    async fn close(&self, namespace: &str) {
        let heard = {
            let mut namespaces = self.namespaces.lock();
            namespaces.forget();
            namespaces.all.get_mut(namespace).and_then(|open| open.heard.take())
        };
        let leaving = match &heard {
            Some(heard) => Leaving::begin(&self.bus, &self.prefix, heard.clone()).await,
            None => None,
        };
        self.bus.unsubscribe(namespace);
        if let Some(heard) = heard {
            self.end(&heard);
        }
        if let Some(leaving) = leaving {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.all.entry(namespace.into()).or_default();
            if open.heard.is_none() {
                open.leaving = Some(leaving);
            }
        }
    }

    fn lingers(&self) -> Duration {
        LINGERS
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let written = Batch::of(batch, |outgoing| encode(outgoing, &self.prefix, self.specific_responses));
        let before = self.bus.echo().lock().before();
        let sent = if written.messages.is_empty() {
            Ok(Vec::new())
        } else {
            self.bus.publish(&written.messages, &self.prefix.servers()).await
        };
        let failure = sent.as_ref().err().map(|error| format!("{}: {error}", self.config()));
        let outcomes = written.outcomes(sent.unwrap_or_default(), failure);
        servers::went_out(self.bus.echo(), before, batch, &outcomes);
        outcomes
    }

    fn hears(&self, lane: Series) -> Hears {
        if lane == Series::Rooms && self.rooms.is_some() { Hears::Some } else { Hears::All }
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
