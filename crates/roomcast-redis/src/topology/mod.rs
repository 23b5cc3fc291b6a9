//! [`Topology`]: which Redis server to use now, and the pools of connections to each server.

pub(crate) mod backoff;
pub(crate) mod client_entry;
pub(crate) mod cluster_nodes;
mod connection_names;
pub(crate) mod data_server;
pub(crate) mod own_connections;
pub(crate) mod pool;
pub(crate) mod role;
mod seeds;
mod sentinel;
mod votes;

use crate::config::RedisConfig;
use crate::config::layout::{Layout, at, is_tls};
use crate::config::tls::choose_cryptography;
use crate::error::RedisError;
use backoff::Backoff;
use cluster_nodes::{cluster_nodes, members};
use connection_names::ConnectionNames;
use data_server::DataServer;
use futures_util::future::try_join;
use own_connections::OwnConnections;
use parking_lot::Mutex;
use pool::{Pool, PooledConnection};
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, cmd};
use role::{is_primary, must_not_be_replica};
use roomcast_adapter::cluster::Count;
use seeds::first_alive;
use sentinel::{Watch, primary};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Redis servers that have a pool at the same time: more than the nodes of any Cluster that answers CLUSTER NODES in
/// time. Addresses that come and go, as in Kubernetes, must not add up.
const MAX_POOLS: usize = 256;

/// The servers of one Redis, whatever its layout.
#[derive(Debug)]
pub(crate) struct Topology {
    config: Arc<RedisConfig>,
    pub(crate) names: ConnectionNames,
    /// Our connections that subscribe.
    pub(crate) own: OwnConnections,
    state: Mutex<State>,
    /// How often a server that works turned out to be the wrong one.
    generation: AtomicU64,
    /// The log has said that the database number means nothing.
    warned_of_database: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The server in use; `None` if it must be looked for.
    current: Option<ConnectionInfo>,
    pools: HashMap<String, Pool>,
    /// The nodes of a Cluster, as one of them listed them. The seeds in the URL may all have left it since.
    known_nodes: Vec<ConnectionInfo>,
    /// Of the server in use.
    backoff: Option<Backoff>,
}

impl Topology {
    pub(crate) fn new(config: RedisConfig) -> Self {
        if config.is_tls() {
            choose_cryptography();
        }
        Self {
            config: Arc::new(config),
            names: ConnectionNames::default(),
            own: OwnConnections::default(),
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            warned_of_database: AtomicBool::new(false),
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The server to publish on and to subscribe to. In a Cluster any node will do: it passes messages on to all
    /// others.
    pub(crate) async fn current(&self) -> Result<ConnectionInfo, RedisError> {
        if let Some(current) = self.state.lock().current.clone() {
            return Ok(current);
        }
        self.warn_of_database();
        let found = match &self.config.layout {
            Layout::Single(info) => info.clone(),
            Layout::Sentinel { sentinels, master, server } => primary(&self.config, sentinels, master, server).await?,
            Layout::Cluster { seeds } => {
                let known = self.state.lock().known_nodes.clone();
                first_alive(&self.config, seeds.iter().chain(&known).cloned().collect()).await?
            }
        };
        self.state.lock().current = Some(found.clone());
        Ok(found)
    }

    /// Whether the server in use is now another one than that at `address`.
    pub(crate) fn has_moved(&self, address: &str) -> bool {
        self.state.lock().current.as_ref().is_some_and(|current| current.addr().to_string() != address)
    }

    fn warn_of_database(&self) {
        let database = self.config.database();
        if database != 0 && !self.warned_of_database.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis = %self.config, database,
                "the database number in the URL has no effect, as pub/sub ignores databases; if another application uses this Redis too, give each one its own key prefix (the option `key`, the same on all servers of a cluster)"
            );
        }
    }

    /// Changes when a server that works turns out to be the wrong one: connections made before that are not used again.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Resolves to the new primary when most Sentinels have named the same other one than `used` twice, `interval`
    /// apart. Without Sentinels it never resolves.
    pub(crate) async fn replaced(&self, used: &ConnectionInfo, interval: Duration) -> String {
        let Layout::Sentinel { sentinels, master, .. } = &self.config.layout else {
            return std::future::pending().await;
        };
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = used.addr() else {
            return std::future::pending().await;
        };
        let mut watch = Watch::new((host.clone(), *port));
        loop {
            sleep(interval).await;
            if let Some(by) = watch.ask(&self.config, sentinels, master).await {
                return by;
            }
        }
    }

