//! Losses between the roomcast servers of a cluster: [`Losses`] in total, and [`Lost`] by sender.

use crate::cluster::seam::ids::ServerId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Least time between two log lines about losses.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Most senders that a log line names.
const MOST_NAMED: usize = 5;

/// What was lost or doubled between the roomcast servers of a cluster, as far as this server knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Numbered messages of other roomcast processes that never arrived here.
    pub lost: u64,
    /// Numbered messages that arrived twice. The second copy was dropped.
    pub doubles: u64,
    /// Messages of this server that never went out, because the queue was full, the outage too long, or the message
    /// volatile while nothing went out. Other servers count all but the volatile ones as lost.
    pub dropped: u64,
    /// Total time in which messages of this server's namespaces did not arrive, counted when they arrive again. Where
    /// rooms have channels of their own, nothing else shows which broadcasts to single rooms were lost.
    pub interrupted: Duration,
}

/// Messages of one server that never arrived here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The server. `None` if its name is unknown, as with emitters.
    pub sender: Option<ServerId>,
    /// The number of messages.
    pub messages: u64,
}

/// A hook that is called when messages were lost.
pub(crate) type OnLost = Arc<dyn Fn(&Lost) + Send + Sync>;

/// Losses that were not reported yet, by sender.
#[derive(Debug, Default)]
pub(crate) struct UnreportedLosses(BTreeMap<Option<ServerId>, u64>);

impl UnreportedLosses {
    pub(crate) fn add(&mut self, sender: Option<&ServerId>, messages: u64) {
        let known = self.0.entry(sender.cloned()).or_default();
        *known = known.saturating_add(messages);
    }

    pub(crate) fn take(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.0).into_iter().map(|(sender, messages)| Lost { sender, messages }).collect()
    }
}

/// Writes log lines about losses, but not too often.
#[derive(Debug, Default)]
pub(crate) struct LossLog {
    unreported: UnreportedLosses,
    last_line: Option<Instant>,
}

impl LossLog {
    /// Adds losses. Returns a line for the log if it is time for one.
    pub(crate) fn lost(&mut self, lost: &[Lost], now: Instant) -> Option<String> {
        for lost in lost {
            self.unreported.add(lost.sender.as_ref(), lost.messages);
        }
        if self.unreported.0.is_empty() || self.last_line.is_some_and(|last| now.duration_since(last) < LOG_INTERVAL) {
            return None;
        }
        self.last_line = Some(now);
        Some(LossLine(self.unreported.take()).to_string())
    }
}

/// `3 of a, 1 of b and 7 of 2 others`.
struct LossLine(Vec<Lost>);

impl fmt::Display for LossLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (named, others) = self.0.split_at(MOST_NAMED.min(self.0.len()));
        for (n, lost) in named.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            match &lost.sender {
                Some(sender) => write!(f, "{comma}{} of {sender}", lost.messages)?,
                None => write!(f, "{comma}{} of emitters or servers whose names are unknown", lost.messages)?,
            }
        }
        if !others.is_empty() {
            write!(f, " and {} of {} others", others.iter().map(|lost| lost.messages).sum::<u64>(), others.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_the_senders_of_lost_messages_but_not_too_often() {
        let (mut log, begin) = (LossLog::default(), Instant::now());
        let lost = |name: &str, messages| Lost { sender: Some(name.into()), messages };
        assert_eq!(log.lost(&[], begin), None);
        assert_eq!(log.lost(&[lost("a", 3), lost("b", 1)], begin), Some("3 of a, 1 of b".to_owned()));
        let later = begin + LOG_INTERVAL;
        assert_eq!(log.lost(&[lost("a", 1)], later - Duration::from_millis(1)), None);
        let many: Vec<Lost> = (0..7).map(|n| lost(&format!("c{n}"), 2)).collect();
        let line = log.lost(&many, later).unwrap();
        assert_eq!(line, "1 of a, 2 of c0, 2 of c1, 2 of c2, 2 of c3 and 6 of 3 others");
        assert_eq!(log.lost(&[], later + LOG_INTERVAL), None);
        let nobody = Lost { sender: None, messages: 4 };
        assert_eq!(
            log.lost(&[nobody], later + LOG_INTERVAL),
            Some("4 of emitters or servers whose names are unknown".to_owned())
        );
    }
}
