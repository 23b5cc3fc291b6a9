//! [`Local`]: the rooms of a namespace on this server.

use crate::rooms::index::Index;
use crate::rooms::pending_acks::{PendingAcks, PendingEmit};
use crate::seam::adapter::{Action, AdapterContext, Emit};
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails, Wakes};
use crate::seam::room::Room;
use crate::seam::target::Target;
use parking_lot::Mutex;
use roomcast_protocol::{Packet, Parser, SocketId};
use std::sync::{Arc, Weak};

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
    this: Weak<Self>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) pending: PendingAcks,
    next_ack: u64,
}

impl Local {
    /// An empty namespace whose clients use the default parser.
    pub fn new(namespace: impl Into<Arc<str>>) -> Arc<Self> {
        Self::empty(namespace.into(), Parser::Default)
    }

    /// The empty namespace that an adapter is made for.
    pub fn of(context: &AdapterContext) -> Arc<Self> {
        Self::empty(context.namespace.clone(), context.parser)
    }

    fn empty(namespace: Arc<str>, parser: Parser) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { namespace, parser, this: this.clone(), state: Mutex::default() })
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Encodes an event for this namespace's clients. The default parser has an arm of its own: the packet in two results,
    /// one in the other, would be copied once more in each broadcast.
    pub(crate) fn encode(&self, id: Option<u64>, emit: Emit<'_>) -> Result<Arc<Packet>, AdapterError> {
        let volatile = emit.volatile;
        match self.parser {
            Parser::Default => Ok(Arc::new(Packet::event(&self.namespace, id, emit.data)?.with_volatile(volatile))),
            parser => Ok(Arc::new(parser.event(&self.namespace, id, emit.data)?.with_volatile(volatile))),
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

    /// The number of sockets of this server that `target` selects.
    pub fn count_sockets(&self, target: &Target) -> usize {
        let mut count = 0;
        self.state.lock().index.walk(target, |_, _| count += 1);
        count
    }

    /// Whether a room of this name has members on this server. The rooms named after socket ids count.
    pub fn has_room(&self, room: &str) -> bool {
        self.state.lock().index.has_room(room)
    }

    /// The names of the rooms that have members on this server.
    pub fn rooms(&self) -> Vec<Room> {
        self.state.lock().index.all_rooms()
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
