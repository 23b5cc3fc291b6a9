//! [`ClassicBroker`]: Redis pub/sub as Node's servers use it.

use super::decode::{self, MAX_MESSAGE, Malformed};
use super::encode::encode;
use super::leaving::{LINGERS, Leaving};
use super::names::Prefix;
use crate::config::RedisConfig;
use crate::error::RedisError;
use crate::routes::{Heard, Listener, Names};
use crate::subscriber::Subscriber;
use crate::topology::{COMMAND_TIMEOUT, Topology};
use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd, pipe};
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Count, Inbox, Message, Outcome, Outgoing, SERVERS, ServerId,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Announcements of our own that may go out without being heard before the subscriber's connection is given up: they come
/// every second, so a deaf connection is noticed within 6 s.
const DEAF_AFTER: u32 = 6;

/// Options of the classic dialect, as Node's `createAdapter` has them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClassicOptions {
    /// Prefix of all channels; `socket.io`. All servers and emitters of a cluster must have the same, and it must differ from
    /// the `channelPrefix` of a streams or sharded adapter on the same Redis.
    pub key: String,
    /// Whether answers go to the asking server's own channel; no. Servers with and without it understand one another.
    pub publish_on_specific_response_channel: bool,
}

impl Default for ClassicOptions {
    fn default() -> Self {
        Self { key: "socket.io".to_owned(), publish_on_specific_response_channel: false }
    }
}

/// Redis pub/sub in the dialect of `@socket.io/redis-adapter` 8: servers on it and Node's servers are equals.
pub struct ClassicBroker {
    prefix: Prefix,
    specific_responses: bool,
    topology: Arc<Topology>,
    /// The one connection that publishes: over several, messages would overtake one another.
    lane: Mutex<Option<Lane>>,
    /// Begun with the first namespace: an emitter has none, and so is not counted as a server.
    subscriber: OnceLock<Arc<Subscriber>>,
    /// Those that are open, or were a moment ago.
    namespaces: parking_lot::Mutex<HashMap<Arc<str>, Open>>,
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

/// The connection that publishes.
struct Lane {
    /// The server that it is to.
    address: String,
    connection: MultiplexedConnection,
}

impl ClassicBroker {
    /// A broker on that Redis. Nothing is connected yet.
    pub fn new(config: RedisConfig, options: ClassicOptions) -> Arc<Self> {
        Arc::new(Self {
            prefix: Prefix(options.key.into()),
            specific_responses: options.publish_on_specific_response_channel,
            topology: Arc::new(Topology::new(config)),
            lane: Mutex::new(None),
            subscriber: OnceLock::new(),
            namespaces: parking_lot::Mutex::default(),
            unheard: Arc::default(),
        })
    }

    /// Where Redis is.
    pub fn config(&self) -> &RedisConfig {
        self.topology.config()
    }

