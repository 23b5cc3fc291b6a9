//! [`Network`]: connects servers to a cluster, and fails on command.

use crate::limits::PATIENCE;
use crate::network::broker::FaultyBroker;
use crate::network::server::{Inner, Server};
use crate::unmet::{Waiting, fail};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_server::{Builder, SocketIo};
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at what the servers know of one another.
const LOOK: Duration = Duration::from_millis(10);

/// A network in memory that makes its servers a cluster. Cloning it is cheap; all clones are the same network.
///
/// Its faults concern what servers send one another. Those between a server and its clients are methods of
/// [`Client`](crate::Client).
///
/// ```
/// # use roomcast_testkit::{Client, ConnectError, Network, settle};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ConnectError> {
/// let network = Network::new();
/// let (a, b) = (network.server(|builder| builder), network.server(|builder| builder));
/// let ann = Client::builder(&a).name("ann").connect().await?;
/// network.ready().await;
///
/// b.emit("news", 1).ok();
/// assert_eq!(ann.next::<u32>("news").await, 1);
///
/// network.cut(&b);
/// b.emit("news", 2).ok();
/// ann.expect_nothing("news").await;
///
/// network.heal(&b); // what waited is sent now
/// assert_eq!(ann.next::<u32>("news").await, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Network {
    network: MemoryNetwork,
    servers: Arc<Mutex<Vec<Weak<Inner>>>>,
}

impl Network {
    /// A network without servers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a server, which joins the cluster. `change` sets its options, other than its cluster. It has no namespaces
    /// and no handlers yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn server(&self, change: impl FnOnce(Builder) -> Builder) -> Server {
        let broker = FaultyBroker::new(&self.network);
        let cluster = Cluster::new(broker.clone(), ClusterOptions::default());
        let io = change(SocketIo::builder()).cluster(&cluster).build();
        let inner = Arc::new(Inner { io, cluster, broker });
        self.servers.lock().push(Arc::downgrade(&inner));
        Server(inner)
    }

    /// Waits until every server hears the others, is heard, and knows all of them. Servers that drain, were closed
    /// or were dropped do not count.
    ///
    /// # Panics
    /// If that does not come about within 10 s.
    #[track_caller]
    #[must_use = "await the cluster"]
    pub fn ready(&self) -> Waiting<()> {
        let (caller, servers) = (Location::caller(), self.servers.clone());
        Box::pin(async move {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let why = unready(&servers.lock());
                let Some(why) = why else { return };
                if Instant::now() >= deadline {
                    fail(caller, &format!("the cluster is not ready after {PATIENCE:?}: {why}"));
                }
                sleep(LOOK).await;
            }
        })
    }

    /// Cuts a server off from the others. It notices at once, as when its connection to Redis breaks: what it sends
    /// waits, for at most 5 s, and what others send meanwhile is lost to it.
    pub fn cut(&self, server: &Server) {
        server.0.broker.cut(true);
    }

    /// Ends a [cut](Network::cut).
    pub fn heal(&self, server: &Server) {
        server.0.broker.cut(false);
    }

    /// From now on what others send takes this long to reach the server. Its order stays.
    pub fn delay(&self, server: &Server, delay: Duration) {
        server.0.broker.faults.set_delay(delay);
    }

    /// The next messages that the server sends are lost on their way, and it is not told. What servers tell one another
    /// about themselves does not count. A message is an emit to sockets or to servers, a change of their rooms, a
    /// question, or an answer.
    pub fn lose(&self, server: &Server, messages: usize) {
        server.0.broker.faults.lose(messages);
    }

    /// Nothing leaves the server and nothing reaches it, and nobody is told. What others send waits, and arrives after
    /// [`Network::thaw`]. The server's own clients are served meanwhile.
    pub fn freeze(&self, server: &Server) {
        server.0.broker.faults.freeze(true);
    }

    /// Ends a [freeze](Network::freeze).
    pub fn thaw(&self, server: &Server) {
        server.0.broker.faults.freeze(false);
    }
}

/// Why the cluster is not ready.
fn unready(servers: &[Weak<Inner>]) -> Option<String> {
    let servers: Vec<_> =
        servers.iter().filter_map(Weak::upgrade).filter(|server| server.io.health().server.ok).collect();
    servers.iter().find_map(|server| {
        let (id, state) = (server.cluster.id(), *server.cluster.state().borrow());
        let known = server.cluster.servers();
        let unknown = servers.iter().find(|other| other.cluster.id() != id && !known.contains(other.cluster.id()));
        match unknown {
            _ if !state.hears => Some(format!("server {id:?} hears nothing")),
            _ if !state.publishes => Some(format!("what server {id:?} sends does not go out")),
            Some(other) => Some(format!("server {id:?} does not know {:?}", other.cluster.id())),
            None => None,
        }
    })
}
