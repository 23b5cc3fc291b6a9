//! What comes from other servers: for a namespace, and for the servers themselves.

use super::adapter::ClusterAdapter;
use super::announcer::spread;
use super::broker::Inbox;
use super::directory::Directory;
use super::message::{Body, Message, RequestId, ServerId};
use super::parts::{MAX_FOREIGN_ANSWER_BYTES, divide};
use super::queue::Queue;
use super::trailer::{Arrival, Series, Trailer};
use crate::adapter::{Action, Emit, ServerEvent};
use crate::limits::TOGETHER_BYTES;
use crate::recipient::Wakes;
use crate::target::Target;
use parking_lot::Mutex;
use roomcast_protocol::{Args, RESERVED_EVENTS};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Why a question is not answered.
const TOO_MANY: &str = "too many questions of other servers are worked on";

/// How long another server's question is worked on, if it does not say how long it waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that came so lately may not be counted by who asks.
const NEW: Duration = Duration::from_millis(100);

/// How much later than others a server answers that may not be counted: who counts answers would take its for another's. What
/// is asked is done at once, in its order with other messages.
const LATER: Duration = Duration::from_millis(150);

/// How much later a server answers that has left: behind those that are new and may have been counted, too.
pub(super) const LAST: Duration = LATER.saturating_mul(2);

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) id: Option<ServerId>,
    /// It is a roomcast server.
    pub(super) ours: bool,
}

/// Hears the roomcast servers themselves.
pub(super) struct ServersInbox {
    pub(super) directory: Arc<Mutex<Directory>>,
    pub(super) queue: Arc<Queue>,
}

impl Inbox for ServersInbox {
    fn wants(&self, _: &str) -> bool {
        false
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let now = Instant::now();
        let mut hellos = Vec::new();
        let mut directory = self.directory.lock();
        for arrival in arrivals {
            let message = match arrival {
                Arrival::Message(message) => message,
                Arrival::Malformed(error) => {
                    malformed(&error);
                    continue;
                }
                Arrival::PassedOver(_) => continue,
            };
            let (Some(sender), Some(trailer)) = (message.sender, message.trailer) else { continue };
            match message.body {
                _ if trailer.process == self.queue.process() => {}
                _ if message.to.as_ref().is_some_and(|to| to != self.queue.id()) => {}
                Body::Alive(alive) if directory.told(&sender, &trailer, &alive, now) => hellos.push(Some(sender)),
                Body::Hello if directory.hello(trailer.process, now) => {
                    let within = spread(directory.about(now));
                    // Each server has a time of its own for each that asks.
                    let part = Trailer::hash(&format!("{}\n{sender}", self.queue.id()));
                    self.queue.tell_all(sender, within.mul_f64(f64::from(part) / f64::from(u32::MAX)));
                }
                Body::Goodbye => directory.left(trailer.process, now),
                _ => {}
            }
        }
        drop(directory);
        hellos.into_iter().for_each(|to| self.queue.hello(to));
    }

    fn connected(&self) {
        self.directory.lock().hears(Instant::now());
        self.queue.hears();
    }

    fn lost(&self) {
        self.queue.lost();
    }
}

fn malformed(error: &str) {
    metrics::counter!("roomcast_cluster_malformed_total").increment(1);
    tracing::debug!(error, "what another server published is no message");
}

/// Hears a namespace. It outlives adapters: one that is made for a namespace after another takes over its inbox. It holds
/// the adapter weakly, as a broker must not keep a namespace alive.
#[derive(Debug, Default)]
pub(super) struct NamespaceInbox {
    adapter: Mutex<Weak<ClusterAdapter>>,
    /// Since when messages come, so that the broker counts us among the servers.
    since: watch::Sender<Option<Instant>>,
    /// Since when they do not, if they did.
    lost: Mutex<Option<Instant>>,
    /// Servers of other software have the namespace too, or had it.
    mixed: AtomicBool,
}

impl NamespaceInbox {
    pub(super) fn adapter(&self) -> Option<Arc<ClusterAdapter>> {
        self.adapter.lock().upgrade()
    }

    pub(super) fn set_adapter(&self, adapter: &Arc<ClusterAdapter>) {
        *self.adapter.lock() = Arc::downgrade(adapter);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.since().is_some()
    }

    pub(super) fn since(&self) -> Option<Instant> {
        *self.since.borrow()
    }

    /// Whether servers of other software have the namespace too; `seen`: they were just seen.
    pub(super) fn is_mixed(&self, seen: bool) -> bool {
        if seen { self.mixed.fetch_or(true, Ordering::Relaxed) } else { self.mixed.load(Ordering::Relaxed) }
    }

    /// Resolves when messages come.
    pub(super) async fn until_connected(&self) {
        // The sender is this inbox's own, so the wait ends in no other way.
        let _ = self.since.subscribe().wait_for(Option::is_some).await;
    }

