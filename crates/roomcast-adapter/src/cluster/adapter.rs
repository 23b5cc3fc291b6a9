//! [`ClusterAdapter`]: a namespace that several servers have in common: [`Local`] and a broker.

use super::Cluster;
use super::broker::{Broker, Looked};
use super::directory::Directory;
use super::inbox::{Asker, LAST, NamespaceInbox};
use super::message::{Body, RequestId, ServerId};
use super::queue::Queue;
use super::requests::Requests;
use super::trailer::{Series, Trailer};
use crate::adapter::{Acked, Action, Adapter, AdapterContext, AdapterError, Emit, Joined, ServerEvent};
use crate::answer::Answer;
use crate::local::Local;
use crate::recipient::{Recipient, SocketDetails};
use crate::target::{Room, Target};
use async_trait::async_trait;
use parking_lot::MutexGuard;
use roomcast_protocol::{Args, Packet, SocketId};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// Most questions of other servers that are worked on at once; others are not answered, which is counted.
const MAX_SERVED: usize = 1_024;

/// Most time that a server which leaves takes to answer what it was asked.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// One namespace of a [`Cluster`](super::Cluster) on this server.
#[derive(Debug)]
pub struct ClusterAdapter {
    local: Arc<Local>,
    namespace: Arc<str>,
    cluster: Cluster,
    inbox: Arc<NamespaceInbox>,
    requests: Arc<Requests>,
    served: Arc<Semaphore>,
    server_events: mpsc::Sender<ServerEvent>,
    open: AtomicBool,
    closed: OnceCell<()>,
}

impl ClusterAdapter {
    pub(super) fn new(context: AdapterContext, cluster: Cluster, inbox: Arc<NamespaceInbox>) -> Arc<Self> {
        let AdapterContext { namespace, server_events } = context;
        let adapter = Arc::new(Self {
            local: Local::new(namespace.clone()),
            namespace,
            cluster,
            inbox,
            requests: Arc::default(),
            served: Arc::new(Semaphore::new(MAX_SERVED)),
            server_events,
            open: AtomicBool::new(true),
            closed: OnceCell::new(),
        });
        adapter.inbox.set_adapter(&adapter);
        adapter.directory().open_namespace(&adapter.namespace);
        adapter.queue().number(&adapter.namespace);
        if adapter.inbox.is_connected() {
            // The adapter before this one was not closed.
            adapter.connected();
        }
        adapter.begin_to_hear();
        adapter
    }

    fn begin_to_hear(&self) {
        self.broker().open(&self.namespace, self.id(), self.inbox.clone());
    }

    /// This server's part of the namespace.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Questions that await answers: zero when nobody asks.
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn id(&self) -> &ServerId {
        self.cluster.id()
    }

    pub(super) fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    pub(super) fn inbox(&self) -> &NamespaceInbox {
        &self.inbox
    }

    pub(super) fn broker(&self) -> &Arc<dyn Broker> {
        &self.cluster.0.broker
    }

    pub(super) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.cluster.0.directory.lock()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether its close is over.
    pub(super) fn has_closed(&self) -> bool {
        self.closed.initialized()
    }

    pub(super) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    /// Messages come.
    pub(super) fn connected(&self) {
        self.directory().connected(&self.namespace, Instant::now());
        self.queue().heard(&self.namespace);
    }

    /// A message has come, or the trailer of one that nobody here wants. `false`: it came before.
    pub(super) fn heard(&self, trailer: &Trailer, lane: Option<Series>) -> bool {
        self.directory().heard(trailer, &self.namespace, lane, Instant::now())
    }

    pub(super) fn process(&self) -> u64 {
        self.queue().process()
    }

