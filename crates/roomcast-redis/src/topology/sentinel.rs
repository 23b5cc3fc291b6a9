//! Asks the Sentinels for the primary, and whether it is still the one in use.

use super::role::is_primary;
use super::votes::{Address, Decision, Replacement, Shown, Votes};
use crate::config::layout::at;
use crate::config::{RedisConfig, ServerKind};
use crate::error::RedisError;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ConnectionInfo, cmd};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often the Sentinels are asked again while the primary is being checked: it may be frozen, and soon replaced.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The primary that more than half of the configured Sentinels name, if it says itself that it is one. If it does not
/// answer, no other is taken in its place: a minority that names another one is behind, and a minority that is cut off
/// stays behind.
pub(super) async fn primary(
    config: &RedisConfig,
    sentinels: &[ConnectionInfo],
    master: &str,
    server: &ConnectionInfo,
) -> Result<ConnectionInfo, RedisError> {
    let mut address = majority(config, sentinels, master).await?;
    loop {
        let info = at(server, &address.0, address.1);
        let other = async {
            loop {
                sleep(ASK_AGAIN).await;
                match majority(config, sentinels, master).await {
                    Ok(other) if other != address => return other,
                    _ => {}
                }
            }
        };
        let other = tokio::select! {
            checked = check_primary(config, &info) => return checked.map(|()| info),
            other = other => other,
        };
        tracing::debug!(from = %Shown(&address), to = %Shown(&other), "the Sentinels now name another primary");
        address = other;
    }
}

async fn check_primary(config: &RedisConfig, server: &ConnectionInfo) -> Result<(), RedisError> {
    let check = async {
        let mut connection = config.connect(server, ServerKind::Data).await?;
        if is_primary(&mut connection).await? { Ok(()) } else { Err(RedisError::NotPrimary) }
    };
    let patience = config.timeouts.credentials + config.timeouts.connect;
    timeout(patience, check).await.unwrap_or(Err(RedisError::Timeout))
}

/// The address that more than half of the configured Sentinels name, as soon as they have.
async fn majority(config: &RedisConfig, sentinels: &[ConnectionInfo], master: &str) -> Result<Address, RedisError> {
    let round = Round::ask(config, sentinels, master, false).await;
    match round.votes.decision() {
        Decision::Primary(address) => {
            for (sentinel, error) in round.failed() {
                // It will be missed when others are down.
                tracing::warn!(sentinel, %error, "a Sentinel cannot be asked; the others have named the primary without it");
            }
            Ok(address.clone())
        }
        _ => Err(round.into_error(master)),
    }
}

/// Checks from time to time whether the Sentinels still name the server in use.
pub(super) struct Watch {
    replacement: Replacement,
    /// The Sentinels that could not be asked in the last round; the log has said so.
    failed: Vec<String>,
}

impl Watch {
    pub(super) fn new(used: Address) -> Self {
        Self { replacement: Replacement::new(used), failed: Vec::new() }
    }

    /// Asks all Sentinels. Returns the new primary if the one in use has been replaced.
    pub(super) async fn ask(
        &mut self,
        config: &RedisConfig,
        sentinels: &[ConnectionInfo],
        master: &str,
    ) -> Option<String> {
        let round = Round::ask(config, sentinels, master, true).await;
        let failed: Vec<String> = round.failed().map(|(sentinel, _)| sentinel.to_owned()).collect();
        if failed != self.failed {
            for (sentinel, error) in round.failed().filter(|(sentinel, _)| !self.failed.iter().any(|it| it == sentinel))
            {
                tracing::warn!(sentinel, %error, "a Sentinel cannot be asked; its vote will be missing at the next failover");
            }
            self.failed = failed;
        }
        self.replacement.after_round(round.votes.decision()).map(|by| Shown(by).to_string())
    }
}

/// One question to every Sentinel, and their answers.
struct Round {
    votes: Votes,
    answers: Vec<(String, Result<Option<Address>, RedisError>)>,
}

impl Round {
    /// `all`: waits also for the answers that can no longer change the decision.
    async fn ask(config: &RedisConfig, sentinels: &[ConnectionInfo], master: &str, all: bool) -> Self {
        let patience = config.timeouts.sentinel;
        let mut asked: FuturesUnordered<_> = sentinels
            .iter()
            .enumerate()
            .map(|(number, sentinel)| async move {
                let answer = timeout(patience, ask(config, sentinel, master)).await;
                (number, sentinel.addr().to_string(), answer.unwrap_or(Err(RedisError::Timeout)))
            })
            .collect();
        let mut round = Self { votes: Votes::new(sentinels.len()), answers: Vec::new() };
        while let Some((number, sentinel, answer)) = asked.next().await {
            round.votes.add(number, answer.as_ref().ok().cloned().flatten());
            round.answers.push((sentinel, answer));
            if !all && matches!(round.votes.decision(), Decision::Primary(_)) {
                break;
            }
        }
        round
    }

    fn failed(&self) -> impl Iterator<Item = (&str, &RedisError)> {
        self.answers.iter().filter_map(|(sentinel, answer)| Some((&**sentinel, answer.as_ref().err()?)))
    }

    /// The error when there is no majority. If a Sentinel refuses our login, that is the reason, and what the others
    /// said is left out.
    fn into_error(self, master: &str) -> RedisError {
        let refuses = |error: &RedisError| matches!(error, RedisError::Auth(_) | RedisError::Permission(_));
        let refused = self.failed().any(|(_, error)| refuses(error));
        let mut said = Vec::new();
        for (sentinel, answer) in self.answers {
            match answer {
                Err(RedisError::Auth(text) | RedisError::Permission(text)) => said.push(format!("{sentinel}: {text}")),
                Err(error) if !refused => said.push(format!("{sentinel}: {error}")),
                Ok(None) if !refused => said.push(format!("{sentinel}: knows no such primary")),
                Ok(Some(address)) if !refused => said.push(format!("{sentinel}: names {}", Shown(&address))),
                _ => {}
            }
        }
        let said = said.join("; ");
        if refused { RedisError::SentinelAuth(said) } else { RedisError::NoPrimary { master: master.to_owned(), said } }
    }
}

async fn ask(config: &RedisConfig, sentinel: &ConnectionInfo, master: &str) -> Result<Option<Address>, RedisError> {
    let mut connection = config.connect(sentinel, ServerKind::Sentinel).await?;
    Ok(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await?)
}
