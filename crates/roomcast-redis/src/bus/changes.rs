//! [`Change`]: a name to subscribe or unsubscribe; and how changes are sent to Redis, in few commands.

use super::names::Name;
use crate::error::RedisError;
use futures_util::future::join_all;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: Name,
    /// Number and key of the subscription that wants the name; `None` to unsubscribe it.
    pub(crate) wanted_by: Option<(u64, Arc<str>)>,
}

/// Sends changes, and returns Redis' answer to each in the order of `changes`. They take effect in this order: channels
/// are unsubscribed (the counted ones first), then patterns; patterns are subscribed, then channels (the counted ones
/// last).
pub(super) async fn send(connection: &MultiplexedConnection, changes: &[Change]) -> Vec<Result<(), RedisError>> {
    let mut groups = [const { Vec::new() }; 6];
    for (at, change) in changes.iter().enumerate() {
        let group = match (change.wanted_by.is_some(), change.name.is_pattern, change.name.is_counted) {
            (false, false, true) => 0,
            (false, false, false) => 1,
            (false, true, _) => 2,
            (true, true, _) => 3,
            (true, false, false) => 4,
            (true, false, true) => 5,
        };
        if let Some(group) = groups.get_mut(group) {
            group.push((at, change));
        }
    }
    // All commands are sent before the first is answered.
    let sent = join_all(groups.iter().map(|group| send_group(connection.clone(), group))).await;
    let mut answers: Vec<_> = groups.iter().flatten().map(|(at, _)| *at).zip(sent.into_iter().flatten()).collect();
    answers.sort_unstable_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Sends changes of one kind in one command. Redis refuses the whole command if it forbids one of its names: then each
/// name gets a command of its own.
async fn send_group(connection: MultiplexedConnection, group: &[(usize, &Change)]) -> Vec<Result<(), RedisError>> {
    let names: Vec<&str> = group.iter().map(|(_, change)| &*change.name.text).collect();
    let Some((_, first)) = group.first() else { return Vec::new() };
    match command(connection.clone(), first, &names).await.map_err(RedisError::from) {
        Err(RedisError::Permission(_)) if names.len() > 1 => {
            let alone = names.iter().map(|name| command(connection.clone(), first, std::slice::from_ref(name)));
            join_all(alone).await.into_iter().map(|answer| answer.map_err(RedisError::from)).collect()
        }
        answer => vec![answer; names.len()],
    }
}

async fn command(mut connection: MultiplexedConnection, like: &Change, names: &[&str]) -> RedisResult<()> {
    match (like.wanted_by.is_some(), like.name.is_pattern) {
        (true, true) => connection.psubscribe(names).await,
        (true, false) => connection.subscribe(names).await,
        (false, true) => connection.punsubscribe(names).await,
        (false, false) => connection.unsubscribe(names).await,
    }
}
