//! [`Pool`]: connections to one Redis server for questions.
//!
//! It is deadpool-redis' pool except for the check of an idle connection: that crate sends UNWATCH, which a user with
//! only the necessary rights may not, and then no connection would be used twice.

use super::connection_names::ConnectionNames;
use crate::attempts;
use crate::config::{RedisConfig, ServerKind};
use crate::error::RedisError;
use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts};
use deadpool_redis::Runtime;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, cmd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Connections for questions to one Redis server. Questions are few; publishing has a connection of its own.
pub(crate) const POOL_SIZE: usize = 4;

/// How long a question waits for a connection while others use all of them.
const POOL_WAIT: Duration = Duration::from_secs(1);

/// A connection that lay idle for this long is not used again: a device in between may have dropped it silently, as
/// NATs do after a minute or more. Making a new one is quicker than finding that out.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(30);

/// A connection on loan from a pool.
pub(crate) type PooledConnection = Object<Manager>;

/// Makes connections, and checks whether one may be used again.
#[derive(Debug)]
pub(crate) struct Manager {
    config: Arc<RedisConfig>,
    server: ConnectionInfo,
    names: ConnectionNames,
    /// When a connection was last found broken. Those that lay idle beside it are broken as well, and would be found
    /// one by one.
    broken: Mutex<Option<Instant>>,
}

impl managed::Manager for Manager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.make("asks").await
    }

    async fn recycle(&self, connection: &mut MultiplexedConnection, metrics: &Metrics) -> RecycleResult<RedisError> {
        if let Some(why) = unfit(metrics, *self.broken.lock()) {
            return Err(RecycleError::message(why));
        }
        let patience = self.config.timeouts.ping();
        let asked = timeout(patience, cmd("PING").query_async::<()>(connection)).await;
        match asked.map_or(Err(RedisError::Timeout), |asked| asked.map_err(RedisError::from)) {
            Err(error) if !error.is_answer() => {
                *self.broken.lock() = Some(Instant::now());
                Err(error.into())
            }
            // PING may be forbidden.
            _ => Ok(()),
        }
    }
}

impl Manager {
    async fn make(&self, role: &str) -> Result<MultiplexedConnection, RedisError> {
        let config = &self.config;
        // Credentials and certificates may have changed since the last connection.
        let server = config.prepare(&self.server, ServerKind::Data).await?;
        let made_by = deadpool_redis::Manager::new_with_config(server, config.connecting())?;
        let made = attempts::first(|| managed::Manager::create(&made_by)).await;
        let connection = made.map_err(|error| config.explain(error.into(), ServerKind::Data))?;
        self.names.set_on(connection.clone(), role, config.timeouts.ping()).await;
        Ok(connection)
    }
}

/// Why a connection is not even worth a PING; `None` if it is.
fn unfit(metrics: &Metrics, broken: Option<Instant>) -> Option<&'static str> {
    let used = metrics.recycled.unwrap_or(metrics.created);
    if broken.is_some_and(|broken| used <= broken) {
        return Some("another connection that lay idle beside it is broken");
    }
    (used.elapsed() >= POOL_IDLE).then_some("it lay idle for too long")
}

#[derive(Debug, Clone)]
pub(crate) struct Pool(managed::Pool<Manager>);

impl Pool {
    pub(crate) fn new(
        config: Arc<RedisConfig>,
        server: ConnectionInfo,
        names: ConnectionNames,
    ) -> Result<Self, RedisError> {
        let pool = managed::Pool::builder(Manager { config, server, names, broken: Mutex::default() })
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::Other(error.to_string()))?;
        Ok(Self(pool))
    }

    /// A connection that was found alive, or a new one. [`RedisError::Busy`] if others use all of them: that does not
    /// mean that Redis is away. If the future is dropped, connecting goes on: a connection to a distant server takes
    /// longer than a question may, and is there for the next question.
    pub(crate) async fn get(&self) -> Result<PooledConnection, RedisError> {
        // Nothing else closes idle connections.
        self.0.retain(|_, metrics| unfit(&metrics, None).is_none());
        let timeouts = Timeouts { wait: Some(POOL_WAIT), create: Some(self.patience()), recycle: None };
        let pool = self.0.clone();
        let made = tokio::spawn(async move { pool.timeout_get(&timeouts).await }).await;
        made.map_err(|error| RedisError::Other(error.to_string()))?.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(TimeoutType::Wait) => RedisError::Busy,
            PoolError::Timeout(_) => RedisError::Timeout,
            error => RedisError::Other(error.to_string()),
        })
    }

    /// A connection of its own for a publisher; it never returns to the pool.
    pub(crate) async fn dedicated(&self) -> Result<MultiplexedConnection, RedisError> {
        let made = timeout(self.patience(), self.0.manager().make("publishes")).await;
        made.map_err(|_| RedisError::Timeout)?
    }

    /// The time for all steps of making a connection together.
    fn patience(&self) -> Duration {
        let timeouts = &self.0.manager().config.timeouts;
        timeouts.credentials + timeouts.connect + timeouts.ping()
    }

    pub(crate) fn clear(&self) {
        self.0.retain(|_, _| false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_at_the_limit_and_below_it() {
        let used = |ago: Duration| Metrics {
            created: Instant::now().checked_sub(Duration::from_secs(600)).unwrap(),
            recycled: Instant::now().checked_sub(ago),
            recycle_count: 1,
        };
        assert_eq!(unfit(&used(POOL_IDLE - Duration::from_secs(2)), None), None);
        assert!(unfit(&used(POOL_IDLE), None).is_some());
        assert!(unfit(&Metrics::default(), None).is_none());
        let (earlier, now) = (used(Duration::from_millis(1)), Instant::now());
        assert!(unfit(&earlier, Some(now)).is_some(), "last used before another was found broken");
        assert_eq!(unfit(&Metrics::default(), Some(now)), None, "made after another was found broken");
    }
}
