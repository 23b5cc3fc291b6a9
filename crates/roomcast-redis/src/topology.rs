//! [`Topology`]: which Redis server to use now, and the pools of connections to each.

use crate::config::{Layout, RedisConfig, at};
use crate::error::RedisError;
use deadpool_redis::{Connection, Manager, Pool, Runtime};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Value, cmd};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

/// Time that a connection may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that a command may take.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that one Sentinel, or one cluster node that is asked for the others, has to answer.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections for commands, per Redis server. Questions are few; what is published has a connection of its own.
const POOL_SIZE: usize = 4;

/// The servers of one Redis, whatever its layout.
#[derive(Debug)]
pub(crate) struct Topology {
    config: RedisConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server in use; `None`: it must be looked for.
    current: Option<ConnectionInfo>,
    pools: HashMap<String, Pool>,
}

impl Topology {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self { config, state: Mutex::default() }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// The server to publish on and to subscribe to. In a Cluster that is any node: it passes messages on to all others.
    pub(crate) async fn current(&self) -> Result<ConnectionInfo, RedisError> {
        if let Some(current) = self.state.lock().current.clone() {
            return Ok(current);
        }
        let found = match &self.config.layout {
            Layout::Single(info) => info.clone(),
            Layout::Sentinel { sentinels, master, settings } => {
                let (host, port) = ask_sentinels(sentinels, master).await?;
                at(settings, &host, port).ok_or_else(|| RedisError::NoPrimary(master.clone()))?
            }
            Layout::Cluster { seeds } => first_alive(seeds).await?,
        };
        self.state.lock().current = Some(found.clone());
        Ok(found)
    }

    /// The server in use has failed: another may have taken its place.
    pub(crate) fn suspect(&self, error: &RedisError) {
        if error.asks_for_another() {
            self.state.lock().current = None;
        }
    }

    /// Whether the server in use must be a primary. In a Cluster any node passes messages on.
    fn needs_primary(&self) -> bool {
        matches!(self.config.layout, Layout::Sentinel { .. })
    }

    /// A connection from the current server's pool.
    pub(crate) async fn connection(&self) -> Result<Connection, RedisError> {
        let info = self.current().await?;
        let connection = self.connection_to(&info).await;
        if let Err(error) = &connection {
            self.suspect(error);
        }
        connection
    }

    async fn connection_to(&self, info: &ConnectionInfo) -> Result<Connection, RedisError> {
        let pool = self.pool(info)?;
        match timeout(CONNECT_TIMEOUT * 2, pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(deadpool_redis::PoolError::Backend(error))) => Err(error.into()),
            Ok(Err(deadpool_redis::PoolError::Timeout(_))) | Err(_) => Err(RedisError::Timeout),
            Ok(Err(error)) => Err(RedisError::Other(error.to_string())),
        }
    }

    fn pool(&self, info: &ConnectionInfo) -> Result<Pool, RedisError> {
        let mut state = self.state.lock();
        let address = info.addr().to_string();
        if let Some(pool) = state.pools.get(&address) {
            return Ok(pool.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let manager = Manager::new_with_config(info.clone(), config)?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::Other(error.to_string()))?;
        state.pools.insert(address, pool.clone());
        Ok(pool)
    }

    /// Subscribers of a channel, on all nodes together: each node knows only its own.
    pub(crate) async fn subscribers(&self, channel: &str) -> Result<usize, RedisError> {
        let nodes = match &self.config.layout {
            Layout::Cluster { .. } => self.nodes().await?,
            _ => vec![self.current().await?],
        };
        let mut count = 0;
        for node in nodes {
            let mut connection = self.connection_to(&node).await.inspect_err(|error| self.suspect(error))?;
            let (_, subscribers): (String, usize) = cmd("PUBSUB")
                .arg("NUMSUB")
                .arg(channel)
                .query_async(&mut connection)
                .await
                .map_err(RedisError::from)
                .inspect_err(|error| self.suspect(error))?;
            count += subscribers;
        }
        Ok(count)
    }

    /// The nodes of a Cluster that are up, replicas too: subscribers may be on any.
    async fn nodes(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let current = self.current().await?;
        let mut connection = self.connection_to(&current).await.inspect_err(|error| self.suspect(error))?;
        let text: String = cmd("CLUSTER").arg("NODES").query_async(&mut connection).await.map_err(RedisError::from)?;
        let settings = current.redis_settings();
        Ok(cluster_nodes(&text).filter_map(|(host, port)| at(settings, host, port)).collect())
    }

    /// Checks that a connection is to a server that may be used.
    pub(crate) async fn check(&self, connection: &mut impl redis::aio::ConnectionLike) -> Result<(), RedisError> {
        if !self.needs_primary() {
            return Ok(());
        }
        let role: Value = cmd("ROLE").query_async(connection).await?;
        let Value::Array(parts) = role else { return Err(RedisError::Other("ROLE has no answer".to_owned())) };
        let name: String = match parts.into_iter().next() {
            Some(first) => redis::from_redis_value(first).map_err(|error| RedisError::Other(error.to_string()))?,
            None => String::new(),
        };
        if name == "master" { Ok(()) } else { Err(RedisError::NotPrimary) }
    }
}

