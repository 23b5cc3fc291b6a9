//! [`Backlog`]: the messages that wait to go out or are on their way, and what became of them.

use crate::cluster::seam::broker::{Outcome, Outgoing};
use crate::cluster::seam::series::Series;
use crate::cluster::seam::window::WINDOW;
use crate::cluster::sending::notices::Notices;
use crate::cluster::sending::numbers::Numbers;
use crate::cluster::sending::outage::Outage;
use crate::cluster::sending::queued::QueuedMessage;
use crate::cluster::sending::road::{Pins, Road};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// What a [`Queue`](super::queue::Queue) holds.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Those on which something waits or has failed.
    pub(crate) roads: BTreeMap<u64, Road>,
    pins: Pins,
    serials: HighestSerials,
    /// Bytes of answers, and of everything else: neither pushes the other out.
    pub(crate) bytes: [usize; 2],
    pub(crate) numbers: Numbers,
    /// Messages that never went out.
    pub(crate) dropped: u64,
    /// What is to be told to those whose answers were dropped.
    pub(crate) refused: Vec<Outgoing>,
    /// This server hears the others' announcements, so that it is among those that do.
    pub(crate) hears: bool,
    /// It heard them until a moment ago: since when it does not, and how many others there were then.
    pub(crate) interrupted: Option<Outage>,
    /// What other servers are to be told beside announcements.
    pub(crate) notices: Notices,
    /// It has said hello.
    pub(crate) introduced: bool,
    /// There is something that other servers should know soon.
    pub(crate) news: bool,
    pub(crate) closing: bool,
}

/// The reason if a broker tells nothing of a message.
pub(crate) const NOT_TRIED: &str = "the broker did not come to it";

/// The highest serials that the broker was given by two roads: how far the others are ahead of one.
#[derive(Debug, Default)]
struct HighestSerials {
    first: (u64, u64),
    second: u64,
}

impl HighestSerials {
    /// A road gives the broker a message.
    fn add(&mut self, road: u64, serial: u64) {
        if road == self.first.0 {
            self.first.1 = self.first.1.max(serial);
        } else if serial > self.first.1 {
            self.second = self.first.1;
            self.first = (road, serial);
        } else {
            self.second = self.second.max(serial);
        }
    }

    /// The highest serial of the other roads.
    fn besides(&self, road: u64) -> u64 {
        if road == self.first.0 { self.second } else { self.first.1 }
    }
}

impl Backlog {
    pub(crate) fn is_done(&self) -> bool {
        self.closing && self.len() == 0
    }

    /// Messages that have not gone out.
    pub(crate) fn len(&self) -> usize {
        self.roads.values().map(Road::len).sum()
    }

    /// Whether what this server emits goes out, as far as it knows.
    pub(crate) fn publishes(&self) -> bool {
        self.introduced && self.roads.values().all(|road| !road.down)
    }

    /// Whether what takes this road does not go out.
    pub(crate) fn is_down(&self, road: u64) -> bool {
        self.roads.get(&road).is_some_and(|road| road.down)
    }

    /// An announcement went out, or did not.
    pub(crate) fn told(&mut self, road: u64, went_out: bool) {
        match self.roads.get_mut(&road) {
            Some(road) => road.down = !went_out,
            None if went_out => {}
            None => self.roads.entry(road).or_default().down = true,
        }
    }

    /// A message joins the queue.
    pub(crate) fn push(&mut self, mut waiting: QueuedMessage) {
        waiting.route = self.pins.add(waiting.route);
        if let Some(bytes) = self.bytes.get_mut(waiting.class()) {
            *bytes = bytes.saturating_add(waiting.size);
        }
        self.roads.entry(waiting.route.road).or_default().waiting.push_back(waiting);
    }

    /// A message leaves the queue, in one way or another.
    pub(crate) fn settle(&mut self, waiting: &QueuedMessage) {
        if let Some(bytes) = self.bytes.get_mut(waiting.class()) {
            *bytes = bytes.saturating_sub(waiting.size);
        }
        self.pins.remove(waiting.route);
        let Outgoing { namespace, message } = &waiting.outgoing;
        if let (Some(series), Some(trailer)) = (waiting.series, &message.trailer) {
            self.numbers.settle(namespace, series, trailer.number);
        }
    }

