//! [`Topology`]: which Redis server to use now, and the pools of connections to each.

use super::pool::{Connection, Owner, Pool};
use super::role::{is_primary, must_not_be_replica};
use super::seeds::first_alive;
use super::sentinel::{Watch, primary};
use crate::config::RedisConfig;
use crate::error::RedisError;
use crate::layout::{Layout, at, is_tls};
use crate::tls::choose_cryptography;
use futures_util::future::try_join;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, cmd};
use roomcast_adapter::cluster::Count;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Redis servers with a pool at once: more than the nodes of any Cluster that answers CLUSTER NODES in time. Addresses that
/// come and go, as in Kubernetes, must not add up.
const MAX_POOLS: usize = 256;

/// The pause after a failed attempt: the first, and the longest after what is over soon (a restart, a failover, loading).
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: a wrong password or a missing right is not put right sooner, and is tried some 16 times a minute.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// The servers of one Redis, whatever its layout.
#[derive(Debug)]
pub(crate) struct Topology {
    config: Arc<RedisConfig>,
    pub(crate) owner: Owner,
    state: Mutex<State>,
    /// How often a server that works was found to be the wrong one.
    generation: AtomicU64,
    /// The log has said that the database's number means nothing.
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The server in use; `None`: it must be looked for.
    current: Option<ConnectionInfo>,
    pools: HashMap<String, Pool>,
    /// The nodes of a Cluster, as one of them told. The seeds may all have left it since.
    known: Vec<ConnectionInfo>,
    refusal: Option<Refusal>,
}

/// The server in use could not be used, so it is left alone for a while: every message and every question would try again.
#[derive(Debug)]
struct Refusal {
    error: RedisError,
    until: Instant,
    failures: u32,
}

impl Topology {
    pub(crate) fn new(config: RedisConfig) -> Self {
        if config.is_tls() {
            choose_cryptography();
        }
        Self {
            config: Arc::new(config),
            owner: Owner::default(),
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The server to publish on and to subscribe to. In a Cluster that is any node: it passes messages on to all others.
    pub(crate) async fn current(&self) -> Result<ConnectionInfo, RedisError> {
        if let Some(current) = self.state.lock().current.clone() {
            return Ok(current);
        }
        self.tell_of_database();
        let found = match &self.config.layout {
            Layout::Single(info) => info.clone(),
            Layout::Sentinel { sentinels, master, server } => primary(&self.config, sentinels, master, server).await?,
            Layout::Cluster { seeds } => {
                let known = self.state.lock().known.clone();
                first_alive(&self.config, seeds.iter().chain(&known).cloned().collect()).await?
            }
        };
        self.state.lock().current = Some(found.clone());
        Ok(found)
    }

    /// Whether another server is used by now than this one.
    pub(crate) fn has_moved(&self, address: &str) -> bool {
        self.state.lock().current.as_ref().is_some_and(|current| current.addr().to_string() != address)
    }

    fn tell_of_database(&self) {
        let database = self.config.database();
        if database != 0 && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis = %self.config, database,
                "the database's number in the URL separates nothing, as pub/sub knows no databases: if another application uses this Redis too, give each a key prefix of its own (the option `key`, on all servers of the cluster)"
            );
        }
    }

    /// Changes when a server that works is found to be the wrong one: connections to it that were made before are not used again.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Resolves when most Sentinels have named another primary than this one twice, with `interval` in between: whom, then. Without
    /// Sentinels it never does.
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

    /// The server in use has failed: another may have taken its place.
    pub(crate) fn suspect(&self, error: &RedisError) {
        if !error.asks_for_another() {
            return;
        }
        if matches!(error, RedisError::NotPrimary | RedisError::Replaced { .. }) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        let mut state = self.state.lock();
        if let Some(suspected) = state.current.take()
            && let Some(pool) = state.pools.get(&suspected.addr().to_string())
        {
            // What is idle there is as broken, and would be found out one by one.
            pool.clear();
        }
    }

