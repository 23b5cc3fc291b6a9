//! [`Backlog`]: the messages that are queued or in flight, and what becomes of them.

use crate::cluster::seam::broker::{Outcome, Outgoing};
use crate::cluster::seam::series::Series;
use crate::cluster::seam::window::WINDOW;
use crate::cluster::sending::notices::Notices;
use crate::cluster::sending::numbers::Numbers;
use crate::cluster::sending::outage::{Outage, Own};
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
    /// The roads on which messages wait or publishing has failed.
    pub(crate) roads: BTreeMap<u64, Road>,
    pins: Pins,
    serials: HighestSerials,
    /// Bytes of answers, and bytes of everything else. Neither pushes the other out of the queue.
    pub(crate) bytes: [usize; 2],
    pub(crate) numbers: Numbers,
    /// The number of messages that never went out.
    pub(crate) dropped: u64,
    /// Refusals for askers whose answers were dropped.
    pub(crate) refusals: Vec<Outgoing>,
    /// Since when this server receives other servers' announcements.
    pub(crate) receives_since: Option<Instant>,
    /// Set when that was interrupted a moment ago: since when, and how many other servers there were.
    pub(crate) interruption: Option<Outage>,
    /// What single servers are to be told between announcements.
    pub(crate) notices: Notices,
    /// This server has asked the others to say everything.
    pub(crate) said_hello: bool,
    /// Something has changed that other servers should know soon.
    pub(crate) has_news: bool,
    pub(crate) closing: bool,
}

/// The reason if a broker returns no outcome for a message.
pub(crate) const NOT_TRIED: &str = "the broker did not try to publish it";

/// The highest serial given to the broker by any road, and the highest by any other road. From these each road knows
/// how far the other roads are ahead of it.
#[derive(Debug, Default)]
struct HighestSerials {
    first: (u64, u64),
    second: u64,
}

impl HighestSerials {
    /// A road gives a message to the broker.
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

    /// The highest serial that the other roads have given to the broker.
    fn besides(&self, road: u64) -> u64 {
        if road == self.first.0 { self.second } else { self.first.1 }
    }
}

impl Backlog {
    pub(crate) fn is_done(&self) -> bool {
        self.closing && self.len() == 0
    }

    /// What an outage depends on, on the road of announcements or on another one.
    pub(crate) fn own(&self, announcements: bool) -> Own {
        match self.receives_since {
            _ if !announcements => Own::Elsewhere,
            Some(since) => Own::Since(since),
            None => Own::NotYet,
        }
    }

    /// The number of messages that have not gone out.
    pub(crate) fn len(&self) -> usize {
        self.roads.values().map(Road::len).sum()
    }