    /// Connects once, to learn at start whether Redis can be used.
    ///
    /// # Errors
    /// [`RedisError`], with what to do about it.
    pub async fn check(&self) -> Result<(), RedisError> {
        let (_, mut connection) = self.topology.connection().await?;
        match cmd("PING").query_async::<()>(&mut *connection).await.map_err(RedisError::from) {
            // It may be forbidden where all that is needed is not.
            Ok(()) | Err(RedisError::Permission(_)) => self.topology.check(&mut *connection).await,
            Err(error) => Err(error),
        }
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

    /// Publishes, and tells what became of each message; the error is that of the connection.
    async fn send(&self, messages: &[(String, Vec<u8>)]) -> Result<Vec<Outcome>, RedisError> {
        let mut lane = self.lane.lock().await;
        // Taken out, so that a cancelled or failed publish leaves no connection with answers under way.
        let mut used = match lane.take().filter(|lane| !self.topology.has_moved(&lane.address)) {
            Some(used) => used,
            None => self.connect().await?,
        };
        let mut pipeline = pipe();
        pipeline.ignore_errors();
        for (channel, payload) in messages {
            pipeline.cmd("PUBLISH").arg(channel).arg(&payload[..]);
        }
        let answers =
            timeout(COMMAND_TIMEOUT, pipeline.query_async::<Vec<RedisResult<Value>>>(&mut used.connection)).await;
        let answers = answers.map_err(|_| RedisError::Timeout).and_then(|answers| answers.map_err(RedisError::from));
        match answers.and_then(|answers| took(messages, answers, &self.prefix.servers())) {
            Ok(outcomes) => {
                *lane = Some(used);
                self.topology.accepted();
                Ok(outcomes)
            }
            Err(error) => {
                self.topology.refused(&error);
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Lane, RedisError> {
        // Given up or cut off in the middle of a batch, it must not be used for anything else.
        let (info, mut connection) = self.topology.own_connection().await?;
        self.topology.check(&mut connection).await.inspect_err(|error| self.topology.refused(error))?;
        let address = info.addr().to_string();
        if let Some(subscriber) = self.subscriber() {
            subscriber.move_to(&address);
        }
        Ok(Lane { address, connection })
    }

    fn subscriber(&self) -> Option<&Arc<Subscriber>> {
        self.subscriber.get()
    }
}

#[async_trait]
impl Broker for ClassicBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.topology.owner.is(id.as_str());
        if self.subscriber().is_none() {
            // Of two first calls at once one is dropped, and its task with it.
            let _ = self.subscriber.set(Arc::new(Subscriber::start(self.topology.clone())));
        }
        let Some(subscriber) = self.subscriber() else { return };
        let prefix = &self.prefix;
        if &**namespace == SERVERS {
            let names = Names { patterns: Vec::new(), channels: vec![prefix.server(id.as_str()), prefix.servers()] };
            let listener = Servers { inbox, id: id.clone(), unheard: self.unheard.clone() };
            return subscriber.add(namespace, names, Arc::new(listener));
        }
        let listener = {
            let mut namespaces = self.namespaces.lock();
            let open = namespaces.entry(namespace.clone()).or_default();
            open.leaving = None;
            let new = || Arc::new(Namespace::new(prefix, namespace, id, inbox));
            open.heard.get_or_insert_with(new).clone()
        };
        subscriber.add(namespace, listener.names(prefix), listener);
    }

    async fn close(&self, namespace: &str) {
        let Some(subscriber) = self.subscriber() else { return };
        let heard = {
            let mut namespaces = self.namespaces.lock();
            // Those that were closed long ago are forgotten.
            namespaces.retain(|_, open| open.heard.is_some() || open.leaving.as_ref().is_some_and(Leaving::goes_on));
            namespaces.get_mut(namespace).and_then(|open| open.heard.take())
        };
        let leaving = match heard {
            Some(heard) => Leaving::begin(subscriber, &self.prefix, heard).await,
            None => None,
        };
        subscriber.remove(namespace);
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
        let sent = if messages.is_empty() { Ok(Vec::new()) } else { self.send(&messages).await };
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
        self.topology.subscribers(&channel).await.map(Some).map_err(|error| BrokerError(error.to_string()))
    }
}

impl ClassicBroker {
    /// Announcements among what went out come back, if this server hears.
    async fn went_out(&self, batch: &[Outgoing], outcomes: &[Outcome]) {
        let sent = batch.iter().zip(outcomes).filter(|(_, outcome)| **outcome == Outcome::Sent);
        let alive = sent.filter(|(outgoing, _)| matches!(outgoing.message.body, Body::Alive(_))).count();
        if alive > 0
            && self.unheard.fetch_add(alive as u32, Ordering::Relaxed) >= DEAF_AFTER
            && let Some(subscriber) = self.subscriber()
        {
            self.unheard.store(0, Ordering::Relaxed);
            if subscriber.reconnect(SERVERS) {
                tracing::warn!("Redis takes what is published, but the subscriber hears none of it; both reconnect");
                // It may be the lane that is on a server which nobody else uses any more.
                *self.lane.lock().await = None;
            }
        }
    }
}

/// What Redis answered to a batch. What it forbids is lost where it takes other messages, as it would hold up what comes behind
/// it; the receivers count it. Where it forbids all there is nothing to be held up, and it may be put right; but for announcements,
/// which a server can do without. Any other error is one of the whole batch.
fn took(
    messages: &[(String, Vec<u8>)],
    answers: Vec<RedisResult<Value>>,
    announcements: &str,
) -> Result<Vec<Outcome>, RedisError> {
    let answers: Vec<Option<RedisError>> =
        answers.into_iter().map(|answer| answer.err().map(RedisError::from)).collect();
    let forbidden = |error: &RedisError| matches!(error, RedisError::Permission(_));
    let errors = || answers.iter().flatten();
    if let Some(error) = errors().find(|error| !forbidden(error)) {
        return Err(error.clone());
    }
    let count = errors().count();
    if let Some(first) = errors().next()
        && count == messages.len()
        && messages.iter().any(|(channel, _)| *channel != announcements)
    {
        return Err(first.clone());
    }
    if count > 0 {
        metrics::counter!("roomcast_redis_denied_total").increment(count as u64);
    }
    let outcome = |(answer, (channel, _)): (Option<RedisError>, &(String, Vec<u8>))| match answer {
        None => Outcome::Sent,
        Some(error) => Outcome::Never(format!("{channel}: {error}")),
    };
    Ok(answers.into_iter().zip(messages).map(outcome).collect())
}

impl fmt::Debug for ClassicBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicBroker")
            .field("redis", self.config())
            .field("prefix", &self.prefix.0)
            .finish_non_exhaustive()
    }
}

/// Hears the channels of a namespace.
pub(super) struct Namespace {
    namespace: Arc<str>,
    broadcast: String,
    request: String,
    id: ServerId,
    inbox: Arc<dyn Inbox>,
    /// While it is being closed: the last request that came by its channel.
    last: parking_lot::Mutex<Last>,
}

/// Requests come by their channel and by a pattern for a moment. Redis sends the one right before the other.
#[derive(Default)]
struct Last {
    leaving: bool,
    request: Option<Vec<u8>>,
}

impl Namespace {
    pub(super) fn new(prefix: &Prefix, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) -> Self {
        Self {
            namespace: namespace.clone(),
            broadcast: prefix.broadcast(namespace),
            request: prefix.request(namespace),
            id: id.clone(),
            inbox,
            last: parking_lot::Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.namespace
    }

    /// From now on requests may come by a pattern too.
    pub(super) fn leaves(&self) {
        self.last.lock().leaving = true;
    }

    /// A request has come by a pattern: only a question matters still, and only if it did not come by the channel.
    pub(super) fn asked(&self, request: Vec<u8>) {
        if self.last.lock().request.take_if(|last| *last == request).is_some() {
            return;
        }
        match decode::request(&Bytes::from(request), &self.namespace) {
            Ok(Some(message)) if message.sender.as_ref() != Some(&self.id) && message.body.is_question() => {
                self.inbox.receive(vec![Arrival::Message(message)]);
            }
            Ok(_) => {}
            Err(error) => self.inbox.receive(vec![Arrival::Malformed(error.to_string())]),
        }
    }

    /// What it subscribes to, in Node's order.
    pub(super) fn names(&self, prefix: &Prefix) -> Names {
        let response = prefix.response(&self.namespace);
        let own = prefix.response_to(&self.namespace, self.id.as_str());
        Names { patterns: vec![prefix.pattern(&self.namespace)], channels: vec![self.request.clone(), response, own] }
    }

    /// `None`: it is for another namespace, or our own.
    fn decode(&self, pattern: bool, channel: &str, payload: Vec<u8>) -> Result<Option<Arrival>, Malformed> {
        let message = |message: Option<Message>| message.map(Arrival::Message);
        let payload = Bytes::from(payload);
        if pattern {
            // A namespace that is the beginning of another hears the other's too; the packet tells which is meant.
            let Some(room) = channel.strip_prefix(&self.broadcast) else { return Ok(None) };
            // Node takes the last character off, whatever it is.
            let mut room = room.chars();
            room.next_back();
            let room = room.as_str();
            if !room.is_empty() && !self.inbox.wants(room) {
                return Ok(decode::trailer(&payload, &self.namespace).map(Arrival::PassedOver));
            }
            return decode::broadcast(&payload, &self.namespace, &self.id).map(message);
        }
        if channel == self.request {
            let mut last = self.last.lock();
            if last.leaving {
                last.request = Some(payload.to_vec());
            }
            drop(last);
            return decode::request(&payload, &self.namespace).map(message);
        }
        if decode::answers(&payload).is_some_and(|request| !self.inbox.awaits(request)) {
            return Ok(None);
        }
        decode::response(&payload).map(|answer| Some(Arrival::Message(answer)))
    }
}

impl Listener for Namespace {
    fn heard(&self, heard: Vec<Heard>) {
        // What is handed on together.
        let mut arrivals = Vec::with_capacity(heard.len());
        for Heard { by_pattern, channel, payload } in heard {
            let decoded = match std::str::from_utf8(&channel) {
                Ok(channel) => self.decode(by_pattern, channel, payload),
                Err(_) => Err(Malformed::Utf8),
            };
            match decoded {
                Ok(Some(Arrival::Message(message))) if message.sender.as_ref() == Some(&self.id) => {}
                Ok(Some(arrival)) => {
                    arrivals.push(arrival);
                    if !by_pattern {
                        // A request may change rooms, and what comes behind it is decoded only for rooms that have members.
                        self.inbox.receive(std::mem::take(&mut arrivals));
                    }
                }
                Ok(None) => {}
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}

/// Hears the roomcast servers, itself too: that is the proof that it hears.
struct Servers {
    inbox: Arc<dyn Inbox>,
    id: ServerId,
    unheard: Arc<AtomicU32>,
}

impl Listener for Servers {
    fn heard(&self, messages: Vec<Heard>) {
        let mut arrivals = Vec::with_capacity(messages.len());
        for heard in messages {
            match decode::servers(&Bytes::from(heard.payload)) {
                Ok(message) if message.sender.as_ref() == Some(&self.id) => self.unheard.store(0, Ordering::Relaxed),
                Ok(message) => arrivals.push(Arrival::Message(message)),
                Err(error) => arrivals.push(Arrival::Malformed(error.to_string())),
            }
        }
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.unheard.store(0, Ordering::Relaxed);
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}
