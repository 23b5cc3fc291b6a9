//! Joins the cluster over Redis.

use crate::cli::{Dialect, Mode};
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig, RedisError, ShardedBroker, ShardedOptions};

/// Joins the cluster on a Redis, which need not be reachable yet. A task checks it once and logs an error if it cannot be used. Until it
/// can, this server works on its own.
pub(crate) fn join(config: RedisConfig, dialect: Dialect, mode: Mode, key: &str) -> Cluster {
    match dialect {
        Dialect::Classic => {
            let mut options = ClassicOptions::default();
            key.clone_into(&mut options.key);
            let broker = ClassicBroker::new(config, options);
            let checked = broker.clone();
            tokio::spawn(async move { log_failure(checked.config(), checked.check().await) });
            Cluster::new(broker, ClusterOptions::default())
        }
        Dialect::Sharded => {
            let mut options = ShardedOptions::default();
            options.mode = mode.into();
            key.clone_into(&mut options.channel_prefix);
            let broker = ShardedBroker::new(config, options);
            let checked = broker.clone();
            tokio::spawn(async move { log_failure(checked.config(), checked.check().await) });
            Cluster::new(broker, ClusterOptions::default())
        }
    }
}

fn log_failure(redis: &RedisConfig, result: Result<(), RedisError>) {
    if let Err(error) = result {
        tracing::error!(%redis, %error, "Redis cannot be used now: this server is alone until it can");
    }
}
