//! The example broker over TCP keeps the contract that our own brokers keep, in real time and over real sockets.

#[allow(unreachable_pub)] // An example shows its parts as a library would.
#[path = "../../examples/tcp_broker/main.rs"]
mod example;

use crate::cable::Cable;
use example::broker::TcpBroker;
use example::hub::{Frame, Hub, PUBLISH};
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_adapter::testkit::{Brokers, Servers, adapter_rules, broker_contract};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A hub that ends when this is dropped.
struct Serving {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

async fn hub() -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(async move { drop(Arc::<Hub>::default().serve(listener).await) });
    Serving { address, tasks }
}

async fn brokers(count: usize) -> Brokers {
    let mut serving = hub().await;
    let (mut all, mut cables) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (cable, address) = Cable::new(serving.address, &mut serving.tasks).await;
        cables.push(cable);
        let broker = TcpBroker::new(address);
        // The suite expects connected brokers.
        while roomcast_adapter::cluster::Broker::count(&*broker, "/").await.is_err() {
            tokio::task::yield_now().await;
        }
        all.push(broker);
    }
    let address = serving.address;
    Brokers::new(all)
        .cut_off(move |broker, cut| {
            // The hub lives as long as the hook.
            let _ = &serving;
            cables[broker].clone().cut(cut)
        })
        .inject(move |namespace, bytes| async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&Frame::bytes(PUBLISH, &namespace, &bytes)).await.unwrap();
            // The hub closes the connection once it has read everything.
            stream.shutdown().await.unwrap();
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_keeps_the_contract_of_brokers() {
    broker_contract(brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_over_the_example_keep_rules_of_every_group_of_the_adapter_contract() {
    let rules =
        ["delivery::once", "delivery::attachments", "membership::leave", "actions::disconnect", "order::one_caller"];
    let more = ["acks::complete", "questions::fetch_sockets", "servers::server_side_answers", "servers::close"];
    for rule in adapter_rules().iter().filter(|rule| rules.contains(&rule.name) || more.contains(&rule.name)) {
        let serving = hub().await;
        let make = async || {
            let options = ClusterOptions::default;
            Servers::new(2, |_, context| Cluster::new(TcpBroker::new(serving.address), options()).adapter(context))
        };
        rule.check(make).await.unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_does_what_it_says() {
    let mut lines = example::two_servers().await.unwrap();
    lines.sort();
    let socket = |number: &str| format!(r#"a socket of the {number} server got 42["hello","world"]"#);
    assert_eq!(lines, [socket("first"), socket("second")]);
}
