//! The cluster queue: messages on their way to the other servers, in order, bounded in bytes and age.

use super::announcer::Pace;
use super::backlog::{Backlog, Waiting};
use super::broker::{Broker, Outcome, Outgoing, SERVERS};
use super::directory::Directory;
use super::losses::{LossLog, OnLost};
use super::message::{Body, Message, ServerId};
use super::options::ClusterOptions;
use super::outage::{Outage, PEERS_PATIENCE};
use super::state::ClusterState;
use super::trailer::{Lane, Trailer};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Most messages that go to the broker at once, and most bytes of them, though one larger message goes alone. As much as waits
/// goes out in one round trip, so that the rate does not depend on how long that takes; a bound keeps what is sent again small.
const BATCH: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// Pause after a failed publish; a broker that reconnects ends it early.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Between two counts of the servers that hear again.
const PEERS_POLL: Duration = Duration::from_millis(25);

/// Time that one batch may take.
pub(super) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// The reason if it took longer.
pub(super) const NO_ANSWER: &str = "the broker does not answer";

/// The queue. Whoever holds it may push; one task drains it.
pub(crate) struct Queue {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) id: ServerId,
    pub(super) process: u64,
    options: ClusterOptions,
    pub(super) directory: Arc<Mutex<Directory>>,
    pub(super) state: Mutex<Backlog>,
    filled: Notify,
    /// The broker can publish again.
    connected: Notify,
    /// Fewer messages wait than before.
    moved: Notify,
    /// The task that drains has ended.
    ended: watch::Sender<bool>,
    pub(super) watched: watch::Sender<ClusterState>,
    pub(super) on_lost: Mutex<Vec<OnLost>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("id", &self.id).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        id: ServerId,
        options: ClusterOptions,
        directory: Arc<Mutex<Directory>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            broker,
            id,
            process: Trailer::random_process(),
            options,
            directory,
            state: Mutex::default(),
            filled: Notify::new(),
            connected: Notify::new(),
            moved: Notify::new(),
            ended: watch::channel(false).0,
            watched: watch::channel(ClusterState::new(Instant::now())).0,
            on_lost: Mutex::default(),
        })
    }

    /// This server's name.
    pub(crate) fn id(&self) -> &ServerId {
        &self.id
    }

    /// This process, in the trailers of all that it publishes.
    pub(crate) fn process(&self) -> u64 {
        self.process
    }

    /// Puts a message for all servers at the end; never waits. A full queue drops its oldest messages, which are counted. A
    /// volatile message is dropped at once while nothing goes out.
    pub(crate) fn publish(&self, namespace: &Arc<str>, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: None, trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, None);
    }

    /// As [`Queue::publish`], for a question. `again` is set when it may have gone out twice.
    pub(crate) fn ask(&self, namespace: &Arc<str>, body: Body, again: Arc<AtomicBool>) {
        let message = Message { sender: Some(self.id.clone()), to: None, trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, Some(again));
    }

    /// As [`Queue::publish`], for an answer.
    pub(crate) fn answer(&self, namespace: &Arc<str>, to: Option<ServerId>, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to, trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, None);
    }

    fn push(&self, outgoing: Outgoing, again: Option<Arc<AtomicBool>>) {
        let body = &outgoing.message.body;
        let (size, lane) = (body.size(), Lane::of(body));
        let volatile = matches!(body, Body::Broadcast { volatile: true, .. });
        {
            let mut state = self.state.lock();
            if state.closing {
                return;
            }
            if volatile && state.down {
                state.dropped += 1;
                drop(state);
                metrics::counter!("roomcast_cluster_dropped_total", "why" => "volatile").increment(1);
                return;
            }
            let mut waiting = Waiting { outgoing, lane, since: Instant::now(), size, again };
            let Outgoing { namespace, message } = &mut waiting.outgoing;
            message.trailer = Some(state.numbers.next(self.process, namespace, lane));
            let class = waiting.class();
            state.add(class, size);
            state.waiting.push_back(waiting);
            state.make_room(class, self.options.max_queued_bytes);
        }
        self.filled.notify_one();
    }

    /// A namespace is open: what is published in it is numbered.
    pub(crate) fn number(&self, namespace: &Arc<str>) {
        self.state.lock().numbers.open(namespace);
    }

    /// Messages of an open namespace come: the others are told soon that this server has it.
    pub(crate) fn heard(&self, namespace: &str) {
        {
            let mut state = self.state.lock();
            let news = state.numbers.heard(namespace);
            state.news |= news;
        }
        self.connected();
        self.filled.notify_one();
    }

    /// A namespace is closed: the others are told soon, and its numbers are forgotten once all of it has gone out.
    pub(crate) fn forget(&self, namespace: &str) {
        {
            let mut state = self.state.lock();
            state.numbers.close(namespace);
            state.news = true;
        }
        self.filled.notify_one();
    }

    /// Another server is asked for all that it has told so far; `None`: every one is.
    pub(crate) fn hello(&self, to: Option<ServerId>) {
        self.state.lock().errands.hello(to);
        self.filled.notify_one();
    }

    /// Another server is told all that this one has announced so far, after a while: not all tell it at once.
    pub(crate) fn tell_all(&self, to: ServerId, after: Duration) {
        self.state.lock().errands.tell_all(to, Instant::now() + after);
        self.filled.notify_one();
    }

    /// The broker can publish: a pause after a failure ends.
    pub(crate) fn connected(&self) {
        self.connected.notify_one();
    }

    /// This server hears the other servers.
    pub(crate) fn hears(&self) {
        {
            let mut state = self.state.lock();
            state.hears = true;
            if !std::mem::replace(&mut state.introduced, true) {
                state.errands.hello(None);
            }
        }
        self.watch();
        self.connected();
        self.filled.notify_one();
    }

    /// This server does not hear the other servers for now. They may not hear one another either, and then what goes out before
    /// they do is lost, though it could be published all the while.
    pub(crate) fn lost(&self) {
        let outage = self.outage();
        let mut state = self.state.lock();
        state.hears = false;
        state.interrupted = Some(outage);
        drop(state);
        self.watch();
    }

    fn outage(&self) -> Outage {
        let now = Instant::now();
        Outage::new(now, self.directory.lock().servers(now).count())
    }

    /// Messages that never went out.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Series that have numbers.
    pub(crate) fn numbered(&self) -> usize {
        self.state.lock().numbers.len()
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + state.in_flight.len()
    }

    /// Resolves when nothing waits: all has gone out, or was dropped.
    pub(crate) async fn empty(&self) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Before the look, so that what moves after it is not missed.
            moved.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            moved.await;
        }
    }

    /// Takes no more messages: the task sends what is left, says goodbye and ends.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.filled.notify_one();
    }

    /// Drains the queue until it is closed.
    pub(crate) async fn drain(self: Arc<Self>) {
        self.run().await;
        self.ended.send_replace(true);
    }

    /// Resolves when the queue was closed and its task has ended.
    pub(crate) async fn ended(&self) {
        // The sender is this queue's own, so the wait ends in no other way.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    async fn run(&self) {
        let mut outage: Option<Outage> = None;
        let (mut pace, mut log) = (Pace::new(Instant::now()), LossLog::default());
        loop {
            if let Some(interrupted) = self.state.lock().interrupted.take() {
                outage.get_or_insert(interrupted).stays();
            }
            if pace.next(self.state.lock().news) <= Instant::now() {
                self.tell_losses(&mut log);
                if self.tell_alive().await.is_err() {
                    outage.get_or_insert_with(|| self.outage()).stays();
                } else if let Some(outage) = &mut outage {
                    outage.goes_out(Instant::now());
                }
                pace.told(Instant::now(), self.interval());
                self.watch();
            }
            self.run_errands().await;
            if self.state.lock().is_done() {
                break self.leave().await;
            }
            if let Some(over) = outage.take_if(|outage| outage.has_passed(Instant::now())) {
                over.end(Instant::now());
            }
            if let Some(outage) = &mut outage
                && self.len() > 0
            {
                // What is not worth keeping goes first, to learn whether anything goes out: only then can the others be waited for,
                // and what is kept must not go out in the moment in which the broker is back and they are not.
                if let Err(reason) = self.tell_alive().await {
                    outage.is_on(&reason);
                    let closing = {
                        let mut state = self.state.lock();
                        self.drop_old(&mut state);
                        state.closing
                    };
                    if closing {
                        break self.leave().await;
                    }
                    self.pause().await;
                    continue;
                }
                let until = outage.goes_out(Instant::now());
                self.await_peers(outage.others, until).await;
            }
            let batch = self.next_batch();
            if batch.is_empty() {
                let next = {
                    let state = self.state.lock();
                    pace.next(state.news).min(state.errands.next().unwrap_or_else(|| pace.next(false)))
                };
                tokio::select! {
                    () = self.filled.notified() => {}
                    () = sleep_until(next) => {}
                }
                continue;
            }
            let outcomes = timeout(PUBLISH_TIMEOUT, self.broker.publish(&batch)).await;
            let outcomes = outcomes.unwrap_or_else(|_| vec![Outcome::Again(NO_ANSWER.to_owned())]);
            let failure = self.state.lock().published(outcomes);
            self.moved.notify_waiters();
            let Some(reason) = failure else {
                if let Some(over) = outage.take() {
                    over.end(Instant::now());
                    self.watch();
                }
                continue;
            };
            outage.get_or_insert_with(|| self.outage()).is_on(&reason);
            self.watch();
            if self.state.lock().closing {
                break self.leave().await;
            }
            self.pause().await;
        }
    }

    /// How this server stands with the others.
    pub(crate) fn watched(&self) -> watch::Receiver<ClusterState> {
        self.watched.subscribe()
    }

    /// What is to be done when messages were lost.
    pub(crate) fn on_lost(&self, hook: OnLost) {
        self.on_lost.lock().push(hook);
    }

    /// After a failure.
    async fn pause(&self) {
        tokio::select! {
            () = sleep(RETRY_PAUSE) => {}
            () = self.connected.notified() => {}
        }
    }

    /// Tells the others the last numbers, then that this server leaves. What could not go out before is lost, and counted.
    async fn leave(&self) {
        {
            let mut state = self.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            waiting.iter().for_each(|waiting| state.lose(waiting, "closed"));
        }
        self.moved.notify_waiters();
        // If these do not go out, nothing does any more.
        let _ = self.tell_alive().await;
        let _ = self.tell_goodbye().await;
        let _ = timeout(PUBLISH_TIMEOUT, self.broker.close(SERVERS)).await;
    }

    /// What goes out next; what is too old by now is dropped.
    fn next_batch(&self) -> Vec<Outgoing> {
        let mut state = self.state.lock();
        self.drop_old(&mut state);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(waiting) = state.waiting.front() {
            bytes += waiting.size;
            if batch.len() >= BATCH || (bytes > BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            batch.push(waiting.outgoing.clone());
            let flies = state.waiting.pop_front();
            state.in_flight.extend(flies);
        }
        drop(state);
        if batch.is_empty() {
            // What waited may have been too old, all of it.
            self.moved.notify_waiters();
        }
        batch
    }

    fn drop_old(&self, state: &mut Backlog) {
        if self.broker.keeps_history() {
            return;
        }
        let (now, oldest) = (Instant::now(), self.options.max_age);
        while state.waiting.front().is_some_and(|waiting| now.duration_since(waiting.since) > oldest) {
            let old = state.waiting.pop_front();
            old.into_iter().for_each(|old| state.lose(&old, "old"));
        }
    }

    /// After an outage the other servers have to subscribe again, as this one had to: what goes out before is lost on them.
    async fn await_peers(&self, others: usize, until: Instant) {
        while others > 0 && Instant::now() < until {
            match timeout(PEERS_PATIENCE, self.broker.count(SERVERS)).await {
                Ok(Ok(Some(count))) if count.servers < others + usize::from(self.state.lock().hears) => {
                    sleep(PEERS_POLL).await;
                }
                // Enough, or the broker is down again, which the publish will tell.
                _ => return,
            }
        }
    }
}
