//! The cluster queue: messages on their way to the other servers, in order, bounded in number, bytes and age.

use super::broker::{Broker, Outgoing, PublishError, SERVERS};
use super::directory::Directory;
use super::message::{Body, Message, ServerId};
use super::options::ClusterOptions;
use super::outage::{Outage, PEERS_PATIENCE};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Messages that go to the broker at once.
const BATCH: usize = 64;

/// How often a server tells that it lives, and its last numbers.
pub(crate) const ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Most channels whose messages are numbered; on others losses are not counted. Each announcement lists all of them: 60 KB a
/// second at this bound. (Sharded Redis may use a channel per room, so clients could make any number of them.)
pub(crate) const MAX_NUMBERED: usize = 1_024;

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
    bytes: usize,
    /// So many at the front are with the broker now, and are not dropped: they may have gone out.
    in_flight: usize,
    /// Last number given, by namespace and channel.
    given: HashMap<(Arc<str>, Arc<str>), u64, RandomState>,
    /// Messages that never went out.
    dropped: u64,
    /// The last attempt to publish failed.
    down: bool,
    /// This server hears the others' announcements, so that it is among those that do.
    hears: bool,
    /// It heard them until a moment ago: since when it does not, and how many others there were then.
    interrupted: Option<Outage>,
    closing: bool,
}

