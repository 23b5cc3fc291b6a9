//! [`Place`]: this server's part of a namespace of the cluster. `ClusterAdapter` asks other servers through it, and
//! `NamespaceInbox` answers them through it.

use crate::cluster::member::Member;
use crate::cluster::membership::directory::Directory;
use crate::cluster::namespace::subscription::Subscription;
use crate::cluster::questions::requests::Requests;
use crate::cluster::seam::broker::{Broker, Looked};
use crate::cluster::seam::ids::{RequestId, ServerId};
use crate::cluster::seam::inbox::Inbox;
use crate::cluster::seam::message::Body;
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::sending::asker::Asker;
use crate::cluster::sending::queue::Queue;
use crate::rooms::local::Local;
use crate::seam::adapter::{Action, AdapterContext, ServerEvent};
use crate::seam::room::Room;
use crate::seam::target::Target;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

/// Most questions of other servers that are worked on at once. Further questions are refused, which is counted.
pub(crate) const MAX_SERVED: usize = 1_024;

/// One namespace of the cluster on this server.
pub(crate) struct Place {
    local: Arc<Local>,
    namespace: Arc<str>,
    member: Arc<Member>,
    subscription: Arc<Subscription>,
    current: Arc<CurrentPlace>,
    /// What the broker hands the namespace's messages to.
    inbox: Arc<dyn Inbox>,
    requests: Arc<Requests>,
    served: Arc<Semaphore>,
    server_events: mpsc::Sender<ServerEvent>,
    open: AtomicBool,
    closed: OnceCell<()>,
}

/// The newest place of a namespace, which takes its messages. Weak, as a broker must not keep a namespace alive.
#[derive(Debug, Default)]
pub(crate) struct CurrentPlace(Mutex<Weak<Place>>);

impl CurrentPlace {
    pub(crate) fn get(&self) -> Option<Arc<Place>> {
        self.0.lock().upgrade()
    }

    fn set(&self, place: &Arc<Place>) {
        *self.0.lock() = Arc::downgrade(place);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("local", &self.local).field("member", &self.member).finish_non_exhaustive()
    }
}

impl Place {
    /// Opens the namespace on this server. The broker hands its messages to `inbox`.
    pub(crate) fn open(
        context: AdapterContext,
        member: Arc<Member>,
        subscription: Arc<Subscription>,
        current: Arc<CurrentPlace>,
        inbox: Arc<dyn Inbox>,
    ) -> Arc<Self> {
        let local = Local::of(&context);
        let AdapterContext { namespace, server_events, .. } = context;
        let place = Arc::new(Self {
            local,
            namespace,
            member,
            subscription,
            current,
            inbox,
            requests: Arc::default(),
            served: Arc::new(Semaphore::new(MAX_SERVED)),
            server_events,
            open: AtomicBool::new(true),
            closed: OnceCell::new(),
        });
        place.current.set(&place);
        place.directory().open_namespace(&place.namespace);
        place.queue().open_namespace(&place.namespace);
        if place.subscription.is_connected() {
            // The place before this one was not closed.
            place.connected();
        }
        place.subscribe();
        place
    }