    /// The namespace is heard no more, as nobody here has it.
    pub(super) fn closed(&self) {
        self.since.send_replace(None);
        *self.lost.lock() = None;
    }

    fn is_new(&self) -> bool {
        self.since().is_none_or(|since| since.elapsed() < NEW)
    }
}

impl Inbox for NamespaceInbox {
    fn wants(&self, room: &str) -> bool {
        self.adapter().is_some_and(|adapter| adapter.local().has_room(room))
    }

    fn awaits(&self, request: &str) -> bool {
        self.adapter().is_some_and(|adapter| adapter.requests().awaits(request))
    }

    /// Packets that are made go into the outboxes in their order; the writers are woken at the end, so that what is for one client
    /// leaves in one write.
    fn receive(&self, arrivals: Vec<Arrival>) {
        let Some(adapter) = self.adapter() else { return };
        let (mut wakes, mut bytes) = (Wakes::new(), 0);
        for arrival in arrivals {
            let message = match arrival {
                Arrival::Message(message) => message,
                Arrival::PassedOver(trailer) => {
                    adapter.passed_over(&trailer);
                    continue;
                }
                Arrival::Malformed(error) => {
                    malformed(&error);
                    continue;
                }
            };
            if message.trailer.is_none() {
                self.is_mixed(true);
            }
            // Roomcast servers tell answers apart by the names; others count them.
            let late = match message.body.is_question() && message.trailer.is_none() {
                true if !adapter.is_open() => LAST,
                true if self.is_new() => LATER,
                _ => Duration::ZERO,
            };
            bytes += message.body.size();
            adapter.receive(message, late, &mut wakes);
            if bytes >= TOGETHER_BYTES {
                std::mem::take(&mut wakes).wake();
                bytes = 0;
            }
        }
        wakes.wake();
    }

    fn connected(&self) {
        let now = Instant::now();
        self.since.send_replace(Some(now));
        let lost = self.lost.lock().take();
        if let Some(adapter) = self.adapter() {
            if let Some(lost) = lost {
                adapter.directory().was_interrupted(now.duration_since(lost));
            }
            adapter.connected();
        }
    }

    fn lost(&self) {
        self.since.send_replace(None);
        self.lost.lock().get_or_insert_with(Instant::now);
        metrics::counter!("roomcast_cluster_interruptions_total").increment(1);
    }
}

/// Why a broadcast was dropped whose clients would take it for a broken connection.
const NO_NAME: &str =
    "an event whose name no client may get: null, true, a list, an object, or one of the library's own";

/// Whether clients may get this event. They end their connection at any other, and Node's servers send it.
fn has_name(data: &Args) -> bool {
    let Some(name) = data.as_ref().iter().next() else { return false };
    match name.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(name).map_or(true, |name| !RESERVED_EVENTS.contains(&&*name)),
        Some(b'-' | b'0'..=b'9') => true,
        _ => false,
    }
}

impl ClusterAdapter {
    /// A broadcast to a room that nobody here is in.
    fn passed_over(&self, trailer: &Trailer) {
        if trailer.process != self.process() && self.is_open() {
            self.heard(trailer, Some(Series::Rooms));
        }
    }

    /// `late`: how much later than it could a question is answered, of somebody who may not have counted this server.
    fn receive(self: &Arc<Self>, message: Message, late: Duration, wakes: &mut Wakes) {
        let own = match &message.trailer {
            Some(trailer) => trailer.process == self.process(),
            None => message.sender.as_ref() == Some(self.id()),
        };
        if own || message.to.as_ref().is_some_and(|to| to != self.id()) {
            return;
        }
        if message.trailer.is_some_and(|trailer| !self.heard(&trailer, Series::of(&message.body))) {
            return;
        }
        if !self.is_open() {
            // Who asks may have counted this server before it left, and awaits an answer; but for roomcast servers, which are told that
            // it leaves, and would take this answer for that of one who was counted. Once the close is over nobody here takes
            // anything.
            if !late.is_zero() && !self.has_closed() {
                self.serve(message, late, wakes);
            }
            return;
        }
        if let Some(request) = message.body.answers().cloned() {
            self.requests().answered(&request, message);
            return;
        }
        self.serve(message, late, wakes);
    }

    /// Gives the only answer to a question, in parts if it must be.
    fn reply(self: &Arc<Self>, asker: Asker, body: Body, late: Duration) {
        let Some(request) = body.answers().cloned() else { return };
        let parts = if asker.ours {
            divide(body, self.broker().largest())
        } else {
            let size = body.size();
            if size > MAX_FOREIGN_ANSWER_BYTES { Err(size) } else { Ok(vec![body]) }
        };
        let parts = match parts {
            Ok(parts) => parts,
            Err(size) => {
                let why = format!("the answer has {size} bytes, which is too much: ask for less, or for a count");
                return self.refuse(&asker, request, &why);
            }
        };
        if late.is_zero() {
            return parts.into_iter().for_each(|part| self.answer(&asker, part));
        }
        let Some(permit) = self.permit() else { return self.refuse(&asker, request, TOO_MANY) };
        let adapter = self.clone();
        tokio::spawn(async move {
            sleep(late).await;
            parts.into_iter().for_each(|part| adapter.answer(&asker, part));
            drop(permit);
        });
    }

