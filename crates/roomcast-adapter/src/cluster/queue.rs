//! The cluster queue: messages on their way to the other servers, in order, bounded in number, bytes and age.

use super::broker::{Broker, Outgoing, SERVERS};
use super::directory::Directory;
use super::message::{Body, Message, ServerId};
use super::options::ClusterOptions;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Messages that go to the broker at once.
const BATCH: usize = 64;

/// How often a server tells that it lives, and its last numbers.
pub(crate) const ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failed publish; a broker that reconnects ends it early.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Time that one batch may take.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// After an outage: how long the servers that were known before may take to hear again.
const PEERS_PATIENCE: Duration = Duration::from_millis(500);

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
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    next_ticket: u64,
    /// Last number given, by namespace and channel.
    given: HashMap<(Arc<str>, Arc<str>), u64, RandomState>,
    /// Last number that went out or was dropped. Only these are told as [`Body::Alive`].
    done: HashMap<(Arc<str>, Arc<str>), u64, RandomState>,
    /// Messages that never went out.
    dropped: u64,
    closing: bool,
}

#[derive(Debug)]
struct Waiting {
    /// Orders messages, so that what was published is found again although others were dropped meanwhile.
    ticket: u64,
    outgoing: Outgoing,
    channel: Arc<str>,
    since: Instant,
    size: usize,
}

