//! [`first_alive`]: the first node of a Cluster that can be used.

use super::role::check_ping;
use crate::config::{RedisConfig, ServerKind};
use crate::error::RedisError;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ConnectionInfo, cmd};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// When a node has not answered for this long, the next one is asked as well: a dead node would otherwise cost the
/// whole connection timeout.
const HEAD_START: Duration = Duration::from_millis(500);

/// What a node says of its Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// It knows other nodes, or does not say.
    Member,
    /// It knows no other: either it is the whole Cluster, or it was taken out of the Cluster and runs on.
    Alone,
}

/// The first node that answers and knows others. A node that knows no other is returned only if there is no better one.
pub(super) async fn first_alive(
    config: &RedisConfig,
    nodes: Vec<ConnectionInfo>,
) -> Result<ConnectionInfo, RedisError> {
    let mut last = RedisError::Unreachable("no node of the Cluster is known".to_owned());
    let mut alone: Option<(usize, ConnectionInfo)> = None;
    let mut waiting = nodes.into_iter().enumerate();
    let mut asked = FuturesUnordered::new();
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some((number, node)) = next {
            asked.push(async move { (number, ask(config, &node).await, node) });
        }
        let Some((number, answer, node)) = (tokio::select! {
            answered = asked.next() => answered,
            () = sleep(HEAD_START), if more => continue,
        }) else {
            // The one that stands first in the URL, whichever answered first.
            return alone.map(|(_, node)| node).ok_or(last);
        };
        match answer {
            Ok(Node::Member) => return Ok(node),
            Ok(Node::Alone) if alone.as_ref().is_none_or(|(first, _)| number < *first) => alone = Some((number, node)),
            Ok(Node::Alone) => {}
            Err(error) => last = error,
        }
    }
}

async fn ask(config: &RedisConfig, node: &ConnectionInfo) -> Result<Node, RedisError> {
    let ask = async {
        let mut connection = config.connect(node, ServerKind::Data).await?;
        check_ping(cmd("PING").query_async(&mut connection).await)?;
        match cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await.map_err(RedisError::from) {
            Ok(text) if text.lines().any(|line| line.trim_end() == "cluster_known_nodes:1") => Ok(Node::Alone),
            Err(error) if !error.is_answer() => Err(error),
            _ => Ok(Node::Member),
        }
    };
    timeout(config.timeouts.credentials + config.timeouts.connect, ask).await.unwrap_or(Err(RedisError::Timeout))
}
