//! [`Table`]: the open sessions of a server by id, and which of them may go when there are too many.

use crate::config::EngineConfig;
use crate::connection::Connection;
use crate::session::Transport;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use roomcast_protocol::Sid;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The sessions by polling and those by WebSocket, each kind for itself: what counts them needs no mark in a session.
#[derive(Default)]
pub(crate) struct Table {
    polling: Kind,
    websocket: Kind,
    hasher: RandomState,
    closed: bool,
}

#[derive(Default)]
struct Kind {
    /// A connection knows its own id, so there is no key beside it.
    by_sid: HashTable<Arc<Connection>>,
    /// Those that are not established, the oldest first.
    unjoined: BTreeMap<Age, Arc<Connection>>,
}

/// When a session was opened; the id tells two of the same moment apart.
type Age = (u64, Sid);

fn age(connection: &Connection) -> Age {
    (connection.handshake().nanoseconds(), connection.sid())
}

/// Why a session is not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are too many, or the server stops.
    Busy,
    /// The id is taken.
    Taken,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.polling.by_sid.len() + self.websocket.by_sid.len()
    }

    fn unjoined(&self) -> usize {
        self.polling.unjoined.len() + self.websocket.unjoined.len()
    }

    /// No session opens after it; those that are open.
    pub(crate) fn close(&mut self) -> Vec<Arc<Connection>> {
        self.closed = true;
        self.all()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.polling.by_sid.iter().chain(&self.websocket.by_sid).cloned().collect()
    }

    /// Whether no session can be taken in.
    pub(crate) fn is_full(&self, config: &EngineConfig) -> bool {
        self.closed || (self.len() >= config.max_sessions && self.unjoined() == 0)
    }

    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<Connection>> {
        let hash = self.hasher.hash_one(sid);
        let find = |kind: &Kind| kind.by_sid.find(hash, |connection| connection.sid() == sid).cloned();
        find(&self.polling).or_else(|| find(&self.websocket))
    }

    /// Takes a session in, and those out that have to make room for it: sessions that are not established, the oldest first.
    /// They are removed, and the caller ends them.
    pub(crate) fn insert(
        &mut self,
        connection: &Arc<Connection>,
        transport: Transport,
        config: &EngineConfig,
    ) -> Result<Vec<Arc<Connection>>, Refused> {
        if self.closed {
            return Err(Refused::Busy);
        }
        if self.find(connection.sid()).is_some() {
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
        let hasher = self.hasher.clone();
        let kind = self.kind(transport);
        kind.insert(&hasher, connection);
        kind.unjoined.insert(age(connection), connection.clone());
        Ok(out)
    }

    /// The oldest session that is not established is removed, of those by polling or of all.
    fn remove_oldest(&mut self, of_all: bool) -> Option<Arc<Connection>> {
        let oldest = |kind: &Kind| kind.unjoined.first_key_value().map(|(age, _)| *age);
        let candidates = [oldest(&self.polling), oldest(&self.websocket).filter(|_| of_all)];
        let (_, sid) = candidates.into_iter().flatten().min()?;
        self.remove(sid)
    }

    /// A session has begun its work: it does not have to make room for others any more.
    pub(crate) fn establish(&mut self, connection: &Connection) {
        let age = age(connection);
        for kind in [&mut self.polling, &mut self.websocket] {
            kind.unjoined.remove(&age);
        }
    }

    /// A session has moved from polling to a WebSocket. One that has ended meanwhile is not taken in again.
    pub(crate) fn upgrade(&mut self, connection: &Connection) {
        let unjoined = self.polling.unjoined.remove(&age(connection));
        if let Some(connection) = self.polling.remove(&self.hasher, connection.sid()) {
            self.websocket.insert(&self.hasher, &connection);
            self.websocket.unjoined.extend(unjoined.map(|connection| (age(&connection), connection)));
        }
    }

    pub(crate) fn remove(&mut self, sid: Sid) -> Option<Arc<Connection>> {
        let removed = self.polling.remove(&self.hasher, sid);
        let removed = removed.or_else(|| self.websocket.remove(&self.hasher, sid))?;
        self.establish(&removed);
        Some(removed)
    }

    fn kind(&mut self, transport: Transport) -> &mut Kind {
        match transport {
            Transport::Polling => &mut self.polling,
            Transport::WebSocket => &mut self.websocket,
        }
    }
}

impl Kind {
    fn insert(&mut self, hasher: &RandomState, connection: &Arc<Connection>) {
        let hash = |connection: &Arc<Connection>| hasher.hash_one(connection.sid());
        self.by_sid.insert_unique(hash(connection), connection.clone(), hash);
    }

    fn remove(&mut self, hasher: &RandomState, sid: Sid) -> Option<Arc<Connection>> {
        let entry = self.by_sid.find_entry(hasher.hash_one(sid), |connection| connection.sid() == sid);
        let removed = entry.ok()?.remove().0;
        if self.by_sid.is_empty() {
            self.by_sid = HashTable::new();
        }
        Some(removed)
    }
}
