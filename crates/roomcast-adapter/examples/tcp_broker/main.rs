//! A broker of your own, over plain TCP: how to connect a message system that roomcast does not know.
//!
//! - `broker.rs` is what you write: a connection for each namespace, which is reopened when it ends, and the methods of
//!   [`Broker`](roomcast_adapter::cluster::Broker).
//! - `hub.rs` is the message system; put NATS, Kafka or Postgres in its place.
//!
//! Everything else exists already: [`codec`](roomcast_adapter::cluster::codec) encodes messages, and [`Cluster`] does
//! retries, order, numbering, loss counts and questions. `tests/suite/tcp_broker.rs` checks this broker with the suite
//! that our own brokers run.
//!
//! ```text
//! cargo run -p roomcast-adapter --example tcp_broker
//! ```

pub mod broker;
pub mod hub;

use broker::TcpBroker;
use hub::Hub;
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
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

/// Starts two servers with a socket on each, of which the first emits to everybody. Returns what the sockets got.
pub async fn two_servers() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let hub = listener.local_addr()?;
    let serving = tokio::spawn(Arc::<Hub>::default().serve(listener));
    let (got, mut lines) = mpsc::unbounded_channel();
    let mut servers = Vec::new();
    for name in ["a socket of the first server", "a socket of the second server"] {
        let cluster = Cluster::new(TcpBroker::new(hub), ClusterOptions::default());
        // With roomcast-server: SocketIo::builder().cluster(&cluster)
        let (server_events, _) = mpsc::channel(1);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        adapter.insert(SocketId::random()?, Arc::new(Printer(name, got.clone())), &[], None)?;
        servers.push(adapter);
    }
    while servers[0].server_count().await.value < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    servers[0].apply(&Target::everyone(), Action::emit(&Args::event("hello", "world")?))?;
    let both = [lines.recv().await, lines.recv().await].into_iter().flatten().collect();
    serving.abort();
    Ok(both)
}

#[allow(dead_code)] // As a module of a test it has no main.
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in two_servers().await? {
        println!("{line}");
    }
    Ok(())
}
