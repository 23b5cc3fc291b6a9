//! The cluster queue: messages on their way to the other servers, in order, bounded in bytes and age.

use super::announcer::{ANNOUNCEMENT_BYTES, Errands, Pace, What, alive_interval};
use super::broker::{Broker, Outcome, Outgoing, SERVERS};
use super::directory::Directory;
use super::message::{Body, Message, ServerId};
use super::numbers::Numbers;
use super::options::ClusterOptions;
use super::outage::{Outage, PEERS_PATIENCE};
use super::trailer::{Lane, Trailer};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Most messages that go to the broker at once, and most bytes of them, though one larger message goes alone. As much as waits
/// goes out in one round trip, so that the rate does not depend on how long that takes; a bound keeps what is sent again small.
const BATCH: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// Pause after a failed publish; a broker that reconnects ends it early.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Time that one batch may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// The reason if it took longer.
const NO_ANSWER: &str = "the broker does not answer";

/// The queue. Whoever holds it may push; one task drains it.
#[derive(Debug)]
pub(crate) struct Queue {
    broker: Arc<dyn Broker>,
    id: ServerId,
    process: u64,
    options: ClusterOptions,
    directory: Arc<Mutex<Directory>>,
    state: Mutex<State>,
    filled: Notify,
    /// The broker can publish again.
    connected: Notify,
    /// Fewer messages wait than before.
    moved: Notify,
    /// The task that drains has ended.
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// What is with the broker now, and is not dropped: it may have gone out.
    in_flight: Vec<Waiting>,
    /// Bytes of answers, and of everything else: neither pushes the other out.
    bytes: [usize; 2],
    numbers: Numbers,
    /// Messages that never went out.
    dropped: u64,
    /// The last attempt to publish failed.
    down: bool,
    /// This server hears the others' announcements, so that it is among those that do.
    hears: bool,
    /// It heard them until a moment ago: since when it does not, and how many others there were then.
    interrupted: Option<Outage>,
    /// What other servers are to be told beside announcements.
    errands: Errands,
    /// It has said hello.
    introduced: bool,
    /// There is something that other servers should know soon.
    news: bool,
    closing: bool,
}

#[derive(Debug)]
struct Waiting {
    outgoing: Outgoing,
    lane: Option<Lane>,
    since: Instant,
    size: usize,
    /// Set when it may have gone out twice.
    again: Option<Arc<AtomicBool>>,
}

impl Waiting {
    /// Its place in [`State::bytes`].
    fn class(&self) -> usize {
        usize::from(self.outgoing.message.body.answers().is_none())
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
        let mut pace = Pace::new(Instant::now());
        loop {
            if let Some(interrupted) = self.state.lock().interrupted.take() {
                outage.get_or_insert(interrupted).stays();
            }
            if pace.next(self.state.lock().news) <= Instant::now() {
                self.directory.lock().age(Instant::now());
                if self.tell_alive().await.is_err() {
                    outage.get_or_insert_with(|| self.outage()).stays();
                } else if let Some(outage) = &mut outage {
                    outage.goes_out(Instant::now());
                }
                pace.told(Instant::now(), self.interval());
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
                }
                continue;
            };
            outage.get_or_insert_with(|| self.outage()).is_on(&reason);
            if self.state.lock().closing {
                break self.leave().await;
            }
            self.pause().await;
        }
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

