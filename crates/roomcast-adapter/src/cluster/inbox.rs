//! What comes from other servers: for a namespace, and for the servers themselves.

use super::adapter::ClusterAdapter;
use super::broker::Inbox;
use super::directory::Directory;
use super::message::{Body, Message, ServerId};
use super::queue::Queue;
use crate::adapter::{Action, Emit, ServerEvent};
use crate::target::Target;
use parking_lot::Mutex;
use roomcast_protocol::Args;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Most bytes of sockets in one answer. A larger answer is not given, so that the asker knows it is not complete.
const MAX_SOCKETS_BYTES: usize = 8_000_000;

/// How long another server's question is worked on, if it does not say how long it waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hears the roomcast servers themselves.
pub(super) struct ServersInbox {
    pub(super) id: ServerId,
    pub(super) directory: Arc<Mutex<Directory>>,
    pub(super) queue: Arc<Queue>,
}

impl Inbox for ServersInbox {
    fn wants(&self, _: &str) -> bool {
        false
    }

    fn receive(&self, message: Message) {
        let Some(sender) = message.sender.filter(|sender| *sender != self.id) else { return };
        let now = Instant::now();
        let mut directory = self.directory.lock();
        match message.body {
            Body::Alive { numbers } => {
                directory.heard(&sender, now);
                for (namespace, channel, number) in numbers {
                    directory.told(&sender, &namespace, &channel, number, now);
                }
            }
            Body::Goodbye => directory.left(&sender),
            _ => {}
        }
        directory.age(now);
    }

    fn malformed(&self, error: &str) {
        malformed(error);
    }

    fn connected(&self) {
        self.queue.connected();
    }

    fn lost(&self) {}
}

fn malformed(error: &str) {
    metrics::counter!("roomcast_cluster_malformed_total").increment(1);
    tracing::debug!(error, "what another server published is no message");
}

/// Hears a namespace. It holds the adapter weakly: a broker must not keep a namespace alive.
pub(super) struct NamespaceInbox(pub(super) Weak<ClusterAdapter>);

impl Inbox for NamespaceInbox {
    fn wants(&self, room: &str) -> bool {
        self.0.upgrade().is_some_and(|adapter| adapter.local().has_room(room))
    }

    fn receive(&self, message: Message) {
        if let Some(adapter) = self.0.upgrade() {
            adapter.receive(message);
        }
    }

    fn malformed(&self, error: &str) {
        malformed(error);
    }

    fn connected(&self) {
        if let Some(adapter) = self.0.upgrade() {
            adapter.queue().connected();
        }
    }

    fn lost(&self) {
        metrics::counter!("roomcast_cluster_interruptions_total").increment(1);
    }
}

impl ClusterAdapter {
    fn receive(self: Arc<Self>, message: Message) {
        if message.sender.as_ref() == Some(self.id()) || message.to.as_ref().is_some_and(|to| to != self.id()) {
            return;
        }
        if let (Some(sender), Some(number)) = (&message.sender, message.number)
            && !self.is_new(sender, &message, number)
        {
            return;
        }
        if let Some(request) = message.body.answers().cloned() {
            self.requests().answered(&request, message);
            return;
        }
        let asker = message.sender;
        match message.body {
            Body::Broadcast { data, target, volatile, compress } => {
                let emit = Emit { data: &data, volatile, compress };
                if let Err(error) = self.local().emit(&target, emit, || {}) {
                    malformed(&error.to_string());
                }
            }
            Body::Join { target, rooms, request } => {
                self.change(&target, Action::Join(&rooms), asker, request);
            }
            Body::Leave { target, rooms, request } => {
                self.change(&target, Action::Leave(&rooms), asker, request);
            }
            Body::Disconnect { target, close, request } => {
                self.change(&target, Action::Disconnect { close }, asker, request);
            }
            Body::FetchSockets { request, target } => {
                let body = Body::Sockets { request, sockets: self.local().sockets(&target) };
                if body.size() > MAX_SOCKETS_BYTES {
                    metrics::counter!("roomcast_cluster_answers_refused_total").increment(1);
                    tracing::error!(
                        "the answer to fetch_sockets is over {MAX_SOCKETS_BYTES} bytes and is not given; ask for less, or for a count"
                    );
                    return;
                }
                self.answer(asker, body);
            }
            Body::FetchIds { request, target } => {
                let ids = self.local().sockets(&target).into_iter().map(|socket| socket.id).collect();
                self.answer(asker, Body::Ids { request, ids });
            }
            Body::FetchRooms { request } => {
                let rooms = self.local().rooms();
                self.answer(asker, Body::Rooms { request, rooms });
            }
            Body::BroadcastWithAck { request, data, target, timeout } => {
                let mut acks = match self.local().emit_for_acks(&target, &data, || {}) {
                    Ok(acks) => acks,
                    Err(error) => return malformed(&error.to_string()),
                };
                self.answer(asker.clone(), Body::AskedClients { request: request.clone(), count: acks.asked() as u64 });
                let Some(permit) = self.permit() else { return };
                let until = Instant::now() + timeout.unwrap_or(PATIENCE).min(PATIENCE);
                tokio::spawn(async move {
                    while let Ok(Some((_, args))) = timeout_at(until, acks.next()).await {
                        let first = args.as_ref().iter().next().unwrap_or_default().into();
                        let args = Args::from_parts(first, args.attachments().to_vec());
                        self.answer(asker.clone(), Body::ClientAck { request: request.clone(), args });
                    }
                    drop(permit);
                });
            }
            Body::ServerSideEmit { request, data } => self.serve_event(asker, request, data),
            // Answers were taken out above; Alive and Goodbye concern no namespace.
            _ => {}
        }
    }

    fn change(
        &self,
        target: &Target,
        action: Action<'_>,
        asker: Option<ServerId>,
        request: Option<super::message::RequestId>,
    ) {
        let here = request.is_some() && self.local().count_sockets(target) > 0;
        self.local().change(target, action);
        if let Some(request) = request.filter(|_| here) {
            self.answer(asker, Body::Done { request });
        }
    }

    fn serve_event(self: &Arc<Self>, asker: Option<ServerId>, request: Option<super::message::RequestId>, data: Args) {
        let Some(request) = request else {
            self.tell(ServerEvent { data, reply: None });
            return;
        };
        let (reply, answer) = oneshot::channel();
        self.tell(ServerEvent { data, reply: Some(reply) });
        let Some(permit) = self.permit() else { return };
        let adapter = self.clone();
        tokio::spawn(async move {
            if let Ok(Ok(args)) = tokio::time::timeout(PATIENCE, answer).await {
                adapter.answer(asker, Body::ServerAnswer { request, args });
            }
            drop(permit);
        });
    }
}
