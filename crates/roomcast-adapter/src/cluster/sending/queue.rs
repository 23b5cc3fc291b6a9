//! The cluster queue: messages on their way to the other servers, in order, bounded in bytes and age.

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
use crate::cluster::state::ClusterState;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The queue. Whoever holds it may push; one task drains it.
pub(crate) struct Queue {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) id: ServerId,
    pub(crate) process: u64,
    /// What takes the road of announcements.
    pub(crate) announcement: Outgoing,
    pub(crate) options: ClusterOptions,
    pub(crate) directory: Arc<Mutex<Directory>>,
    pub(crate) state: Mutex<Backlog>,
    pub(crate) filled: Notify,
    /// The broker can publish again.
    pub(crate) connected: Notify,
    /// Fewer messages wait than before.
    pub(crate) moved: Notify,
    /// One announcement is under way at a time.
    pub(crate) telling: tokio::sync::Mutex<()>,
    /// The task that drains has ended.
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
            moved: Notify::new(),
            telling: tokio::sync::Mutex::default(),
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

    /// As [`Queue::publish`], for an answer. An asker that understands it is told if the answer cannot go out.
    pub(crate) fn answer(&self, namespace: &Arc<str>, asker: &Asker, body: Body) {
        let message = Message { sender: Some(self.id.clone()), to: asker.id.clone(), trailer: None, body };
        self.push_for(Outgoing { namespace: namespace.clone(), message }, None, asker.is_roomcast);
    }

    fn push(&self, outgoing: Outgoing, again: Option<Arc<AtomicBool>>) {
        self.push_for(outgoing, again, false);
    }

    /// `to_roomcast`: it is an answer to a roomcast server.
    fn push_for(&self, outgoing: Outgoing, again: Option<Arc<AtomicBool>>, to_roomcast: bool) {
        if self.enqueue(outgoing, again, to_roomcast) {
            self.refuse_answers();
        }
        self.filled.notify_one();
    }

    /// Tells whether answers were dropped, whose askers are to be told.
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
            !state.refused.is_empty()
        }
    }

    /// Tells those whose answers were dropped that none comes.
    pub(crate) fn refuse_answers(&self) {
        let next = || self.state.lock().refused.pop();
        while let Some(outgoing) = next() {
            self.enqueue(outgoing, None, false);
        }
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
        self.state.lock().notices.hello(to);
        self.filled.notify_one();
    }

    /// Another server is told all that this one has announced so far, after a while: not all tell it at once.
    pub(crate) fn tell_all(&self, to: ServerId, after: Duration) {
        self.state.lock().notices.tell_all(to, Instant::now() + after);
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
                state.notices.hello(None);
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

    pub(crate) fn outage(&self) -> Outage {
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
        self.state.lock().len()
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

    /// How this server stands with the others.
    pub(crate) fn watched(&self) -> watch::Receiver<ClusterState> {
        self.watched.subscribe()
    }

    /// What is to be done when messages were lost.
    pub(crate) fn on_lost(&self, hook: OnLost) {
        self.on_lost.lock().push(hook);
    }
}
