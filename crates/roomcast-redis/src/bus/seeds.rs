//! The first node of a Cluster that may be used.

use crate::config::{RedisConfig, Whom};
use crate::error::RedisError;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ConnectionInfo, cmd};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A node that has not answered for so long has the next one asked beside it: one that is dead would cost all the time that a
/// connection may take.
const HEAD_START: Duration = Duration::from_millis(500);

/// What an answer says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    /// It knows others, or does not tell.
    Member,
    /// It knows no other: the whole Cluster, or one that was taken out of it and runs on.
    Alone,
}

/// The first node that answers and knows others; one that knows none only if all others are no better.
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
            // The first of the URL, whoever was quicker.
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
        let mut connection = config.connect(node, Whom::Server).await?;
        match cmd("PING").query_async::<()>(&mut connection).await.map_err(RedisError::from) {
            Ok(()) | Err(RedisError::Permission(_)) => {}
            Err(error) => return Err(error),
        }
        match cmd("CLUSTER").arg("INFO").query_async::<String>(&mut connection).await.map_err(RedisError::from) {
            Ok(text) if text.lines().any(|line| line.trim_end() == "cluster_known_nodes:1") => Ok(Node::Alone),
            Err(error) if !error.is_answer() => Err(error),
            _ => Ok(Node::Member),
        }
    };
    timeout(config.timeouts.credentials + config.timeouts.connect, ask).await.unwrap_or(Err(RedisError::Timeout))
}
