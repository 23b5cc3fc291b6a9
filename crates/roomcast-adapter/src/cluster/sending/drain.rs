//! The task of a [`Queue`]: it announces this server, and publishes what is queued, one batch at a time on each road.

use crate::cluster::membership::losses::LossLog;
use crate::cluster::seam::broker::{Outcome, SERVERS};
use crate::cluster::sending::announcing::{NO_ANSWER, PUBLISH_TIMEOUT};
use crate::cluster::sending::outage::PEERS_TIMEOUT;
use crate::cluster::sending::pace::Pace;
use crate::cluster::sending::queue::Queue;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Most messages and bytes of a batch; a larger message goes alone. Everything that waits goes out in one round trip,
/// so the rate does not depend on how long that takes; the limits keep small what must be sent again after a failure.
const MAX_BATCH_MESSAGES: usize = 4_096;
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Pause of a road after a failed publish. A broker that reconnects ends it early.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Pause between two counts of the servers that have subscribed again.
const PEERS_POLL: Duration = Duration::from_millis(25);

/// What the task has finished.
enum Finished {
    /// A round on a road.
    Round,
    /// Announcements and notices.
    Announcements,
}

/// The result of a round on a road.
enum RoundResult {
    /// There was nothing to publish.
    Idle,
    Sent,
    /// Messages are queued again, or still, with the reason.
    Failed(String),
}

impl Queue {
    /// Publishes and announces until the queue is closed and empty.
    pub(crate) async fn run(&self) {
        let (mut pace, mut log) = (Pace::new(Instant::now()), LossLog::default());
        let mut work: FuturesUnordered<BoxFuture<'_, Finished>> = FuturesUnordered::new();
        let mut announcing = false;
        loop {
            self.note_interruption();
            let now = Instant::now();
            let (announces, has_notices) = {
                let state = self.state.lock();
                (pace.next(state.has_news) <= now, state.notices.next(now).is_some_and(|next| next <= now))
            };
            if !announcing && (announces || has_notices) {
                announcing = true;
                if announces {
                    self.report_losses(&mut log);
                    pace.announced(now, self.announcement_interval());
                }
                work.push(Box::pin(async move {
                    if announces {
                        self.announce().await;
                    }
                    self.send_notices().await;
                    Finished::Announcements
                }));
            }
            for road in self.begin_rounds(now) {
                work.push(Box::pin(async move {
                    self.round(road).await;
                    Finished::Round
                }));
            }
            if work.is_empty() && self.state.lock().is_done() {
                break self.leave().await;
            }
            let next = self.next(if announcing { None } else { Some(&pace) });
            tokio::select! {
                () = self.filled.notified() => {}
                () = self.connected.notified() => self.end_pauses(),
                Some(done) = work.next(), if !work.is_empty() => announcing &= !matches!(done, Finished::Announcements),
                () = sleep_until(next) => {}
            }
        }
    }

    /// When the task has to act at the latest, unless something happens before.
    fn next(&self, pace: Option<&Pace>) -> Instant {
        /// An arbitrary time: work is in progress, and wakes the task when it ends.
        const NO_DEADLINE: Duration = Duration::from_secs(60);
        let announcements = self.announcement_road();
        let (state, now) = (self.state.lock(), Instant::now());
        let own = |road: u64| state.own(road == announcements);
        let announcement = pace.map(|pace| pace.next(state.has_news));
        let notice = state.notices.next(now).filter(|_| pace.is_some());
        let road = state.roads.iter().filter_map(|(id, road)| road.next(now, own(*id))).min();
        [announcement, notice, road].into_iter().flatten().min().unwrap_or(now + NO_DEADLINE)
    }

    /// After an interruption, what is published may reach nobody until the other servers have subscribed again, too.
    fn note_interruption(&self) {
        let interruption = self.state.lock().interruption.take();
        if let Some(interruption) = interruption {
            let road = self.announcement_road();
            let mut state = self.state.lock();
            state.roads.entry(road).or_default().outage.get_or_insert(interruption).not_sent();
        }
    }

    /// The road of announcements. Only on this road can other subscribers be counted.
    fn announcement_road(&self) -> u64 {
        self.broker.route(&self.announcement).road
    }

    /// Announces that this server is alive. Whether this goes out shows whether anything does.
    async fn announce(&self) {
        let announced = self.announce_alive().await;
        let road = self.announcement_road();
        let outage = announced.is_err().then(|| self.outage());
        {
            let mut state = self.state.lock();
            match outage {
                Some(outage) => state.roads.entry(road).or_default().outage.get_or_insert(outage).not_sent(),
                None => {
                    if let Some(outage) = state.roads.get_mut(&road).and_then(|road| road.outage.as_mut()) {
                        outage.sent(Instant::now());
                    }
                }
            }
        }
        self.update_state();
    }

    /// The roads on which there is work now; they are busy from here on. An outage that has passed is removed.
    fn begin_rounds(&self, now: Instant) -> Vec<u64> {
        let (mut due, mut over) = (Vec::new(), Vec::new());
        {
            let announcements = self.announcement_road();
            let mut state = self.state.lock();
            let (here, elsewhere) = (state.own(true), state.own(false));
            for (id, road) in &mut state.roads {
                let own = if *id == announcements { here } else { elsewhere };
                if road.next(now, own).is_none_or(|next| next > now) {
                    continue;
                }
                over.extend(road.outage.take_if(|outage| outage.ends_at(own).is_some_and(|end| end <= now)));
                if !road.waiting.is_empty() || road.outage.is_some() {
                    road.busy = true;
                    due.push(*id);
                }
            }
            state.roads.retain(|_, road| !road.is_idle());
        }
        over.into_iter().for_each(|over| over.end(now));
        due
    }

