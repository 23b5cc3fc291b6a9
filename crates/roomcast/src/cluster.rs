//! Joining the cluster over Redis.

use crate::cli::{Dialect, Mode};
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig, RedisError, ShardedBroker, ShardedOptions};

/// Joins the cluster on this Redis. Until Redis can be reached, the server is alone, which is logged.
pub(crate) fn join(config: RedisConfig, dialect: Dialect, mode: Mode) -> Cluster {
    match dialect {
        Dialect::Classic => {
            let broker = ClassicBroker::new(config, ClassicOptions::default());
            let first = broker.clone();
            tokio::spawn(async move { log_failure(first.config(), first.check().await) });
            Cluster::new(broker, ClusterOptions::default())
        }
        Dialect::Sharded => {
            let mut options = ShardedOptions::default();
            options.mode = mode.into();
            let broker = ShardedBroker::new(config, options);
            let first = broker.clone();
            tokio::spawn(async move { log_failure(first.config(), first.check().await) });
            Cluster::new(broker, ClusterOptions::default())
        }
    }
}

fn log_failure(redis: &RedisConfig, checked: Result<(), RedisError>) {
    if let Err(error) = checked {
        tracing::error!(%redis, %error, "Redis cannot be used now: this server is alone until it can");
    }
}
