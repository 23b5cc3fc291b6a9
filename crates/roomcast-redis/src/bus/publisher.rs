//! [`Publisher`]: the one connection that publishes: over several, messages would overtake one another.

use super::topology::Topology;
use crate::error::RedisError;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, pipe};
use roomcast_adapter::cluster::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A connection that nobody looked at for so long is asked for a sign of life before something is published on it: what is between
/// may have forgotten it in silence, as NATs do, and its server may be no primary any more.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// It is connected when something is to be published.
#[derive(Default)]
pub(super) struct Publisher {
    used: Mutex<Option<Used>>,
    is_given_up: AtomicBool,
}

struct Used {
    /// The server that it is to.
    address: String,
    connection: MultiplexedConnection,
    /// How often a server had been found to be the wrong one when this was made.
    generation: u64,
    looked_at: Instant,
}

impl Publisher {
    /// Publishes, and tells what became of each message; the error is that of the connection. `at` is told the address of a new
    /// connection.
    pub(super) async fn publish(
        &self,
        topology: &Topology,
        messages: &[(String, Vec<u8>)],
        spare: &str,
        at: impl FnOnce(&str),
    ) -> Result<Vec<Outcome>, RedisError> {
        let mut lane = self.used.lock().await;
        let is_given_up = self.is_given_up.swap(false, Ordering::Relaxed);
        // Taken out, so that a cancelled or failed publish leaves no connection with answers under way.
        let kept = match lane.take() {
            Some(used) if !is_given_up => used.still_good(topology).await,
            _ => None,
        };
        let mut used = match kept {
            Some(used) => used,
            None => {
                let used = Used::connect(topology).await?;
                at(&used.address);
                used
            }
        };
        let mut pipeline = pipe();
        pipeline.ignore_errors();
        for (channel, payload) in messages {
            pipeline.cmd("PUBLISH").arg(channel).arg(&payload[..]);
        }
        let patience = topology.config().timeouts.command;
        let answers = timeout(patience, pipeline.query_async::<Vec<RedisResult<Value>>>(&mut used.connection)).await;
        let answers = answers.map_err(|_| RedisError::Timeout).and_then(|answers| answers.map_err(RedisError::from));
        match answers.and_then(|answers| took(messages, answers, spare)) {
            Ok(outcomes) => {
                *lane = Some(used);
                topology.accepted();
                Ok(outcomes)
            }
            Err(error) => {
                topology.refused(&error);
                Err(error)
            }
        }
    }

    /// The next message is published on a new connection.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }
}

impl Used {
    async fn connect(topology: &Topology) -> Result<Self, RedisError> {
        // Given up or cut off in the middle of a batch, it must not be used for anything else.
        let generation = topology.generation();
        let (info, mut connection) = topology.own_connection().await?;
        topology.check(&mut connection).await.inspect_err(|error| topology.refused(error))?;
        Ok(Self { address: info.addr().to_string(), connection, generation, looked_at: Instant::now() })
    }

    /// Itself, if it is still to be published on.
    async fn still_good(mut self, topology: &Topology) -> Option<Self> {
        if topology.has_moved(&self.address) || topology.generation() != self.generation {
            return None;
        }
        if self.looked_at.elapsed() >= LOOK_INTERVAL {
            if let Err(error) = topology.look(&mut self.connection).await {
                tracing::debug!(redis = %topology.config(), %error, "the connection that publishes is not used again");
                topology.suspect(&error);
                return None;
            }
            self.looked_at = Instant::now();
        }
        Some(self)
    }
}

/// What Redis answered to a batch. What it forbids is lost where it takes other messages, as it would hold up what comes behind
/// it; the receivers count it. Where it forbids all there is nothing to be held up, and it may be put right; but for what
/// a server can do without. Any other error is one of the whole batch.
fn took(
    messages: &[(String, Vec<u8>)],
    answers: Vec<RedisResult<Value>>,
    spare: &str,
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
        && messages.iter().any(|(channel, _)| *channel != spare)
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
