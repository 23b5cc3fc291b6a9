//! Asks Sentinels for the primary.

use super::topology::{ASK_TIMEOUT, is_primary};
use crate::config::at;
use crate::error::RedisError;
use redis::{Client, ConnectionInfo, cmd};
use tokio::time::timeout;

type Address = (String, u16);

/// The primary, as most Sentinels have it, if it is one: in a failover some are behind, and one that is cut off stays behind.
pub(crate) async fn primary(
    sentinels: &[ConnectionInfo],
    master: &str,
    server: &ConnectionInfo,
) -> Result<ConnectionInfo, RedisError> {
    let asked = sentinels.iter().map(|sentinel| async {
        let answer = timeout(ASK_TIMEOUT, ask(sentinel, master)).await.unwrap_or(Err(RedisError::Timeout));
        (sentinel.addr().to_string(), answer)
    });
    let answers = futures_util::future::join_all(asked).await;
    let mut votes: Vec<(&Address, usize)> = Vec::new();
    for found in answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref()) {
        match votes.iter_mut().find(|(address, _)| *address == found) {
            Some((_, votes)) => *votes += 1,
            None => votes.push((found, 1)),
        }
    }
    votes.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
    let Some(mut last) = (!votes.is_empty()).then_some(RedisError::NotPrimary) else {
        return Err(nobody_tells(master, answers));
    };
    for ((host, port), _) in &votes {
        let info = at(server, host, *port);
        let ask = async {
            let mut connection = Client::open(info.clone())?.get_multiplexed_async_connection().await?;
            is_primary(&mut connection).await
        };
        match timeout(ASK_TIMEOUT, ask).await.unwrap_or(Err(RedisError::Timeout)) {
            Ok(true) => {
                for (sentinel, error) in answers.iter().filter_map(|(it, answer)| Some((it, answer.as_ref().err()?))) {
                    // It will be missed when the others are down.
                    tracing::warn!(sentinel, %error, "a Sentinel cannot be asked; others could");
                }
                return Ok(info);
            }
            Ok(false) => last = RedisError::NotPrimary,
            // The operator must read this one, and it is the same on all.
            Err(error @ (RedisError::Auth(_) | RedisError::Permission(_) | RedisError::Tls(_))) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What to tell when no Sentinel has named a primary: who refuses us is an answer, and what the others say is not the reason.
fn nobody_tells(master: &str, answers: Vec<(String, Result<Option<Address>, RedisError>)>) -> RedisError {
    let refuses = |error: &RedisError| matches!(error, RedisError::Auth(_) | RedisError::Permission(_));
    let refused = answers.iter().any(|(_, answer)| answer.as_ref().is_err_and(refuses));
    let mut said = Vec::new();
    for (sentinel, answer) in answers {
        match answer {
            Err(RedisError::Auth(text) | RedisError::Permission(text)) => said.push(format!("{sentinel}: {text}")),
            Err(error) if !refused => said.push(format!("{sentinel}: {error}")),
            Ok(_) if !refused => said.push(format!("{sentinel}: knows no such primary")),
            _ => {}
        }
    }
    let said = said.join("; ");
    if refused { RedisError::SentinelAuth(said) } else { RedisError::NoPrimary { master: master.to_owned(), said } }
}

async fn ask(sentinel: &ConnectionInfo, master: &str) -> Result<Option<Address>, RedisError> {
    let mut connection = Client::open(sentinel.clone())?.get_multiplexed_async_connection().await?;
    Ok(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await?)
}
