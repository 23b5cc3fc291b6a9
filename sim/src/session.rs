//! [`Session`]: what a server keeps for a client that may come back, as it must be, and [`Away`], what such a client knows.

use crate::place::PlaceId;
use roomcast_adapter::NotRecovered;
use roomcast_protocol::{Pid, SocketId};
use std::collections::BTreeSet;

/// How long a session is kept, in milliseconds.
pub(crate) const KEPT: u64 = 2_500;

/// How long an event stays in the log.
pub(crate) const LOGGED: u64 = 4_500;

/// The session of a client in a namespace of a process.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) pid: Pid,
    pub(crate) id: SocketId,
    pub(crate) at: PlaceId,
    /// The number of the adapter that has it.
    pub(crate) adapter: usize,
    /// Its socket, or the last one that it had.
    pub(crate) socket: usize,
    /// The rooms in which its socket was.
    pub(crate) rooms: BTreeSet<String>,
    pub(crate) stage: Kept,
    /// The events that its client gets, now or later, and where each is in the log of the place.
    pub(crate) logged: Vec<(u64, usize)>,
    /// Where its first event may be in the log of the place.
    pub(crate) first: usize,
    /// What its client had received when its connection began.
    pub(crate) knows: Knows,
    /// Its end was told.
    pub(crate) told: bool,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its socket is in the namespace.
    Live,
    /// It is kept until this time; `claimed` while somebody is about to continue it.
    Until {
        time: u64,
        claimed: bool,
    },
    Ended(NotRecovered),
}

/// What a client has received of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knows {
    /// The last offset, of whatever session.
    pub(crate) offset: Option<String>,
    /// The number of the session's logged events up to that one.
    pub(crate) events: usize,
}

/// A client whose connection is lost.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    pub(crate) session: usize,
    pub(crate) knows: Knows,
}

impl Session {
    /// Whether it is kept.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.stage, Kept::Until { .. })
    }
}
