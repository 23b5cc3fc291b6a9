//! [`Lane`]: who may write to a WebSocket's stream, and who has to. It holds the stream's writing half and decides; it
//! writes nothing itself.
//!
//! Its callers change it only under the connection's lock, one call for each locked section. That is what `lane/search.rs`
//! relies on: it tries every order of these calls.

use crate::session::turn_id::TurnId;

/// The right to write to one stream. `W` is the stream's writing half: whoever takes it out may write, so there is at most
/// one writer.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) enum Lane<W> {
    /// There is no stream: the session polls, or its WebSocket is over.
    Detached,
    /// Nobody writes.
    Ready(W, Waiting),
    /// Somebody has the writing half, and goes on until nothing waits.
    Writing {
        /// The connection's task wanted to write meanwhile, and is woken afterwards.
        awaited: bool,
    },
}

/// Who writes next, while nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Waiting {
    /// Whoever puts a packet into the outbox.
    Idle,
    /// This turn writes when it ends. Others do not rely on it: its thread may be busy for long.
    Scheduled(TurnId),
    /// The connection's task: the stream takes no more, and wakes that task when it does.
    Blocked,
}

/// What whoever put a packet into the outbox has to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Duty {
    /// Nothing: somebody else writes.
    Nothing,
    /// To write, or to leave it to the end of the turn.
    Write,
    /// To write without waiting for the end of the turn, as much waits already.
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
    /// More waits, but this writer has written for long enough; or the stream broke. Both are for the task to go on with.
    Unfinished,
}

impl<W> Lane<W> {
    /// A stream for a session that had none.
    pub(crate) fn attach(&mut self, writer: W) {
        *self = Self::Ready(writer, Waiting::Idle);
    }

    /// The stream is over; its writing half is given back unless somebody is writing, who then drops it.
    pub(crate) fn detach(&mut self) -> Option<W> {
        match std::mem::replace(self, Self::Detached) {
            Self::Ready(writer, _) => Some(writer),
            Self::Detached | Self::Writing { .. } => None,
        }
    }

    /// A packet was put into the outbox by somebody in `turn`. `crowded`: so much waits that it should leave at once.
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

    /// The connection's task begins a turn of its own, and writes behind it: what is made for it in this turn needs nobody
    /// else.
    pub(crate) fn claim(&mut self, turn: TurnId) {
        if let Self::Ready(_, waiting @ (Waiting::Idle | Waiting::Scheduled(_))) = self {
            *waiting = Waiting::Scheduled(turn);
        }
    }

    /// Takes the writing half out to write. `None`: somebody else writes or will, or there is no stream.
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
            // Looked at above.
            Self::Detached | Self::Writing { .. } => None,
        }
    }

    /// Puts the writing half back. `wake`: the connection's task is to be woken. If the stream is over the half is given
    /// back, to be dropped outside the lock.
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

    /// The writing half, unless somebody writes.
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
    pub(crate) over: Option<W>,
    pub(crate) wake: bool,
}

#[cfg(test)]
mod search;
