//! A broker over NATS, written from the documentation alone: what it takes to connect a message system that roomcast
//! does not know.
//!
//! - `broker.rs` is what you write: the methods of [`Broker`](roomcast_adapter::cluster::Broker). Each room has a
//!   subject, so that NATS sends a server only what its sockets need.
//! - `client.rs` stands in for a NATS crate. It has what the broker needs and no more.
//!
//! NATS does not count subscribers, so all servers of the cluster must be roomcast servers.
//! `tests/suite/nats_broker.rs` checks this broker with the suite that our own brokers run, and through restarts of
//! NATS. (`tcp_broker` is the shorter example: it has neither rooms nor a real message system.)
//!
//! ```text
//! nats-server -a 127.0.0.1 -p 4222 &
//! cargo run -p roomcast-adapter --example nats_broker -- 127.0.0.1:4222
//! ```

pub mod broker;
pub mod client;

use broker::NatsBroker;
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, Room, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// A socket that prints what it is sent.
#[derive(Debug)]
struct Printer(&'static str, mpsc::UnboundedSender<String>);

impl Recipient for Printer {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let _ = self.1.send(format!("{} got {}", self.0, packet.text().unwrap_or("something binary")));
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

/// Starts two servers with a socket on each. The second server's socket joins the room "news", and the first server
/// emits to it. Returns what the socket got.
pub async fn two_servers(nats: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let (got, mut lines) = mpsc::unbounded_channel();
    let mut servers = Vec::new();
    for name in ["a socket of the first server", "a socket of the second server"] {
        let cluster = Cluster::new(NatsBroker::new(nats), ClusterOptions::default());
        // With roomcast-server: SocketIo::builder().cluster(&cluster)
        let (server_events, _) = mpsc::channel(1);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let id = SocketId::random()?;
        adapter.insert(id, Arc::new(Printer(name, got.clone())), &[], None)?;
        servers.push((adapter, id));
    }
    while servers[0].0.server_count().await.value < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    // Resolves when NATS knows of the subscription: what is emitted from now on arrives.
    servers[1].0.join(servers[1].1, &[Room::from("news")])?.await;
    servers[0].0.apply(&Target::room("news"), Action::emit(&Args::event("hello", "news")?))?;
    servers[0].0.apply(&Target::everyone(), Action::emit(&Args::event("hello", "world")?))?;
    let all = [lines.recv().await, lines.recv().await, lines.recv().await].into_iter().flatten().collect();
    Ok(all)
}

#[allow(dead_code)] // As a module of a test it has no main.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4222".to_owned());
    println!("waiting for NATS at {nats}");
    for line in two_servers(&nats).await? {
        println!("{line}");
    }
    Ok(())
}
