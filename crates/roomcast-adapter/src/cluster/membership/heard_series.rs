//! [`HeardSeries`]: one series of another process, of which messages that did not arrive are counted.

use crate::cluster::seam::alive::SeriesReport;
use crate::cluster::seam::trailer::Trailer;
use std::time::Duration;
use tokio::time::Instant;

/// How far an announcement may be ahead of the messages that it is about.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// One series of another process.
#[derive(Debug, Default)]
pub(crate) struct HeardSeries {
    /// The number that was announced last.
    announced: u64,
    /// The serial of its first message, once announced.
    since: u64,
    /// What has arrived of it, if it is followed here.
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// The last number that has arrived or was counted as lost.
    last: u64,
    /// The highest serial that has arrived.
    serial: u64,
    /// The serial of the last announcement about it.
    last_announcement: u64,
    /// No message has arrived yet, and `last` was only announced: smaller numbers may still be in flight.
    only_announced: bool,
    /// A number that was announced but has not arrived, and since when.
    awaited: Option<(u64, Instant)>,
}

impl Progress {
    fn new(last: u64, only_announced: bool) -> Self {
        Self { last, serial: 0, last_announcement: 0, only_announced, awaited: None }
    }
}

/// Where a message stands in its series.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InSeries {
    /// It is next, after this many messages that did not arrive.
    Next(u64),
    /// It was already counted as lost. It is dropped, so that the count stays true.
    Late,
}

impl HeardSeries {
    /// Takes a message. `known`: everything announced about its process's series was known while the namespace was
    /// open.
    pub(crate) fn message_arrived(&mut self, trailer: &Trailer, known: bool) -> InSeries {
        let number = trailer.number;
        let progress =
            self.progress.get_or_insert_with(|| Progress::new(if known { self.announced } else { number - 1 }, false));
        if progress.only_announced && number <= progress.last {
            progress.last = number - 1;
        }
        let before = number <= progress.last;
        if trailer.serial < progress.serial || (before && trailer.serial < progress.last_announcement) {
            return InSeries::Late;
        }
        if before {
            // A later message with a lower number: its server has closed the namespace and opened it again.
            progress.last = 0;
            progress.awaited = None;
        }
        progress.only_announced = false;
        let missed = number - progress.last - 1;
        (progress.last, progress.serial) = (number, progress.serial.max(trailer.serial));
        InSeries::Next(missed)
    }

    /// Takes an announcement of its last number. `followed` is `Some` if the series is followed here, and then says
    /// whether everything announced before is known. Returns how many messages were lost, and whether more may have
    /// been: [`settle`](Self::settle) decides these later.
    pub(crate) fn announced(
        &mut self,
        report: &SeriesReport,
        serial: u64,
        followed: Option<bool>,
        now: Instant,
    ) -> (u64, bool) {
        let (mut missed, mut open) = (0, false);
        if let Some(known) = followed {
            let begins_anew = self.begins_anew(report.since);
            let progress = match &mut self.progress {
                Some(progress) if begins_anew => {
                    // Announced messages of the old series that have not arrived never will.
                    missed = progress.settle(now + SETTLE);
                    (progress.last, progress.awaited, progress.only_announced) = (0, None, false);
                    progress
                }
                Some(progress) => progress,
                none => {
                    let same = self.since == 0 || self.since == report.since;
                    let before = if same { self.announced } else { 0 };
                    none.insert(Progress::new(if known { before } else { report.number }, !known))
                }
            };
            progress.last_announcement = serial;
            if progress.awaited.is_none() && report.number > progress.last {
                progress.awaited = Some((report.number, now));
                open = true;
            }
        }
        (self.announced, self.since) = (report.number, report.since);
        (missed, open)
    }

    /// Whether the series whose first message has this serial is not the one followed so far.
    fn begins_anew(&self, since: u64) -> bool {
        let Some(progress) = &self.progress else { return false };
        let known = if self.since > 0 { since != self.since } else { progress.serial > 0 };
        known && since > progress.serial
    }

    /// The number of messages that were announced [`SETTLE`] ago and have not arrived.
    pub(crate) fn settle(&mut self, now: Instant) -> u64 {
        self.progress.as_mut().map_or(0, |progress| progress.settle(now))
    }

    /// Whether an announced message has not arrived.
    pub(crate) fn is_open(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.awaited.is_some())
    }

    /// Its namespace was closed here: messages that do not arrive from now on are not losses.
    pub(crate) fn unfollow(&mut self) {
        self.progress = None;
    }
}

impl Progress {
    fn settle(&mut self, now: Instant) -> u64 {
        let Some((number, since)) = self.awaited else { return 0 };
        if number > self.last && now.duration_since(since) < SETTLE {
            return 0;
        }
        self.awaited = None;
        let missed = number.saturating_sub(self.last);
        self.last = self.last.max(number);
        missed
    }
}
