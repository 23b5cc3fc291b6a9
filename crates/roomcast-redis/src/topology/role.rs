//! Whether a server can be used, judged by its answer to PING, and whether it is a primary, by its answer to ROLE.

use crate::error::RedisError;
use redis::aio::ConnectionLike;
use redis::{RedisResult, Value, cmd};

/// Whether a server says that it is a primary.
pub(crate) async fn is_primary(connection: &mut impl ConnectionLike) -> Result<bool, RedisError> {
    Ok(role(connection).await? == "master")
}

/// Refuses a replica and a Sentinel, where no Sentinel or Cluster has named the server. A server that does not tell its
/// role (a right is missing, a proxy does not know ROLE) is taken for a primary.
pub(super) async fn must_not_be_replica(connection: &mut impl ConnectionLike) -> Result<(), RedisError> {
    match role(connection).await.as_deref() {
        Ok("slave") => Err(RedisError::NotPrimary),
        Ok("sentinel") => Err(RedisError::Other(
            "this server is a Sentinel; write redis+sentinel://host:26379,host:26379/master-name in REDIS_URL"
                .to_owned(),
        )),
        Err(error) if !error.is_answer() => Err(error.clone()),
        _ => Ok(()),
    }
}

/// Whether a server that answers PING like this can be used. A server may forbid PING, or refuse it because it cannot
/// save to its disk, and pass messages on all the same.
pub(crate) fn check_ping(answer: RedisResult<()>) -> Result<(), RedisError> {
    match answer {
        Err(error) if matches!(error.code(), Some("NOPERM" | "MISCONF")) => Ok(()),
        answer => Ok(answer?),
    }
}

async fn role(connection: &mut impl ConnectionLike) -> Result<String, RedisError> {
    let role: Value = cmd("ROLE").query_async(connection).await?;
    let Value::Array(parts) = role else {
        return Err(RedisError::Other("the answer to ROLE is not a list".to_owned()));
    };
    match parts.into_iter().next() {
        Some(first) => redis::from_redis_value(first).map_err(|error| RedisError::Other(error.to_string())),
        None => Ok(String::new()),
    }
}
