//! Acknowledgements that are awaited from this server's sockets.

use crate::limits::MAX_PENDING_ACKS;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use roomcast_protocol::{Args, SocketId};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::task::Waker;

/// All that is awaited in a namespace: by emit, and by the socket that owes the answer. A socket that leaves is looked up in
/// the emits that wait for it, and in no others.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    emits: HashMap<u64, Waiting, RandomState>,
    /// Ids of the emits whose answers a socket owes, [`MAX_PENDING_ACKS`] at most.
    owed: HashMap<SocketId, Owed, RandomState>,
}

/// Most sockets owe one answer.
type Owed = SmallVec<[u64; 2]>;

impl Awaited {
    /// Number of emits that wait.
    pub(crate) fn len(&self) -> usize {
        self.emits.len()
    }

    /// Notes that `socket` owes the answer to an emit; `false` if it owes too many, and is not to be asked.
    pub(crate) fn owes(&mut self, socket: SocketId, emit: u64) -> bool {
        let owed = self.owed.entry(socket).or_default();
        let asked = owed.len() < MAX_PENDING_ACKS as usize;
        if asked {
            owed.push(emit);
        }
        asked
    }

    /// An emit begins to wait.
    pub(crate) fn begin(&mut self, emit: u64, waiting: Waiting) {
        self.emits.insert(emit, waiting);
    }

    pub(crate) fn get(&mut self, emit: u64) -> Option<&mut Waiting> {
        self.emits.get_mut(&emit)
    }

    /// Takes an answer; the one to wake, if it was awaited.
    pub(crate) fn answered(&mut self, from: SocketId, emit: u64, args: Args) -> Option<Waker> {
        let waiting = self.emits.get_mut(&emit)?;
        if !waiting.silent.remove(&from) {
            return None;
        }
        waiting.answers.push_back((from, args));
        let waker = waiting.waker.take();
        self.settled(from, emit);
        waker
    }

    /// An emit waits no longer. What it holds is the caller's to drop, outside the lock.
    pub(crate) fn end(&mut self, emit: u64) -> Option<Waiting> {
        let waiting = self.emits.remove(&emit)?;
        for socket in &waiting.silent {
            self.settled(*socket, emit);
        }
        Some(waiting)
    }

    /// A socket has left: those who waited for it are to be woken.
    pub(crate) fn left(&mut self, socket: SocketId) -> SmallVec<[Waker; 2]> {
        let mut wakers = SmallVec::new();
        for emit in self.owed.remove(&socket).unwrap_or_default() {
            if let Some(waiting) = self.emits.get_mut(&emit) {
                waiting.silent.remove(&socket);
                wakers.extend(waiting.waker.take());
            }
        }
        wakers
    }

    /// The answer to an emit is not owed any more.
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

/// What one emit waits for. It lives in the namespace's table until all have answered or [`Acks`] is dropped.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Sockets that were asked, have not left and have not answered.
    pub(crate) silent: HashSet<SocketId, RandomState>,
    pub(crate) answers: VecDeque<(SocketId, Args)>,
    pub(crate) waker: Option<Waker>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of clients, each asked by an emit of its own, leave: each is looked up in one emit.
    #[test]
    fn who_leaves_is_looked_up_in_the_emits_that_wait_for_it() {
        for sockets in [1_000, 4_000] {
            let mut awaited = Awaited::default();
            let ids: Vec<SocketId> = (0..sockets).filter_map(|_| SocketId::random().ok()).collect();
            for (emit, id) in (0..).zip(&ids) {
                assert!(awaited.owes(*id, emit));
                awaited.begin(emit, Waiting { silent: [*id].into_iter().collect(), ..Waiting::default() });
            }
            let mut looks = 0;
            for id in &ids {
                looks += awaited.owed.get(id).map_or(0, SmallVec::len);
                awaited.left(*id);
            }
            assert_eq!((looks, awaited.owed.len(), awaited.len()), (sockets, 0, sockets));
            assert!((0..sockets as u64).all(|emit| awaited.get(emit).is_some_and(|waiting| waiting.silent.is_empty())));
        }
    }

    #[test]
    fn what_is_answered_or_given_up_is_owed_no_more() {
        let mut awaited = Awaited::default();
        let Ok(id) = SocketId::random() else { return };
        for emit in 0..3 {
            assert!(awaited.owes(id, emit));
            awaited.begin(emit, Waiting { silent: [id].into_iter().collect(), ..Waiting::default() });
        }
        awaited.answered(id, 1, Args::none());
        awaited.answered(id, 1, Args::none());
        assert!(awaited.end(0).is_some_and(|waiting| waiting.answers.is_empty()));
        assert_eq!(awaited.owed.get(&id).map(|owed| owed.to_vec()), Some(vec![2]));
        awaited.end(2);
        assert!(awaited.owed.is_empty());
        assert_eq!(awaited.get(1).map(|waiting| waiting.answers.len()), Some(1));
    }
}
