//! [`Pool`]: connections to one Redis server for questions.
//!
//! They are deadpool-redis' own, but for the look at one that lay idle: that crate sends UNWATCH, which a user with only the
//! rights that are needed may not, and then no connection would be used twice.

use crate::attempts;
use crate::config::{RedisConfig, Whom};
use crate::error::RedisError;
use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, TimeoutType, Timeouts};
use deadpool_redis::Runtime;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, cmd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Connections for questions, per Redis server. Questions are few; what is published has a connection of its own.
pub(crate) const POOL_SIZE: usize = 4;

/// How long a question waits for a connection that others use.
const POOL_WAIT: Duration = Duration::from_secs(1);

/// A connection that lay idle for so long is not used again: what is between may have forgotten it in silence, as NATs do after a
/// minute or more. Making one anew is quicker than finding that out.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(30);

/// A connection of a pool.
pub(crate) type Connection = Object<Manager>;

/// What Redis' CLIENT LIST calls the connections of this process: `roomcast-ID-ROLE`, without the id where there is none, as an
/// emitter has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owner(Arc<OnceLock<String>>);

impl Owner {
    /// The server has this id. The first that is told counts.
    pub(crate) fn is(&self, id: &str) {
        // Redis takes no other characters.
        let id = id.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect();
        let _ = self.0.set(id);
    }

    /// Gives a connection its name. Where that is not allowed it has none.
    pub(crate) async fn name(&self, mut connection: MultiplexedConnection, role: &str, patience: Duration) {
        let id = self.0.get().map_or(String::new(), |id| format!("{id}-"));
        let mut command = cmd("CLIENT");
        command.arg("SETNAME").arg(format!("roomcast-{id}{role}"));
        // If it is broken, what comes next will tell.
        let _ = timeout(patience, command.query_async::<()>(&mut connection)).await;
    }
}

/// Makes connections, and looks whether one may be used again.
#[derive(Debug)]
pub(crate) struct Manager {
    config: Arc<RedisConfig>,
    server: ConnectionInfo,
    owner: Owner,
    /// When one was last found broken: what lay beside it is as broken, and would be found out one by one.
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
        let patience = self.config.timeouts.sign_of_life();
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
        // Credentials and certificates may be others than those of the last connection.
        let server = config.prepare(&self.server, Whom::Server).await?;
        let made_by = deadpool_redis::Manager::new_with_config(server, config.connecting())?;
        let made = attempts::first(|| managed::Manager::create(&made_by)).await;
        let connection = made.map_err(|error| config.explain(error, Whom::Server))?;
        self.owner.name(connection.clone(), role, config.timeouts.sign_of_life()).await;
        Ok(connection)
    }
}

/// Why a connection is not even asked for a sign of life.
fn unfit(metrics: &Metrics, broken: Option<Instant>) -> Option<&'static str> {
    let used = metrics.recycled.unwrap_or(metrics.created);
    if broken.is_some_and(|broken| used <= broken) {
        return Some("another one of its age is broken");
    }
    (used.elapsed() >= POOL_IDLE).then_some("it lay idle for too long")
}

/// The connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Pool(managed::Pool<Manager>);

impl Pool {
    pub(crate) fn new(config: Arc<RedisConfig>, server: ConnectionInfo, owner: Owner) -> Result<Self, RedisError> {
        let pool = managed::Pool::builder(Manager { config, server, owner, broken: Mutex::default() })
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::Other(error.to_string()))?;
        Ok(Self(pool))
    }

    /// A connection that lives, or a new one. Waiting for one that others use is no sign that Redis is not there. Dropped, it goes on:
    /// a connection to a server far away takes longer than a question has, and is there for the next one.
    pub(crate) async fn get(&self) -> Result<Connection, RedisError> {
        // Nobody else would close them.
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

    /// A connection to publish on, which never comes back here.
    pub(crate) async fn own(&self) -> Result<MultiplexedConnection, RedisError> {
        let made = timeout(self.patience(), self.0.manager().make("publishes")).await;
        made.map_err(|_| RedisError::Timeout)?
    }

    /// For all that a connection takes.
    fn patience(&self) -> Duration {
        let timeouts = &self.0.manager().config.timeouts;
        timeouts.credentials + timeouts.connect + timeouts.sign_of_life()
    }

    /// Closes what is idle.
    pub(crate) fn clear(&self) {
        self.0.retain(|_, _| false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lay_idle_at_the_limit_and_below_it() {
        let used = |ago: Duration| Metrics {
            created: Instant::now().checked_sub(Duration::from_secs(600)).unwrap(),
            recycled: Instant::now().checked_sub(ago),
            recycle_count: 1,
        };
        assert_eq!(unfit(&used(POOL_IDLE - Duration::from_secs(2)), None), None);
        assert!(unfit(&used(POOL_IDLE), None).is_some());
        assert!(unfit(&Metrics::default(), None).is_none());
        let (earlier, now) = (used(Duration::from_millis(1)), Instant::now());
        assert!(unfit(&earlier, Some(now)).is_some(), "one that was used before another was found broken");
        assert_eq!(unfit(&Metrics::default(), Some(now)), None, "one that was made since then");
    }
}