    /// The server in use has failed. If the error means that another may have taken its place, it is looked for again.
    pub(crate) fn suspect(&self, error: &RedisError) {
        if !error.may_have_moved() {
            return;
        }
        if matches!(error, RedisError::NotPrimary | RedisError::Replaced { .. }) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        let mut state = self.state.lock();
        if let Some(suspected) = state.current.take()
            && let Some(pool) = state.pools.get(&suspected.addr().to_string())
        {
            // Its idle connections are broken as well, and would be found one by one.
            pool.clear();
        }
    }

    /// The server in use cannot be used: it is left alone for a pause that grows with each failure.
    pub(crate) fn back_off(&self, error: &RedisError) {
        self.suspect(error);
        let mut state = self.state.lock();
        state.backoff = Some(Backoff::after(error, state.backoff.as_ref()));
    }

    /// The server in use works.
    pub(crate) fn clear_backoff(&self) {
        self.state.lock().backoff = None;
    }

    /// A connection from the pool of the server in use. After a failure it fails at once until a pause is over.
    pub(crate) async fn connection(&self) -> Result<(ConnectionInfo, PooledConnection), RedisError> {
        self.check_backoff()?;
        let connecting = async {
            let info = self.current().await?;
            let connection = self.pool(&info)?.get().await?;
            Ok((info, connection))
        };
        connecting.await.inspect_err(|error| self.failed(error))
    }

    /// A connection of its own to the server in use, for a publisher: it is not shared, and its holder closes it.
    pub(crate) async fn dedicated_connection(&self) -> Result<(ConnectionInfo, MultiplexedConnection), RedisError> {
        self.check_backoff()?;
        let connecting = async {
            let info = self.current().await?;
            let connection = self.pool(&info)?.dedicated().await?;
            Ok((info, connection))
        };
        connecting.await.inspect_err(|error| self.failed(error))
    }

    /// A connection from the pool of the given server, whichever is in use.
    pub(crate) async fn connection_to(&self, server: &ConnectionInfo) -> Result<PooledConnection, RedisError> {
        self.pool(server)?.get().await
    }

    /// A connection of its own to the given server: a node of a Cluster.
    pub(crate) async fn dedicated_connection_to(
        &self,
        server: &ConnectionInfo,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.pool(server)?.dedicated().await
    }

    fn check_backoff(&self) -> Result<(), RedisError> {
        Backoff::check(self.state.lock().backoff.as_ref())
    }

    fn failed(&self, error: &RedisError) {
        if *error != RedisError::Busy {
            self.back_off(error);
        }
    }

    fn pool(&self, info: &ConnectionInfo) -> Result<Pool, RedisError> {
        let mut state = self.state.lock();
        let address = info.addr().to_string();
        if let Some(pool) = state.pools.get(&address) {
            return Ok(pool.clone());
        }
        if state.pools.len() >= MAX_POOLS {
            // Connections on loan stay usable.
            state.pools.clear();
        }
        let pool = Pool::new(self.config.clone(), info.clone(), self.names.clone())?;
        state.pools.insert(address, pool.clone());
        Ok(pool)
    }