    fn subscribe(&self) {
        self.broker().open(&self.namespace, self.id(), self.inbox.clone());
    }

    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    pub(crate) fn id(&self) -> &ServerId {
        &self.member.id
    }

    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.member.broker
    }

    pub(crate) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.member.directory.lock()
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.member.queue
    }

    pub(crate) fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Whether closing it has finished.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed.initialized()
    }

    /// Set once closing it has finished.
    pub(crate) fn closed(&self) -> &OnceCell<()> {
        &self.closed
    }

    /// Messages arrive.
    pub(crate) fn connected(&self) {
        self.directory().connected(&self.namespace, Instant::now());
        self.queue().namespace_connected(&self.namespace);
    }

    /// Notes that a message, or only its trailer, has arrived. Returns `false` for a message that arrived before.
    pub(crate) fn note_arrival(&self, trailer: &Trailer, series: Option<Series>) -> bool {
        self.directory().message_arrived(trailer, &self.namespace, series, Instant::now())
    }

    pub(crate) fn process(&self) -> u64 {
        self.queue().process()
    }

    /// A permit to work on a question; `None` if [`MAX_SERVED`] are being worked on.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.served.clone().try_acquire_owned().ok()
    }

    /// Resolves when no question is being worked on. No work starts while the returned permit lives.
    pub(crate) async fn all_permits(&self) -> Option<SemaphorePermit<'_>> {
        self.served.acquire_many(u32::try_from(MAX_SERVED).unwrap_or(u32::MAX)).await.ok()
    }

    pub(crate) fn publish(&self, body: Body) {
        self.queue().publish(&self.namespace, body);
    }

    /// Answers a question.
    pub(crate) fn answer(&self, asker: &Asker, body: Body) {
        self.queue().answer(&self.namespace, asker, body);
    }

    /// Refuses a question, which is logged and counted, and tells the asker if it understands that.
    pub(crate) fn refuse(&self, asker: &Asker, request: RequestId, why: &str) {
        metrics::counter!("roomcast_cluster_answers_refused_total").increment(1);
        tracing::warn!(namespace = %self.namespace, asker = ?asker.id, why, "a question of another server is not answered");
        self.tell_refusal(asker, request);
    }

    /// Tells an asker that it gets no answer, if it understands that.
    pub(crate) fn tell_refusal(&self, asker: &Asker, request: RequestId) {
        if asker.is_roomcast {
            self.answer(asker, Body::Refused { request });
        }
    }

    /// Hands an event of another server to the namespace's handlers.
    pub(crate) fn hand_over(&self, event: ServerEvent) {
        if self.server_events.try_send(event).is_err() {
            metrics::counter!("roomcast_server_events_dropped_total").increment(1);
            tracing::warn!(namespace = %self.namespace, "an event of another server was dropped: the handlers are too slow, or the namespace is gone");
        }
    }

    pub(crate) fn looks(&self) -> bool {
        self.is_open() && self.broker().looks()
    }

    /// Tells the broker of rooms that may have got their first member or lost their last one.
    pub(crate) fn look<I: IntoIterator<Item = Room>>(&self, rooms: impl FnOnce() -> I) -> Vec<Looked> {
        if !self.looks() {
            return Vec::new();
        }
        rooms().into_iter().filter_map(|room| self.broker().look(&self.namespace, &room)).collect()
    }

    /// Changes sockets of this server.
    pub(crate) fn change(&self, target: &Target, action: Action<'_>) {
        self.local.change(target, action);
        if let Action::Join(rooms) | Action::Leave(rooms) = action {
            drop(self.look(|| rooms.iter().cloned()));
        }
    }

    /// Tells the broker of the rooms that only this place has, if a newer one goes on with the namespace. Afterwards nobody would: who
    /// leaves this place no longer changes what is wanted, nor do sessions that end here.
    fn give_up_rooms(&self) {
        if let Some(newer) = self.current.get().filter(|place| place.is_open()) {
            drop(newer.look(|| self.local.heard_rooms()));
        }
    }

    /// Leaves the namespace, and closes it at the broker unless it was opened again meanwhile.
    pub(crate) async fn leave(&self) {
        self.open.store(false, Ordering::Release);
        self.give_up_rooms();
        let (member, current) = (self.member.clone(), self.current.clone());
        leave(member, self.namespace.clone(), self.subscription.clone(), current).await;
    }
}

impl Drop for Place {
    /// A place that was not closed must not go on to count among the servers of its namespace.
    fn drop(&mut self) {
        if *self.open.get_mut()
            && let Ok(runtime) = Handle::try_current()
        {
            self.give_up_rooms();
            let (member, current) = (self.member.clone(), self.current.clone());
            runtime.spawn(leave(member, self.namespace.clone(), self.subscription.clone(), current));
        }
    }
}

async fn leave(member: Arc<Member>, namespace: Arc<str>, subscription: Arc<Subscription>, current: Arc<CurrentPlace>) {
    let newer = || current.get().filter(|place| place.is_open());
    if newer().is_some() {
        return;
    }
    member.directory.lock().close_namespace(&namespace);
    member.queue.close_namespace(&namespace);
    subscription.closed();
    member.broker.close(&namespace).await;
    // A place that was opened meanwhile found the namespace still open at the broker, and has received nothing since.
    if let Some(place) = newer() {
        place.directory().open_namespace(&namespace);
        place.queue().open_namespace(&namespace);
        place.subscribe();
        drop(place.look(|| place.local.heard_rooms()));
    }
}
