//! [`Recovery`]: keeps sessions for a while, so that a client whose connection was lost can continue where it was.
//!
//! It is a trait of its own because most adapters do not offer it. The server asks
//! [`Adapter::recovery`](crate::Adapter::recovery).

use crate::seam::error::AdapterError;
use crate::seam::recipient::Recipient;
use crate::seam::room::Room;
use async_trait::async_trait;
use roomcast_protocol::{Packet, SocketId};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Keeps sessions, and what their clients miss meanwhile.
#[async_trait]
pub trait Recovery: Send + Sync + 'static {
    /// Keeps a session for at most `keep`. It may be given up earlier: number, bytes and age of sessions are bounded.
    fn save(&self, session: Saved, keep: Duration);

    /// Finds a session by its private id, with everything that its client missed after `offset`, the last offset that
    /// the client reports. `None` if either is no longer available: a session is recovered completely or not at all.
    /// Cancel safe: the session stays where it is until it has been found.
    async fn find(&self, pid: &str, offset: &str) -> Option<Found>;

    /// Adds a found session as `recipient`, all in one step: it joins its rooms, gets what it missed, then `welcome`,
    /// and is live from then on.
    ///
    /// # Errors
    /// [`AdapterError::Duplicate`] if there is a socket with this id: then nothing was done.
    async fn enter(
        &self,
        found: Found,
        recipient: Arc<dyn Recipient>,
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError>;
}

/// A session that may be continued later.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The private id by which it is found.
    pub pid: String,
    /// The socket's id.
    pub id: SocketId,
    /// Its rooms.
    pub rooms: Vec<Room>,
    /// Its data as JSON.
    pub data: String,
}

impl Saved {
    /// A session without rooms and data.
    pub fn new(pid: impl Into<String>, id: SocketId) -> Self {
        Self { pid: pid.into(), id, rooms: Vec::new(), data: "{}".to_owned() }
    }
}

/// Returns a session that was found but not continued.
type GiveBack = Box<dyn FnOnce(Saved) + Send>;

/// A session that was found. If this is dropped, the session is kept again as if nobody had asked for it.
pub struct Found {
    session: Option<Saved>,
    missed: Vec<Arc<Packet>>,
    give_back: Option<GiveBack>,
}

impl Found {
    /// A found session, what its client missed, in order, and what returns the session if it is not continued.
    pub fn new(session: Saved, missed: Vec<Arc<Packet>>, give_back: impl FnOnce(Saved) + Send + 'static) -> Self {
        Self { session: Some(session), missed, give_back: Some(Box::new(give_back)) }
    }

    /// The session. `None` only after [`Found::take`].
    pub fn session(&self) -> Option<&Saved> {
        self.session.as_ref()
    }

    /// The session and what its client missed. From here on it counts as continued, and is not returned.
    pub fn take(mut self) -> Option<(Saved, Vec<Arc<Packet>>)> {
        self.give_back = None;
        Some((self.session.take()?, std::mem::take(&mut self.missed)))
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let (Some(give_back), Some(session)) = (self.give_back.take(), self.session.take()) {
            give_back(session);
        }
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("session", &self.session)
            .field("missed", &self.missed.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_session_that_is_found_but_not_continued_is_returned() {
        let back = Arc::<AtomicUsize>::default();
        let found = || {
            let back = back.clone();
            let session = Saved::new("pid", SocketId::random().unwrap());
            Found::new(session, Vec::new(), move |session| {
                assert_eq!(session.pid, "pid");
                back.fetch_add(1, Ordering::Relaxed);
            })
        };
        assert_eq!(found().take().map(|(session, _)| session.pid), Some("pid".to_owned()));
        assert_eq!(back.load(Ordering::Relaxed), 0);
        assert!(found().session().is_some());
        assert_eq!(back.load(Ordering::Relaxed), 1);
    }
}
