//! The cluster adapter over the memory broker keeps the contract.

use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_adapter::testkit::{Servers, adapter_contract};
use std::time::Duration;

fn cluster(servers: usize, delay: Duration) -> Servers {
    let network = MemoryNetwork::new();
    network.delay(delay);
    Servers::new(servers, |_, context| Cluster::new(network.broker(), ClusterOptions::default()).adapter(context))
}

#[tokio::test(start_paused = true)]
async fn one_server_keeps_the_contract() {
    adapter_contract(async || cluster(1, Duration::ZERO)).await;
}

#[tokio::test(start_paused = true)]
async fn two_servers_keep_the_contract() {
    adapter_contract(async || cluster(2, Duration::ZERO)).await;
}

#[tokio::test(start_paused = true)]
async fn three_servers_on_a_slow_network_keep_the_contract() {
    adapter_contract(async || cluster(3, Duration::from_millis(20))).await;
}
