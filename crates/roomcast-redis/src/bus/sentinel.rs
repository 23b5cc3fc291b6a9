//! Asks Sentinels for the primary.

use super::role::is_primary;
use super::votes::{Address, Decision, Doubt, Shown, Votes};
use crate::config::{RedisConfig, Whom};
use crate::error::RedisError;
use crate::layout::at;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::{ConnectionInfo, cmd};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// While the primary is looked at, Sentinels are asked again so often: it may be frozen, and soon replaced.
const MEANWHILE: Duration = Duration::from_secs(1);

/// The primary, as more than half of the configured Sentinels have it, if it says itself that it is one. If it does not answer, no
/// other is taken for it: a minority that names another one is behind, and one that is cut off stays behind.
pub(super) async fn primary(
    config: &RedisConfig,
    sentinels: &[ConnectionInfo],
    master: &str,
    server: &ConnectionInfo,
) -> Result<ConnectionInfo, RedisError> {
    let mut address = agreed(config, sentinels, master).await?;
    loop {
        let info = at(server, &address.0, address.1);
        let other = async {
            loop {
                sleep(MEANWHILE).await;
                match agreed(config, sentinels, master).await {
                    Ok(other) if other != address => return other,
                    _ => {}
                }
            }
        };
        let other = tokio::select! {
            looked = look(config, &info) => return looked.map(|()| info),
            other = other => other,
        };
        tracing::debug!(from = %Shown(&address), to = %Shown(&other), "Sentinels name another primary by now");
        address = other;
    }
}

async fn look(config: &RedisConfig, server: &ConnectionInfo) -> Result<(), RedisError> {
    let look = async {
        let mut connection = config.connect(server, Whom::Server).await?;
        if is_primary(&mut connection).await? { Ok(()) } else { Err(RedisError::NotPrimary) }
    };
    let patience = config.timeouts.credentials + config.timeouts.connect;
    timeout(patience, look).await.unwrap_or(Err(RedisError::Timeout))
}

/// The address that more than half of the configured Sentinels name; as soon as that is so.
async fn agreed(config: &RedisConfig, sentinels: &[ConnectionInfo], master: &str) -> Result<Address, RedisError> {
    let round = Round::ask(config, sentinels, master, false).await;
    match round.votes.decision() {
        Decision::Primary(address) => {
            for (sentinel, error) in round.failed() {
                // It will be missed when others are down.
                tracing::warn!(sentinel, %error, "a Sentinel cannot be asked; others could");
            }
            Ok(address.clone())
        }
        _ => Err(round.nobody_tells(master)),
    }
}

/// Looks from time to time whether the server in use is still the one that Sentinels name.
pub(super) struct Watch {
    doubt: Doubt,
    /// Those that could not be asked, as the log has it.
    failed: Vec<String>,
}

impl Watch {
    pub(super) fn new(used: Address) -> Self {
        Self { doubt: Doubt::new(used), failed: Vec::new() }
    }

    /// Asks all. Tells who has taken the place of the server in use.
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
                tracing::warn!(sentinel, %error, "a Sentinel cannot be asked; it will be missed when the primary must be found");
            }
            self.failed = failed;
        }
        self.doubt.asked(round.votes.decision()).map(|by| Shown(by).to_string())
    }
}

/// What each Sentinel said.
struct Round {
    votes: Votes,
    answers: Vec<(String, Result<Option<Address>, RedisError>)>,
}

impl Round {
    /// `all`: waits for those too that change nothing any more.
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

    /// What to tell when there is no majority: who refuses us is an answer, and what the others say is not the reason.
    fn nobody_tells(self, master: &str) -> RedisError {
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
    let mut connection = config.connect(sentinel, Whom::Sentinel).await?;
    Ok(cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await?)
}