/// Host and port of the nodes in an answer to CLUSTER NODES, those left out that are failed or have no address.
fn cluster_nodes(text: &str) -> impl Iterator<Item = (&str, u16)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, address, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if flags.split(',').any(|flag| matches!(flag, "fail" | "fail?" | "handshake" | "noaddr")) {
            return None;
        }
        // `host:port@bus-port`, and since Redis 7 `,hostname` may follow.
        let (host, port) = address.split('@').next()?.rsplit_once(':')?;
        Some((host, port.parse().ok()?)).filter(|(host, _): &(&str, u16)| !host.is_empty())
    })
}

async fn ask_sentinels(sentinels: &[ConnectionInfo], master: &str) -> Result<(String, u16), RedisError> {
    for sentinel in sentinels {
        let ask = async {
            let client = Client::open(sentinel.clone())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            let found: Option<(String, u16)> =
                cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await?;
            redis::RedisResult::Ok(found)
        };
        match timeout(ASK_TIMEOUT, ask).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => tracing::debug!(sentinel = %sentinel.addr(), master, "this Sentinel knows no such primary"),
            Ok(Err(error)) => tracing::debug!(sentinel = %sentinel.addr(), %error, "a Sentinel cannot be asked"),
            Err(_) => tracing::debug!(sentinel = %sentinel.addr(), "a Sentinel does not answer"),
        }
    }
    Err(RedisError::NoPrimary(master.to_owned()))
}

/// The first node that answers, or one that it knows: the seeds may all have left the Cluster since.
async fn first_alive(seeds: &[ConnectionInfo]) -> Result<ConnectionInfo, RedisError> {
    let mut last = RedisError::Unreachable("no node of the Cluster is known".to_owned());
    for seed in seeds {
        let ask = async {
            let client = Client::open(seed.clone())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            cmd("PING").query_async::<()>(&mut connection).await
        };
        match timeout(ASK_TIMEOUT, ask).await {
            Ok(Ok(())) => return Ok(seed.clone()),
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = RedisError::Timeout,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_cluster() {
        let text = "a 127.0.0.1:30004@31004,host slave e 0 1426238317239 4 connected\n\
                    b 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n\
                    c 127.0.0.1:30003@31003 master,fail - 0 1 3 disconnected\n\
                    d :0@0 master,noaddr - 0 1 3 disconnected\n\
                    e ::1:30005@31005 myself,master - 0 0 1 connected 0-5460\n\nrubbish\n";
        let nodes: Vec<_> = cluster_nodes(text).collect();
        assert_eq!(nodes, [("127.0.0.1", 30004), ("127.0.0.1", 30002), ("::1", 30005)]);
    }
}