    /// `None`: too many questions are worked on.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.served.clone().try_acquire_owned().ok()
    }

    /// Answers a question.
    pub(super) fn answer(&self, asker: &Asker, body: Body) {
        self.queue().answer(&self.namespace, asker, body);
    }

    /// Does not answer a question, and tells the asker so, if it would understand that.
    pub(super) fn refuse(&self, asker: &Asker, request: RequestId, why: &str) {
        metrics::counter!("roomcast_cluster_answers_refused_total").increment(1);
        tracing::warn!(namespace = %self.namespace, asker = ?asker.id, why, "a question of another server is not answered");
        self.tell_refusal(asker, request);
    }

    /// No answer comes.
    pub(super) fn tell_refusal(&self, asker: &Asker, request: RequestId) {
        if asker.ours {
            self.answer(asker, Body::Refused { request });
        }
    }

    /// Hands an event of another server to the namespace.
    pub(super) fn tell(&self, event: ServerEvent) {
        if self.server_events.try_send(event).is_err() {
            metrics::counter!("roomcast_server_events_dropped_total").increment(1);
            tracing::warn!(namespace = %self.namespace, "an event of another server was dropped: its handlers are too slow, or the namespace is gone");
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.cluster.0.queue
    }

    fn looks(&self) -> bool {
        self.is_open() && self.broker().looks()
    }

    /// Rooms may have got their first members, or lost their last ones. What is returned resolves when they are heard.
    fn look<I: IntoIterator<Item = Room>>(&self, rooms: impl FnOnce() -> I) -> Vec<Looked> {
        if !self.looks() {
            return Vec::new();
        }
        rooms().into_iter().filter_map(|room| self.broker().look(&self.namespace, &room)).collect()
    }

    /// Changes sockets of this server.
    pub(super) fn change(&self, target: &Target, action: Action<'_>) {
        self.local.change(target, action);
        if let Action::Join(rooms) | Action::Leave(rooms) = action {
            drop(self.look(|| rooms.iter().cloned()));
        }
    }

    fn publish(&self, body: Body) {
        self.queue().publish(&self.namespace, body);
    }
}

#[async_trait]
impl Adapter for ClusterAdapter {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        self.local.insert(id, recipient, rooms, welcome)?;
        drop(self.look(|| rooms.iter().cloned().chain([Room::from(id)])));
        Ok(())
    }

    fn remove(&self, id: SocketId) {
        let rooms = if self.looks() { self.local.rooms_of(id) } else { Vec::new() };
        self.local.remove(id);
        drop(self.look(|| rooms));
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        let joined = self.local.join(id, rooms)?;
        let heard = self.look(|| rooms.iter().cloned());
        if heard.is_empty() {
            return Ok(joined);
        }
        let namespace = self.namespace.clone();
        Ok(Joined::when(async move {
            for heard in heard {
                if let Err(error) = heard.await {
                    tracing::debug!(%namespace, %error, "a room is joined, and what other servers send to it does not come");
                }
            }
        }))
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.local.leave(id, room);
        drop(self.look(|| [Room::from(room)]));
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.local.rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        if target.local || !self.is_open() {
            if let Action::Emit(emit) = action {
                return self.local.emit(target, emit, || {});
            }
            self.change(target, action);
            return Ok(());
        }
        let target_out = target.clone();
        match action {
            Action::Emit(emit) => {
                self.check_carried(emit.data)?;
                let (data, volatile, compress) = (emit.data.clone(), emit.volatile, emit.compress);
                let body = Body::Broadcast { data, target: target_out, volatile, compress };
                return self.local.emit(target, emit, || self.publish(body));
            }
            Action::Join(rooms) => {
                self.publish(Body::Join { target: target_out, rooms: rooms.to_vec(), request: None });
            }
            Action::Leave(rooms) => {
                self.publish(Body::Leave { target: target_out, rooms: rooms.to_vec(), request: None });
            }
            Action::Disconnect { close } => self.publish(Body::Disconnect { target: target_out, close, request: None }),
        }
        self.change(target, action);
        Ok(())
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.local.ack(from, id, args);
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        if target.local || !self.is_open() {
            return self.local.emit_with_ack(target, emit, timeout).await;
        }
        self.check_carried(emit.data)?;
        let acks = self.local.emit_for_acks(target, emit, || {})?;
        let asked_here = acks.asked() as u64;
        let question = |request| Body::BroadcastWithAck {
            request,
            data: emit.data.clone(),
            target: target.clone(),
            timeout: Some(timeout),
        };
        let (collected, missing) = self.ask_clients(far(timeout), acks, question).await;
        let asked = asked_here.saturating_add(collected.asked);
        let missing_sockets = asked.saturating_sub(collected.answers.len() as u64) as usize;
        Ok(Acked { answers: collected.answers, missing_sockets, missing })
    }

    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        let mut found = self.local.sockets(target);
        if target.local || !self.is_open() {
            return Answer::complete(found);
        }
        let question = |request| Body::FetchSockets { request, target: target.clone() };
        let take = |body| match body {
            Body::Sockets { sockets, .. } => {
                found.extend(sockets);
                true
            }
            _ => false,
        };
        let missing = self.ask(far(timeout), question, take).await;
        Answer { value: found, missing }
    }

    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        if target.local || !self.is_open() {
            return Answer::complete(self.local.count_sockets(target));
        }
        let mut count = self.local.count_sockets(target) as u64;
        let question = |request| Body::Count { request, target: target.clone() };
        let take = |body| match body {
            Body::Counted { count: more, .. } => {
                count = count.saturating_add(more);
                true
            }
            // Servers that know no such question answer the one that it looks like to them.
            Body::Sockets { sockets, .. } => {
                count = count.saturating_add(sockets.len() as u64);
                true
            }
            _ => false,
        };
        let missing = self.ask(far(timeout), question, take).await;
        Answer { value: usize::try_from(count).unwrap_or(usize::MAX), missing }
    }

    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        let mut rooms: HashSet<Room> = self.local.rooms().into_iter().collect();
        if !self.is_open() {
            return Answer::complete(rooms.into_iter().collect());
        }
        let take = |body| match body {
            Body::Rooms { rooms: more, .. } => {
                rooms.extend(more);
                true
            }
            _ => false,
        };
        let missing = self.ask(far(timeout), |request| Body::FetchRooms { request }, take).await;
        Answer { value: rooms.into_iter().collect(), missing }
    }

    async fn server_count(&self) -> Answer<usize> {
        self.count_servers().await
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        self.check_size(data)?;
        if self.is_open() {
            self.publish(Body::ServerSideEmit { request: None, data: data.clone() });
        }
        Ok(())
    }

    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        self.check_size(data)?;
        let mut answers = Vec::new();
        if !self.is_open() {
            return Ok(Answer::complete(answers));
        }
        let question = |request| Body::ServerSideEmit { request: Some(request), data: data.clone() };
        let take = |body| match body {
            Body::ServerAnswer { args, .. } => {
                answers.push(args);
                true
            }
            _ => false,
        };
        let missing = self.ask(far(timeout), question, take).await;
        Ok(Answer { value: answers, missing })
    }

    async fn close(&self) {
        self.open.store(false, Ordering::Release);
        // Whoever closes it second waits for the same.
        let closing = self.closed.get_or_init(|| async {
            stop_hearing(self.cluster.clone(), self.namespace.clone()).await;
            self.answer_the_last().await;
        });
        closing.await;
    }
}

