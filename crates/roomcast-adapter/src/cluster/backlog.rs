//! [`Backlog`]: the messages that wait to go out or are on their way, and what became of them.

use super::announcer::Errands;
use super::broker::{Outcome, Outgoing};
use super::numbers::Numbers;
use super::outage::Outage;
use super::trailer::Lane;
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// What a [`Queue`](super::queue::Queue) holds.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) waiting: VecDeque<Waiting>,
    /// What is with the broker now, and is not dropped: it may have gone out.
    pub(super) in_flight: Vec<Waiting>,
    /// Bytes of answers, and of everything else: neither pushes the other out.
    pub(super) bytes: [usize; 2],
    pub(super) numbers: Numbers,
    /// Messages that never went out.
    pub(super) dropped: u64,
    /// The last attempt to publish failed.
    pub(super) down: bool,
    /// This server hears the others' announcements, so that it is among those that do.
    pub(super) hears: bool,
    /// It heard them until a moment ago: since when it does not, and how many others there were then.
    pub(super) interrupted: Option<Outage>,
    /// What other servers are to be told beside announcements.
    pub(super) errands: Errands,
    /// It has said hello.
    pub(super) introduced: bool,
    /// There is something that other servers should know soon.
    pub(super) news: bool,
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) outgoing: Outgoing,
    pub(super) lane: Option<Lane>,
    pub(super) since: Instant,
    pub(super) size: usize,
    /// Set when it may have gone out twice.
    pub(super) again: Option<Arc<AtomicBool>>,
}

impl Waiting {
    /// Its place in [`Backlog::bytes`].
    pub(super) fn class(&self) -> usize {
        usize::from(self.outgoing.message.body.answers().is_none())
    }
}

/// The reason if a broker tells nothing of a message.
pub(super) const NOT_TRIED: &str = "the broker did not come to it";

impl Backlog {
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn add(&mut self, class: usize, size: usize) {
        if let Some(bytes) = self.bytes.get_mut(class) {
            *bytes = bytes.saturating_add(size);
        }
    }

    /// A message leaves the queue, in one way or another.
    pub(super) fn settle(&mut self, waiting: &Waiting) {
        if let Some(bytes) = self.bytes.get_mut(waiting.class()) {
            *bytes = bytes.saturating_sub(waiting.size);
        }
        let Outgoing { namespace, message } = &waiting.outgoing;
        if let (Some(lane), Some(trailer)) = (waiting.lane, &message.trailer) {
            self.numbers.settle(namespace, lane, trailer.number);
        }
    }

    /// Drops the oldest of a class until the rest fits. The newest stays: it may be larger than the bound, if it waits alone.
    pub(super) fn make_room(&mut self, class: usize, bound: usize) {
        while self.bytes.get(class).is_some_and(|bytes| *bytes > bound) {
            let oldest = self.waiting.iter().position(|waiting| waiting.class() == class);
            let Some(oldest) = oldest.filter(|oldest| oldest + 1 < self.waiting.len()) else { return };
            let dropped = self.waiting.remove(oldest);
            dropped.into_iter().for_each(|dropped| self.lose(&dropped, "full"));
        }
    }

    /// What became of the messages in flight, in their order; those that are missing at the end were not tried. What may go
    /// out yet waits again, in front; the reason why it has to is returned.
    pub(super) fn published(&mut self, outcomes: Vec<Outcome>) -> Option<String> {
        let flown = std::mem::take(&mut self.in_flight);
        if outcomes.len() >= flown.len() && outcomes.iter().all(|outcome| *outcome == Outcome::Sent) {
            // As nearly always.
            flown.iter().for_each(|waiting| self.settle(waiting));
            self.down = false;
            return None;
        }
        let not_tried = || Outcome::Again(NOT_TRIED.to_owned());
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(not_tried));
        let (mut failure, mut refused) = (None, (0_u64, String::new()));
        // From the last to the first: what stands behind a message of its series in the batch and went out must not be overtaken
        // by it.
        let mut both: Vec<(Waiting, Outcome)> = flown.into_iter().zip(outcomes).collect();
        let mut sent: HashSet<(Arc<str>, Option<Lane>), RandomState> = HashSet::default();
        while let Some((mut waiting, outcome)) = both.pop() {
            let series = (waiting.outgoing.namespace.clone(), waiting.lane);
            match outcome {
                Outcome::Sent => {
                    self.settle(&waiting);
                    sent.insert(series);
                }
                Outcome::Never(reason) => {
                    refused = (refused.0 + 1, reason);
                    self.lose(&waiting, "refused");
                }
                Outcome::Again(_) if sent.contains(&series) => self.lose(&waiting, "overtaken"),
                Outcome::Again(reason) => {
                    failure = Some(reason);
                    if let Some(again) = &waiting.again {
                        again.store(true, Ordering::Relaxed);
                    }
                    if let Some(trailer) = &mut waiting.outgoing.message.trailer {
                        // It may have gone out.
                        trailer.again = true;
                    }
                    self.waiting.push_front(waiting);
                }
            }
        }
        if let (messages @ 1.., reason) = refused {
            tracing::error!(messages, reason, "messages for the other servers were refused and are dropped");
        }
        self.down = failure.is_some();
        failure
    }

    pub(super) fn lose(&mut self, waiting: &Waiting, why: &'static str) {
        self.settle(waiting);
        // An answer that is lost is told by its absence; only what is in a series is missed by others.
        self.dropped += u64::from(waiting.lane.is_some());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
    }
}
