//! [`Deadlines`]: how long an HTTP connection may take for the head of a request, for the next request, and for reading
//! an answer. It is given the time and returns when the connection is over. It moves no bytes.

use crate::limits::{IDLE_GRACE, WRITE_SHARE};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long each may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request, from the connection's start or the head's first byte.
    pub(crate) head: Duration,
    /// Between an answer and the next request.
    pub(crate) idle: Duration,
    /// For a part ([`WRITE_SHARE`]) of what waits to be written.
    pub(crate) write: Duration,
}

/// What came too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    Head,
    NextRequest,
    Reading,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "the head of a request did not come in time",
            Self::NextRequest => "no further request has come",
            Self::Reading => "the client does not read its answer",
        })
    }
}

#[derive(Debug)]
pub(crate) struct Deadlines {
    patience: Patience,
    phase: Phase,
    /// Set while the stream takes no more.
    stalled: Option<Stalled>,
}

#[derive(Debug)]
enum Phase {
    Head {
        since: Instant,
    },
    /// A request is being answered. Its body and its answer have deadlines of their own.
    Busy,
    Idle {
        since: Instant,
    },
}

#[derive(Debug)]
struct Stalled {
    since: Instant,
    /// Bytes that must still leave before the time begins again.
    goal: usize,
}

impl Deadlines {
    pub(crate) fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, phase: Phase::Head { since: now }, stalled: None }
    }

    /// Bytes have come.
    pub(crate) fn read(&mut self, now: impl FnOnce() -> Instant) {
        if let Phase::Idle { .. } = self.phase {
            self.phase = Phase::Head { since: now() };
        }
    }

    /// The head of a request is complete.
    pub(crate) fn request(&mut self) {
        self.phase = Phase::Busy;
    }

    /// The body of an answer has ended. What is still to be written of it has its own deadline.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.phase = Phase::Idle { since: now };
    }

    /// The stream takes no more, and this many bytes wait for it.
    pub(crate) fn blocked(&mut self, waiting: usize, now: impl FnOnce() -> Instant) {
        if self.stalled.is_none() {
            self.stalled = Some(Stalled { since: now(), goal: (waiting / WRITE_SHARE).max(1) });
        }
    }

    /// This many bytes have left.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        if let Some(stalled) = &mut self.stalled {
            stalled.goal = stalled.goal.saturating_sub(bytes);
        }
        self.stalled.take_if(|stalled| stalled.goal == 0);
    }

    /// When the connection is over unless something happens before, and what is late then.
    pub(crate) fn due(&self) -> Option<(Instant, Late)> {
        let Patience { head, idle, write } = self.patience;
        let of_phase = match self.phase {
            Phase::Head { since } => Some((since + head, Late::Head)),
            Phase::Busy => None,
            Phase::Idle { since } => Some((since + idle + IDLE_GRACE, Late::NextRequest)),
        };
        let of_write = self.stalled.as_ref().map(|stalled| (stalled.since + write, Late::Reading));
        [of_write, of_phase].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> (Deadlines, Instant) {
        let now = Instant::now();
        (Deadlines::new(Patience { head: 10 * SECOND, idle: 75 * SECOND, write: 20 * SECOND }, now), now)
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_on() {
        let (mut deadlines, start) = start();
        assert_eq!(deadlines.due(), Some((start + 10 * SECOND, Late::Head)));
        // Later bytes, and the first ones of a new connection, do not move it.
        deadlines.read(|| start + 3 * SECOND);
        assert_eq!(deadlines.due(), Some((start + 10 * SECOND, Late::Head)));
        deadlines.request();
        assert_eq!(deadlines.due(), None);
        deadlines.read(|| start + 4 * SECOND);
        assert_eq!(deadlines.due(), None);
        let answered = start + 30 * SECOND;
        deadlines.answered(answered);
        assert_eq!(deadlines.due(), Some((answered + 75 * SECOND + IDLE_GRACE, Late::NextRequest)));
        let next = answered + 70 * SECOND;
        deadlines.read(|| next);
        deadlines.read(|| next + SECOND);
        assert_eq!(deadlines.due(), Some((next + 10 * SECOND, Late::Head)));
    }

    #[test]
    fn an_eighth_of_what_waits_must_leave_in_time() {
        let (mut deadlines, start) = start();
        deadlines.request();
        deadlines.blocked(8_000, || start);
        let due = Some((start + 20 * SECOND, Late::Reading));
        assert_eq!(deadlines.due(), due);
        // A byte less than that does not help, nor does being blocked again.
        deadlines.wrote(500);
        deadlines.blocked(7_500, || start + SECOND);
        deadlines.wrote(499);
        assert_eq!(deadlines.due(), due);
        deadlines.wrote(1);
        assert_eq!(deadlines.due(), None);
        deadlines.blocked(7_000, || start + 2 * SECOND);
        assert_eq!(deadlines.due(), Some((start + 22 * SECOND, Late::Reading)));
        // The smallest part is a byte.
        deadlines.wrote(7_000);
        deadlines.blocked(1, || start);
        assert_eq!(deadlines.due(), due);
        deadlines.wrote(1);
        assert_eq!(deadlines.due(), None);
    }

    #[test]
    fn the_earlier_counts() {
        let (mut deadlines, start) = start();
        deadlines.answered(start);
        deadlines.blocked(1, || start);
        assert_eq!(deadlines.due(), Some((start + 20 * SECOND, Late::Reading)));
        deadlines.read(|| start + SECOND);
        assert_eq!(deadlines.due(), Some((start + 11 * SECOND, Late::Head)));
    }
}
