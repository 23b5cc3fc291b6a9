//! The namespaces of a server by name, and the patterns that make them.

use crate::namespace::{Handlers, Namespace};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roomcast_engine::{Connection, Handshake};
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Which namespaces there may be: a name, or a client that asks for it, is accepted or not.
#[derive(Clone)]
pub(crate) struct Pattern {
    pub(crate) accepts: Accepts,
    pub(crate) handlers: Arc<Handlers>,
}

#[derive(Clone)]
pub(crate) enum Accepts {
    Name(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    Client(Arc<dyn Fn(NamespaceRequest) -> Verdict + Send + Sync>),
}

pub(crate) type Verdict = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Pattern {
    /// Whether a name alone is enough; `false` of patterns that ask for more.
    pub(crate) fn accepts_name(&self, name: &str) -> bool {
        match &self.accepts {
            // It is the application's code, and may ask for namespaces itself.
            Accepts::Name(pattern) => crate::task::contain("namespace pattern", || pattern(name)).unwrap_or(false),
            Accepts::Client(_) => false,
        }
    }

    pub(crate) async fn accepts(&self, request: &NamespaceRequest) -> bool {
        match &self.accepts {
            Accepts::Name(_) => self.accepts_name(request.name()),
            Accepts::Client(pattern) => pattern(request.clone()).await,
        }
    }

    pub(crate) fn asks_client(&self) -> bool {
        matches!(self.accepts, Accepts::Client(_))
    }
}

/// A client that asks for a namespace, as an asynchronous pattern sees it ([`SocketIo::of_matching_async`]).
///
/// [`SocketIo::of_matching_async`]: crate::SocketIo::of_matching_async
#[derive(Clone)]
pub struct NamespaceRequest {
    name: Arc<str>,
    auth: Option<Arc<str>>,
    connection: Arc<Connection>,
}

impl NamespaceRequest {
    pub(crate) fn new(name: &str, auth: Option<&str>, connection: Arc<Connection>) -> Self {
        Self { name: name.into(), auth: auth.map(Arc::from), connection }
    }

    /// The name that the client asks for, its slash included.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The auth payload of its CONNECT as JSON, if the client sent one.
    pub fn auth_json(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// The auth payload, read into a type; without one, an empty object is read.
    ///
    /// # Errors
    /// The payload does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.auth_json().unwrap_or("{}"))
    }

    /// The first request of its connection.
    pub fn handshake(&self) -> &Handshake {
        self.connection.handshake()
    }
}

impl fmt::Debug for NamespaceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The auth payload holds secrets.
        f.debug_struct("NamespaceRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All namespaces.
#[derive(Default)]
pub(crate) struct Names {
    by_name: HashMap<Arc<str>, Entry, RandomState>,
    pub(crate) patterns: Vec<Pattern>,
    /// Namespaces that a pattern made, and that have a socket or are about to.
    busy: usize,
    /// Those whose last socket has left, and that wait for another.
    idle: usize,
    /// A task closes the idle ones.
    pub(crate) is_swept: bool,
    /// The server is over.
    pub(crate) is_closed: bool,
}

struct Entry {
    namespace: Namespace,
    /// Sockets that are in it or on their way in.
    sockets: usize,
    origin: Origin,
    /// Since when it has no socket, if it is to go for that.
    idle_since: Option<Instant>,
    /// The application asked for it by name: it stays.
    stays: bool,
}

/// What made a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its name alone: by the application, or by a pattern that looks at nothing else.
    Name,
    /// A pattern that looks at the client.
    Client,
}

/// Why a client does not get a namespace.
pub(crate) enum Missing {
    /// There is none.
    Unknown,
    /// Patterns decide about each of its clients.
    Ask,
    /// As many as may be are in use.
    Full,
}

impl Names {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Namespace> {
        self.by_name.get(name).map(|entry| &entry.namespace)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Namespace> {
        self.by_name.values().map(|entry| &entry.namespace)
    }

