//! [`Queue`]: messages to the other servers, in order, with limits on bytes and age.

use crate::cluster::membership::directory::Directory;
use crate::cluster::membership::losses::OnLost;
use crate::cluster::options::ClusterOptions;
use crate::cluster::seam::broker::{Broker, Outgoing, SERVERS};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::sending::asker::Asker;
use crate::cluster::sending::backlog::Backlog;
use crate::cluster::sending::outage::Outage;
use crate::cluster::sending::queued::QueuedMessage;
use crate::cluster::state::{ClusterState, Queued};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The queue of a server. Anybody may push; one task publishes what is queued.
pub(crate) struct Queue {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) id: ServerId,
    pub(crate) process: u64,
    /// A message that takes the road of announcements.
    pub(crate) announcement: Outgoing,
    pub(crate) options: ClusterOptions,
    pub(crate) directory: Arc<Mutex<Directory>>,
    pub(crate) state: Mutex<Backlog>,
    pub(crate) filled: Notify,
    /// The broker can publish again.
    pub(crate) connected: Notify,
    /// Messages have left the queue.
    pub(crate) shrunk: Notify,
    /// At most one announcement is in flight.
    pub(crate) announcing: tokio::sync::Mutex<()>,
    /// Whether the task has ended.
    ended: watch::Sender<bool>,
    pub(crate) watched: watch::Sender<ClusterState>,
    pub(crate) on_lost: Mutex<Vec<OnLost>>,
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
        let message = Message { sender: Some(id.clone()), to: None, trailer: None, body: Body::Goodbye };
        Arc::new(Self {
            broker,
            id,
            announcement: Outgoing { namespace: SERVERS.into(), message },
            process: Trailer::random_process(),
            options,
            directory,
            state: Mutex::default(),
            filled: Notify::new(),
            connected: Notify::new(),
            shrunk: Notify::new(),
            announcing: tokio::sync::Mutex::default(),
            ended: watch::channel(false).0,
            watched: watch::channel(ClusterState::new(Instant::now())).0,
            on_lost: Mutex::default(),
        })
    }

    /// This server's id.
    pub(crate) fn id(&self) -> &ServerId {
        &self.id
    }

    /// This process, as in the trailers of all its messages.
    pub(crate) fn process(&self) -> u64 {
        self.process
    }

    /// Appends a message for all servers. Never waits. A full queue drops its oldest messages, which is counted. A
    /// volatile message is dropped at once while nothing goes out.
    pub(crate) fn publish(&self, namespace: &Arc<str>, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: None, trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, None, false);
    }

    /// As [`Queue::publish`], for a question. `again` is set if it may have gone out twice.
    pub(crate) fn ask(&self, namespace: &Arc<str>, body: Body, again: Arc<AtomicBool>) {
        let message = Message { sender: Some(self.id.clone()), to: None, trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, Some(again), false);
    }

    /// As [`Queue::publish`], for an answer. If it cannot go out, a roomcast server that asked is told so.
    pub(crate) fn answer(&self, namespace: &Arc<str>, asker: &Asker, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: asker.id.clone(), trailer: None, body };
        self.push(Outgoing { namespace: namespace.clone(), message }, None, asker.is_roomcast);
    }

    /// `to_roomcast`: it is an answer to a roomcast server.
    fn push(&self, outgoing: Outgoing, again: Option<Arc<AtomicBool>>, to_roomcast: bool) {
        if self.enqueue(outgoing, again, to_roomcast) {
            self.refuse_answers();
        }
        self.filled.notify_one();
    }

    /// Returns whether answers were dropped whose askers must be told.
    fn enqueue(&self, outgoing: Outgoing, again: Option<Arc<AtomicBool>>, to_roomcast: bool) -> bool {
        let body = &outgoing.message.body;
        let (size, series) = (body.size(), Series::of(body));
        let volatile = matches!(body, Body::Broadcast { volatile: true, .. });
        let route = self.broker.route(&outgoing);
        {
            let mut state = self.state.lock();
            if state.closing {
                return false;
            }
            if volatile && state.is_down(route.road) {
                state.dropped += 1;
                drop(state);
                metrics::counter!("roomcast_cluster_dropped_total", "why" => "volatile").increment(1);
                return false;
            }
            let mut waiting =
                QueuedMessage { outgoing, route, series, since: Instant::now(), size, again, to_roomcast };
            let Outgoing { namespace, message } = &mut waiting.outgoing;
            message.trailer = Some(state.numbers.next(self.process, namespace, series));
            let class = waiting.class();
            state.push(waiting);
            state.make_room(class, self.options.max_queued_bytes);
            !state.refusals.is_empty()
        }
    }

    /// Tells the askers of dropped answers that there will be no answer.
    pub(crate) fn refuse_answers(&self) {
        let next = || self.state.lock().refusals.pop();
        while let Some(outgoing) = next() {
            self.enqueue(outgoing, None, false);
        }
    }

    /// Opens a namespace: messages in it are numbered.
    pub(crate) fn open_namespace(&self, namespace: &Arc<str>) {
        self.state.lock().numbers.open(namespace);
    }

    /// The messages of an open namespace arrive: other servers are told soon that this server has it.
    pub(crate) fn namespace_connected(&self, namespace: &str) {
        {
            let mut state = self.state.lock();
            let news = state.numbers.messages_arrive(namespace);
            state.has_news |= news;
        }
        self.connected();
        self.filled.notify_one();
    }

    /// Closes a namespace: other servers are told soon, and its numbers are removed once its messages have gone out.
    pub(crate) fn close_namespace(&self, namespace: &str) {
        {
            let mut state = self.state.lock();
            state.numbers.close(namespace);
            state.has_news = true;
        }
        self.filled.notify_one();
    }

    /// Asks another server, or with `None` every server, to say everything about itself.
    pub(crate) fn hello(&self, to: Option<ServerId>) {
        self.state.lock().notices.hello(to);
        self.filled.notify_one();
    }

    /// Tells another server everything about this one after a delay, so that not all servers answer it at once.
    pub(crate) fn tell_everything(&self, to: ServerId, after: Duration) {
        self.state.lock().notices.tell_everything(to, Instant::now() + after);
        self.filled.notify_one();
    }

    /// The broker can publish: a pause after a failure ends.
    pub(crate) fn connected(&self) {
        self.connected.notify_one();
    }

    /// This server receives the other servers' announcements.
    pub(crate) fn servers_connected(&self) {
        {
            let mut state = self.state.lock();
            state.receives_since = Some(Instant::now());
            if !std::mem::replace(&mut state.said_hello, true) {
                state.notices.hello(None);
            }
        }
        self.update_state();
        self.connected();
        self.filled.notify_one();
    }

    /// This server does not receive the other servers' announcements for now. They may not receive one another's
    /// either, and then what goes out before they have subscribed again is lost, even if publishing never failed.
    pub(crate) fn servers_lost(&self) {
        let outage = self.outage();
        let mut state = self.state.lock();
        state.receives_since = None;
        state.interruption = Some(outage);
        drop(state);
        self.update_state();
    }

    pub(crate) fn outage(&self) -> Outage {
        let now = Instant::now();
        Outage::new(now, self.directory.lock().servers(now).count())
    }

    /// The number of messages that never went out.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// The number of series whose messages are numbered.
    pub(crate) fn numbered(&self) -> usize {
        self.state.lock().numbers.len()
    }

    /// What waits.
    pub(crate) fn queued(&self) -> Queued {
        let now = Instant::now();
        let state = self.state.lock();
        let oldest = state.oldest().map(|since| now.duration_since(since)).unwrap_or_default();
        Queued { messages: state.len(), bytes: state.bytes.iter().sum(), oldest }
    }

    /// The number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().len()
    }

    /// Resolves when nothing waits: everything has gone out or was dropped.
    pub(crate) async fn empty(&self) {
        loop {
            let shrunk = self.shrunk.notified();
            tokio::pin!(shrunk);
            // Before the check, so that no change after it is missed.
            shrunk.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            shrunk.await;
        }
    }

    /// Accepts no more messages: the task publishes what is left, announces that this server leaves, and ends.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.filled.notify_one();
    }

    /// Publishes what is queued until the queue is closed.
    pub(crate) async fn drain(self: Arc<Self>) {
        self.run().await;
        self.ended.send_replace(true);
    }

    /// Resolves when the queue was closed and its task has ended.
    pub(crate) async fn ended(&self) {
        // `self` holds the sender, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// The state that the application watches.
    pub(crate) fn watched(&self) -> watch::Receiver<ClusterState> {
        self.watched.subscribe()
    }

    /// Adds a hook that is called when messages were lost.
    pub(crate) fn on_lost(&self, hook: OnLost) {
        self.on_lost.lock().push(hook);
    }
}