    /// The broker can publish again.
    fn end_pauses(&self) {
        self.state.lock().roads.values_mut().for_each(|road| road.retry_at = None);
    }

    /// Publishes a batch on a road, or finds out that nothing goes out there.
    async fn round(&self, road: u64) {
        let round = self.publish_batch(road).await;
        let outage = matches!(round, RoundResult::Failed(_)).then(|| self.outage());
        let mut over = None;
        {
            let mut state = self.state.lock();
            let closing = state.closing;
            let road_state = state.roads.entry(road).or_default();
            road_state.busy = false;
            match &round {
                RoundResult::Idle => {}
                RoundResult::Sent => over = road_state.outage.take(),
                RoundResult::Failed(reason) => {
                    road_state.outage = road_state.outage.take().or(outage);
                    road_state.outage.iter_mut().for_each(|outage| outage.continues(reason));
                    road_state.retry_at = Some(Instant::now() + RETRY_PAUSE);
                    if closing {
                        // What does not go out now never will.
                        state.drop_all(road, "closed");
                    }
                }
            }
        }
        self.refuse_answers();
        self.shrunk.notify_waiters();
        let changed = over.is_some() || matches!(round, RoundResult::Failed(_));
        if let Some(over) = over {
            over.end(Instant::now());
        }
        if changed {
            self.update_state();
        }
    }

    async fn publish_batch(&self, road: u64) -> RoundResult {
        if self.state.lock().roads.get(&road).is_some_and(|road| road.outage.is_some()) {
            // A message that is not worth queueing goes first, to find out whether anything goes out. Queued messages
            // must not go out at the moment when the broker is back but the other servers are not.
            if let Err(reason) = self.is_back(road).await {
                self.drop_old(road);
                return RoundResult::Failed(reason);
            }
            let back = {
                let mut state = self.state.lock();
                state.roads.get_mut(&road).and_then(|road| {
                    road.down = false;
                    let waits = !road.waiting.is_empty();
                    let outage = road.outage.as_mut()?;
                    outage.sent(Instant::now());
                    Some(outage.peers).filter(|peers| waits && *peers > 0)
                })
            };
            if let Some(peers) = back {
                self.await_peers(road, peers).await;
            }
        }
        self.drop_old(road);
        let batch = self.state.lock().next_batch(road, MAX_BATCH_MESSAGES, MAX_BATCH_BYTES);
        if batch.is_empty() {
            return RoundResult::Idle;
        }
        let outcomes = timeout(PUBLISH_TIMEOUT, self.broker.publish(&batch)).await;
        let outcomes = outcomes.unwrap_or_else(|_| vec![Outcome::Again(NO_ANSWER.to_owned())]);
        self.state.lock().published(road, outcomes).map_or(RoundResult::Sent, RoundResult::Failed)
    }

    /// Whether messages go out on a road again after an outage. The error says why not.
    async fn is_back(&self, road: u64) -> Result<(), String> {
        if road == self.announcement_road() {
            return self.announce_alive().await;
        }
        match timeout(PUBLISH_TIMEOUT, self.broker.ready(road)).await {
            Ok(ready) => ready.map_err(|error| error.0),
            Err(_) => Err(NO_ANSWER.to_owned()),
        }
    }

    /// After an outage the other servers must subscribe again, as this one had to; what goes out before is lost for
    /// them. Servers that receive announcements can be counted; on other roads they are given a fixed time.
    ///
    /// The count may include this server from a moment before it is told so, and it must not be taken for another one.
    /// So it waits until it is counted as well: a server whose own subscription is late waits longer than it must.
    async fn await_peers(&self, road: u64, peers: usize) {
        let is_counted = road == self.announcement_road();
        while let Some(end) = self.outage_ends(road).filter(|end| Instant::now() < *end) {
            if !is_counted {
                sleep_until(end).await;
                continue;
            }
            match timeout(PEERS_TIMEOUT, self.broker.count(SERVERS)).await {
                Ok(Ok(Some(count))) if count.servers < peers + 1 => sleep(PEERS_POLL).await,
                // All servers are back, or the broker is down again, which publishing will show.
                _ => return,
            }
        }
    }

    /// When the other servers have had their time, if messages go out on this road again.
    fn outage_ends(&self, road: u64) -> Option<Instant> {
        let is_counted = road == self.announcement_road();
        let state = self.state.lock();
        state.roads.get(&road)?.outage.as_ref()?.ends_at(state.own(is_counted))
    }

    fn drop_old(&self, road: u64) {
        if !self.broker.keeps_history() {
            self.state.lock().drop_old(road, Instant::now(), self.options.max_age);
        }
    }

    /// Announces the last numbers, then that this server leaves.
    async fn leave(&self) {
        // If these do not go out, nothing else would.
        let _ = self.announce_alive().await;
        let _ = self.announce_goodbye().await;
        let _ = timeout(PUBLISH_TIMEOUT, self.broker.close(SERVERS)).await;
    }
}