    /// The namespace of that name, if there is one; from now on it stays.
    pub(crate) fn keep(&mut self, name: &str) -> Option<Namespace> {
        let entry = self.by_name.get_mut(name)?;
        if !std::mem::replace(&mut entry.stays, true) {
            *(if entry.idle_since.take().is_some() { &mut self.idle } else { &mut self.busy }) -= 1;
        }
        Some(entry.namespace.clone())
    }

    /// A namespace that stays.
    pub(crate) fn insert(&mut self, name: Arc<str>, namespace: Namespace) {
        let entry = Entry { namespace, sockets: 0, origin: Origin::Name, idle_since: None, stays: true };
        self.by_name.insert(name, entry);
    }

    /// A namespace that a pattern made for its first socket.
    pub(crate) fn insert_busy(&mut self, name: Arc<str>, namespace: Namespace, origin: Origin) {
        self.busy += 1;
        let entry = Entry { namespace, sockets: 1, origin, idle_since: None, stays: false };
        self.by_name.insert(name, entry);
    }

    /// Whether a pattern may make one more namespace.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        self.busy >= most
    }

    /// The namespace of that name with one more socket, of which there may be `most`. `decided`: patterns have accepted the
    /// client.
    pub(crate) fn enter(&mut self, name: &str, decided: bool, most: usize) -> Result<Namespace, Missing> {
        let full = self.is_full(most);
        let entry = self.by_name.get_mut(name).ok_or(Missing::Unknown)?;
        // The main namespace is everybody's, as in Node.
        if !decided && name != MAIN && self.patterns.iter().any(Pattern::asks_client) {
            let is_theirs = entry.origin == Origin::Client || entry.namespace.is_bare();
            if is_theirs {
                return Err(Missing::Ask);
            }
        }
        if entry.idle_since.is_some() {
            if full {
                return Err(Missing::Full);
            }
            entry.idle_since = None;
            self.idle -= 1;
            self.busy += 1;
        }
        entry.sockets += 1;
        Ok(entry.namespace.clone())
    }

    /// A socket has left. If its namespace goes for that it is returned, unless it waits for another socket: fewer than
    /// `most_idle` do.
    pub(crate) fn left(&mut self, namespace: &Namespace, most_idle: usize) -> Option<Namespace> {
        let entry = self.by_name.get_mut(namespace.name()).filter(|entry| entry.namespace == *namespace)?;
        entry.sockets = entry.sockets.saturating_sub(1);
        if entry.sockets > 0 || entry.stays {
            return None;
        }
        self.busy -= 1;
        if self.idle < most_idle {
            self.idle += 1;
            entry.idle_since = Some(Instant::now());
            return None;
        }
        Some(self.by_name.remove(namespace.name())?.namespace)
    }

    /// Takes out what has been idle for `linger`; and when to look again, if anything is idle still.
    pub(crate) fn sweep(&mut self, now: Instant, linger: Duration) -> (Vec<Namespace>, Option<Instant>) {
        let mut next = None::<Instant>;
        let gone = self.by_name.extract_if(|_, entry| {
            let Some(since) = entry.idle_since else { return false };
            let due = since.checked_add(linger);
            if due.is_none_or(|due| due > now) {
                next = next.into_iter().chain(due).min();
                return false;
            }
            true
        });
        let gone: Vec<Namespace> = gone.map(|(_, entry)| entry.namespace).collect();
        self.idle -= gone.len();
        (gone, next)
    }

    pub(crate) fn has_idle(&self) -> bool {
        self.idle > 0
    }

    /// Takes a namespace out, whoever is in it.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Namespace> {
        let entry = self.by_name.remove(name)?;
        if !entry.stays {
            *(if entry.idle_since.is_some() { &mut self.idle } else { &mut self.busy }) -= 1;
        }
        Some(entry.namespace)
    }
}

/// The namespace that every server has.
pub(crate) const MAIN: &str = "/";