#[derive(Debug)]
struct Waiting {
    outgoing: Outgoing,
    channel: Arc<str>,
    since: Instant,
    size: usize,
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
            options,
            directory,
            state: Mutex::default(),
            filled: Notify::new(),
            connected: Notify::new(),
            moved: Notify::new(),
            ended: watch::channel(false).0,
        })
    }

    /// Puts a message for all servers at the end; never waits. A full queue drops its oldest messages, which are counted. A
    /// volatile message is dropped at once while nothing goes out.
    pub(crate) fn publish(&self, namespace: &Arc<str>, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: None, number: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message });
    }

    /// As [`Queue::publish`], for an answer. `number` counts the answers to one question, if they are more than one.
    pub(crate) fn answer(&self, namespace: &Arc<str>, to: Option<ServerId>, number: Option<u64>, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to, number, body };
        self.push(Outgoing { namespace: namespace.clone(), message });
    }

    fn push(&self, mut outgoing: Outgoing) {
        let body = &outgoing.message.body;
        let (size, numbered) = (body.size(), body.answers().is_none());
        let volatile = matches!(body, Body::Broadcast { volatile: true, .. });
        let channel = self.broker.channel_of(&outgoing);
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
            if numbered {
                outgoing.message.number = state.number(&outgoing.namespace, &channel);
            }
            state.bytes += size;
            state.waiting.push_back(Waiting { outgoing, channel, since: Instant::now(), size });
            while state.waiting.len() > self.options.max_queued || state.bytes > self.options.max_queued_bytes {
                // The newest may be larger than the bound, if it waits alone.
                let oldest = state.in_flight;
                if oldest + 1 >= state.waiting.len() {
                    break;
                }
                state.drop_at(oldest, "full");
            }
        }
        self.filled.notify_one();
    }

    /// The broker can publish: a pause after a failure ends.
    pub(crate) fn connected(&self) {
        self.connected.notify_one();
    }

    /// This server hears the other servers.
    pub(crate) fn hears(&self) {
        self.state.lock().hears = true;
        self.connected();
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

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
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
        let mut tell_at = Instant::now();
        loop {
            if let Some(interrupted) = self.state.lock().interrupted.take() {
                outage.get_or_insert(interrupted).stays();
            }
            if tell_at <= Instant::now() {
                self.directory.lock().age(Instant::now());
                if self.tell_alive().await.is_err() {
                    outage.get_or_insert_with(|| self.outage()).stays();
                } else if let Some(outage) = &mut outage {
                    outage.goes_out(Instant::now());
                }
                tell_at = Instant::now() + ALIVE_INTERVAL;
            }
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
                tokio::select! {
                    () = self.filled.notified() => {}
                    () = sleep_until(tell_at) => {}
                }
                continue;
            }
            let published = timeout(PUBLISH_TIMEOUT, self.broker.publish(&batch)).await;
            let (sent, failure) = match published {
                Ok(Ok(())) => (batch.len(), None),
                // A broker that counts wrongly must not take what is behind its batch with it.
                Ok(Err(PublishError { sent, reason, permanent })) => {
                    (sent.min(batch.len()), Some((reason, permanent && sent < batch.len())))
                }
                Err(_) => (0, Some((NO_ANSWER.to_owned(), false))),
            };
            let failed = self.state.lock().published(sent, failure);
            self.moved.notify_waiters();
            let Some((reason, permanent)) = failed else {
                if let Some(over) = outage.take() {
                    over.end(Instant::now());
                }
                continue;
            };
            if permanent {
                tracing::error!(reason, "a message for the other servers was refused and is dropped");
                continue;
            }
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

    /// Tells the others the last numbers, then that this server leaves.
    async fn leave(&self) {
        // If these do not go out, nothing does any more.
        let _ = self.tell_alive().await;
        let _ = self.tell(Body::Goodbye).await;
        let _ = timeout(PUBLISH_TIMEOUT, self.broker.close(SERVERS)).await;
    }

    /// What goes out next; what is too old by now is dropped.
    fn next_batch(&self) -> Vec<Outgoing> {
        let mut state = self.state.lock();
        self.drop_old(&mut state);
        let batch: Vec<Outgoing> = state.waiting.iter().take(BATCH).map(|waiting| waiting.outgoing.clone()).collect();
        state.in_flight = batch.len();
        drop(state);
        if batch.is_empty() {
            // What waited may have been too old, all of it.
            self.moved.notify_waiters();
        }
        batch
    }

    fn drop_old(&self, state: &mut State) {
        let Some(oldest) = self.broker.max_age().map(|age| age.min(self.options.max_age)) else { return };
        let now = Instant::now();
        while state.waiting.front().is_some_and(|waiting| now.duration_since(waiting.since) > oldest) {
            state.drop_at(0, "old");
        }
    }

    /// After an outage the other servers have to subscribe again, as this one had to: what goes out before is lost on them.
    async fn await_peers(&self, others: usize, until: Instant) {
        while others > 0 && Instant::now() < until {
            match timeout(PEERS_PATIENCE, self.broker.peers(SERVERS)).await {
                Ok(Ok(count)) if count < others + usize::from(self.state.lock().hears) => {
                    sleep(PEERS_PATIENCE / 20).await;
                }
                // Enough, or the broker is down again, which the publish will tell.
                _ => return,
            }
        }
    }

    /// Tells the last numbers. The error is why that did not go out.
    async fn tell_alive(&self) -> Result<(), String> {
        let numbers = self.state.lock().settled();
        self.tell(Body::Alive { numbers }).await
    }

    /// Tells the other servers something that is not worth keeping: if it does not go out, the next one will do.
    async fn tell(&self, body: Body) -> Result<(), String> {
        let message = Message { sender: Some(self.id.clone()), to: None, number: None, body };
        let outgoing = Outgoing { namespace: SERVERS.into(), message };
        let told = match timeout(PUBLISH_TIMEOUT, self.broker.publish(&[outgoing])).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.reason),
            Err(_) => Err(NO_ANSWER.to_owned()),
        };
        self.state.lock().down = told.is_err();
        told
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.closing && self.waiting.is_empty()
    }

    /// The next number of a channel, if it has numbers.
    fn number(&mut self, namespace: &Arc<str>, channel: &Arc<str>) -> Option<u64> {
        let key = (namespace.clone(), channel.clone());
        if self.given.len() >= MAX_NUMBERED && !self.given.contains_key(&key) {
            return None;
        }
        let last = self.given.entry(key).or_insert(0);
        *last += 1;
        Some(*last)
    }

    /// On each channel the last number that went out or was dropped: all that others may miss by now.
    fn settled(&self) -> Vec<(Arc<str>, Arc<str>, u64)> {
        let mut numbers = self.given.clone();
        for waiting in self.waiting.iter().rev() {
            if let Some(number) = waiting.outgoing.message.number
                && let Some(last) = numbers.get_mut(&(waiting.outgoing.namespace.clone(), waiting.channel.clone()))
            {
                *last = number - 1;
            }
        }
        numbers.into_iter().map(|((namespace, channel), number)| (namespace, channel, number)).collect()
    }

    /// The first `sent` messages went out; then there was `failure`, which is given back.
    fn published(&mut self, sent: usize, failure: Option<(String, bool)>) -> Option<(String, bool)> {
        for _ in 0..sent {
            if let Some(waiting) = self.waiting.pop_front() {
                self.bytes = self.bytes.saturating_sub(waiting.size);
            }
        }
        if matches!(failure, Some((_, true))) {
            self.drop_at(0, "refused");
        }
        self.in_flight = 0;
        self.down = matches!(failure, Some((_, false)));
        failure
    }

    fn drop_at(&mut self, position: usize, why: &'static str) {
        let Some(waiting) = self.waiting.remove(position) else { return };
        self.bytes = self.bytes.saturating_sub(waiting.size);
        // An answer that is lost is told by its absence; only what was numbered is missed by others.
        self.dropped += u64::from(waiting.outgoing.message.body.answers().is_none());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
    }
}
