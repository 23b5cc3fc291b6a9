//! [`Publishers`]: publish on sharded channels, over one connection to each node that has some of them.

use super::node::Node;
use super::slot_cache::SlotCache;
use super::slots::{moved, slot};
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::backoff::Backoff;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value, pipe};
use roomcast_adapter::cluster::Outcome;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Most nodes with a publisher: more than the primaries of any Cluster. Addresses that come and go must not add up.
const MAX_PUBLISHERS: usize = 256;

/// How long a message waits for a connection that was already late for an earlier message.
const LATE_WAIT: Duration = Duration::from_millis(10);

/// By the node's address. A connection keeps messages in order, and each channel is on one node.
pub(super) struct Publishers {
    slots: Arc<SlotCache>,
    by_node: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<Publisher>>>>,
}

#[derive(Default)]
struct Publisher {
    connection: Option<MultiplexedConnection>,
    /// A connection that is being made. Nothing waits for it longer than for a command, so that a node which swallows
    /// packets does not hold up the others.
    connecting: Option<JoinHandle<Result<MultiplexedConnection, RedisError>>>,
    /// That of the topology when the connection was made.
    generation: u64,
    backoff: Option<Backoff>,
}

pub(super) type Message = (String, Vec<u8>);

impl Publishers {
    pub(super) fn new(slots: Arc<SlotCache>) -> Self {
        Self { slots, by_node: Mutex::default() }
    }