    fn drop_old(&self, state: &mut State) {
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
                    sleep(PEERS_PATIENCE / 20).await;
                }
                // Enough, or the broker is down again, which the publish will tell.
                _ => return,
            }
        }
    }

    /// How often this server tells that it lives.
    fn interval(&self) -> Duration {
        alive_interval(1 + self.directory.lock().servers(Instant::now()).count())
    }

    /// Most bytes of an announcement.
    fn most(&self) -> usize {
        self.broker.largest().min(ANNOUNCEMENT_BYTES)
    }

    /// Announces this server: what has changed since the last announcement. The error is why that did not go out.
    async fn tell_alive(&self) -> Result<(), String> {
        let interval = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX);
        let news = std::mem::take(&mut self.state.lock().news);
        loop {
            let ((alive, more), trailer) = {
                let mut state = self.state.lock();
                // In this order: what is told was numbered before.
                (state.numbers.announcement(interval, self.most()), state.numbers.next(self.process, SERVERS, None))
            };
            let told = self.tell(None, Body::Alive(alive.clone()), trailer).await;
            let mut state = self.state.lock();
            if let Err(reason) = told {
                state.numbers.not_announced(&alive);
                state.news |= news;
                return Err(reason);
            }
            state.numbers.announced(&alive, !more);
            if !more {
                return Ok(());
            }
        }
    }

    async fn tell_goodbye(&self) -> Result<(), String> {
        let trailer = self.state.lock().numbers.next(self.process, SERVERS, None);
        self.tell(None, Body::Goodbye, trailer).await
    }

    /// Says hello, and tells others all. What does not go out is asked for again.
    async fn run_errands(&self) {
        let due = self.state.lock().errands.due(Instant::now());
        for errand in due {
            let bodies = match errand.what {
                What::Hello => vec![Body::Hello],
                What::All => {
                    let interval = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX);
                    let parts = self.state.lock().numbers.whole(interval, self.most());
                    parts.into_iter().map(Body::Alive).collect()
                }
            };
            for body in bodies {
                let trailer = self.state.lock().numbers.next(self.process, SERVERS, None);
                if self.tell(errand.to.clone(), body, trailer).await.is_err() {
                    break;
                }
            }
        }
    }

    /// Tells the other servers something that is not worth keeping: if it does not go out, the next one will do.
    async fn tell(&self, to: Option<ServerId>, body: Body, trailer: Trailer) -> Result<(), String> {
        let message = Message { sender: Some(self.id.clone()), to, trailer: Some(trailer), body };
        let outgoing = Outgoing { namespace: SERVERS.into(), message };
        let told = match timeout(PUBLISH_TIMEOUT, self.broker.publish(&[outgoing])).await.as_deref() {
            // Others do not know this server by name then, and miss no tail of it; what it says goes out all the same.
            Ok([Outcome::Sent | Outcome::Never(_), ..]) => Ok(()),
            Ok([Outcome::Again(reason), ..]) => Err(reason.clone()),
            Ok(_) => Err(NOT_TRIED.to_owned()),
            Err(_) => Err(NO_ANSWER.to_owned()),
        };
        self.state.lock().down = told.is_err();
        told
    }
}

/// The reason if a broker tells nothing of a message.
const NOT_TRIED: &str = "the broker did not come to it";

impl State {
    fn is_done(&self) -> bool {
        self.closing && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    fn add(&mut self, class: usize, size: usize) {
        if let Some(bytes) = self.bytes.get_mut(class) {
            *bytes = bytes.saturating_add(size);
        }
    }

    /// A message leaves the queue, in one way or another.
    fn settle(&mut self, waiting: &Waiting) {
        if let Some(bytes) = self.bytes.get_mut(waiting.class()) {
            *bytes = bytes.saturating_sub(waiting.size);
        }
        let Outgoing { namespace, message } = &waiting.outgoing;
        if let (Some(lane), Some(trailer)) = (waiting.lane, &message.trailer) {
            self.numbers.settle(namespace, lane, trailer.number);
        }
    }

    /// Drops the oldest of a class until the rest fits. The newest stays: it may be larger than the bound, if it waits alone.
    fn make_room(&mut self, class: usize, bound: usize) {
        while self.bytes.get(class).is_some_and(|bytes| *bytes > bound) {
            let oldest = self.waiting.iter().position(|waiting| waiting.class() == class);
            let Some(oldest) = oldest.filter(|oldest| oldest + 1 < self.waiting.len()) else { return };
            let dropped = self.waiting.remove(oldest);
            dropped.into_iter().for_each(|dropped| self.lose(&dropped, "full"));
        }
    }

    /// What became of the messages in flight, in their order; those that are missing at the end were not tried. What may go
    /// out yet waits again, in front; the reason why it has to is returned.
    fn published(&mut self, outcomes: Vec<Outcome>) -> Option<String> {
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

    fn lose(&mut self, waiting: &Waiting, why: &'static str) {
        self.settle(waiting);
        // An answer that is lost is told by its absence; only what is in a series is missed by others.
        self.dropped += u64::from(waiting.lane.is_some());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
    }
}
