//! [`ClientSocket`]: the client's side of one socket: what it has received, and what the test waits for.

use crate::connect_error::ConnectError;
use crate::connection::{Connection, Receiver};
use crate::disconnection::Disconnection;
use crate::recovery::Recovery;
use crate::unmet::{Unmet, Why};
use crate::unread::{Unread, list};
use parking_lot::Mutex;
use roomcast_protocol::{Args, ArgsRef, SocketId};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Answers an event of the server; an error says why the event's arguments do not fit.
pub(crate) type AnswerWith = Arc<dyn Fn(ArgsRef<'_>) -> Result<Args, String> + Send + Sync>;

/// A client in one namespace.
pub(crate) struct ClientSocket {
    /// What failures call it.
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) patience: Duration,
    pub(crate) state: Mutex<State>,
    /// Told of each change of the state.
    changed: Notify,
}

pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) connection: Arc<Connection>,
    pub(crate) unread: VecDeque<Unread>,
    /// Answers of the server, by the ids of their events.
    pub(crate) answered: HashMap<u64, Args>,
    pub(crate) next_id: u64,
    pub(crate) answers: HashMap<String, AnswerWith>,
    pub(crate) recovery: Recovery,
}

#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Connecting,
    Connected(SocketId),
    Refused(ConnectError),
    Left(Disconnection),
}

impl ClientSocket {
    pub(crate) fn new(name: &str, namespace: &str, patience: Duration, connection: Arc<Connection>) -> Self {
        let state = State {
            phase: Phase::Connecting,
            connection,
            unread: VecDeque::new(),
            answered: HashMap::new(),
            next_id: 0,
            answers: HashMap::new(),
            recovery: Recovery::default(),
        };
        Self {
            name: if namespace == "/" { name.to_owned() } else { format!("{name} in {namespace}") },
            namespace: namespace.to_owned(),
            patience,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Changes the state and tells those who wait.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_waiters();
        result
    }

    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.state.lock().connection.clone()
    }

    /// Waits until `look` finds what it looks for. `None`: not in time.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                // Made before the look, so that no change is missed.
                let changed = self.changed.notified();
                if let Some(found) = look(&mut self.state.lock()) {
                    return found;
                }
                changed.await;
            }
        };
        timeout(self.patience, found).await.ok()
    }

    /// As [`ClientSocket::until`], for what comes only while the client is connected.
    pub(crate) async fn expect<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Unmet> {
        let name = &self.name;
        let found = self
            .until(|state| match (look(state), &state.phase) {
                (Some(found), _) => Some(Ok(found)),
                (None, Phase::Left(reason)) => {
                    let text = format!("{name}: {what} did not come: disconnected ({reason}); {}", list(&state.unread));
                    Some(Err(Unmet::new(Why::Disconnected, text)))
                }
                _ => None,
            })
            .await;
        found.unwrap_or_else(|| {
            let unread = list(&self.state.lock().unread);
            Err(Unmet::new(Why::Timeout, format!("{name}: {what} did not come within {:?}; {unread}", self.patience)))
        })
    }
}

impl Receiver for ClientSocket {
    fn connected(&self, json: &str) {
        let answer = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
        let text = |key: &str| answer.get(key).and_then(serde_json::Value::as_str);
        self.change(|state| {
            state.phase = match text("sid").and_then(|sid| sid.parse().ok()) {
                Some(id) => Phase::Connected(id),
                None => Phase::Refused(ConnectError::new(&self.name, format!("no socket id in {json}"))),
            };
            state.recovery.accepted(text("pid"));
        });
    }

    fn refused(&self, json: &str) {
        self.change(|state| state.phase = Phase::Refused(ConnectError::refused(&self.name, json)));
    }

    fn left(&self, reason: &Disconnection) {
        self.change(|state| match state.phase {
            Phase::Connected(_) => state.phase = Phase::Left(reason.clone()),
            Phase::Connecting => {
                let why = format!("{reason}, before the server answered");
                state.phase = Phase::Refused(ConnectError::new(&self.name, why));
            }
            Phase::Refused(_) | Phase::Left(_) => {}
        });
    }

    fn event(&self, event: &str, id: Option<u64>, args: ArgsRef<'_>) -> Option<(u64, Args)> {
        let answer = self.state.lock().answers.get(event).cloned();
        // Called without the lock: it is the test's own code.
        // A panic of it must not end the task that reads, or the test would wait for what does not come.
        let answered = answer.map(|answer| {
            let answered = catch_unwind(AssertUnwindSafe(|| answer(args)));
            answered.unwrap_or_else(|_| Err("the function panicked".to_owned()))
        });
        if let Some(Err(error)) = &answered {
            eprintln!("{}: {event} is not answered and stays unread: {error}", self.name);
        }
        self.change(|state| {
            state.recovery.heard(event, id.is_some(), args);
            match answered {
                Some(Ok(answer)) => id.map(|id| (id, answer)),
                _ => {
                    state.unread.push_back(Unread { event: event.to_owned(), args: args.to_owned(), id });
                    None
                }
            }
        })
    }

    fn answered(&self, id: u64, args: Args) {
        self.change(|state| drop(state.answered.insert(id, args)));
    }
}

impl fmt::Debug for ClientSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("phase", &state.phase)
            .field("unread", &state.unread)
            .finish_non_exhaustive()
    }
}