    /// The server in use cannot be used: it is left alone for a pause that grows with each failure.
    pub(crate) fn refused(&self, error: &RedisError) {
        self.suspect(error);
        let mut state = self.state.lock();
        let failures = state.refusal.as_ref().map_or(1, |refusal| refusal.failures.saturating_add(1));
        let until = Instant::now() + pause(error, failures);
        state.refusal = Some(Refusal { error: error.clone(), until, failures });
    }

    /// The server in use can be used.
    pub(crate) fn accepted(&self) {
        self.state.lock().refusal = None;
    }

    /// A connection from the current server's pool. After a failure it fails at once, until a pause has passed.
    pub(crate) async fn connection(&self) -> Result<(ConnectionInfo, Connection), RedisError> {
        self.refusal()?;
        let connecting = async {
            let info = self.current().await?;
            let connection = self.pool(&info)?.get().await?;
            Ok((info, connection))
        };
        connecting.await.inspect_err(|error| self.failed(error))
    }

    /// A connection to publish on, which is not of the pool: it waits for nobody, and is ended by who has it.
    pub(crate) async fn own_connection(&self) -> Result<(ConnectionInfo, MultiplexedConnection), RedisError> {
        self.refusal()?;
        let connecting = async {
            let info = self.current().await?;
            let connection = self.pool(&info)?.own().await?;
            Ok((info, connection))
        };
        connecting.await.inspect_err(|error| self.failed(error))
    }

    fn refusal(&self) -> Result<(), RedisError> {
        match &self.state.lock().refusal {
            Some(refusal) if Instant::now() < refusal.until => Err(refusal.error.clone()),
            _ => Ok(()),
        }
    }

    fn failed(&self, error: &RedisError) {
        if *error != RedisError::Busy {
            self.refused(error);
        }
    }

    fn pool(&self, info: &ConnectionInfo) -> Result<Pool, RedisError> {
        let mut state = self.state.lock();
        let address = info.addr().to_string();
        if let Some(pool) = state.pools.get(&address) {
            return Ok(pool.clone());
        }
        if state.pools.len() >= MAX_POOLS {
            // What is in use there comes to its end all the same.
            state.pools.clear();
        }
        let pool = Pool::new(self.config.clone(), info.clone(), self.owner.clone())?;
        state.pools.insert(address, pool.clone());
        Ok(pool)
    }

