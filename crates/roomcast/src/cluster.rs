//! Joins the cluster over Redis.

use crate::wiring::{DialectOptions, RedisWiring};
use roomcast_adapter::cluster::{Broker, Cluster, ServerId};
use roomcast_redis::{ClassicBroker, RedisConfig, RedisError, RedisWatch, ShardedBroker};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A server's place in the cluster.
pub(crate) struct Joined {
    pub(crate) cluster: Cluster,
    /// Looks at Redis, as long as this is kept.
    pub(crate) watch: Option<RedisWatch>,
}

/// Joins the cluster on a Redis, which need not be reachable yet, unless a time was set for that. Otherwise a task checks it once and logs
/// an error if it cannot be used. Until it can, this server works on its own.
///
/// # Errors
/// Redis cannot be used within the time that was set for it.
pub(crate) async fn join(wiring: RedisWiring) -> Result<Joined, String> {
    let RedisWiring { config, dialect, cluster: options, name, start_timeout, watch } = wiring;
    // Without a patience there is one attempt.
    let (shown, patience) = (config.clone(), start_timeout.unwrap_or_default());
    let (broker, watch): (Arc<dyn Broker>, _) = match dialect {
        DialectOptions::Classic(options) => {
            let broker = ClassicBroker::new(config, options);
            let checked = broker.clone();
            begin(shown, start_timeout, async move { checked.check_within(patience).await }).await?;
            (broker.clone(), watch.map(|options| broker.watch(options)))
        }
        DialectOptions::Sharded(options) => {
            let broker = ShardedBroker::new(config, options);
            let checked = broker.clone();
            begin(shown, start_timeout, async move { checked.check_within(patience).await }).await?;
            (broker.clone(), watch.map(|options| broker.watch(options)))
        }
    };
    let cluster = match name {
        Some(name) => Cluster::with_id(ServerId::from(&*name), broker, options),
        None => Cluster::new(broker, options),
    };
    Ok(Joined { cluster, watch })
}

/// Waits for the check if a time is set for it, otherwise leaves it to a task, which logs an error.
async fn begin(
    redis: RedisConfig,
    start_timeout: Option<Duration>,
    check: impl Future<Output = Result<(), RedisError>> + Send + 'static,
) -> Result<(), String> {
    if start_timeout.is_some() {
        return check.await.map_err(|error| {
            format!(
                "Redis cannot be used: {error}. Without REDIS_START_TIMEOUT the program would start, and not be ready until it can"
            )
        });
    }
    tokio::spawn(async move {
        if let Err(error) = check.await {
            tracing::error!(%redis, %error, "Redis cannot be used now: this server is alone until it can");
        }
    });
    Ok(())
}