    /// Subscribers of each channel, summed over all nodes: each node knows only its own. `numsub`: NUMSUB, or
    /// SHARDNUMSUB for sharded channels.
    pub(crate) async fn subscribers(&self, numsub: &str, channels: &[Arc<str>]) -> Result<Vec<Count>, RedisError> {
        if !matches!(self.config.layout, Layout::Cluster { .. }) {
            let (_, connection) = self.connection().await?;
            // A replica does not know the subscribers of its primary.
            let mut checked = (*connection).clone();
            let counted = try_join(subscribers_at(connection, numsub, channels), self.check(&mut checked)).await;
            let (counts, ()) = counted.inspect_err(|error| self.suspect(error))?;
            return Ok(counts.into_iter().map(Count::of).collect());
        }
        let nodes = self.nodes().await?;
        let asked = nodes.iter().map(|node| async {
            let ask = async { subscribers_at(self.pool(node)?.get().await?, numsub, channels).await };
            timeout(self.config.timeouts.node, ask).await.unwrap_or(Err(RedisError::Timeout))
        });
        let (mut counts, mut complete) = (vec![0; channels.len()], true);
        for answer in futures_util::future::join_all(asked).await {
            match answer {
                Ok(subscribers) => counts.iter_mut().zip(subscribers).for_each(|(count, more)| *count += more),
                // A node that is down reaches none of its subscribers; a node that only we cannot reach reaches all of
                // them. From here the two look alike.
                Err(error) if error.may_have_moved() => {
                    tracing::debug!(%error, "a node of the Cluster did not answer; its subscribers are not counted");
                    complete = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(counts.into_iter().map(if complete { Count::of } else { Count::at_least }).collect())
    }

    /// The nodes of a Cluster that are up, including replicas: any node may have subscribers.
    async fn nodes(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let (current, mut connection) = self.connection().await?;
        let nodes = self.learn_nodes(&current, &mut *connection).await.inspect_err(|error| self.suspect(error))?;
        // A node that is alone does not know its own address.
        Ok(if nodes.is_empty() { vec![current] } else { nodes })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.config.layout, Layout::Cluster { .. })
    }

    /// The server in use, and in a Cluster the other primaries. A server that does not answer is not suspected for it:
    /// this is for those who watch.
    pub(crate) async fn data_servers(&self) -> Result<Vec<DataServer>, RedisError> {
        let current = self.current().await?;
        if !self.is_cluster() {
            return Ok(vec![DataServer { info: current, other_address: None }]);
        }
        let mut connection = self.connection_to(&current).await?;
        let text: String = cmd("CLUSTER").arg("NODES").query_async(&mut *connection).await?;
        let mut servers = Vec::new();
        let mut other_address = None;
        for member in members(&text, is_tls(&current)) {
            let info = at(&current, member.host, member.port);
            if member.is_myself {
                other_address = Some(info.addr().to_string());
            } else if member.is_primary {
                servers.push(DataServer { info, other_address: None });
            }
        }
        servers.push(DataServer { info: current, other_address });
        Ok(servers)
    }

    async fn learn_nodes(
        &self,
        current: &ConnectionInfo,
        connection: &mut impl redis::aio::ConnectionLike,
    ) -> Result<Vec<ConnectionInfo>, RedisError> {
        let text: String = cmd("CLUSTER").arg("NODES").query_async(connection).await?;
        let by_name = is_tls(current);
        let nodes: Vec<_> = cluster_nodes(&text, by_name).map(|(host, port)| at(current, host, port)).collect();
        let mut state = self.state.lock();
        // A node that was taken out of the Cluster knows only itself; that is no reason to forget the others.
        if nodes.len() > 1 || state.known_nodes.is_empty() {
            state.known_nodes.clone_from(&nodes);
        }
        drop(state);
        Ok(nodes)
    }

    /// Checks that the server of a connection may be used.
    pub(crate) async fn check(&self, connection: &mut impl redis::aio::ConnectionLike) -> Result<(), RedisError> {
        match &self.config.layout {
            Layout::Cluster { seeds } => {
                // Learns where to go when this node and the seeds are gone. Going on without that right is fine.
                if let Some(seed) = seeds.first()
                    && let Err(error @ (RedisError::Unreachable(_) | RedisError::Timeout)) =
                        self.learn_nodes(seed, connection).await
                {
                    return Err(error);
                }
                Ok(())
            }
            Layout::Single(_) => must_not_be_replica(connection).await,
            Layout::Sentinel { .. } => {
                if is_primary(connection).await? {
                    Ok(())
                } else {
                    Err(RedisError::NotPrimary)
                }
            }
        }
    }

    /// Sends a PING on a connection that was made before, and checks that its server is still the right one.
    pub(crate) async fn check_alive(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut pinged = connection.clone();
        let alive = async {
            match cmd("PING").query_async::<()>(&mut pinged).await.map_err(RedisError::from) {
                Err(error) if !error.is_answer() => Err(error),
                // PING may be forbidden.
                _ => Ok(()),
            }
        };
        let checked = async {
            match &self.config.layout {
                Layout::Cluster { .. } => Ok(()),
                _ => self.check(connection).await,
            }
        };
        let patience = self.config.timeouts.ping();
        timeout(patience, try_join(alive, checked)).await.map_or(Err(RedisError::Timeout), |answers| answers.map(drop))
    }
}

async fn subscribers_at(
    mut connection: PooledConnection,
    numsub: &str,
    channels: &[Arc<str>],
) -> Result<Vec<usize>, RedisError> {
    let mut ask = cmd("PUBSUB");
    ask.arg(numsub);
    for channel in channels {
        ask.arg(&**channel);
    }
    let counted: Vec<(String, usize)> = ask.query_async(&mut *connection).await?;
    if counted.len() != channels.len() {
        return Err(RedisError::Other(format!("the answer to PUBSUB {numsub} does not name every channel")));
    }
    Ok(counted.into_iter().map(|(_, subscribers)| subscribers).collect())
}
