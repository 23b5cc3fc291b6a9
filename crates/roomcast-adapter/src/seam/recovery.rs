//! [`Recovery`]: keeps sessions for a while, so that a client whose connection was lost can continue where it was.
//!
//! It is a trait of its own because most adapters do not offer it. The server asks
//! [`Adapter::recovery`](crate::Adapter::recovery).

use crate::limits;
use crate::seam::emit::Emit;
use crate::seam::error::AdapterError;
use crate::seam::recipient::Recipient;
use crate::seam::room::Room;
use async_trait::async_trait;
use roomcast_protocol::{Packet, Pid, SocketId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Keeps sessions, and what their clients miss meanwhile.
///
/// A session begins with [`Recovery::begin`]. It is live while its socket is in the namespace; [`Recovery::save`] takes
/// the socket out and keeps the session, [`Adapter::remove`](crate::Adapter::remove) ends both. A client that comes back
/// is looked up by [`Recovery::find`], and continued by [`Recovery::enter`]. At each moment in between, an event either
/// reaches the socket, or is one that the client has missed: there is no gap.
#[async_trait]
pub trait Recovery: Send + Sync + 'static {
    /// As [`Adapter::insert`](crate::Adapter::insert), for a socket whose session can be found by `pid` from then on.
    ///
    /// # Errors
    /// As [`Adapter::insert`](crate::Adapter::insert).
    fn begin(
        &self,
        pid: Pid,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError>;

    /// Emits an event to one socket of this server, live or kept, so that its client gets it after a recovery too. `false`
    /// if there is no such socket: nothing was done. Volatile events are not for this method.
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`]: nothing was done.
    fn emit_to(&self, id: SocketId, emit: Emit<'_>) -> Result<bool, AdapterError>;

    /// In place of [`Adapter::remove`](crate::Adapter::remove), in one step: takes the socket out of its rooms, and keeps its
    /// session with `data` as JSON. `false` if there is no such socket, or it has no session. Otherwise it is continued by
    /// [`Recovery::enter`], or its end is told by [`Recovery::sweep`], also if a bound ends it at once.
    fn save(&self, id: SocketId, data: &str) -> bool;

    /// Finds a session by its private id, if everything can be had that its client missed after `offset`: the last offset
    /// that the client reports, or none if it has received none. If the server still takes the client's former connection
    /// for alive, that ends first ([`Recipient::supersede`]). The session is held for the caller until [`Found`] is
    /// dropped.
    ///
    /// Cancel safe: the session stays where it is.
    ///
    /// # Errors
    /// [`NotRecovered`]: a session is recovered completely or not at all.
    async fn find(&self, pid: Pid, offset: Option<&str>) -> Result<Found, NotRecovered>;

    /// Continues a found session as `recipient`, all in one step: it joins its rooms, gets what its client missed, then
    /// `welcome`, and is live from then on.
    ///
    /// # Errors
    /// [`NotRecovered`], if the log was cut since it was found: nothing was done, and the session has ended.
    async fn enter(
        &self,
        found: Found,
        recipient: Arc<dyn Recipient>,
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), NotRecovered>;

    /// Ends sessions whose time is over, and returns them with those that ended earlier because of a bound.
    fn sweep(&self, now: Instant) -> Swept;
}

/// A session that is kept, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptSession {
    /// The socket's id.
    pub id: SocketId,
    /// Its rooms, including the room named after its id.
    pub rooms: Vec<Room>,
    /// Its data as JSON.
    pub data: Box<str>,
}

impl KeptSession {
    /// A session.
    pub fn new(id: SocketId, rooms: Vec<Room>, data: impl Into<Box<str>>) -> Self {
        Self { id, rooms, data: data.into() }
    }
}

/// What [`Recovery::sweep`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Sessions that ended without having been continued, and why.
    pub ended: Vec<(KeptSession, NotRecovered)>,
    /// When the next one ends. `None` if none is kept.
    pub next: Option<Instant>,
}

impl Swept {
    /// What was swept.
    pub fn new(ended: Vec<(KeptSession, NotRecovered)>, next: Option<Instant>) -> Self {
        Self { ended, next }
    }
}

/// Why a client that asked for its session did not get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotRecovered {
    /// There is no such session here: the client is from another server, or from before a restart, or was away for very long.
    #[error("no such session on this server")]
    Unknown,
    /// It was away longer than sessions are kept.
    #[error("it was away longer than sessions are kept")]
    Expired,
    /// The session ended on purpose: the client or the server had disconnected it from the namespace.
    #[error("its session had ended on purpose")]
    Left,
    /// The session was given up because as many, or as many bytes of them, were kept as is allowed.
    #[error("its session was given up at the bound of kept sessions")]
    Evicted,
    /// The offset that the client reports is none of this log.
    #[error("the offset that it reports is unknown")]
    Offset,
    /// Events that it may have missed are no longer in the log.
    #[error("events that it may have missed are no longer in the log")]
    Gone,
    /// It changed rooms so often that it is not known any more which events it may have missed.
    #[error("it changed rooms too often since the last event that it received")]
    RoomChanges,
    /// What it missed has too many bytes.
    #[error("it missed more bytes than are sent again")]
    TooMuch,
    /// Its former connection did not end in time, or another connection is just continuing the session.
    #[error("another connection holds its session")]
    Held,
}

impl NotRecovered {
    /// The reason in one word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Left => "left",
            Self::Evicted => "evicted",
            Self::Offset => "offset",
            Self::Gone => "gone",
            Self::RoomChanges => "room_changes",
            Self::TooMuch => "too_much",
            Self::Held => "held",
        }
    }
}

/// Returns a session that was found but not continued.
type GiveBack = Box<dyn FnOnce() + Send + Sync>;

/// A session that was found. If this is dropped, the session is kept again as if nobody had asked for it.
pub struct Found {
    pid: Pid,
    id: SocketId,
    data: Box<str>,
    give_back: Option<GiveBack>,
}

impl Found {
    /// A found session, and what returns it if it is not continued.
    pub fn new(pid: Pid, id: SocketId, data: Box<str>, give_back: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { pid, id, data, give_back: Some(Box::new(give_back)) }
    }

    /// Its private id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The socket's id.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Its data as JSON.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// From here on it counts as continued, or as ended, and is not returned.
    pub fn settle(mut self) {
        self.give_back = None;
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The bounds of what is kept for recovery. The defaults are the constants of [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryBounds {
    /// How long a session is kept.
    pub max_disconnection: Duration,
    /// How long an event stays in the log.
    pub age: Duration,
    /// Most events in the log of a namespace.
    pub packets: usize,
    /// Most bytes of all logs of the server.
    pub bytes: usize,
    /// Most sessions that the server keeps.
    pub sessions: usize,
    /// Most bytes of all kept sessions of the server.
    pub session_bytes: usize,
    /// Most bytes that one client may have missed.
    pub replay_bytes: usize,
}

impl Default for RecoveryBounds {
    fn default() -> Self {
        Self {
            max_disconnection: limits::RECOVERY_DISCONNECTION,
            age: limits::RECOVERY_DISCONNECTION + limits::RECOVERY_NOTICE,
            packets: limits::RECOVERY_PACKETS,
            bytes: limits::RECOVERY_BYTES,
            sessions: limits::RECOVERY_SESSIONS,
            session_bytes: limits::RECOVERY_SESSIONS_BYTES,
            replay_bytes: limits::RECOVERY_REPLAY_BYTES,
        }
    }
}

/// What the logs and kept sessions of all namespaces of a server take, and how much that may be. Each namespace keeps to
/// the bounds by cutting its own log and its own sessions, the oldest first.
#[derive(Debug, Default)]
pub struct RecoverySpace {
    bounds: RecoveryBounds,
    log_bytes: AtomicUsize,
    sessions: AtomicUsize,
    session_bytes: AtomicUsize,
}

impl RecoverySpace {
    /// Room for as much as `bounds` allow.
    pub fn new(bounds: RecoveryBounds) -> Arc<Self> {
        Arc::new(Self { bounds, ..Self::default() })
    }

    /// The bounds.
    pub fn bounds(&self) -> &RecoveryBounds {
        &self.bounds
    }

    /// Bytes of all logs.
    pub fn log_bytes(&self) -> usize {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Kept sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Bytes of kept sessions.
    pub fn session_bytes(&self) -> usize {
        self.session_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add_to_log(&self, bytes: usize) {
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_from_log(&self, bytes: usize) {
        self.log_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn log_is_over(&self) -> bool {
        self.log_bytes() > self.bounds.bytes
    }

    pub(crate) fn add_session(&self, bytes: usize) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.session_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_session(&self, bytes: usize) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.session_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sessions_are_over(&self) -> bool {
        self.sessions() > self.bounds.sessions || self.session_bytes() > self.bounds.session_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_found_but_not_continued_is_returned() {
        let back = Arc::<AtomicUsize>::default();
        let found = || {
            let back = back.clone();
            let (pid, id) = (Pid::random().unwrap(), SocketId::random().unwrap());
            Found::new(pid, id, "{}".into(), move || {
                back.fetch_add(1, Ordering::Relaxed);
            })
        };
        found().settle();
        assert_eq!(back.load(Ordering::Relaxed), 0);
        let kept = found();
        assert!(!format!("{kept:?}").contains(kept.pid().reveal()), "a private id is not shown");
        drop(kept);
        assert_eq!(back.load(Ordering::Relaxed), 1);
    }
}
