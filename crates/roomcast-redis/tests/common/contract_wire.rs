//! [`Wire`]: the contract suite over a real Redis. Each broker has a proxy of its own, which can cut it off, and
//! malformed payloads can be published.

use super::fault_proxy::{FaultProxy, Which};
use super::redis_process::RedisProcess;
use redis::aio::MultiplexedConnection;
use roomcast_adapter::cluster::Broker;
use roomcast_adapter::testkit::{Brokers, Dialect};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key prefix for one cluster.
pub(crate) fn key() -> String {
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    format!("cluster{}", CLUSTERS.fetch_add(1, Ordering::Relaxed))
}

/// A Redis, and a connection that publishes malformed payloads.
pub(crate) struct Wire {
    redis: RedisProcess,
    connection: MultiplexedConnection,
    /// PUBLISH, or SPUBLISH.
    publish: &'static str,
}

impl Wire {
    pub(crate) async fn start(publish: &'static str) -> Self {
        let redis = RedisProcess::start().await;
        let client = redis::Client::open(redis.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Self { redis, connection, publish }
    }

    /// Brokers of one cluster; `make` gets a URL and the cluster's prefix.
    pub(crate) async fn brokers<B: Broker>(
        &self,
        count: usize,
        dialect: Dialect,
        make: impl Fn(&str, &str) -> Arc<B>,
    ) -> Brokers {
        let (key, mut brokers, mut proxies) = (key(), Vec::new(), Vec::new());
        for _ in 0..count {
            let proxy = Arc::new(FaultProxy::start(self.redis.port).await);
            brokers.push(make(&proxy.url(), &key));
            proxies.push(proxy);
        }
        let brokers = Brokers::new(brokers).dialect(dialect).cut_off(move |number, cut| {
            let proxy = &proxies[number];
            if cut {
                proxy.blackhole();
                proxy.cut(Which::All);
            } else {
                // In this order: a connection that is made between the two must not be cut after the broker has
                // reported it.
                proxy.cut(Which::All);
                proxy.pass();
            }
            std::future::ready(())
        });
        let (connection, publish) = (self.connection.clone(), self.publish);
        brokers.inject(move |namespace, bytes| {
            let (mut connection, channel) = (connection.clone(), format!("{key}#{namespace}#"));
            async move {
                let sent = redis::cmd(publish).arg(channel).arg(bytes).query_async::<()>(&mut connection).await;
                sent.unwrap();
            }
        })
    }
}
