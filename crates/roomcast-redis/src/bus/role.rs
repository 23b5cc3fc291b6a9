//! Whether a server is a primary: it is asked by ROLE.

use crate::error::RedisError;
use redis::aio::ConnectionLike;
use redis::{Value, cmd};

/// Whether a server says that it is a primary.
pub(super) async fn is_primary(connection: &mut impl ConnectionLike) -> Result<bool, RedisError> {
    Ok(role(connection).await? == "master")
}

/// For a server that nobody else vouches for. One that does not tell (a right is missing, a proxy does not know the command) is taken
/// for a primary.
pub(super) async fn must_not_be_replica(connection: &mut impl ConnectionLike) -> Result<(), RedisError> {
    match role(connection).await.as_deref() {
        Ok("slave") => Err(RedisError::NotPrimary),
        Ok("sentinel") => Err(RedisError::Other(
            "this is a Sentinel: write redis+sentinel://host:26379,host:26379/master-name in REDIS_URL".to_owned(),
        )),
        Err(error) if !error.is_answer() => Err(error.clone()),
        _ => Ok(()),
    }
}

async fn role(connection: &mut impl ConnectionLike) -> Result<String, RedisError> {
    let role: Value = cmd("ROLE").query_async(connection).await?;
    let Value::Array(parts) = role else { return Err(RedisError::Other("ROLE has no answer".to_owned())) };
    match parts.into_iter().next() {
        Some(first) => redis::from_redis_value(first).map_err(|error| RedisError::Other(error.to_string())),
        None => Ok(String::new()),
    }
}