    fn serve(self: &Arc<Self>, message: Message, late: Duration, wakes: &mut Wakes) {
        let asker = Asker { id: message.sender, ours: message.trailer.is_some() };
        match message.body {
            Body::Broadcast { data, .. } if !has_name(&data) => malformed(NO_NAME),
            Body::Broadcast { data, target, volatile, compress } => {
                let emit = Emit { data: &data, volatile, compress };
                if let Err(error) = self.local().emit_into(&target, emit, wakes, || {}) {
                    malformed(&error.to_string());
                }
            }
            Body::Join { target, rooms, request } => {
                self.change_for(&target, Action::Join(&rooms), &asker, request);
            }
            Body::Leave { target, rooms, request } => {
                self.change_for(&target, Action::Leave(&rooms), &asker, request);
            }
            Body::Disconnect { target, close, request } => {
                self.change_for(&target, Action::Disconnect { close }, &asker, request);
            }
            Body::FetchSockets { request, target } => {
                let sockets = self.local().sockets(&target);
                self.reply(asker, Body::Sockets { request, sockets, parts: 1 }, late);
            }
            Body::Count { request, target } => {
                let count = self.local().count_sockets(&target) as u64;
                self.reply(asker, Body::Counted { request, count }, late);
            }
            Body::FetchIds { request, target } => {
                let ids = self.local().sockets(&target).into_iter().map(|socket| socket.id).collect();
                self.reply(asker, Body::Ids { request, ids }, late);
            }
            Body::FetchRooms { request } => {
                let rooms = self.local().rooms();
                self.reply(asker, Body::Rooms { request, rooms, parts: 1 }, late);
            }
            Body::BroadcastWithAck { request, data, .. } if !has_name(&data) => {
                malformed(NO_NAME);
                self.reply(asker, Body::AskedClients { request, count: 0 }, late);
            }
            Body::BroadcastWithAck { request, data, target, timeout } => {
                let permit = self.permit();
                let mut acks = match self.local().emit_for_acks(&target, Emit::of(&data), || {}) {
                    Ok(acks) => acks,
                    Err(error) => return malformed(&error.to_string()),
                };
                let Some(permit) = permit else { return self.refuse(&asker, request, TOO_MANY) };
                let count = acks.asked() as u64;
                let asked = Body::AskedClients { request: request.clone(), count };
                let later = if late.is_zero() {
                    self.answer(&asker, asked);
                    None
                } else {
                    Some(asked)
                };
                let adapter = self.clone();
                let until = Instant::now() + timeout.unwrap_or(PATIENCE).min(PATIENCE);
                tokio::spawn(async move {
                    if let Some(asked) = later {
                        sleep(late).await;
                        adapter.answer(&asker, asked);
                    }
                    while let Ok(Some((_, args))) = timeout_at(until, acks.next()).await {
                        let first = args.as_ref().iter().next().unwrap_or_default().into();
                        let args = Args::from_parts(first, args.attachments().to_vec());
                        adapter.answer(&asker, Body::ClientAck { request: request.clone(), args });
                    }
                    drop(permit);
                });
            }
            Body::ServerSideEmit { request, data } => self.serve_event(asker, request, data, late),
            // Answers were taken out above; Alive and Goodbye concern no namespace.
            _ => {}
        }
    }

    fn change_for(&self, target: &Target, action: Action<'_>, asker: &Asker, request: Option<RequestId>) {
        let here = request.is_some() && self.local().count_sockets(target) > 0;
        self.change(target, action);
        if let Some(request) = request.filter(|_| here) {
            self.answer(asker, Body::Done { request });
        }
    }

    fn serve_event(self: &Arc<Self>, asker: Asker, request: Option<RequestId>, data: Args, late: Duration) {
        let Some(request) = request else {
            self.tell(ServerEvent { data, reply: None });
            return;
        };
        let (reply, answer) = oneshot::channel();
        self.tell(ServerEvent { data, reply: Some(reply) });
        let Some(permit) = self.permit() else { return self.refuse(&asker, request, TOO_MANY) };
        let adapter = self.clone();
        let earliest = Instant::now() + late;
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(args)) => {
                    sleep_until(earliest).await;
                    adapter.answer(&asker, Body::ServerAnswer { request, args });
                }
                // No handler answers it.
                Ok(Err(_)) => adapter.tell_refusal(&asker, request),
                Err(_) => {}
            }
            drop(permit);
        });
    }
}