    /// Drops the oldest of a class until the rest fits. The newest stays: it may be larger than the bound, if it waits alone.
    pub(crate) fn make_room(&mut self, class: usize, bound: usize) {
        while self.bytes.get(class).is_some_and(|bytes| *bytes > bound) {
            let oldest = |(road, it): (&u64, &Road)| {
                let place = it.waiting.iter().position(|waiting| waiting.class() == class)?;
                Some((it.waiting.get(place)?.serial(), *road, place))
            };
            let Some((serial, road, place)) = self.roads.iter().filter_map(oldest).min() else { return };
            let newest = self.roads.values().filter_map(|road| road.waiting.back()).map(QueuedMessage::serial).max();
            if newest == Some(serial) {
                return;
            }
            let dropped = self.roads.get_mut(&road).and_then(|road| road.waiting.remove(place));
            dropped.into_iter().for_each(|dropped| self.lose(&dropped, "full"));
        }
    }

    /// The next batch of a road: it is with the broker from now on.
    pub(crate) fn next_batch(&mut self, road: u64, messages: usize, most: usize) -> Vec<Outgoing> {
        let (mut batch, mut bytes, ahead) = (Vec::new(), 0, self.serials.besides(road));
        let mut late = Vec::new();
        let Some(it) = self.roads.get_mut(&road) else { return batch };
        while let Some(waiting) = it.waiting.front() {
            bytes += waiting.size;
            if batch.len() >= messages || (bytes > most && !batch.is_empty()) {
                break;
            }
            let Some(waiting) = it.waiting.pop_front() else { break };
            // It may have gone out, and so many have since by other roads that receivers do not remember whether it came: they would
            // take it for a double.
            if waiting.may_have_gone_out() && waiting.serial() + WINDOW / 2 <= ahead {
                late.push(waiting);
                continue;
            }
            self.serials.add(road, waiting.serial());
            batch.push(waiting.outgoing.clone());
            it.in_flight.push(waiting);
        }
        late.iter().for_each(|late| self.lose(late, "overtaken"));
        batch
    }

