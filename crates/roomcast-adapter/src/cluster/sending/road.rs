//! [`Road`]: what is queued for one of a broker's connections. [`Pins`]: keeps a channel's messages in order when a
//! broker moves the channel to another connection.

use crate::cluster::seam::broker::Route;
use crate::cluster::sending::outage::{Outage, Own};
use crate::cluster::sending::queued::QueuedMessage;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use tokio::time::Instant;

/// The messages of one road, and whether they go out.
#[derive(Debug, Default)]
pub(crate) struct Road {
    pub(crate) waiting: VecDeque<QueuedMessage>,
    /// Messages that the broker is publishing. They are never dropped, as they may have gone out.
    pub(crate) in_flight: Vec<QueuedMessage>,
    pub(crate) outage: Option<Outage>,
    /// The last attempt to publish failed.
    pub(crate) down: bool,
    /// After a failure, the earliest time of the next attempt.
    pub(crate) retry_at: Option<Instant>,
    /// A round is in progress: at most one batch is in flight on each road.
    pub(crate) busy: bool,
}

impl Road {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Whether nothing about it needs to be remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.len() == 0 && self.outage.is_none() && !self.down && !self.busy
    }

    /// When there is work on it, `now` or later; `None` if there is none until a message is queued. During an outage it
    /// is probed even if nothing is queued, except on the road of announcements, where these serve as probes.
    pub(crate) fn next(&self, now: Instant, own: Own) -> Option<Instant> {
        if self.busy {
            return None;
        }
        let ends = self.outage.as_ref().and_then(|outage| outage.ends_at(own));
        let is_probed = matches!(own, Own::Elsewhere) && self.outage.is_some() && ends.is_none();
        if is_probed || !self.waiting.is_empty() { Some(self.retry_at.unwrap_or(now)) } else { ends }
    }
}

/// Channels with messages that are queued or in flight, each with the road of these messages and their number. A broker
/// may name another road for a channel at any time; later messages must not overtake those on the old road.
#[derive(Debug, Default)]
pub(crate) struct Pins(HashMap<u64, (u64, usize), RandomState>);

impl Pins {
    /// Adds a message for which the broker named a route. Returns the route that it takes.
    pub(crate) fn add(&mut self, named: Route) -> Route {
        if named.channel == 0 {
            return named;
        }
        let (road, messages) = self.0.entry(named.channel).or_insert((named.road, 0));
        *messages += 1;
        Route { road: *road, ..named }
    }

    /// Removes a message.
    pub(crate) fn remove(&mut self, route: Route) {
        if let Some((_, messages)) = self.0.get_mut(&route.channel) {
            *messages -= 1;
            if *messages == 0 {
                self.0.remove(&route.channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_changes_its_road_once_none_of_its_messages_wait() {
        let mut pins = Pins::default();
        let named = |road| Route { channel: 7, road };
        assert_eq!([pins.add(named(1)), pins.add(named(2))], [named(1), named(1)]);
        pins.remove(named(1));
        assert_eq!(pins.add(named(2)), named(1));
        pins.remove(named(1));
        pins.remove(named(1));
        assert_eq!(pins.add(named(2)), named(2));
        let one = Route { channel: 0, road: 5 };
        assert_eq!((pins.add(one), pins.0.len()), (one, 1));
        pins.remove(one);
        pins.remove(named(2));
        assert!(pins.0.is_empty());
    }
}