    /// Publishes messages, in order on each node, and returns the outcome of each. A node that is away holds up only
    /// its own messages, for as long as one command may take.
    pub(super) async fn publish(&self, messages: &[Message]) -> Vec<Outcome> {
        let slots = match self.slots.current().await {
            Ok((_, slots)) => slots,
            Err(error) => return vec![self.again(&error); messages.len()],
        };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; messages.len()];
        let mut batches: HashMap<Arc<str>, (Arc<Node>, Vec<usize>)> = HashMap::new();
        for (at, (channel, _)) in messages.iter().enumerate() {
            if let Some(node) = slots.of(slot(channel)) {
                batches.entry(node.address.clone()).or_insert_with(|| (node.clone(), Vec::new())).1.push(at);
            }
        }
        let sent = join_all(batches.into_values().map(|(node, batch)| async move {
            let messages: Vec<&Message> = batch.iter().filter_map(|at| messages.get(*at)).collect();
            // Half of this time is for a new connection.
            let sent = timeout(self.patience(), self.send(&node, &messages)).await;
            (batch, sent.unwrap_or(Err(RedisError::Timeout)), node)
        }));
        for (batch, sent, node) in sent.await {
            let all = match sent {
                Ok(answers) => answers,
                Err(error) => {
                    self.failed(&node, &error).await;
                    vec![self.again(&error); batch.len()]
                }
            };
            for (at, outcome) in batch.into_iter().zip(all) {
                if let Some(place) = outcomes.get_mut(at) {
                    *place = Some(outcome);
                }
            }
        }
        let no_node = || {
            self.slots.suspect();
            self.again(&RedisError::ClusterDown("none of its nodes has the channel's slot".to_owned()))
        };
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(no_node)).collect()
    }

    pub(super) async fn ready(&self, slot: u16) -> Result<(), RedisError> {
        let (_, slots) = self.slots.current().await?;
        let Some(node) = slots.of(slot) else {
            self.slots.suspect();
            return Err(RedisError::ClusterDown("none of its nodes has the channel's slot".to_owned()));
        };
        let mut ping = pipe();
        ping.cmd("PING");
        match timeout(self.patience(), self.run(node, &ping)).await.unwrap_or(Err(RedisError::Timeout)) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.failed(node, &error).await;
                Err(error)
            }
        }
    }

    /// Closes all connections. The next messages make new ones.
    pub(super) fn reconnect(&self) {
        self.by_node.lock().clear();
    }

    async fn send(&self, node: &Arc<Node>, messages: &[&Message]) -> Result<Vec<Outcome>, RedisError> {
        let mut pipeline = pipe();
        pipeline.ignore_errors();
        for (channel, payload) in messages {
            pipeline.cmd("SPUBLISH").arg(channel).arg(&payload[..]);
        }
        let answers = self.run(node, &pipeline).await?.into_iter().zip(messages);
        let outcome = |(answer, (channel, _)): (RedisResult<Value>, &&Message)| {
            answer.map_or_else(|error| self.refused(node, channel, error), |_| Outcome::Sent)
        };
        Ok(answers.map(outcome).collect())
    }

    /// Sends commands to a node, and returns the answers.
    async fn run(&self, node: &Arc<Node>, pipeline: &Pipeline) -> Result<Vec<RedisResult<Value>>, RedisError> {
        let publisher = self.publisher(node);
        let mut publisher = publisher.lock().await;
        Backoff::check(publisher.backoff.as_ref())?;
        // Taken out, so that a cancelled or failed publish does not leave a connection on which answers are
        // outstanding.
        let generation = self.slots.topology.generation();
        let mut connection = match publisher.connection.take().filter(|_| publisher.generation == generation) {
            Some(connection) => connection,
            None => {
                publisher.generation = generation;
                self.connect(node, &mut publisher).await?
            }
        };
        let begun = Instant::now();
        let answers = pipeline.query_async(&mut connection).await?;
        metrics::histogram!("roomcast_redis_rtt_seconds").record(begun.elapsed());
        publisher.connection = Some(connection);
        publisher.backoff = None;
        Ok(answers)
    }

    /// Makes a connection. If that takes too long it goes on, and a later message uses the connection.
    async fn connect(&self, node: &Arc<Node>, publisher: &mut Publisher) -> Result<MultiplexedConnection, RedisError> {
        let patience = if publisher.connecting.is_some() { LATE_WAIT } else { self.patience() / 2 };
        let (topology, node, is_cluster) = (self.slots.topology.clone(), node.clone(), self.slots.is_cluster());
        let connecting = publisher
            .connecting
            .get_or_insert_with(|| tokio::spawn(async move { connect(&topology, &node, is_cluster).await }));
        let connected = timeout(patience, connecting).await.map_err(|_| RedisError::Timeout)?;
        publisher.connecting = None;
        connected.unwrap_or_else(|_| Err(RedisError::Other("the runtime is ending".to_owned())))
    }

    fn patience(&self) -> Duration {
        self.slots.topology.config().timeouts.command
    }

    /// The outcome of a message that a node refuses.
    fn refused(&self, node: &Node, channel: &str, error: redis::RedisError) -> Outcome {
        if let (Some("MOVED"), Some(detail)) = (error.code(), error.detail())
            && let Some((slot, host, port)) = moved(&format!("MOVED {detail}"))
        {
            self.slots.moved(node, slot, host, port);
        }
        match RedisError::from(error) {
            error @ RedisError::Permission(_) => {
                metrics::counter!("roomcast_redis_denied_total").increment(1);
                Outcome::Never(format!("{channel}: {error}"))
            }
            error => {
                self.slots.suspect();
                self.again(&error)
            }
        }
    }

    /// A node cannot be used: it is left alone for a pause that grows with each failure, and another may have taken its
    /// place.
    async fn failed(&self, node: &Arc<Node>, error: &RedisError) {
        let publisher = self.publisher(node);
        let mut publisher = publisher.lock().await;
        publisher.connection = None;
        if publisher.backoff.as_ref().is_none_or(Backoff::is_over) {
            publisher.backoff = Some(Backoff::after(error, publisher.backoff.as_ref()));
            self.slots.topology.suspect(error);
            self.slots.suspect();
        }
    }

    fn again(&self, error: &RedisError) -> Outcome {
        Outcome::Again(format!("{}: {error}", self.slots.topology.config()))
    }

    fn publisher(&self, node: &Node) -> Arc<tokio::sync::Mutex<Publisher>> {
        let mut publishers = self.by_node.lock();
        if publishers.len() >= MAX_PUBLISHERS && !publishers.contains_key(&node.address) {
            publishers.clear();
        }
        publishers.entry(node.address.clone()).or_default().clone()
    }
}

async fn connect(topology: &Topology, node: &Node, is_cluster: bool) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = topology.dedicated_connection_to(&node.info).await?;
    if !is_cluster {
        topology.check(&mut connection).await?;
    }
    Ok(connection)
}
