//! [`Local`]: the rooms of a namespace on this server.

use crate::rooms::history::recoverer::{History, Recoverer, without_offset};
use crate::rooms::index::Index;
use crate::rooms::pending_acks::{PendingAcks, PendingEmit};
use crate::seam::adapter::{Action, AdapterContext, Emit};
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails, Wakes};
use crate::seam::room::Room;
use crate::seam::room_feed::RoomFeed;
use crate::seam::target::Target;
use parking_lot::Mutex;
use roomcast_protocol::{Packet, Parser, SocketId};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// A packet up to this size is encoded again under the lock, if another event was emitted while it was encoded. A larger one is
/// encoded again outside, so that nobody waits for it.
const ENCODED_UNDER_LOCK: usize = 16_384;
/// How often a large packet is encoded outside the lock before it is encoded under it.
const ATTEMPTS: usize = 4;

/// The rooms of a namespace on this server: encodes and delivers packets to members, and collects acknowledgements.
///
/// One short lock covers an emit's push into every outbox, so all recipients see the same order. Walking a room costs
/// about 25 ns a member under it: plan for rooms of up to 100,000 members a server. Wakes, writes and user code run
/// later.
#[derive(Debug)]
pub struct Local {
    namespace: Arc<str>,
    parser: Parser,
    /// Itself, for [`Acks`](crate::Acks).
    pub(super) this: Weak<Self>,
    /// If sessions can be recovered; then the state has a history.
    pub(super) recoverer: Option<Box<Recoverer>>,
    pub(super) state: Mutex<State>,
    /// Told, after the lock was released, of what the index has pushed under it.
    pub(super) feed: Arc<RoomFeed>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) pending: PendingAcks,
    pub(super) history: Option<Box<History>>,
    next_ack: u64,
}

impl State {
    /// Puts a socket into all of `rooms`, or into none.
    pub(super) fn join(&mut self, id: SocketId, rooms: &[Room]) -> Result<(), AdapterError> {
        let Some(history) = &mut self.history else { return self.index.join(id, rooms) };
        let new: Vec<Room> = rooms.iter().filter(|room| !self.index.is_in(id, room)).cloned().collect();
        self.index.join(id, rooms)?;
        history.changed(id, new.into_iter(), true);
        Ok(())
    }

    pub(super) fn leave(&mut self, id: SocketId, room: &str) {
        if let Some(history) = &mut self.history
            && self.index.is_in(id, room)
            && room != id.as_str()
        {
            history.changed(id, std::iter::once(Room::from(room)), false);
        }
        self.index.leave(id, room);
    }
}

impl Local {
    /// An empty namespace whose clients use the default parser.
    pub fn new(namespace: impl Into<Arc<str>>) -> Arc<Self> {
        Self::empty(namespace.into(), Parser::Default, None, Arc::default())
    }

    /// The empty namespace that an adapter is made for.
    pub fn of(context: &AdapterContext) -> Arc<Self> {
        let recoverer = context.recovery.clone().map(|space| Box::new(Recoverer::new(space)));
        Self::empty(context.namespace.clone(), context.parser, recoverer, context.room_feed.clone())
    }