    /// Subscribers of a channel, on all nodes together: each node knows only its own.
    pub(crate) async fn subscribers(&self, channel: &str) -> Result<Count, RedisError> {
        if !matches!(self.config.layout, Layout::Cluster { .. }) {
            let (_, connection) = self.connection().await?;
            // A replica does not know who hears its primary.
            let mut checked = (*connection).clone();
            let counted = try_join(subscribers_at(connection, channel), self.check(&mut checked)).await;
            return counted.map(|(count, ())| Count::of(count)).inspect_err(|error| self.suspect(error));
        }
        let nodes = self.nodes().await?;
        let asked = nodes.iter().map(|node| async {
            let ask = async { subscribers_at(self.pool(node)?.get().await?, channel).await };
            timeout(self.config.timeouts.node, ask).await.unwrap_or(Err(RedisError::Timeout))
        });
        let (mut count, mut complete) = (0, true);
        for answer in futures_util::future::join_all(asked).await {
            match answer {
                Ok(subscribers) => count += subscribers,
                // A node that is down reaches none of its subscribers; one that only we do not reach reaches them all. From here
                // the two look alike.
                Err(error) if error.asks_for_another() => {
                    tracing::debug!(%error, "a node of the Cluster is not counted");
                    complete = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if complete { Count::of(count) } else { Count::at_least(count) })
    }

    /// The nodes of a Cluster that are up, replicas too: subscribers may be on any.
    async fn nodes(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let (current, mut connection) = self.connection().await?;
        self.learn_nodes(&current, &mut *connection).await.inspect_err(|error| self.suspect(error))
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
        // A node that was taken out of the Cluster knows itself alone; the others must not be forgotten for it.
        if nodes.len() > 1 || state.known.is_empty() {
            state.known.clone_from(&nodes);
        }
        drop(state);
        Ok(nodes)
    }

    /// Checks that a connection is to a server that may be used.
    pub(crate) async fn check(&self, connection: &mut impl redis::aio::ConnectionLike) -> Result<(), RedisError> {
        match &self.config.layout {
            Layout::Cluster { seeds } => {
                // Whom to go to when this node and the seeds are gone. Not to be allowed to know is no reason to stop.
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

    /// Asks a connection that was made before for a sign of life, and whether its server is still the right one.
    pub(crate) async fn look(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut pinged = connection.clone();
        let lives = async {
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
        let patience = self.config.timeouts.sign_of_life();
        timeout(patience, try_join(lives, checked)).await.map_or(Err(RedisError::Timeout), |looked| looked.map(drop))
    }
}

/// How long to leave Redis alone after so many failures: longer with each, and spread, so that the servers of a cluster do not
/// come back as one.
pub(crate) fn pause(error: &RedisError, failures: u32) -> Duration {
    let longest = if error.is_short() { SHORT_PAUSE * 2 } else { LONG_PAUSE };
    // The hasher's keys are random; nothing is hashed.
    let [random, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    (SHORT_PAUSE * 2u32.saturating_pow(failures.clamp(1, 8) - 1)).min(longest).mul_f64(0.75 + f64::from(random) / 256.0)
}

async fn subscribers_at(mut connection: Connection, channel: &str) -> Result<usize, RedisError> {
    let (_, subscribers): (String, usize) =
        cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut *connection).await?;
    Ok(subscribers)
}

/// Host and port of the nodes in an answer to CLUSTER NODES, those left out that are failed or have no address. `by_name`: the
/// host is the node's name if it announces one, as its certificate has that rather than its IP.
fn cluster_nodes(text: &str, by_name: bool) -> impl Iterator<Item = (&str, u16)> {
    text.lines().filter_map(move |line| {
        let mut fields = line.split(' ');
        let (_, address, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if flags.split(',').any(|flag| matches!(flag, "fail" | "handshake" | "noaddr")) {
            return None;
        }
        // `host:port@bus-port`, since Redis 7 `,name` may follow, and in time `,key=value`. Asked over TLS, a Cluster with
        // `tls-cluster yes` tells the ports of TLS.
        let (address, more) = address.split_once('@')?;
        let (host, port) = address.rsplit_once(':')?;
        let name = more.split(',').nth(1).filter(|name| by_name && !matches!(*name, "" | "?") && !name.contains('='));
        Some((name.unwrap_or(host), port.parse().ok()?)).filter(|(host, _): &(&str, u16)| !host.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_do_not_come_back_as_one() {
        let pauses: Vec<Duration> = (0..1_000).map(|_| pause(&RedisError::Timeout, 1)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        // That of a thousand none is in a given tenth is a chance of one in 10^45.
        assert!(
            (75..85).contains(&least.as_millis()) && (165..175).contains(&most.as_millis()),
            "{least:?} to {most:?}"
        );
    }

    #[test]
    fn the_nodes_of_a_cluster() {
        let text = "a 127.0.0.1:30004@31004,host slave e 0 1426238317239 4 connected\n\
                    b 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n\
                    c 127.0.0.1:30003@31003,c master,fail - 0 1 3 disconnected\n\
                    d :0@0 master,noaddr - 0 1 3 disconnected\n\
                    e ::1:30005@31005,,shard-id=5 myself,master - 0 0 1 connected 0-5460\n\
                    f 127.0.0.1:30006@31006,? slave e 0 0 1 connected\n\nrubbish\n";
        let nodes: Vec<_> = cluster_nodes(text, false).collect();
        assert_eq!(nodes, [("127.0.0.1", 30004), ("127.0.0.1", 30002), ("::1", 30005), ("127.0.0.1", 30006)]);
        let nodes: Vec<_> = cluster_nodes(text, true).collect();
        assert_eq!(nodes, [("host", 30004), ("127.0.0.1", 30002), ("::1", 30005), ("127.0.0.1", 30006)]);
    }
}
