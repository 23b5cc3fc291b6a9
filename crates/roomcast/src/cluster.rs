//! Joins the cluster over Redis.

use crate::wiring::{DialectOptions, RedisWiring};
use roomcast_adapter::cluster::{Broker, Cluster, ServerId};
use roomcast_redis::{ClassicBroker, RedisConfig, RedisError, ShardedBroker};
use std::sync::Arc;

/// Joins the cluster on a Redis, which need not be reachable yet. A task checks it once and logs an error if it cannot be used. Until it
/// can, this server works on its own.
pub(crate) fn join(wiring: RedisWiring) -> Cluster {
    let RedisWiring { config, dialect, cluster: options, name } = wiring;
    let broker: Arc<dyn Broker> = match dialect {
        DialectOptions::Classic(options) => {
            let broker = ClassicBroker::new(config, options);
            let checked = broker.clone();
            tokio::spawn(async move { log_failure(checked.config(), checked.check().await) });
            broker
        }
        DialectOptions::Sharded(options) => {
            let broker = ShardedBroker::new(config, options);
            let checked = broker.clone();
            tokio::spawn(async move { log_failure(checked.config(), checked.check().await) });
            broker
        }
    };
    match name {
        Some(name) => Cluster::with_id(ServerId::from(&*name), broker, options),
        None => Cluster::new(broker, options),
    }
}

fn log_failure(redis: &RedisConfig, result: Result<(), RedisError>) {
    if let Err(error) = result {
        tracing::error!(%redis, %error, "Redis cannot be used now: this server is alone until it can");
    }
}