    /// What became of a road's messages in flight, in their order; those that are missing at the end were not tried. What may go
    /// out yet waits again, in front; the reason why it has to is returned.
    pub(crate) fn published(&mut self, road: u64, outcomes: Vec<Outcome>) -> Option<String> {
        let it = self.roads.get_mut(&road)?;
        let flown = std::mem::take(&mut it.in_flight);
        if outcomes.len() >= flown.len() && outcomes.iter().all(|outcome| *outcome == Outcome::Sent) {
            // As nearly always.
            it.down = false;
            flown.iter().for_each(|waiting| self.settle(waiting));
            return None;
        }
        let not_tried = || Outcome::Again(NOT_TRIED.to_owned());
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(not_tried));
        let (mut failure, mut refused) = (None, (0_u64, String::new()));
        // From the last to the first: what stands behind a message of its channel and series in the batch and went out must not be
        // overtaken by it.
        let mut both: Vec<(QueuedMessage, Outcome)> = flown.into_iter().zip(outcomes).collect();
        let mut sent: HashSet<(Arc<str>, Option<Series>, u64), RandomState> = HashSet::default();
        let mut waits = Vec::new();
        while let Some((mut waiting, outcome)) = both.pop() {
            let series = (waiting.outgoing.namespace.clone(), waiting.series, waiting.route.channel);
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
                    waits.push(waiting);
                }
            }
        }
        if let Some(it) = self.roads.get_mut(&road) {
            waits.into_iter().for_each(|waiting| it.waiting.push_front(waiting));
            it.down = failure.is_some();
        }
        if let (messages @ 1.., reason) = refused {
            tracing::error!(messages, reason, "messages for the other servers were refused and are dropped");
        }
        failure
    }

    /// Messages of a road that are older than they may be are lost.
    pub(crate) fn drop_old(&mut self, road: u64, now: Instant, most: Duration) {
        let is_old = |waiting: &QueuedMessage| now.duration_since(waiting.since) > most;
        while let Some(it) = self.roads.get_mut(&road)
            && it.waiting.front().is_some_and(is_old)
        {
            let old = it.waiting.pop_front();
            old.into_iter().for_each(|old| self.lose(&old, "old"));
        }
    }

    /// All that waits on a road is lost.
    pub(crate) fn drop_all(&mut self, road: u64, why: &'static str) {
        let waiting = self.roads.get_mut(&road).map(|road| std::mem::take(&mut road.waiting));
        waiting.iter().flatten().for_each(|waiting| self.lose(waiting, why));
    }

    pub(crate) fn lose(&mut self, waiting: &QueuedMessage, why: &'static str) {
        self.settle(waiting);
        // An answer that is lost is told by its absence; only what is in a series is missed by others.
        self.dropped += u64::from(waiting.series.is_some());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
        self.refused.extend(waiting.refusal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::seam::broker::Route;
    use crate::cluster::seam::message::{Body, Message};
    use crate::seam::target::Target;
    use roomcast_protocol::Args;

    /// A message for everybody with this serial.
    fn push(backlog: &mut Backlog, road: u64, serial: u64, again: bool) {
        let data = Args::event("e", &serial).unwrap();
        let body = Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true };
        let mut trailer = backlog.numbers.next(7, "/", None);
        (trailer.serial, trailer.again) = (serial, again);
        let message = Message { sender: None, to: None, trailer: Some(trailer), body };
        let outgoing = Outgoing { namespace: "/".into(), message };
        let (route, series) = (Route { channel: road, road }, Some(Series::Main));
        backlog.push(QueuedMessage {
            outgoing,
            route,
            series,
            since: Instant::now(),
            size: 1,
            again: None,
            to_roomcast: false,
        });
    }

    fn serials(batch: &[Outgoing]) -> Vec<u64> {
        batch.iter().filter_map(|outgoing| outgoing.message.trailer).map(|trailer| trailer.serial).collect()
    }

    /// At the limit and one past it.
    #[test]
    fn what_may_have_gone_out_is_not_sent_again_when_receivers_do_not_remember_it() {
        for (ahead, goes) in [(WINDOW / 2, true), (WINDOW / 2 + 1, false)] {
            for again in [true, false] {
                let mut backlog = Backlog::default();
                push(&mut backlog, 1, 1, again);
                push(&mut backlog, 2, ahead, false);
                push(&mut backlog, 3, 2, false);
                // Its own road may be as far as it likes.
                push(&mut backlog, 1, 1_000_000, false);
                assert_eq!(serials(&backlog.next_batch(2, 10, 10)), [ahead]);
                assert_eq!(serials(&backlog.next_batch(3, 10, 10)), [2]);
                let expected: &[u64] = if goes || !again { &[1, 1_000_000] } else { &[1_000_000] };
                assert_eq!(serials(&backlog.next_batch(1, 10, 10)), expected, "{ahead} {again}");
                assert_eq!(backlog.dropped, u64::from(!goes && again));
                for road in 1..=3 {
                    let in_flight = backlog.roads[&road].in_flight.len();
                    assert_eq!(backlog.published(road, vec![Outcome::Sent; in_flight]), None);
                }
                assert_eq!((backlog.len(), backlog.bytes), (0, [0, 0]));
            }
        }
    }

    #[test]
    fn what_went_out_on_another_channel_overtakes_nothing() {
        let mut backlog = Backlog::default();
        push(&mut backlog, 1, 1, false);
        push(&mut backlog, 1, 2, false);
        backlog.roads.get_mut(&1).unwrap().waiting[1].route.channel = 9;
        let again = || Outcome::Again("again".to_owned());
        assert_eq!(backlog.next_batch(1, 10, 10).len(), 2);
        assert_eq!(backlog.published(1, vec![again(), Outcome::Sent]), Some("again".to_owned()));
        assert_eq!((backlog.len(), backlog.dropped), (1, 0));
        push(&mut backlog, 1, 3, false);
        assert_eq!(serials(&backlog.next_batch(1, 10, 10)), [1, 3]);
        assert_eq!(backlog.published(1, vec![again(), Outcome::Sent]), None);
        assert_eq!((backlog.len(), backlog.dropped), (0, 1), "that would come behind what stood after it");
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_all_roads() {
        let mut backlog = Backlog::default();
        [(1, 4), (2, 3), (1, 5), (3, 6)].into_iter().for_each(|(road, serial)| push(&mut backlog, road, serial, false));
        backlog.make_room(1, 2);
        let left = |road: u64| backlog.roads[&road].waiting.iter().map(QueuedMessage::serial).collect::<Vec<_>>();
        assert_eq!((left(1), left(2), left(3), backlog.dropped), (vec![5], vec![], vec![6], 2));
        backlog.make_room(1, 0);
        assert_eq!((backlog.len(), backlog.dropped), (1, 3), "the newest stays, however large");
    }
}
