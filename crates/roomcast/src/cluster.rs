//! Joining and leaving the cluster over Redis.

use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig};
use std::time::Duration;

/// Time that messages on their way have to go out when the program stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Lets what is on its way go out, and tells the other servers.
pub(crate) async fn leave(cluster: &Cluster) {
    cluster.close();
    if tokio::time::timeout(LEAVE_TIMEOUT, cluster.closed()).await.is_err() {
        tracing::warn!(messages = cluster.queued(), "messages for the other servers did not go out any more");
    }
}
