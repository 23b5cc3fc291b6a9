//! [`Recoverer`] and [`History`]: what a namespace has, outside and under its lock, if its sessions can be recovered.

use crate::rooms::history::log::Log;
use crate::rooms::history::offset::Offsets;
use crate::rooms::history::sessions::Sessions;
use crate::seam::recovery::{RecoverySpace, Swept};
use crate::seam::room::Room;
use crate::seam::target::Target;
use roomcast_protocol::{Args, SocketId};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a namespace has if its sessions can be recovered. The rest is under its lock.
#[derive(Debug)]
pub(crate) struct Recoverer {
    space: Arc<RecoverySpace>,
    pub(crate) offsets: Offsets,
    /// Told when a session is kept, ends, or is given back.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
pub(crate) struct History {
    pub(crate) log: Log,
    pub(crate) sessions: Sessions,
}

impl Recoverer {
    pub(crate) fn new(space: Arc<RecoverySpace>) -> Self {
        Self { space, offsets: Offsets::new(), changed: Notify::new() }
    }

    pub(crate) fn history(&self) -> History {
        History { log: Log::new(self.space.clone()), sessions: Sessions::new(self.space.clone()) }
    }
}

impl History {
    /// A socket has left for good.
    pub(crate) fn ended(&mut self, id: SocketId) {
        self.sessions.end(id);
        if self.sessions.is_empty() {
            self.log.clear();
        }
    }

    /// Cuts the log, and ends the sessions whose time is over.
    pub(crate) fn sweep(&mut self, now: Instant) -> Swept {
        self.log.cut(now);
        let (ended, next) = self.sessions.sweep(now);
        if self.sessions.is_empty() {
            self.log.clear();
        }
        Swept { ended, next }
    }

    /// Whether an event is worth logging for a kept session.
    pub(crate) fn wants(&self, target: &Target) -> bool {
        self.sessions.may_match(target)
    }

    /// A live socket has joined or left rooms in which it was not, or was.
    pub(crate) fn changed(&mut self, id: SocketId, rooms: impl Iterator<Item = Room>, joined: bool) {
        self.sessions.changed(id, rooms, joined, self.log.next());
    }
}

/// Events that have no offset must not end in a string, as clients take the last string argument of any event for an offset.
/// (Node's issue 5539: after such an event, a client is not recovered.)
pub(crate) fn without_offset(data: &Args) -> Cow<'_, Args> {
    if data.ends_in_text() { Cow::Owned(data.with_item("null")) } else { Cow::Borrowed(data) }
}
