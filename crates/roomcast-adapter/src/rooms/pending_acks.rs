//! [`PendingAcks`]: acknowledgements that are awaited from this server's sockets.

use crate::limits::MAX_PENDING_ACKS;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use roomcast_protocol::{Args, SocketId};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::task::Waker;

/// All acknowledgements that are awaited in a namespace: by emit, and by the socket that has to answer. When a socket
/// leaves, only the emits that wait for it are visited.
#[derive(Debug, Default)]
pub(crate) struct PendingAcks {
    emits: HashMap<u64, PendingEmit, RandomState>,
    /// The emits that a socket has to answer, [`MAX_PENDING_ACKS`] at most.
    owed: HashMap<SocketId, EmitIds, RandomState>,
}

/// Most sockets have one emit to answer.
type EmitIds = SmallVec<[u64; 2]>;

impl PendingAcks {
    /// The number of emits that await answers.
    pub(crate) fn len(&self) -> usize {
        self.emits.len()
    }

    /// Notes that `socket` has to answer an emit. Returns `false` if it has too many to answer, and must not be asked.
    pub(crate) fn expect(&mut self, socket: SocketId, emit: u64) -> bool {
        let owed = self.owed.entry(socket).or_default();
        let asked = owed.len() < MAX_PENDING_ACKS as usize;
        if asked {
            owed.push(emit);
        }
        asked
    }

    /// Adds an emit that awaits answers.
    pub(crate) fn begin(&mut self, emit: u64, pending: PendingEmit) {
        self.emits.insert(emit, pending);
    }

    pub(crate) fn get(&mut self, emit: u64) -> Option<&mut PendingEmit> {
        self.emits.get_mut(&emit)
    }

    /// Takes an answer. Returns the waker to wake if the answer was awaited.
    pub(crate) fn answered(&mut self, from: SocketId, emit: u64, args: Args) -> Option<Waker> {
        let pending = self.emits.get_mut(&emit)?;
        if !pending.unanswered.remove(&from) {
            return None;
        }
        pending.answers.push_back((from, args));
        let waker = pending.waker.take();
        self.settled(from, emit);
        waker
    }

    /// Removes an emit. The caller must drop what is returned outside the lock.
    pub(crate) fn end(&mut self, emit: u64) -> Option<PendingEmit> {
        let pending = self.emits.remove(&emit)?;
        for socket in &pending.unanswered {
            self.settled(*socket, emit);
        }
        Some(pending)
    }

    /// Removes a socket that has left. Returns the wakers of the emits that waited for it.
    pub(crate) fn left(&mut self, socket: SocketId) -> SmallVec<[Waker; 2]> {
        let mut wakers = SmallVec::new();
        for emit in self.owed.remove(&socket).unwrap_or_default() {
            if let Some(pending) = self.emits.get_mut(&emit) {
                pending.unanswered.remove(&socket);
                wakers.extend(pending.waker.take());
            }
        }
        wakers
    }

    /// `socket` no longer has to answer `emit`.
    fn settled(&mut self, socket: SocketId, emit: u64) {
        let Some(owed) = self.owed.get_mut(&socket) else { return };
        if let Some(at) = owed.iter().position(|id| *id == emit) {
            owed.swap_remove(at);
        }
        if owed.is_empty() {
            self.owed.remove(&socket);
        }
    }
}

/// An emit that awaits answers, until every socket has answered or its [`Acks`](crate::Acks) are dropped.
#[derive(Debug, Default)]
pub(crate) struct PendingEmit {
    /// Sockets that were asked, have not answered, and have not left.
    pub(crate) unanswered: HashSet<SocketId, RandomState>,
    pub(crate) answers: VecDeque<(SocketId, Args)>,
    pub(crate) waker: Option<Waker>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of clients leave, each of which has to answer an emit of its own: each leads to one emit only.
    #[test]
    fn a_socket_that_leaves_is_looked_up_only_in_the_emits_that_wait_for_it() {
        for sockets in [1_000, 4_000] {
            let mut awaited = PendingAcks::default();
            let ids: Vec<SocketId> = (0..sockets).filter_map(|_| SocketId::random().ok()).collect();
            for (emit, id) in (0..).zip(&ids) {
                assert!(awaited.expect(*id, emit));
                awaited.begin(emit, PendingEmit { unanswered: [*id].into_iter().collect(), ..PendingEmit::default() });
            }
            let mut looks = 0;
            for id in &ids {
                looks += awaited.owed.get(id).map_or(0, SmallVec::len);
                awaited.left(*id);
            }
            assert_eq!((looks, awaited.owed.len(), awaited.len()), (sockets, 0, sockets));
            assert!(
                (0..sockets as u64).all(|emit| awaited.get(emit).is_some_and(|pending| pending.unanswered.is_empty()))
            );
        }
    }

    #[test]
    fn an_answered_or_abandoned_emit_is_no_longer_pending() {
        let mut awaited = PendingAcks::default();
        let Ok(id) = SocketId::random() else { return };
        for emit in 0..3 {
            assert!(awaited.expect(id, emit));
            awaited.begin(emit, PendingEmit { unanswered: [id].into_iter().collect(), ..PendingEmit::default() });
        }
        awaited.answered(id, 1, Args::none());
        awaited.answered(id, 1, Args::none());
        assert!(awaited.end(0).is_some_and(|pending| pending.answers.is_empty()));
        assert_eq!(awaited.owed.get(&id).map(|owed| owed.to_vec()), Some(vec![2]));
        awaited.end(2);
        assert!(awaited.owed.is_empty());
        assert_eq!(awaited.get(1).map(|pending| pending.answers.len()), Some(1));
    }
}
