//! [`Names`]: the namespaces of a server by name, and the [`Pattern`]s that make them.

use crate::labels::Labels;
use crate::parts::{Handlers, Namespace};
use crate::task;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roomcast_engine::{Connection, Handshake};
use roomcast_protocol::json;
use serde::de::DeserializeOwned;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Decides which namespaces may exist: it accepts names, or clients that ask for them.
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
    /// Whether the pattern accepts a name; `false` if it needs to look at the client.
    pub(crate) fn accepts_name(&self, name: &str) -> bool {
        match &self.accepts {
            // This is the application's code, which may call `SocketIo::of`.
            Accepts::Name(pattern) => task::contain("namespace pattern", || pattern(name)).unwrap_or(false),
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

/// A client's wish to join a namespace, for an asynchronous pattern to decide about ([`SocketIo::of_matching_async`]).
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

    /// The name that the client asks for, including its slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The auth payload of the client's CONNECT as JSON, if it sent one.
    pub fn auth_json(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// The auth payload, deserialized. If the client sent none, `{}` is deserialized.
    ///
    /// # Errors
    /// The payload does not fit the type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        json::from_str(self.auth_json().unwrap_or("{}"))
    }

    /// The HTTP request that opened its client's connection.
    pub fn handshake(&self) -> &Handshake {
        self.connection.handshake()
    }
}

impl fmt::Debug for NamespaceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The auth payload holds secrets, so it is not shown.
        f.debug_struct("NamespaceRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All namespaces.
#[derive(Default)]
pub(crate) struct Names {
    by_name: HashMap<Arc<str>, Entry, RandomState>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) labels: Labels,
    /// Number of namespaces made by patterns that have a socket, connected or connecting.
    busy: usize,
    /// Number of namespaces made by patterns whose last socket has left, and that wait for another.
    idle: usize,
    /// Whether a task runs that closes idle namespaces.
    pub(crate) is_swept: bool,
    /// Whether the server is closed.
    pub(crate) is_closed: bool,
}

struct Entry {
    namespace: Namespace,
    /// Number of its sockets, connected or connecting.
    sockets: usize,
    origin: Origin,
    /// When its last socket left, if it will be removed for that.
    idle_since: Option<Instant>,
    /// Whether the application asked for it by name, so that it is kept without sockets.
    stays: bool,
}

/// Why a namespace was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// For its name alone: by the application, or by a pattern that looks only at names.
    Name,
    /// By a pattern that looks at the client.
    Client,
}

/// Why a client cannot enter a namespace at once.
pub(crate) enum Missing {
    /// There is none of that name.
    Unknown,
    /// Patterns decide about each of its clients.
    Ask,
    /// As many as the limit allows are in use.
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

    /// The namespace of that name, if there is one. From now on it is kept without sockets.
    pub(crate) fn keep(&mut self, name: &str) -> Option<Namespace> {
        let entry = self.by_name.get_mut(name)?;
        if !std::mem::replace(&mut entry.stays, true) {
            *(if entry.idle_since.take().is_some() { &mut self.idle } else { &mut self.busy }) -= 1;
        }
        Some(entry.namespace.clone())
    }

    /// Adds a namespace that is kept without sockets.
    pub(crate) fn insert(&mut self, name: Arc<str>, namespace: Namespace) {
        let entry = Entry { namespace, sockets: 0, origin: Origin::Name, idle_since: None, stays: true };
        self.by_name.insert(name, entry);
    }

    /// Adds a namespace that a pattern made, and counts its first socket.
    pub(crate) fn insert_busy(&mut self, name: Arc<str>, namespace: Namespace, origin: Origin) {
        self.busy += 1;
        let entry = Entry { namespace, sockets: 1, origin, idle_since: None, stays: false };
        self.by_name.insert(name, entry);
    }

    /// Whether a pattern may make one more namespace.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        self.busy >= most
    }

    /// Counts one more socket of the namespace of that name, and returns the namespace. `decided`: patterns have accepted the client.
    /// `most`: limit of namespaces made by patterns that have sockets.
    pub(crate) fn enter(&mut self, name: &str, decided: bool, most: usize) -> Result<Namespace, Missing> {
        let full = self.is_full(most);
        let entry = self.by_name.get_mut(name).ok_or(Missing::Unknown)?;
        // Patterns have no say about the main namespace, as in Node.
        if !decided && name != MAIN && self.patterns.iter().any(Pattern::asks_client) {
            let is_theirs = entry.origin == Origin::Client || entry.namespace.handlers().is_empty();
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

    /// A socket has left. If the namespace was removed for that, it is returned. It is not removed while fewer than `most_idle`
    /// namespaces wait for another socket; then it waits too.
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

    /// Removes the namespaces that have been idle for `linger`. Returns them, and when the next one is due.
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

    /// Removes a namespace, whether it has sockets or not.
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

/// Node's message for a namespace that does not exist.
pub(crate) const INVALID: &str = "Invalid namespace";