/// Since when nothing goes out, and how many roomcast servers there were.
struct Outage {
    since: Instant,
    peers: usize,
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
        })
    }

    /// Puts a message at the end; never waits. A full queue drops its oldest messages, which are counted.
    pub(crate) fn push(&self, namespace: &Arc<str>, to: Option<ServerId>, body: Body) {
        let size = body.size();
        let numbered = to.is_none() && body.answers().is_none();
        let message = Message { sender: Some(self.id.clone()), to, number: None, body };
        let mut outgoing = Outgoing { namespace: namespace.clone(), message };
        let channel = self.broker.channel_of(&outgoing);
        {
            let mut state = self.state.lock();
            if numbered {
                let last = state.given.entry((namespace.clone(), channel.clone())).or_insert(0);
                *last += 1;
                outgoing.message.number = Some(*last);
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.bytes += size;
            state.waiting.push_back(Waiting { ticket, outgoing, channel, since: Instant::now(), size });
            while state.waiting.len() > 1
                && (state.waiting.len() > self.options.max_queued || state.bytes > self.options.max_queued_bytes)
            {
                state.drop_oldest("full");
            }
        }
        self.filled.notify_one();
    }

    /// The broker can publish: a pause after a failure ends.
    pub(crate) fn connected(&self) {
        self.connected.notify_one();
    }

    /// Messages that never went out.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// No more messages will be pushed: the task sends what is left, says goodbye and ends.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.filled.notify_one();
    }

    /// Drains the queue until it is closed.
    pub(crate) async fn drain(self: Arc<Self>) {
        let mut outage: Option<Outage> = None;
        let mut tell_at = Instant::now();
        loop {
            if tell_at <= Instant::now() {
                self.tell_alive().await;
                tell_at = Instant::now() + ALIVE_INTERVAL;
            }
            let batch = self.next_batch();
            if batch.is_empty() {
                if self.state.lock().closing {
                    self.tell(Body::Goodbye).await;
                    return;
                }
                tokio::select! {
                    () = self.filled.notified() => {}
                    () = sleep_until(tell_at) => {}
                }
                continue;
            }
            if let Some(outage) = &outage {
                self.await_peers(outage.peers).await;
            }
            let messages: Vec<Outgoing> = batch.iter().map(|(_, outgoing)| outgoing.clone()).collect();
            let published = timeout(PUBLISH_TIMEOUT, self.broker.publish(&messages)).await;
            let (sent, failure) = match published {
                Ok(Ok(())) => (batch.len(), None),
                Ok(Err(error)) => (error.sent + usize::from(error.permanent), Some((error.reason, error.permanent))),
                Err(_) => (0, Some(("the broker does not answer".to_owned(), false))),
            };
            if let Some((ticket, _)) = sent.checked_sub(1).and_then(|last| batch.get(last)) {
                self.state.lock().done_up_to(*ticket);
            }
            match failure {
                None => {
                    if let Some(outage) = outage.take() {
                        let seconds = Instant::now().duration_since(outage.since).as_secs_f32();
                        tracing::info!(seconds, "messages go out to the other servers again");
                    }
                }
                Some((reason, true)) => {
                    self.state.lock().dropped += 1;
                    metrics::counter!("roomcast_cluster_dropped_total", "why" => "refused").increment(1);
                    tracing::error!(reason, "a message for the other servers was refused and is dropped");
                }
                Some((reason, false)) => {
                    if outage.is_none() {
                        tracing::warn!(
                            reason,
                            "messages do not go out to the other servers; they are kept for a while"
                        );
                        let peers = self.directory.lock().servers().count() + 1;
                        outage = Some(Outage { since: Instant::now(), peers });
                    }
                    if self.state.lock().closing {
                        return;
                    }
                    tokio::select! {
                        () = sleep(RETRY_PAUSE) => {}
                        () = self.connected.notified() => {}
                    }
                }
            }
        }
    }

    /// What goes out next; what is too old by now is dropped.
    fn next_batch(&self) -> Vec<(u64, Outgoing)> {
        let mut state = self.state.lock();
        if let Some(oldest) = self.broker.max_age().map(|age| age.min(self.options.max_age)) {
            let now = Instant::now();
            while state.waiting.front().is_some_and(|waiting| now.duration_since(waiting.since) > oldest) {
                state.drop_oldest("old");
            }
        }
        state.waiting.iter().take(BATCH).map(|waiting| (waiting.ticket, waiting.outgoing.clone())).collect()
    }

    /// After an outage the other servers have to subscribe again, as this one had to: what goes out before is lost on them.
    async fn await_peers(&self, expected: usize) {
        let until = Instant::now() + PEERS_PATIENCE;
        while Instant::now() < until {
            match timeout(PEERS_PATIENCE, self.broker.peers(SERVERS)).await {
                Ok(Ok(count)) if count < expected => sleep(PEERS_PATIENCE / 20).await,
                // Enough, or the broker is down again, which the publish will tell.
                _ => return,
            }
        }
    }

    async fn tell_alive(&self) {
        let numbers = {
            let state = self.state.lock();
            state
                .done
                .iter()
                .map(|((namespace, channel), number)| (namespace.clone(), channel.clone(), *number))
                .collect()
        };
        self.tell(Body::Alive { numbers }).await;
    }

    /// Tells the other servers something that is not worth keeping: if it does not go out, the next one will do.
    async fn tell(&self, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: None, number: None, body };
        let outgoing = Outgoing { namespace: SERVERS.into(), message };
        let _ = timeout(PUBLISH_TIMEOUT, self.broker.publish(&[outgoing])).await;
    }
}

impl State {
    fn drop_oldest(&mut self, why: &'static str) {
        let Some(waiting) = self.waiting.pop_front() else { return };
        self.settle(&waiting);
        // An answer that is lost is told by its absence; only what was numbered is missed by others.
        self.dropped += u64::from(waiting.outgoing.message.number.is_some());
        metrics::counter!("roomcast_cluster_dropped_total", "why" => why).increment(1);
    }

    fn done_up_to(&mut self, ticket: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.ticket <= ticket) {
            if let Some(waiting) = self.waiting.pop_front() {
                self.settle(&waiting);
            }
        }
    }

    fn settle(&mut self, waiting: &Waiting) {
        self.bytes = self.bytes.saturating_sub(waiting.size);
        if let Some(number) = waiting.outgoing.message.number {
            self.done.insert((waiting.outgoing.namespace.clone(), waiting.channel.clone()), number);
        }
    }
}
