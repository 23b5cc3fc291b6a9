//! [`Local`]: this server's part of a namespace, and by itself the in-memory adapter.

use crate::acks::{Acks, Awaited, Waiting};
use crate::adapter::{Acked, Action, Adapter, AdapterError, Emit, Joined};
use crate::answer::Answer;
use crate::index::Index;
use crate::recipient::{Recipient, SocketDetails, Wakes};
use crate::target::{Room, Target};
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Rooms, the namespace's lock, the encoder, ack ids and the acknowledgements that are awaited.
///
/// One short lock covers an emit's push into every outbox, so that all recipients see one order. Walking a room costs about
/// 25 ns a member under it: plan for rooms of up to 100 000 members a server. Wakes, writes and user code come after it.
#[derive(Debug)]
pub struct Local {
    namespace: Arc<str>,
    /// Itself, for what [`Acks`] must find again.
    this: Weak<Self>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    awaited: Awaited,
    next_ack: u64,
}

impl Local {
    /// An empty namespace of that name.
    pub fn new(namespace: impl Into<Arc<str>>) -> Arc<Self> {
        let namespace = namespace.into();
        Arc::new_cyclic(|this| Self { namespace, this: this.clone(), state: Mutex::default() })
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Emits to the matching sockets of this server. `under_lock` runs under the namespace's lock, before the first push:
    /// what it puts into a queue has the order that the recipients see.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`]: nothing was sent, and `under_lock` did not run.
    pub fn emit(&self, target: &Target, emit: Emit<'_>, under_lock: impl FnOnce()) -> Result<(), AdapterError> {
        let mut wakes = Wakes::new();
        let emitted = self.emit_into(target, emit, &mut wakes, under_lock);
        wakes.wake();
        emitted
    }

    /// As [`Local::emit`], and leaves waking the writers to the caller.
    pub(crate) fn emit_into(
        &self,
        target: &Target,
        emit: Emit<'_>,
        wakes: &mut Wakes,
        under_lock: impl FnOnce(),
    ) -> Result<(), AdapterError> {
        let anybody = self.state.lock().index.may_match(target);
        // Encoding is outside the lock. Who joins meanwhile has no claim on this packet, and if nobody did there is none.
        // What may be too large is encoded even for nobody: it is refused, whoever is there.
        let packet = if anybody || may_be_too_large(&self.namespace, emit.data) {
            Some(Arc::new(Packet::event(&self.namespace, None, emit.data)?.with_volatile(emit.volatile)))
        } else {
            None
        };
        let mut state = self.state.lock();
        under_lock();
        if let Some(packet) = &packet {
            state.index.walk(target, |_, recipient| recipient.deliver(packet, wakes));
        }
        Ok(())
    }

    /// Emits to the matching sockets of this server and awaits their acknowledgements. `under_lock` as in [`Local::emit`].
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`]: nothing was sent.
    pub fn emit_for_acks(
        &self,
        target: &Target,
        emit: Emit<'_>,
        under_lock: impl FnOnce(),
    ) -> Result<Acks, AdapterError> {
        let id = {
            let mut state = self.state.lock();
            let id = state.next_ack;
            // 2^53 ids last for centuries at a million a second.
            state.next_ack += 1;
            id
        };
        let packet = Packet::event(&self.namespace, Some(id), emit.data)?.with_volatile(emit.volatile);
        let packet = Arc::new(packet);
        let (mut wakes, mut refused) = (Wakes::new(), 0_usize);
        let asked = {
            let mut state = self.state.lock();
            let State { index, awaited, .. } = &mut *state;
            under_lock();
            let mut slots = Vec::new();
            index.walk(target, |slot, recipient| slots.push((slot, recipient.clone())));
            let mut new = Waiting::default();
            for (slot, recipient) in &slots {
                let socket = index.id_of(*slot);
                if !awaited.owes(socket, id) {
                    refused += 1;
                    continue;
                }
                new.silent.insert(socket);
                recipient.deliver(&packet, &mut wakes);
            }
            // Answers need this lock, so none can come before the entry is there.
            awaited.begin(id, new);
            slots.len()
        };
        wakes.wake();
        if refused > 0 {
            metrics::counter!("roomcast_acks_refused_total").increment(refused as u64);
            tracing::debug!(
                sockets = refused,
                "too many acknowledgements awaited from a socket; it was not asked again"
            );
        }
        #[expect(clippy::unreachable, reason = "`self` is borrowed from the very Arc that `this` points to")]
        let Some(local) = self.this.upgrade() else { unreachable!("borrowed from its own Arc") };
        Ok(Acks { local, id, asked })
    }

    /// The sockets of this server that `target` names.
    pub fn sockets(&self, target: &Target) -> Vec<SocketDetails> {
        let mut found = Vec::new();
        {
            let mut state = self.state.lock();
            let mut slots = Vec::new();
            state.index.walk(target, |slot, recipient| slots.push((slot, recipient.clone())));
            for (slot, recipient) in slots {
                found.push((state.index.id_of(slot), state.index.rooms_of_slot(slot), recipient));
            }
        }
        let details = |(id, rooms, recipient): (SocketId, Vec<Room>, Arc<dyn Recipient>)| SocketDetails {
            id: id.as_str().to_owned(),
            rooms,
            details: recipient.details(),
        };
        found.into_iter().map(details).collect()
    }

    /// Number of sockets of this server that `target` names.
    pub fn count_sockets(&self, target: &Target) -> usize {
        let mut count = 0;
        self.state.lock().index.walk(target, |_, _| count += 1);
        count
    }

    /// Whether this server has a room of that name, that of a socket's own id among them.
    pub fn has_room(&self, room: &str) -> bool {
        self.state.lock().index.has_room(room)
    }

    /// Names of this server's rooms that have members.
    pub fn rooms(&self) -> Vec<Room> {
        self.state.lock().index.all_rooms()
    }

    /// Numbers of sockets, joined rooms and emits that await acknowledgements: all zero when everybody has left.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        (state.index.len(), state.index.room_count(), state.awaited.len())
    }

    /// Applies a change of membership, or disconnects, on this server.
    pub fn change(&self, target: &Target, change: Action<'_>) {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.lock();
            let State { index, .. } = &mut *state;
            index.walk(target, |slot, recipient| found.push((slot, recipient.clone())));
            for (slot, _) in &found {
                let id = index.id_of(*slot);
                match change {
                    Action::Join(rooms) => refused.extend(index.join(id, rooms).err().map(|error| (id, error))),
                    Action::Leave(rooms) => rooms.iter().for_each(|room| index.leave(id, room)),
                    Action::Disconnect { .. } | Action::Emit(_) => {}
                }
            }
        }
        for (socket, error) in refused {
            metrics::counter!("roomcast_joins_refused_total").increment(1);
            tracing::debug!(%socket, %error, "a join was refused");
        }
        if let Action::Disconnect { close } = change {
            for (_, recipient) in found {
                recipient.disconnect(close);
            }
        }
    }

    pub(crate) fn with_waiting<T>(&self, id: u64, read: impl FnOnce(Option<&mut Waiting>) -> T) -> T {
        read(self.state.lock().awaited.get(id))
    }

    pub(crate) fn give_up(&self, id: u64) {
        let ended = self.state.lock().awaited.end(id);
        // Outside the lock: a waker's end may be somebody's code.
        drop(ended);
    }
}

/// Whether encoding could end with [`AdapterError::TooLarge`]: a generous bound, so that small events for nobody cost nothing.
fn may_be_too_large(namespace: &str, data: &Args) -> bool {
    /// A frame's header and the numbers of a packet are far below this, for the text and for each attachment.
    const AROUND: usize = 256;
    let text = data.items_bytes().len().saturating_add(namespace.len()).saturating_add(AROUND);
    let size = |size: usize, bytes: usize| size.saturating_add(bytes).saturating_add(AROUND);
    data.attachments().iter().fold(text, |sum, bytes| size(sum, bytes.len())) > MAX_PACKET_BYTES
}

#[async_trait]
impl Adapter for Local {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        let mut wakes = Wakes::new();
        {
            let mut state = self.state.lock();
            state.index.insert(id, recipient.clone(), rooms)?;
            if let Some(welcome) = welcome {
                recipient.deliver(welcome, &mut wakes);
            }
        }
        wakes.wake();
        Ok(())
    }

    fn remove(&self, id: SocketId) {
        let (recipient, wakers) = {
            let mut state = self.state.lock();
            (state.index.remove(id), state.awaited.left(id))
        };
        // Outside the lock: the end of either may be somebody's code.
        drop(recipient);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.state.lock().index.join(id, rooms)?;
        Ok(Joined::confirmed())
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.state.lock().index.leave(id, room);
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.state.lock().index.rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        match action {
            Action::Emit(emit) => self.emit(target, emit, || {}),
            change => {
                self.change(target, change);
                Ok(())
            }
        }
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        let waker = self.state.lock().awaited.answered(from, id, args);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        let mut acks = self.emit_for_acks(target, emit, || {})?;
        let mut answers = Vec::new();
        let collect = async {
            while let Some((_, args)) = acks.next().await {
                answers.push(args);
            }
        };
        // Time out or not: what came in time is told.
        let _ = tokio::time::timeout(timeout, collect).await;
        let missing_sockets = acks.asked() - answers.len();
        Ok(Acked { answers, missing_sockets, missing: crate::Missing::default() })
    }

    async fn fetch_sockets(&self, target: &Target, _timeout: Duration) -> Answer<Vec<SocketDetails>> {
        Answer::complete(self.sockets(target))
    }

    async fn count(&self, target: &Target, _timeout: Duration) -> Answer<usize> {
        Answer::complete(self.count_sockets(target))
    }

    async fn all_rooms(&self, _timeout: Duration) -> Answer<Vec<Room>> {
        Answer::complete(self.rooms())
    }

    async fn server_count(&self) -> Answer<usize> {
        Answer::complete(1)
    }

    fn server_side_emit(&self, _data: &Args) -> Result<(), AdapterError> {
        // There is no other server to hear it.
        Ok(())
    }

    async fn server_side_emit_with_ack(
        &self,
        _data: &Args,
        _timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        Ok(Answer::complete(Vec::new()))
    }

    async fn close(&self) {}
}
