//! [`Lane`]: the one connection that publishes: over several, messages would overtake one another.

use super::topology::{COMMAND_TIMEOUT, Topology};
use crate::error::RedisError;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, pipe};
use roomcast_adapter::cluster::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// It is connected when something is to be published.
#[derive(Default)]
pub(super) struct Lane {
    used: Mutex<Option<Used>>,
    is_given_up: AtomicBool,
}

struct Used {
    /// The server that it is to.
    address: String,
    connection: MultiplexedConnection,
}

impl Lane {
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
        let mut used = match lane.take().filter(|lane| !is_given_up && !topology.has_moved(&lane.address)) {
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
        let answers =
            timeout(COMMAND_TIMEOUT, pipeline.query_async::<Vec<RedisResult<Value>>>(&mut used.connection)).await;
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
        let (info, mut connection) = topology.own_connection().await?;
        topology.check(&mut connection).await.inspect_err(|error| topology.refused(error))?;
        Ok(Self { address: info.addr().to_string(), connection })
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
