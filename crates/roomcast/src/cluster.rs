//! Joining the cluster over Redis.

use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig};

/// Joins the cluster on that Redis. It need not be there yet: until it is, this server is alone, and says so.
pub(crate) fn join(config: RedisConfig) -> Cluster {
    let broker = ClassicBroker::new(config, ClassicOptions::default());
    let first = broker.clone();
    tokio::spawn(async move {
        if let Err(error) = first.check().await {
            tracing::error!(redis = %first.config(), %error, "Redis cannot be used now: this server is alone until it can");
        }
    });
    Cluster::new(broker, ClusterOptions::default())
}
