//! [`Lane`]: who may write to a WebSocket's stream, and who has to. It holds the stream's writing half and decides, but
//! writes nothing itself.
//!
//! Its callers change it only under the connection's lock, with one call in each locked section. `lane/search.rs`
//! relies on that: it tries every order of these calls.

use crate::session::turn_id::TurnId;

/// The right to write to one stream. `W` is the stream's writing half. A thread or task that takes it out may write, so
/// there is at most one writer.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) enum Lane<W> {
    /// There is no stream: the session polls, or its WebSocket is over.
    Detached,
    /// No write is in progress.
    Ready(W, Waiting),
    /// The writing half is taken out. Its holder writes until nothing waits.
    Writing {
        /// The connection's task wanted to write meanwhile. It is woken afterwards.
        awaited: bool,
    },
}

/// Who writes next, while no write is in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Waiting {
    /// The next sender of a packet.
    Idle,
    /// This turn writes when it ends. Senders outside the turn do not rely on it, as its thread may be busy for long.
    Scheduled(TurnId),
    /// The connection's task. The stream takes no more, and wakes that task when it does again.
    Blocked,
}

/// What the sender of a packet has to do once it is in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Duty {
    /// Nothing: another thread or task writes.
    Nothing,
    /// Write, now or at the end of the turn.
    Write,
    /// Write without waiting for the end of the turn, as much waits already.
    WriteNow,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Drained {
    /// Nothing waits any more.
    All,
    /// The stream takes no more for now. The connection's task is registered with it.
    Blocked,
    /// More waits, but this writer has written for long enough; or the stream broke. The connection's task takes over.
    Unfinished,
}

impl<W> Lane<W> {
    /// Gives a stream to a session that had none.
    pub(crate) fn attach(&mut self, writer: W) {
        *self = Self::Ready(writer, Waiting::Idle);
    }

    /// The stream is over. Returns its writing half, unless a write is in progress; then the writer drops it.
    pub(crate) fn detach(&mut self) -> Option<W> {
        match std::mem::replace(self, Self::Detached) {
            Self::Ready(writer, _) => Some(writer),
            Self::Detached | Self::Writing { .. } => None,
        }
    }

    /// A sender in `turn` has put a packet into the outbox. `crowded`: so much waits that it should leave at once.
    pub(crate) fn offer(&mut self, turn: TurnId, crowded: bool) -> Duty {
        let Self::Ready(_, waiting) = self else { return Duty::Nothing };
        match waiting {
            Waiting::Blocked => Duty::Nothing,
            Waiting::Scheduled(scheduled) if *scheduled == turn => {
                if crowded {
                    Duty::WriteNow
                } else {
                    Duty::Nothing
                }
            }
            Waiting::Idle | Waiting::Scheduled(_) => {
                *waiting = Waiting::Scheduled(turn);
                if crowded { Duty::WriteNow } else { Duty::Write }
            }
        }
    }

    /// The connection's task begins a turn of its own, and writes after it. So what is sent to this client in that turn
    /// needs no other writer.
    pub(crate) fn claim(&mut self, turn: TurnId) {
        if let Self::Ready(_, waiting @ (Waiting::Idle | Waiting::Scheduled(_))) = self {
            *waiting = Waiting::Scheduled(turn);
        }
    }

    /// Takes the writing half out to write. `None`: another writer writes or will, or there is no stream.
    pub(crate) fn take(&mut self, by_task: bool) -> Option<W> {
        match self {
            Self::Detached => return None,
            Self::Ready(_, Waiting::Blocked) if !by_task => return None,
            Self::Ready(..) => {}
            Self::Writing { awaited } => {
                *awaited |= by_task;
                return None;
            }
        }
        match std::mem::replace(self, Self::Writing { awaited: false }) {
            Self::Ready(writer, _) => Some(writer),
            // Excluded above.
            Self::Detached | Self::Writing { .. } => None,
        }
    }

    /// Puts the writing half back after a drain.
    pub(crate) fn put_back(&mut self, writer: W, drained: Drained) -> PutBack<W> {
        let Self::Writing { awaited } = *self else {
            return PutBack { over: Some(writer), wake: false };
        };
        let waiting = if drained == Drained::Blocked { Waiting::Blocked } else { Waiting::Idle };
        *self = Self::Ready(writer, waiting);
        PutBack { over: None, wake: awaited || drained == Drained::Unfinished }
    }

    /// Whether the stream takes no more.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self, Self::Ready(_, Waiting::Blocked))
    }

    /// The writing half, unless a write is in progress.
    pub(crate) fn writer(&mut self) -> Option<&mut W> {
        match self {
            Self::Ready(writer, _) => Some(writer),
            Self::Detached | Self::Writing { .. } => None,
        }
    }
}

/// What [`Lane::put_back`] leaves to do.
#[derive(Debug)]
pub(crate) struct PutBack<W> {
    /// The writing half, if the stream is over; to be dropped outside the lock.
    pub(crate) over: Option<W>,
    /// Whether the connection's task is to be woken.
    pub(crate) wake: bool,
}

#[cfg(test)]
mod search;
