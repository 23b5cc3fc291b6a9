//! [`RecoveryOptions`]: whether and how clients that come back continue their sessions, and [`RecoveryOutcome`], what came of it.

use roomcast_adapter::{KeptSession, NotRecovered, RecoveryBounds};
use roomcast_protocol::{Pid, json};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Connection state recovery: a client whose connection was lost, and that comes back in time, has its socket again with the same id,
/// rooms and data, and gets the events that it missed. Give it to [`Builder::recovery`](crate::Builder::recovery). The defaults are
/// those of Node's server, and bounds that Node does not have.
///
/// ```
/// use roomcast_server::{RecoveryOptions, SocketIo};
/// use std::time::Duration;
///
/// let io = SocketIo::builder().recovery(RecoveryOptions::new().max_disconnection(Duration::from_secs(60))).build();
/// ```
#[derive(Clone)]
#[must_use = "give it to `Builder::recovery`"]
pub struct RecoveryOptions {
    pub(crate) bounds: RecoveryBounds,
    pub(crate) skip_middlewares: bool,
    pub(crate) on_ended: Option<OnEnded>,
}

/// Called for each session that was not continued.
pub(crate) type OnEnded = Arc<dyn Fn(&EndedSession<'_>) + Send + Sync>;

/// A session that was kept, and that its client did not continue.
#[derive(Debug)]
#[non_exhaustive]
pub struct EndedSession<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The socket's id, its rooms and its data.
    pub session: &'a KeptSession,
    /// Why it was given up: its time was over, or a bound.
    pub why: NotRecovered,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self { bounds: RecoveryBounds::default(), skip_middlewares: true, on_ended: None }
    }
}

impl RecoveryOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a session is kept, from when the server notices that the connection is lost. Defaults to 2 minutes. Events stay in the
    /// log for `ping_interval` and `ping_timeout` longer, because a connection that is lost in silence is noticed so late.
    pub fn max_disconnection(mut self, duration: Duration) -> Self {
        self.bounds.max_disconnection = duration;
        self
    }

    /// Whether middlewares are skipped for a client that is recovered. Defaults to true, as in Node: they have accepted it before. With
    /// false they decide again. A client that they refuse keeps its session, and may try again until that ends.
    pub fn skip_middlewares(mut self, skip: bool) -> Self {
        self.skip_middlewares = skip;
        self
    }

    /// Most events in the log of a namespace. Defaults to 65,536. Beyond it the oldest are forgotten, and clients that may have missed
    /// those get a new session.
    pub fn packets(mut self, packets: usize) -> Self {
        self.bounds.packets = packets;
        self
    }

    /// Most bytes of the logs of all namespaces together; each event counts 320 more than its packet has. Defaults to 32 MiB.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// Most sessions that are kept at the same time, in all namespaces, and most bytes of their data and rooms. Defaults to 100,000
    /// and 64 MiB. Beyond either, the sessions that have been kept longest are given up.
    pub fn sessions(mut self, sessions: usize, bytes: usize) -> Self {
        (self.bounds.sessions, self.bounds.session_bytes) = (sessions, bytes);
        self
    }

    /// Most bytes that one client may have missed; with more it gets a new session. Defaults to 4 MiB, and is at most half of the hard
    /// bound of its outbox, so that what is sent again does not make a slow consumer of it.
    pub fn replay_bytes(mut self, bytes: usize) -> Self {
        self.bounds.replay_bytes = bytes;
        self
    }

    /// Called for each session that was kept and then given up, because its time was over or because of a bound: the last that is heard
    /// of that client. It must return at once.
    pub fn on_session_ended(mut self, ended: impl Fn(&EndedSession<'_>) + Send + Sync + 'static) -> Self {
        self.on_ended = Some(Arc::new(ended));
        self
    }
}

impl fmt::Debug for RecoveryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryOptions")
            .field("bounds", &self.bounds)
            .field("skip_middlewares", &self.skip_middlewares)
            .finish_non_exhaustive()
    }
}

/// What came of a client's wish to continue its session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryOutcome {
    /// It did not ask: its first connection, or the server keeps no sessions.
    #[default]
    NotAsked,
    /// The socket has the id, rooms and data of before, and its client gets all events that it missed.
    Recovered,
    /// The socket is a new one. The client may have missed events.
    NotRecovered(NotRecovered),
}

/// A client's wish to continue its session.
pub(crate) struct Asked {
    pub(crate) pid: Pid,
    pub(crate) offset: Option<String>,
}

/// What the auth payload of a CONNECT says about recovery, and the payload without it: a private id is for nobody's eyes. `offset` may be
/// absent, if the client has received no event; if it is there, it must be a string. Otherwise nothing is asked, as in Node.
pub(crate) fn asked(auth: &str) -> (Option<Asked>, Option<String>) {
    // Most clients ask for nothing: their payload is not read here.
    if !auth.contains(r#""pid""#) {
        return (None, None);
    }
    let Ok(mut fields) = json::from_str::<Map<String, Value>>(auth) else { return (None, None) };
    let Some(Value::String(pid)) = fields.get("pid") else { return (None, None) };
    let pid = pid.parse().ok();
    let offset = match fields.get("offset") {
        None => Some(None),
        Some(Value::String(offset)) => Some(Some(offset.clone())),
        Some(_) => None,
    };
    fields.remove("pid");
    fields.remove("offset");
    let rest = serde_json::to_string(&fields).unwrap_or_else(|_| RawValue::NULL.get().to_owned());
    let asked = pid.zip(offset).map(|(pid, offset)| Asked { pid, offset });
    (asked, Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_asks_for() {
        let pid = "AAAAAAAAAAAAAAAAAAAA";
        let read = |auth: String| {
            let (asked, rest) = asked(&auth);
            (asked.map(|asked| (asked.pid.reveal().to_owned(), asked.offset)), rest)
        };
        let asks = |offset: Option<&str>| Some((pid.to_owned(), offset.map(str::to_owned)));
        assert_eq!(
            read(format!(r#"{{"pid":"{pid}","offset":"x.1","token":"t"}}"#)),
            (asks(Some("x.1")), Some(r#"{"token":"t"}"#.to_owned()))
        );
        assert_eq!(read(format!(r#"{{"pid":"{pid}"}}"#)), (asks(None), Some("{}".to_owned())));
        // The private id is taken out even where it asks for nothing.
        assert_eq!(read(format!(r#"{{"pid":"{pid}","offset":5}}"#)), (None, Some("{}".to_owned())));
        assert_eq!(read(r#"{"pid":"short","offset":"x"}"#.to_owned()), (None, Some("{}".to_owned())));
        assert_eq!(read(r#"{"pid":7}"#.to_owned()), (None, None));
        assert_eq!(read(r#"{"token":"\"pid\""}"#.to_owned()), (None, None));
        // serde_json would parse the text in such a member again: the payload stays as it is, and is an error wherever it is read.
        let hostile = format!(r#"{{"pid":"{pid}","a":{{"$serde_json::private::RawValue":"[1]"}}}}"#);
        assert_eq!(read(hostile), (None, None));
    }
}
