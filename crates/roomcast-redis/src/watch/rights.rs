//! [`Rights`]: which questions Redis refuses. A refused one is told once, and is tried again only after a while, because
//! Redis writes each refusal into its own log (ACL LOG).

use crate::error::RedisError;
use crate::limits::WATCH_REPEAT;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A question about the state of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Info,
    Clients,
    BufferLimits,
}

impl Question {
    fn command(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Clients => "CLIENT LIST ID",
            Self::BufferLimits => "CONFIG GET",
        }
    }

    /// The right to it, as ACL SETUSER takes it.
    fn right(self) -> &'static str {
        match self {
            Self::Info => "+info",
            Self::Clients => "+client|list",
            Self::BufferLimits => "+config|get",
        }
    }

    fn consequence(self) -> &'static str {
        match self {
            Self::Info => "memory, clients and replication of Redis are not watched",
            Self::Clients => "it is not known how much waits in Redis for this server",
            Self::BufferLimits => {
                "Redis' defaults are assumed for the limits of what may wait for this server (32mb 8mb 60)"
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rights {
    /// When each question was refused last.
    refused: BTreeMap<Question, Instant>,
}

impl Rights {
    pub(super) fn may_ask(&self, question: Question, now: Instant) -> bool {
        self.refused.get(&question).is_none_or(|at| now.saturating_duration_since(*at) >= WATCH_REPEAT)
    }

    /// A question was answered. Returns whether it was refused before.
    pub(super) fn answered(&mut self, question: Question) -> bool {
        self.refused.remove(&question).is_some()
    }

    /// A question was refused. Returns what to tell about it: nothing if it was told before.
    pub(super) fn refused(&mut self, question: Question, error: &RedisError, now: Instant) -> Option<String> {
        let is_first = self.refused.insert(question, now).is_none();
        let (command, consequence) = (question.command(), question.consequence());
        is_first.then(|| match error {
            RedisError::Permission(_) => format!(
                "Redis forbids {command}, so {consequence}. Everything else works; to allow it: ACL SETUSER <user> {}",
                question.right()
            ),
            _ => format!("Redis does not answer {command} ({error}), so {consequence}. Everything else works"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_missing_right_is_told_once_and_tried_again_after_a_while() {
        let (mut rights, now) = (Rights::default(), Instant::now());
        let forbidden = RedisError::Permission("no permissions to run the 'info' command".to_owned());
        assert!(rights.may_ask(Question::Info, now));
        let told = rights.refused(Question::Info, &forbidden, now).unwrap();
        assert!(told.contains("forbids INFO") && told.contains("ACL SETUSER <user> +info"), "{told}");
        assert!(!rights.may_ask(Question::Info, now + WATCH_REPEAT - Duration::from_millis(1)));
        assert!(rights.may_ask(Question::Info, now + WATCH_REPEAT));
        assert!(rights.may_ask(Question::Clients, now), "each by itself");
        assert_eq!(rights.refused(Question::Info, &forbidden, now + WATCH_REPEAT), None);
        assert!(!rights.may_ask(Question::Info, now + WATCH_REPEAT));
        assert!(rights.answered(Question::Info) && rights.may_ask(Question::Info, now));
        assert!(!rights.answered(Question::Info));
        assert!(rights.refused(Question::Info, &forbidden, now).is_some(), "it was taken away again");
    }

    /// As on managed servers.
    #[test]
    fn a_command_that_redis_does_not_have() {
        let unknown = RedisError::Other("ERR unknown command 'CONFIG'".to_owned());
        let told = Rights::default().refused(Question::BufferLimits, &unknown, Instant::now()).unwrap();
        assert!(told.contains("unknown command") && !told.contains("ACL"), "{told}");
    }
}
