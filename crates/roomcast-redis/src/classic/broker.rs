//! [`ClassicBroker`]: Redis pub/sub as Node's servers use it.

use super::decode::MAX_MESSAGE;
use super::encode::encode;
use super::leaving::{LINGERS, Leaving};
use super::names::Prefix;
use super::namespace::Namespace;
use super::options::ClassicOptions;
use super::servers::Servers;
use crate::bus::{Bus, Heard, Listener as _, Names};
use crate::config::RedisConfig;
use crate::error::RedisError;
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Body, Broker, BrokerError, Count, Inbox, Outcome, Outgoing, SERVERS, ServerId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Announcements of our own that may go out without being heard before the subscriber's connection is given up: they come
/// every second, so a deaf connection is noticed within 6 s.
const DEAF_AFTER: u32 = 6;

/// Redis pub/sub in the dialect of `@socket.io/redis-adapter` 8: servers on it and Node's servers are equals.
pub struct ClassicBroker {
    prefix: Prefix,
    specific_responses: bool,
    bus: Arc<Bus>,
    /// Those that are open, or were a moment ago.
    namespaces: Mutex<HashMap<Arc<str>, Open>>,
    /// Announcements of this server that went out since one was heard.
    unheard: Arc<AtomicU32>,
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
        Arc::new(Self {
            prefix: Prefix(options.key.into()),
            specific_responses: options.publish_on_specific_response_channel,
            bus: Arc::new(Bus::new(config)),
            namespaces: Mutex::default(),
            unheard: Arc::default(),
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
        let heard = self.namespaces.lock().get(namespace).and_then(|open| open.heard.clone());
        if let Some(heard) = heard {
            heard.heard(vec![Heard { by_pattern: true, channel: channel.as_bytes().to_vec(), payload }]);
        }
    }
}

#[async_trait]
impl Broker for ClassicBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.bus.is_of(id.as_str());
        let prefix = &self.prefix;
        if &**namespace == SERVERS {
            let names = Names { patterns: Vec::new(), channels: vec![prefix.server(id.as_str()), prefix.servers()] };
            let listener = Servers { inbox, id: id.clone(), unheard: self.unheard.clone() };
            return self.bus.subscribe(namespace, names, Arc::new(listener));
        }
        let listener = {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.entry(namespace.clone()).or_default();
            open.leaving = None;
            let new = || Arc::new(Namespace::new(prefix, namespace, id, inbox));
            open.heard.get_or_insert_with(new).clone()
        };
        self.bus.subscribe(namespace, listener.names(prefix), listener);
    }

    async fn close(&self, namespace: &str) {
        let heard = {
            let mut namespaces = self.namespaces.lock();
            // Those that were closed long ago are forgotten.
            namespaces.retain(|_, open| open.heard.is_some() || open.leaving.as_ref().is_some_and(Leaving::goes_on));
            namespaces.get_mut(namespace).and_then(|open| open.heard.take())
        };
        let leaving = match heard {
            Some(heard) => Leaving::begin(&self.bus, &self.prefix, heard).await,
            None => None,
        };
        self.bus.unsubscribe(namespace);
        if let Some(leaving) = leaving {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.entry(namespace.into()).or_default();
            if open.heard.is_none() {
                open.leaving = Some(leaving);
            }
        }
    }

    fn lingers(&self) -> Duration {
        LINGERS
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let mut messages = Vec::with_capacity(batch.len());
        let mut outcomes = Vec::with_capacity(batch.len());
        for outgoing in batch {
            match encode(outgoing, &self.prefix, self.specific_responses) {
                Ok((_, payload)) if payload.len() > MAX_MESSAGE => {
                    let size = payload.len();
                    outcomes.push(Some(Outcome::Never(format!(
                        "{size} bytes, and no server takes more than {MAX_MESSAGE}"
                    ))));
                }
                Ok(message) => {
                    messages.push(message);
                    outcomes.push(None);
                }
                Err(error) => outcomes.push(Some(Outcome::Never(error.to_string()))),
            }
        }
        let sent = if messages.is_empty() {
            Ok(Vec::new())
        } else {
            self.bus.publish(&messages, &self.prefix.servers()).await
        };
        let failure = sent.as_ref().err().map(|error| format!("{}: {error}", self.config()));
        let mut sent = sent.unwrap_or_default().into_iter();
        let again = || Outcome::Again(failure.clone().unwrap_or_else(|| "Redis did not answer to it".to_owned()));
        let outcomes: Vec<Outcome> =
            outcomes.into_iter().map(|outcome| outcome.or_else(|| sent.next()).unwrap_or_else(again)).collect();
        if failure.is_none() {
            self.went_out(batch, &outcomes).await;
        }
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let channel = if namespace == SERVERS { self.prefix.servers() } else { self.prefix.request(namespace) };
        self.bus.subscribers(&channel).await.map(Some).map_err(|error| BrokerError(error.to_string()))
    }
}

impl ClassicBroker {
    /// Announcements among what went out come back, if this server hears.
    async fn went_out(&self, batch: &[Outgoing], outcomes: &[Outcome]) {
        let sent = batch.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Sent);
        let alive = sent.filter(|(outgoing, _)| matches!(outgoing.message.body, Body::Alive(_))).count();
        if alive > 0 && self.unheard.fetch_add(alive as u32, Ordering::Relaxed) >= DEAF_AFTER {
            self.unheard.store(0, Ordering::Relaxed);
            if self.bus.is_deaf(SERVERS).await {
                tracing::warn!("Redis takes what is published, but the subscriber hears none of it; both reconnect");
            }
        }
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
