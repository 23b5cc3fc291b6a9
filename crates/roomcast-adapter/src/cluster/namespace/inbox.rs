//! [`NamespaceInbox`]: takes what the broker hands over for a namespace.

use crate::cluster::namespace::place::CurrentPlace;
use crate::cluster::namespace::subscription::{LEAVER_DELAY, NEWCOMER_DELAY, Subscription};
use crate::cluster::seam::inbox::{Arrival, Inbox, malformed};
use crate::limits::WAKE_AFTER_BYTES;
use crate::seam::recipient::Wakes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Takes a namespace's messages for its newest [`Place`](super::place::Place).
#[derive(Debug, Default)]
pub(crate) struct NamespaceInbox {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) current: Arc<CurrentPlace>,
}

impl Inbox for NamespaceInbox {
    fn wants(&self, room: &str) -> bool {
        self.current.get().is_some_and(|place| place.local().has_room(room))
    }

    fn awaits(&self, request: &str) -> bool {
        self.current.get().is_some_and(|place| place.requests().awaits(request))
    }

    /// Packets go into the outboxes in order. Writers are woken at the end: what is for one client leaves in one write.
    fn receive(&self, arrivals: Vec<Arrival>) {
        let Some(place) = self.current.get() else { return };
        let (mut wakes, mut bytes) = (Wakes::new(), 0);
        for arrival in arrivals {
            let message = match arrival {
                Arrival::Message(message) => message,
                Arrival::PassedOver(trailer) => {
                    place.passed_over(&trailer);
                    continue;
                }
                Arrival::Malformed(error) => {
                    malformed(&error);
                    continue;
                }
            };
            if message.trailer.is_none() {
                self.subscription.is_mixed(true);
            }
            // Roomcast servers tell answers apart by the names in them; other servers count answers.
            let delay = match message.body.is_question() && message.trailer.is_none() {
                true if !place.is_open() => LEAVER_DELAY,
                true if self.subscription.is_newcomer() => NEWCOMER_DELAY,
                _ => Duration::ZERO,
            };
            bytes += message.body.size();
            place.receive(message, delay, &mut wakes);
            if bytes >= WAKE_AFTER_BYTES {
                std::mem::take(&mut wakes).wake();
                bytes = 0;
            }
        }
        wakes.wake();
    }

    fn connected(&self) {
        let interruption = self.subscription.connected(Instant::now());
        if let Some(place) = self.current.get() {
            if let Some(interruption) = interruption {
                place.directory().was_interrupted(interruption);
            }
            place.connected();
        }
    }

    fn lost(&self) {
        self.subscription.lost();
        metrics::counter!("roomcast_cluster_interruptions_total").increment(1);
    }
}