    fn empty(namespace: Arc<str>, parser: Parser, recoverer: Option<Box<Recoverer>>, feed: Arc<RoomFeed>) -> Arc<Self> {
        let history = recoverer.as_ref().map(|recoverer| Box::new(recoverer.history()));
        let state = Mutex::new(State { index: Index::telling(feed.clone()), history, ..State::default() });
        Arc::new_cyclic(|this| Self { namespace, parser, this: this.clone(), recoverer, state, feed })
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Encodes an event for this namespace's clients. The default parser has an arm of its own: the packet in two results,
    /// one in the other, would be copied once more in each broadcast.
    pub(crate) fn encode(&self, id: Option<u64>, emit: Emit<'_>) -> Result<Arc<Packet>, AdapterError> {
        let with_flags = |packet: Packet| Arc::new(packet.with_volatile(emit.volatile).with_compress(emit.compress));
        match self.parser {
            Parser::Default => Ok(with_flags(Packet::event(&self.namespace, id, emit.data)?)),
            parser => Ok(with_flags(parser.event(&self.namespace, id, emit.data)?)),
        }
    }

    /// Emits to the selected sockets of this server. `under_lock` runs under the namespace's lock, before the first
    /// push: what it puts into a queue has the same order that the recipients see.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`]: nothing was sent, and `under_lock` did not run.
    pub fn emit(&self, target: &Target, emit: Emit<'_>, under_lock: impl FnOnce()) -> Result<(), AdapterError> {
        let mut wakes = Wakes::new();
        let emitted = self.emit_into(target, emit, &mut wakes, under_lock);
        wakes.wake();
        emitted
    }

    /// As [`Local::emit`], but the caller wakes the writers.
    pub(crate) fn emit_into(
        &self,
        target: &Target,
        emit: Emit<'_>,
        wakes: &mut Wakes,
        under_lock: impl FnOnce(),
    ) -> Result<(), AdapterError> {
        match &self.recoverer {
            None => self.emit_plain(target, emit, wakes, under_lock),
            Some(recoverer) => self.emit_recoverable(recoverer, target, emit, wakes, under_lock),
        }
    }

    // A function of its own, so that an emit without recovery pays for one comparison and nothing else.
    #[cold]
    #[inline(never)]
    fn emit_recoverable(
        &self,
        recoverer: &Recoverer,
        target: &Target,
        emit: Emit<'_>,
        wakes: &mut Wakes,
        under_lock: impl FnOnce(),
    ) -> Result<(), AdapterError> {
        if emit.volatile {
            let data = without_offset(emit.data);
            return self.emit_plain(target, Emit { data: &data, ..emit }, wakes, under_lock);
        }
        self.emit_logged(recoverer, target, emit, wakes, under_lock).map(drop)
    }

    #[inline]
    fn emit_plain(
        &self,
        target: &Target,
        emit: Emit<'_>,
        wakes: &mut Wakes,
        under_lock: impl FnOnce(),
    ) -> Result<(), AdapterError> {
        let anybody = self.state.lock().index.may_match(target);
        // Packets are encoded outside the lock. A socket that joins meanwhile may miss this packet; if nobody was there
        // before, no packet is made. An event that may be too large is encoded in any case, as it is refused even if
        // nobody is there.
        let packet = if anybody || self.parser.may_be_too_large(&self.namespace, emit.data) {
            Some(self.encode(None, emit)?)
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

    /// As [`Local::emit_into`], for an event that clients get later if they miss it now: it ends in an offset and is logged.
    /// `false` if nobody gets it, neither now nor later.
    pub(super) fn emit_logged(
        &self,
        recoverer: &Recoverer,
        target: &Target,
        emit: Emit<'_>,
        wakes: &mut Wakes,
        under_lock: impl FnOnce(),
    ) -> Result<bool, AdapterError> {
        let encode = |position| {
            let data = emit.data.with_item(&recoverer.offsets.item(position));
            let packet = self.parser.event(&self.namespace, None, &data)?;
            Ok::<_, AdapterError>(Arc::new(packet.with_compress(emit.compress)))
        };
        for attempt in 1.. {
            let position = {
                let state = self.state.lock();
                state
                    .history
                    .as_ref()
                    .filter(|history| history.wants(target) || state.index.may_match(target))
                    .map(|history| history.log.next())
            };
            let Some(position) = position else { break };
            let mut packet = encode(position)?;
            let mut state = self.state.lock();
            let State { index, history: Some(history), .. } = &mut *state else { break };
            let next = history.log.next();
            if next != position {
                // The offsets are in the order of delivery, or what a client missed could not be told by its last one.
                if packet.size() > ENCODED_UNDER_LOCK && attempt < ATTEMPTS {
                    continue;
                }
                packet = encode(next)?;
            }
            under_lock();
            history.log.push(packet.clone(), target, Instant::now());
            index.walk(target, |_, recipient| recipient.deliver(&packet, wakes));
            return Ok(true);
        }
        if self.parser.may_be_too_large(&self.namespace, emit.data) {
            encode(u64::MAX >> 4)?;
        }
        let _state = self.state.lock();
        under_lock();
        Ok(false)
    }

    /// Emits to sockets of this server, whose acknowledgements are pending from then on under the returned id. Also
    /// returns the number of sockets that were asked.
    pub(super) fn emit_awaiting(
        &self,
        target: &Target,
        emit: Emit<'_>,
        under_lock: impl FnOnce(),
    ) -> Result<(Arc<Self>, u64, usize), AdapterError> {
        let id = {
            let mut state = self.state.lock();
            let id = state.next_ack;
            // 2^53 ids last for centuries at a million a second.
            state.next_ack += 1;
            id
        };
        let packet = self.encode(Some(id), emit)?;
        let (mut wakes, mut refused) = (Wakes::new(), 0_usize);
        let asked = {
            let mut state = self.state.lock();
            let State { index, pending, .. } = &mut *state;
            under_lock();
            let mut slots = Vec::new();
            index.walk(target, |slot, recipient| slots.push((slot, recipient.clone())));
            let mut new = PendingEmit::default();
            for (slot, recipient) in &slots {
                let socket = index.id_of(*slot);
                if !pending.expect(socket, id) {
                    refused += 1;
                    continue;
                }
                new.unanswered.insert(socket);
                recipient.deliver(&packet, &mut wakes);
            }
            // Answers need this lock, so none can arrive before the entry exists.
            pending.begin(id, new);
            slots.len()
        };
        wakes.wake();
        if refused > 0 {
            metrics::counter!("roomcast_acks_refused_total").increment(refused as u64);
            tracing::debug!(sockets = refused, "sockets with too many pending acknowledgements were not asked again");
        }
        #[expect(clippy::unreachable, reason = "`self` is borrowed from the very Arc that `this` points to")]
        let Some(local) = self.this.upgrade() else { unreachable!("borrowed from its own Arc") };
        Ok((local, id, asked))
    }

    /// The sockets of this server that `target` selects.
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

    /// The recipients of this server that `target` selects.
    pub fn recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        let mut found = Vec::new();
        self.state.lock().index.walk(target, |_, recipient| found.push(recipient.clone()));
        found
    }

    /// The number of sockets of this server that `target` selects.
    pub fn count_sockets(&self, target: &Target) -> usize {
        let mut count = 0;
        self.state.lock().index.walk(target, |_, _| count += 1);
        count
    }

    /// Whether a room of this name has members on this server. The rooms named after socket ids count, and those of kept
    /// sessions: what is emitted to them has to arrive here, although nobody is there.
    pub fn has_room(&self, room: &str) -> bool {
        let state = self.state.lock();
        state.index.has_room(room) || state.history.as_ref().is_some_and(|history| history.sessions.has_room(room))
    }

    /// The names of the rooms that have members on this server.
    pub fn rooms(&self) -> Vec<Room> {
        self.state.lock().index.all_rooms()
    }

    /// [`Local::rooms`], and the rooms of kept sessions.
    pub(crate) fn heard_rooms(&self) -> Vec<Room> {
        let state = self.state.lock();
        let kept = state.history.iter().flat_map(|history| history.sessions.rooms().cloned());
        state.index.all_rooms().into_iter().chain(kept).collect()
    }

    /// The numbers of sockets, joined rooms, and emits that await acknowledgements: zero once every socket has left.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        (state.index.len(), state.index.room_count(), state.pending.len())
    }

    /// Changes the rooms of sockets on this server, or disconnects them.
    pub fn change(&self, target: &Target, change: Action<'_>) {
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.lock();
            state.index.walk(target, |slot, recipient| found.push((slot, recipient.clone())));
            for (slot, _) in &found {
                let id = state.index.id_of(*slot);
                match change {
                    Action::Join(rooms) => refused.extend(state.join(id, rooms).err().map(|error| (id, error))),
                    Action::Leave(rooms) => rooms.iter().for_each(|room| state.leave(id, room)),
                    Action::Disconnect { .. } | Action::Emit(_) => {}
                }
            }
        }
        self.feed.tell();
        for (socket, error) in refused {
            metrics::counter!("roomcast_joins_refused_total").increment(1);
            tracing::debug!(%socket, %error, "a join by the server was refused");
        }
        if let Action::Disconnect { close } = change {
            for (_, recipient) in found {
                recipient.disconnect(close);
            }
        }
    }

    pub(super) fn with_pending<T>(&self, id: u64, read: impl FnOnce(Option<&mut PendingEmit>) -> T) -> T {
        read(self.state.lock().pending.get(id))
    }

    pub(super) fn give_up(&self, id: u64) {
        let ended = self.state.lock().pending.end(id);
        // Outside the lock: dropping a waker may run foreign code.
        drop(ended);
    }
}
