//! [`Table`]: the open sessions of a server by id, and which of them make room when there are too many.

use crate::config::EngineConfig;
use crate::session::transport::Transport;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use roomcast_protocol::Sid;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The sessions by polling and those by WebSocket. They are kept apart so that they can be counted without a mark in
/// each session. A session is a `T`, and `identify` returns its id and age, which saves a key in the table.
pub(crate) struct Table<T> {
    polling: Kind<T>,
    websocket: Kind<T>,
    hasher: RandomState,
    closed: bool,
    identify: fn(&T) -> Identity,
}

struct Kind<T> {
    by_sid: HashTable<Arc<T>>,
    /// Those that are not established, the oldest first.
    unjoined: BTreeMap<Identity, Arc<T>>,
}

/// What the table asks of a session. The order is that of age; the id distinguishes two sessions of the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    /// When the session was opened, in nanoseconds since 1970.
    pub(crate) opened: u64,
    pub(crate) sid: Sid,
}

/// Why a session is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are too many, or the server stops.
    Busy,
    /// The id is taken.
    Taken,
}

impl<T> Table<T> {
    pub(crate) fn new(identify: fn(&T) -> Identity) -> Self {
        Self {
            polling: Kind::default(),
            websocket: Kind::default(),
            hasher: RandomState::default(),
            closed: false,
            identify,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.polling.by_sid.len() + self.websocket.by_sid.len()
    }

    /// Numbers of sessions by polling and by WebSocket.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.polling.by_sid.len(), self.websocket.by_sid.len())
    }

    /// The sessions of a transport in `most` places of the table from `from` on, and whether there are more places. A
    /// table that grows or shrinks between two calls moves its sessions.
    pub(crate) fn some(&self, transport: Transport, from: usize, most: usize) -> (Vec<Arc<T>>, bool) {
        let table = match transport {
            Transport::Polling => &self.polling.by_sid,
            Transport::WebSocket => &self.websocket.by_sid,
        };
        let end = from.saturating_add(most).min(table.num_buckets());
        ((from..end).filter_map(|place| table.get_bucket(place).cloned()).collect(), end < table.num_buckets())
    }

    fn unjoined(&self) -> usize {
        self.polling.unjoined.len() + self.websocket.unjoined.len()
    }

    /// Refuses all further sessions, and returns those that are open.
    pub(crate) fn close(&mut self) -> Vec<Arc<T>> {
        self.closed = true;
        self.all()
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.polling.by_sid.iter().chain(&self.websocket.by_sid).cloned().collect()
    }

    /// Whether no session can be accepted.
    pub(crate) fn is_full(&self, config: &EngineConfig) -> bool {
        self.closed || (self.len() >= config.max_sessions && self.unjoined() == 0)
    }

    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<T>> {
        let hash = self.hasher.hash_one(sid);
        let find = |kind: &Kind<T>| kind.by_sid.find(hash, |session| (self.identify)(session).sid == sid).cloned();
        find(&self.polling).or_else(|| find(&self.websocket))
    }

    /// Inserts a session. Those that have to make room for it are removed and returned, for the caller to end: sessions
    /// that are not established, the oldest first.
    pub(crate) fn insert(
        &mut self,
        session: &Arc<T>,
        transport: Transport,
        config: &EngineConfig,
    ) -> Result<Vec<Arc<T>>, Refused> {
        if self.closed {
            return Err(Refused::Busy);
        }
        let identity = (self.identify)(session);
        if self.find(identity.sid).is_some() {
            return Err(Refused::Taken);
        }
        let mut out = Vec::new();
        if self.unjoined() >= config.max_unjoined_sessions.max(1) {
            out.extend(self.remove_oldest(true));
        }
        if transport == Transport::Polling && self.polling.by_sid.len() >= config.max_polling_sessions {
            out.push(self.remove_oldest(false).ok_or(Refused::Busy)?);
        }
        if self.len() >= config.max_sessions {
            out.push(self.remove_oldest(true).ok_or(Refused::Busy)?);
        }
        let (hasher, identify) = (self.hasher.clone(), self.identify);
        let kind = self.kind(transport);
        kind.insert(&hasher, identify, session);
        kind.unjoined.insert(identity, session.clone());
        Ok(out)
    }

    /// Removes the oldest session that is not established, of all or only of those by polling.
    fn remove_oldest(&mut self, of_all: bool) -> Option<Arc<T>> {
        let oldest = |kind: &Kind<T>| kind.unjoined.first_key_value().map(|(identity, _)| *identity);
        let candidates = [oldest(&self.polling), oldest(&self.websocket).filter(|_| of_all)];
        let Identity { sid, .. } = candidates.into_iter().flatten().min()?;
        self.remove(sid)
    }

    /// A session has begun its work: it does not have to make room for others any more.
    pub(crate) fn establish(&mut self, session: &T) {
        let identity = (self.identify)(session);
        for kind in [&mut self.polling, &mut self.websocket] {
            kind.unjoined.remove(&identity);
        }
    }

    /// A session has moved from polling to a WebSocket. If it has ended meanwhile, it is not inserted again.
    pub(crate) fn upgrade(&mut self, session: &T) {
        let identity = (self.identify)(session);
        let unjoined = self.polling.unjoined.remove(&identity);
        if let Some(session) = self.polling.remove(&self.hasher, self.identify, identity.sid) {
            self.websocket.insert(&self.hasher, self.identify, &session);
            self.websocket.unjoined.extend(unjoined.map(|session| (identity, session)));
        }
    }

    pub(crate) fn remove(&mut self, sid: Sid) -> Option<Arc<T>> {
        let removed = self.polling.remove(&self.hasher, self.identify, sid);
        let removed = removed.or_else(|| self.websocket.remove(&self.hasher, self.identify, sid))?;
        self.establish(&removed);
        Some(removed)
    }

    fn kind(&mut self, transport: Transport) -> &mut Kind<T> {
        match transport {
            Transport::Polling => &mut self.polling,
            Transport::WebSocket => &mut self.websocket,
        }
    }
}

impl<T> Kind<T> {
    fn insert(&mut self, hasher: &RandomState, identify: fn(&T) -> Identity, session: &Arc<T>) {
        let hash = |session: &Arc<T>| hasher.hash_one(identify(session).sid);
        self.by_sid.insert_unique(hash(session), session.clone(), hash);
    }

    fn remove(&mut self, hasher: &RandomState, identify: fn(&T) -> Identity, sid: Sid) -> Option<Arc<T>> {
        let entry = self.by_sid.find_entry(hasher.hash_one(sid), |session| identify(session).sid == sid);
        let removed = entry.ok()?.remove().0;
        if self.by_sid.is_empty() {
            self.by_sid = HashTable::new();
        }
        Some(removed)
    }
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { by_sid: HashTable::new(), unjoined: BTreeMap::new() }
    }
}
