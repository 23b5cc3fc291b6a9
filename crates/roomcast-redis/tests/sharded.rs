//! The sharded dialect over one real Redis: the contract of brokers in each mode, emitters, rights, a Redis that is too old.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests, where a failure is a panic.

#[path = "common/fault_proxy.rs"]
#[allow(dead_code)]
mod fault_proxy;
#[path = "common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;
#[path = "common/sharded_stage.rs"]
#[allow(dead_code)]
mod sharded_stage;

use fault_proxy::{FaultProxy, Which};
use redis_process::RedisProcess;
use roomcast_adapter::testkit::{Brokers, broker_contract};
use sharded_stage::{MODES, broker_at, dialect, key};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_the_contract_in_each_mode() {
    let redis = RedisProcess::start().await;
    let client = redis::Client::open(redis.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    for mode in MODES {
        broker_contract(async |count| {
            let (key, mut brokers, mut proxies) = (key(), Vec::new(), Vec::new());
            for _ in 0..count {
                let proxy = Arc::new(FaultProxy::start(redis.port).await);
                brokers.push(broker_at(&proxy.url(), &key, mode));
                proxies.push(proxy);
            }
            let brokers = Brokers::new(brokers).dialect(dialect()).cut_off(move |number, cut| {
                let proxy = &proxies[number];
                if cut {
                    proxy.blackhole();
                    proxy.cut(Which::All);
                } else {
                    // In this order: a connection that is made between the two must not be cut after it was told of.
                    proxy.cut(Which::All);
                    proxy.pass();
                }
                std::future::ready(())
            });
            let connection = connection.clone();
            brokers.inject(move |namespace, bytes| {
                let (mut connection, channel) = (connection.clone(), format!("{key}#{namespace}#"));
                async move {
                    let sent = redis::cmd("SPUBLISH").arg(channel).arg(bytes).query_async::<()>(&mut connection).await;
                    sent.unwrap();
                }
            })
        })
        .await;
    }
}
