//! [`ClusterAdapter`]: the adapter of a namespace that several servers share.

use crate::cluster::namespace::place::Place;
use crate::cluster::seam::message::Body;
use crate::rooms::local::Local;
use crate::seam::adapter::{Acked, Action, Adapter, Emit, Joined, LocalSizes};
use crate::seam::answer::Answer;
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails};
use crate::seam::recovery::Recovery;
use crate::seam::room::Room;
use crate::seam::target::Target;
use async_trait::async_trait;
use roomcast_protocol::{Args, Packet, SocketId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One namespace of a [`Cluster`](crate::cluster::Cluster) on this server.
#[derive(Debug)]
pub struct ClusterAdapter {
    pub(crate) place: Arc<Place>,
}

impl ClusterAdapter {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place }
    }

    /// The rooms of the namespace on this server.
    pub fn local(&self) -> &Local {
        self.place.local()
    }

    /// The number of open questions: zero when nothing is being asked.
    pub fn open_requests(&self) -> usize {
        self.place.requests().len()
    }

    /// Refuses an event that is too large for a packet, even if no client gets it, or for the other servers.
    fn check_size(&self, data: &Args) -> Result<(), AdapterError> {
        if bytes_of(data) > roomcast_protocol::limits::MAX_PACKET_BYTES / 2 {
            drop(self.place.local().encode(None, Emit::of(data))?);
        }
        self.check_carried(data)
    }

    fn check_carried(&self, data: &Args) -> Result<(), AdapterError> {
        let (bytes, most) = (bytes_of(data), self.place.broker().largest());
        if bytes > most && self.place.is_open() {
            return Err(AdapterError::TooLargeForServers { bytes, most });
        }
        Ok(())
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
        self.place.local().insert(id, recipient, rooms, welcome)?;
        drop(self.place.look(|| rooms.iter().cloned().chain([Room::from(id)])));
        Ok(())
    }

    fn remove(&self, id: SocketId) {
        let rooms = if self.place.looks() { self.place.local().rooms_of(id) } else { Vec::new() };
        self.place.local().remove(id);
        drop(self.place.look(|| rooms));
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        self.place.local().replace(id, recipient);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        let joined = self.place.local().join(id, rooms)?;
        let heard = self.place.look(|| rooms.iter().cloned());
        if heard.is_empty() {
            return Ok(joined);
        }
        let namespace = self.place.namespace().clone();
        Ok(Joined::when(async move {
            for heard in heard {
                if let Err(error) = heard.await {
                    tracing::debug!(%namespace, %error, "a room was joined, but what other servers send to it does not arrive");
                }
            }
        }))
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.place.local().leave(id, room);
        drop(self.place.look(|| [Room::from(room)]));
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.place.local().rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        if target.local || !self.place.is_open() {
            if let Action::Emit(emit) = action {
                return self.place.local().emit(target, emit, || {});
            }
            self.place.change(target, action);
            return Ok(());
        }
        let target_out = target.clone();
        match action {
            Action::Emit(emit) => {
                self.check_carried(emit.data)?;
                let (data, volatile, compress) = (emit.data.clone(), emit.volatile, emit.compress);
                let body = Body::Broadcast { data, target: target_out, volatile, compress };
                return self.place.local().emit(target, emit, || self.place.publish(body));
            }
            Action::Join(rooms) => {
                self.place.publish(Body::Join { target: target_out, rooms: rooms.to_vec(), request: None });
            }
            Action::Leave(rooms) => {
                self.place.publish(Body::Leave { target: target_out, rooms: rooms.to_vec(), request: None });
            }
            Action::Disconnect { close } => {
                self.place.publish(Body::Disconnect { target: target_out, close, request: None });
            }
        }
        self.place.change(target, action);
        Ok(())
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.place.local().ack(from, id, args);
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        if target.local || !self.place.is_open() {
            return self.place.local().emit_with_ack(target, emit, timeout).await;
        }
        self.check_carried(emit.data)?;
        let acks = self.place.local().emit_for_acks(target, emit, || {})?;
        let asked_here = acks.asked() as u64;
        let question = |request| Body::BroadcastWithAck {
            request,
            data: emit.data.clone(),
            target: target.clone(),
            timeout: Some(timeout),
        };
        let (collected, missing) = self.place.ask_clients(far(timeout), acks, question).await;
        let asked = asked_here.saturating_add(collected.asked);
        let missing_sockets = asked.saturating_sub(collected.answers.len() as u64) as usize;
        Ok(Acked { answers: collected.answers, missing_sockets, missing })
    }

    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        let mut found = self.place.local().sockets(target);
        if target.local || !self.place.is_open() {
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
        let missing = self.place.ask(far(timeout), question, take).await;
        Answer { value: found, missing }
    }

    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        if target.local || !self.place.is_open() {
            return Answer::complete(self.place.local().count_sockets(target));
        }
        let mut count = self.place.local().count_sockets(target) as u64;
        let question = |request| Body::Count { request, target: target.clone() };
        let take = |body| match body {
            Body::Counted { count: more, .. } => {
                count = count.saturating_add(more);
                true
            }
            // Servers that do not know this question answer the one that it resembles.
            Body::Sockets { sockets, .. } => {
                count = count.saturating_add(sockets.len() as u64);
                true
            }
            _ => false,
        };
        let missing = self.place.ask(far(timeout), question, take).await;
        Answer { value: usize::try_from(count).unwrap_or(usize::MAX), missing }
    }

    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        let mut rooms: HashSet<Room> = self.place.local().rooms().into_iter().collect();
        if !self.place.is_open() {
            return Answer::complete(rooms.into_iter().collect());
        }
        let take = |body| match body {
            Body::Rooms { rooms: more, .. } => {
                rooms.extend(more);
                true
            }
            _ => false,
        };
        let missing = self.place.ask(far(timeout), |request| Body::FetchRooms { request }, take).await;
        Answer { value: rooms.into_iter().collect(), missing }
    }

    async fn server_count(&self) -> Answer<usize> {
        self.place.count_servers().await
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        self.check_size(data)?;
        if self.place.is_open() {
            self.place.publish(Body::ServerSideEmit { request: None, data: data.clone() });
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
        if !self.place.is_open() {
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
        let missing = self.place.ask(far(timeout), question, take).await;
        Ok(Answer { value: answers, missing })
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.place.local().local_recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        self.place.local().local_sizes()
    }

    async fn close(&self) {
        self.place.close().await;
    }

    fn recovery(&self) -> Option<&dyn Recovery> {
        self.place.local().recovery().map(|_| self as &dyn Recovery)
    }
}

/// Bytes of an event: its JSON and its attachments.
fn bytes_of(data: &Args) -> usize {
    data.attachments().iter().fold(data.items_bytes().len(), |size, bytes| size.saturating_add(bytes.len()))
}

/// The deadline of a timeout that starts now. One that is too long to be added, such as `Duration::MAX`, is 30 years.
fn far(timeout: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    Instant::now() + timeout.min(NEVER)
}