impl ClusterAdapter {
    /// Waits until the others that counted this server have their answers.
    async fn answer_the_last(&self) {
        let lingers = self.broker().lingers();
        if lingers.is_zero() || self.is_alone().await {
            return;
        }
        sleep(lingers).await;
        let all = u32::try_from(MAX_SERVED).unwrap_or(u32::MAX);
        let answered = timeout(LAST + LAST_ANSWERS, async {
            let _all = self.served.acquire_many(all).await;
            // The process may end when this does.
            self.queue().empty().await;
        });
        let all = answered.await.is_ok();
        tracing::debug!(namespace = %self.namespace, all, "questions that came before this server left are answered");
    }
}

impl Drop for ClusterAdapter {
    /// An adapter that was not closed does not go on to count among the servers of its namespace.
    fn drop(&mut self) {
        if *self.open.get_mut()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(stop_hearing(self.cluster.clone(), self.namespace.clone()));
        }
    }
}

/// Bytes of an event: its JSON and its attachments.
fn bytes_of(data: &Args) -> usize {
    data.attachments().iter().fold(data.items_bytes().len(), |size, bytes| size.saturating_add(bytes.len()))
}

/// When a time that begins now is over; one that is too long to be added, "never" say, in 30 years.
fn far(timeout: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    Instant::now() + timeout.min(NEVER)
}

/// Closes a namespace at the broker, unless it was opened again meanwhile.
async fn stop_hearing(cluster: Cluster, namespace: Arc<str>) {
    let inbox = cluster.inbox(&namespace);
    let current = || inbox.adapter().filter(|adapter| adapter.is_open());
    if current().is_some() {
        return;
    }
    cluster.0.directory.lock().close_namespace(&namespace);
    cluster.0.queue.forget(&namespace);
    inbox.closed();
    cluster.0.broker.close(&namespace).await;
    // An adapter that was made meanwhile found the namespace still open, and heard nothing since.
    if let Some(adapter) = current() {
        adapter.directory().open_namespace(&namespace);
        adapter.queue().number(&namespace);
        adapter.begin_to_hear();
        drop(adapter.look(|| adapter.local.rooms()));
    }
}

impl ClusterAdapter {
    /// What would not fit a packet is refused whole, also when no client gets it; so is what would not come to the other servers.
    fn check_size(&self, data: &Args) -> Result<(), AdapterError> {
        if bytes_of(data) > roomcast_protocol::limits::MAX_PACKET_BYTES / 2 {
            drop(Packet::event(&self.namespace, None, data)?);
        }
        self.check_carried(data)
    }

    fn check_carried(&self, data: &Args) -> Result<(), AdapterError> {
        let (bytes, most) = (bytes_of(data), self.broker().largest());
        if bytes > most && self.is_open() {
            return Err(AdapterError::TooLargeForServers { bytes, most });
        }
        Ok(())
    }
}
