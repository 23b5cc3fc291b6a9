//! [`Publisher`]: the one connection that publishes; over several, messages would overtake each other.

use crate::error::RedisError;
use crate::topology::Topology;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, pipe};
use roomcast_adapter::cluster::Outcome;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A connection that was last checked this long ago gets a PING before anything is published on it: a device in between
/// may have dropped it silently, as NATs do, and its server may no longer be the primary.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Publisher {
    connection: Mutex<Option<Connection>>,
    must_reconnect: AtomicBool,
}

struct Connection {
    /// Of the server that it leads to.
    address: String,
    connection: MultiplexedConnection,
    /// [`Topology::generation`] when it was made.
    generation: u64,
    checked: Instant,
}

impl Publisher {
    /// Publishes, and returns the outcome of each message; the error is that of the connection. `connected` gets the
    /// server's address when a new connection was made. `expendable`: see [`outcomes`].
    pub(super) async fn publish(
        &self,
        topology: &Topology,
        messages: &[(String, Vec<u8>)],
        expendable: &str,
        connected: impl FnOnce(&str),
    ) -> Result<Vec<Outcome>, RedisError> {
        let mut slot = self.connection.lock().await;
        let must_reconnect = self.must_reconnect.swap(false, Ordering::Relaxed);
        // Taken out, so that a cancelled or failed publish does not leave a connection on which answers are
        // outstanding.
        let kept = match slot.take() {
            Some(connection) if !must_reconnect => connection.if_usable(topology).await,
            _ => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = Connection::make(topology).await?;
                connected(&connection.address);
                connection
            }
        };
        let mut pipeline = pipe();
        pipeline.ignore_errors();
        for (channel, payload) in messages {
            pipeline.cmd("PUBLISH").arg(channel).arg(&payload[..]);
        }
        let patience = topology.config().timeouts.command;
        let begun = Instant::now();
        let sent = timeout(patience, pipeline.query_async::<Vec<RedisResult<Value>>>(&mut connection.connection)).await;
        let answers = sent.map_err(|_| RedisError::Timeout).and_then(|answers| answers.map_err(RedisError::from));
        match answers.and_then(|answers| outcomes(messages, answers, expendable)) {
            Ok(outcomes) => {
                metrics::histogram!("roomcast_redis_rtt_seconds").record(begun.elapsed());
                *slot = Some(connection);
                // A forbidden announcement is no sign that anything goes out.
                if outcomes.contains(&Outcome::Sent) {
                    topology.clear_backoff();
                }
                Ok(outcomes)
            }
            Err(error) => {
                topology.back_off(&error);
                Err(error)
            }
        }
    }

    pub(super) fn reconnect(&self) {
        self.must_reconnect.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    async fn make(topology: &Topology) -> Result<Self, RedisError> {
        let generation = topology.generation();
        // Not of the pool: if it is dropped in the middle of a batch, nothing else may use it.
        let (info, mut connection) = topology.dedicated_connection().await?;
        topology.check(&mut connection).await.inspect_err(|error| topology.back_off(error))?;
        Ok(Self { address: info.addr().to_string(), connection, generation, checked: Instant::now() })
    }

    /// Itself, if it may still be published on.
    async fn if_usable(mut self, topology: &Topology) -> Option<Self> {
        if topology.has_moved(&self.address) || topology.generation() != self.generation {
            return None;
        }
        if self.checked.elapsed() >= CHECK_INTERVAL {
            if let Err(error) = topology.check_alive(&mut self.connection).await {
                tracing::debug!(redis = %topology.config(), %error, "the publisher connection failed its check; reconnecting");
                topology.suspect(&error);
                return None;
            }
            self.checked = Instant::now();
        }
        Some(self)
    }
}

/// The outcomes of a batch, from Redis' answers. If Redis forbids some messages and takes others, the forbidden ones
/// are lost: they would hold up those behind them, and the receivers count them. If it forbids all of them, the batch
/// fails, as nothing is held up and the right may yet be given; but not if all are on the `expendable` channel, which a
/// server can do without. Any other error fails the whole batch.
fn outcomes(
    messages: &[(String, Vec<u8>)],
    answers: Vec<RedisResult<Value>>,
    expendable: &str,
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
        && messages.iter().any(|(channel, _)| *channel != expendable)
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
