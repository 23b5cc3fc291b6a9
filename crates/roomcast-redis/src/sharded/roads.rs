//! [`Roads`]: publishes on sharded channels, by one connection to each node that has some of them.

use super::places::Places;
use super::slots::{Node, moved, slot};
use crate::bus::topology::{Topology, pause};
use crate::error::RedisError;
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

/// Nodes with a connection at once: more than the primaries of any Cluster. Addresses that come and go must not add up.
const MAX_ROADS: usize = 256;

/// How long a connection is waited for that was not there in time when it was begun.
const LOOK: Duration = Duration::from_millis(10);

/// The connections that publish, by the node's address. One keeps what it is given in order; a channel is on one node.
pub(super) struct Roads {
    places: Arc<Places>,
    roads: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<Road>>>>,
}

#[derive(Default)]
struct Road {
    connection: Option<MultiplexedConnection>,
    /// One that is on its way; nobody waits for it longer than for a command, so that a node that swallows packets does not hold up
    /// the others.
    connecting: Option<JoinHandle<Result<MultiplexedConnection, RedisError>>>,
    /// The node could not be used, so it is left alone for a while.
    refusal: Option<(RedisError, Instant, u32)>,
}

/// A message with its channel.
pub(super) type Message = (String, Vec<u8>);

impl Roads {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self { places, roads: Mutex::default() }
    }

    /// Publishes, in order on each node, and tells what became of each message. A node that is not there holds up its own messages
    /// alone, for as long as one command may take.
    pub(super) async fn publish(&self, messages: &[Message]) -> Vec<Outcome> {
        let slots = match self.places.current().await {
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
            // Half of it is for a new connection.
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
        let nowhere = || {
            self.places.suspect();
            self.again(&RedisError::ClusterDown("no node has the channel's slot".to_owned()))
        };
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(nowhere)).collect()
    }

    /// Whether the node of a slot can be published on.
    pub(super) async fn ready(&self, slot: u16) -> Result<(), RedisError> {
        let (_, slots) = self.places.current().await?;
        let Some(node) = slots.of(slot) else {
            self.places.suspect();
            return Err(RedisError::ClusterDown("no node has the channel's slot".to_owned()));
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

    /// Closes all connections; they are made anew.
    pub(super) fn close(&self) {
        self.roads.lock().clear();
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

    /// Sends commands to a node, and awaits the answers.
    async fn run(&self, node: &Arc<Node>, pipeline: &Pipeline) -> Result<Vec<RedisResult<Value>>, RedisError> {
        let road = self.road(node);
        let mut road = road.lock().await;
        if let Some((error, until, _)) = &road.refusal
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        // Taken out, so that a cancelled or failed publish leaves no connection with answers under way.
        let mut connection = match road.connection.take() {
            Some(connection) => connection,
            None => self.connect(node, &mut road).await?,
        };
        let answers = pipeline.query_async(&mut connection).await?;
        road.connection = Some(connection);
        road.refusal = None;
        Ok(answers)
    }

    /// A new connection, if it is there soon. If it is not, the next message finds it.
    async fn connect(&self, node: &Arc<Node>, road: &mut Road) -> Result<MultiplexedConnection, RedisError> {
        let patience = if road.connecting.is_some() { LOOK } else { self.patience() / 2 };
        let (topology, node, is_sentinel) = (self.places.topology.clone(), node.clone(), self.places.is_sentinel());
        let connecting = road
            .connecting
            .get_or_insert_with(|| tokio::spawn(async move { connect(&topology, &node, is_sentinel).await }));
        let connected = timeout(patience, connecting).await.map_err(|_| RedisError::Timeout)?;
        road.connecting = None;
        connected.unwrap_or_else(|_| Err(RedisError::Other("the runtime is ending".to_owned())))
    }

    /// The time that one batch may take.
    fn patience(&self) -> Duration {
        self.places.topology.config().timeouts.command
    }

    /// What becomes of a message that a node does not take.
    fn refused(&self, node: &Node, channel: &str, error: redis::RedisError) -> Outcome {
        if let (Some("MOVED"), Some(detail)) = (error.code(), error.detail())
            && let Some((slot, host, port)) = moved(&format!("MOVED {detail}"))
        {
            self.places.moved(node, slot, host, port);
        }
        match RedisError::from(error) {
            error @ RedisError::Permission(_) => {
                metrics::counter!("roomcast_redis_denied_total").increment(1);
                Outcome::Never(format!("{channel}: {error}"))
            }
            error => {
                self.places.suspect();
                self.again(&error)
            }
        }
    }

    /// A node cannot be used: it is left alone for a pause that grows with each failure, and another may have its place.
    async fn failed(&self, node: &Arc<Node>, error: &RedisError) {
        let road = self.road(node);
        let mut road = road.lock().await;
        road.connection = None;
        if road.refusal.as_ref().is_none_or(|(_, until, _)| Instant::now() >= *until) {
            let failures = road.refusal.as_ref().map_or(1, |(_, _, failures)| failures.saturating_add(1));
            road.refusal = Some((error.clone(), Instant::now() + pause(error, failures), failures));
            self.places.topology.suspect(error);
            self.places.suspect();
        }
    }

    fn again(&self, error: &RedisError) -> Outcome {
        Outcome::Again(format!("{}: {error}", self.places.topology.config()))
    }

    fn road(&self, node: &Node) -> Arc<tokio::sync::Mutex<Road>> {
        let mut roads = self.roads.lock();
        if roads.len() >= MAX_ROADS && !roads.contains_key(&node.address) {
            roads.clear();
        }
        roads.entry(node.address.clone()).or_default().clone()
    }
}

async fn connect(topology: &Topology, node: &Node, is_sentinel: bool) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = topology.own_connection_to(&node.info).await?;
    if is_sentinel {
        topology.check(&mut connection).await?;
    }
    Ok(connection)
}
