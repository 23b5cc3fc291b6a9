//! [`HeardSeries`]: what is known of one series of messages of another process, so that what did not come of it is counted.

use crate::cluster::seam::alive::SeriesReport;
use crate::cluster::seam::trailer::Trailer;
use std::time::Duration;
use tokio::time::Instant;

/// How far an announcement may be ahead of the messages that it tells of.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// One series of one process.
#[derive(Debug, Default)]
pub(crate) struct HeardSeries {
    /// The number that was told last.
    number: u64,
    /// The serial of its first message, once that was told.
    since: u64,
    /// What came of it, if it is followed here.
    heard: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Last number heard, or counted as lost.
    last: u64,
    /// The highest serial that was heard in it.
    serial: u64,
    /// The serial of the last announcement that told of it.
    alive: u64,
    /// Nothing was heard yet, and `last` was only told: a smaller number may still be on its way.
    unheard: bool,
    /// A number that was told and not heard, and since when.
    told: Option<(u64, Instant)>,
}

impl Progress {
    fn new(last: u64, unheard: bool) -> Self {
        Self { last, serial: 0, alive: 0, unheard, told: None }
    }
}

/// What a message is to its series.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InSeries {
    /// It is the next one that comes, after so many that did not.
    Next(u64),
    /// It was counted as lost, and so that the count stays true it is.
    Late,
}

impl HeardSeries {
    /// A message has come. `known`: all that its process told of its series by now is known, and the namespace was heard before
    /// that.
    pub(crate) fn heard(&mut self, trailer: &Trailer, known: bool) -> InSeries {
        let number = trailer.number;
        let heard =
            self.heard.get_or_insert_with(|| Progress::new(if known { self.number } else { number - 1 }, false));
        if heard.unheard && number <= heard.last {
            heard.last = number - 1;
        }
        let before = number <= heard.last;
        if trailer.serial < heard.serial || (before && trailer.serial < heard.alive) {
            return InSeries::Late;
        }
        if before {
            // A later message with a lower number: the namespace was closed there and opened again.
            heard.last = 0;
            heard.told = None;
        }
        heard.unheard = false;
        let missed = number - heard.last - 1;
        (heard.last, heard.serial) = (number, heard.serial.max(trailer.serial));
        InSeries::Next(missed)
    }

    /// An announcement tells its last number. `followed`: its namespace is heard here, and whether all that was told before is known.
    /// Returns how many messages are lost, and whether some may be: they must be [settled](Self::settle) later.
    pub(crate) fn told(
        &mut self,
        told: &SeriesReport,
        serial: u64,
        followed: Option<bool>,
        now: Instant,
    ) -> (u64, bool) {
        let (mut missed, mut open) = (0, false);
        if let Some(known) = followed {
            let begins_anew = self.begins_anew(told.since);
            let heard = match &mut self.heard {
                Some(heard) if begins_anew => {
                    // What was told of the last one and did not come never will.
                    missed = heard.settle(now + SETTLE);
                    (heard.last, heard.told, heard.unheard) = (0, None, false);
                    heard
                }
                Some(heard) => heard,
                none => {
                    let same = self.since == 0 || self.since == told.since;
                    let before = if same { self.number } else { 0 };
                    none.insert(Progress::new(if known { before } else { told.number }, !known))
                }
            };
            heard.alive = serial;
            if heard.told.is_none() && told.number > heard.last {
                heard.told = Some((told.number, now));
                open = true;
            }
        }
        (self.number, self.since) = (told.number, told.since);
        (missed, open)
    }

    /// Whether a series whose first message has this serial is another than the one that was heard.
    fn begins_anew(&self, since: u64) -> bool {
        let Some(heard) = &self.heard else { return false };
        let known = if self.since > 0 { since != self.since } else { heard.serial > 0 };
        known && since > heard.serial
    }

    /// Number of messages that were told [`SETTLE`] ago and that did not come.
    pub(crate) fn settle(&mut self, now: Instant) -> u64 {
        self.heard.as_mut().map_or(0, |heard| heard.settle(now))
    }

    /// Whether something was told that has not come.
    pub(crate) fn is_open(&self) -> bool {
        self.heard.as_ref().is_some_and(|heard| heard.told.is_some())
    }

    /// Its namespace is not heard here any more: what is missed of it from now on is no loss.
    pub(crate) fn unfollow(&mut self) {
        self.heard = None;
    }
}

impl Progress {
    fn settle(&mut self, now: Instant) -> u64 {
        let Some((number, since)) = self.told else { return 0 };
        if number > self.last && now.duration_since(since) < SETTLE {
            return 0;
        }
        self.told = None;
        let missed = number.saturating_sub(self.last);
        self.last = self.last.max(number);
        missed
    }
}