    /// When the oldest of them was queued.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        // The messages of a road are in the order in which they were queued.
        let oldest = |road: &Road| {
            let waiting = road.in_flight.first().or_else(|| road.waiting.front());
            waiting.map(|waiting| waiting.since)
        };
        self.roads.values().filter_map(oldest).min()
    }

    /// Whether this server's emits go out, as far as it knows.
    pub(crate) fn publishes(&self) -> bool {
        self.said_hello && self.roads.values().all(|road| !road.down)
    }

    /// Whether messages on this road do not go out.
    pub(crate) fn is_down(&self, road: u64) -> bool {
        self.roads.get(&road).is_some_and(|road| road.down)
    }

    /// Notes whether an announcement went out.
    pub(crate) fn announcement_published(&mut self, road: u64, went_out: bool) {
        match self.roads.get_mut(&road) {
            Some(road) => road.down = !went_out,
            None if went_out => {}
            None => self.roads.entry(road).or_default().down = true,
        }
    }

    /// Adds a message to the queue.
    pub(crate) fn push(&mut self, mut waiting: QueuedMessage) {
        waiting.route = self.pins.add(waiting.route);
        if let Some(bytes) = self.bytes.get_mut(waiting.class()) {
            *bytes = bytes.saturating_add(waiting.size);
        }
        self.roads.entry(waiting.route.road).or_default().waiting.push_back(waiting);
    }

    /// Accounts for a message that has left the queue, for whatever reason.
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

    /// Drops the oldest messages of a class until the rest fits. The newest stays: alone, it may be over the limit.
    pub(crate) fn make_room(&mut self, class: usize, bound: usize) {
        while self.bytes.get(class).is_some_and(|bytes| *bytes > bound) {
            let oldest = |(id, road): (&u64, &Road)| {
                let place = road.waiting.iter().position(|waiting| waiting.class() == class)?;
                Some((road.waiting.get(place)?.serial(), *id, place))
            };
            let Some((serial, road, place)) = self.roads.iter().filter_map(oldest).min() else { return };
            let newest = self.roads.values().filter_map(|road| road.waiting.back()).map(QueuedMessage::serial).max();
            if newest == Some(serial) {
                return;
            }
            let dropped = self.roads.get_mut(&road).and_then(|road| road.waiting.remove(place));
            dropped.into_iter().for_each(|dropped| self.drop_message(&dropped, "full"));
        }
    }

    /// The next batch of a road. From here on it is in flight.
    pub(crate) fn next_batch(&mut self, road: u64, messages: usize, most: usize) -> Vec<Outgoing> {
        let (mut batch, mut bytes, ahead) = (Vec::new(), 0, self.serials.besides(road));
        let mut overtaken = Vec::new();
        let Some(it) = self.roads.get_mut(&road) else { return batch };
        while let Some(waiting) = it.waiting.front() {
            bytes += waiting.size;
            if batch.len() >= messages || (bytes > most && !batch.is_empty()) {
                break;
            }
            let Some(waiting) = it.waiting.pop_front() else { break };
            // The message may have gone out before, and the other roads have sent so many messages since that receivers
            // no longer know whether it arrived: they would drop it as a double.
            if waiting.may_have_gone_out() && waiting.serial() + WINDOW / 2 <= ahead {
                overtaken.push(waiting);
                continue;
            }
            self.serials.add(road, waiting.serial());
            batch.push(waiting.outgoing.clone());
            it.in_flight.push(waiting);
        }
        overtaken.iter().for_each(|waiting| self.drop_message(waiting, "overtaken"));
        batch
    }

    /// Takes the outcomes of a road's messages in flight, in order; messages without an outcome at the end were not
    /// tried. Messages that may go out later are queued again, in front. Returns the reason if there are such messages.
    pub(crate) fn published(&mut self, road: u64, outcomes: Vec<Outcome>) -> Option<String> {
        let it = self.roads.get_mut(&road)?;
        let in_flight = std::mem::take(&mut it.in_flight);
        if outcomes.len() >= in_flight.len() && outcomes.iter().all(|outcome| *outcome == Outcome::Sent) {
            // The usual case.
            it.down = false;
            in_flight.iter().for_each(|waiting| self.settle(waiting));
            return None;
        }
        let not_tried = || Outcome::Again(NOT_TRIED.to_owned());
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(not_tried));
        let (mut failure, mut refused) = (None, (0_u64, String::new()));
        // From last to first: a message is not sent again if a later one of its channel and series has gone out.
        let mut results: Vec<(QueuedMessage, Outcome)> = in_flight.into_iter().zip(outcomes).collect();
        let mut sent: HashSet<(Arc<str>, Option<Series>, u64), RandomState> = HashSet::default();
        let mut retried = Vec::new();
        while let Some((mut waiting, outcome)) = results.pop() {
            let series = (waiting.outgoing.namespace.clone(), waiting.series, waiting.route.channel);
            match outcome {
                Outcome::Sent => {
                    self.settle(&waiting);
                    sent.insert(series);
                }
                Outcome::Never(reason) => {
                    refused = (refused.0 + 1, reason);
                    self.drop_message(&waiting, "refused");
                }
                Outcome::Again(_) if sent.contains(&series) => self.drop_message(&waiting, "overtaken"),
                Outcome::Again(reason) => {
                    failure = Some(reason);
                    if let Some(again) = &waiting.again {
                        again.store(true, Ordering::Relaxed);
                    }
                    if let Some(trailer) = &mut waiting.outgoing.message.trailer {
                        // It may have gone out.
                        trailer.again = true;
                    }
                    retried.push(waiting);
                }
            }
        }
        if let Some(it) = self.roads.get_mut(&road) {
            retried.into_iter().for_each(|waiting| it.waiting.push_front(waiting));
            it.down = failure.is_some();
        }
        if let (messages @ 1.., reason) = refused {
            tracing::error!(messages, reason, "messages to other servers were refused, and are dropped");
        }
        failure
    }

    /// Drops messages of a road that have become too old.
    pub(crate) fn drop_old(&mut self, road: u64, now: Instant, most: Duration) {
        let is_old = |waiting: &QueuedMessage| now.duration_since(waiting.since) > most;
        while let Some(it) = self.roads.get_mut(&road)
            && it.waiting.front().is_some_and(is_old)
        {
            let old = it.waiting.pop_front();
            old.into_iter().for_each(|old| self.drop_message(&old, "old"));
        }
    }

    /// Drops everything that retried on a road.
    pub(crate) fn drop_all(&mut self, road: u64, why: &'static str) {
        let waiting = self.roads.get_mut(&road).map(|road| std::mem::take(&mut road.waiting));
        waiting.iter().flatten().for_each(|waiting| self.drop_message(waiting, why));
    }

    pub(crate) fn drop_message(&mut self, waiting: &QueuedMessage, why: &'static str) {
        self.settle(waiting);
        // A lost answer is noticed as missing. Other servers miss only what is in a series.
        self.dropped += u64::from(waiting.series.is_some());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
        self.refusals.extend(waiting.refusal());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::seam::broker::Route;
    use crate::cluster::seam::message::{Body, Message};
    use crate::seam::target::Target;
    use roomcast_protocol::Args;

    /// A broadcast to everybody with this serial.
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

    /// At the limit, and one past it.
    #[test]
    fn a_message_is_not_sent_again_once_receivers_could_not_recognize_the_double() {
        for (ahead, goes) in [(WINDOW / 2, true), (WINDOW / 2 + 1, false)] {
            for again in [true, false] {
                let mut backlog = Backlog::default();
                push(&mut backlog, 1, 1, again);
                push(&mut backlog, 2, ahead, false);
                push(&mut backlog, 3, 2, false);
                // Its own road may be ahead of it by any number.
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
    fn a_message_on_another_channel_overtakes_nothing() {
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
        assert_eq!((backlog.len(), backlog.dropped), (0, 1), "it would arrive after its successor");
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
