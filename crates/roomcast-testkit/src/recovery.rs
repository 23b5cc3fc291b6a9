//! [`Recovery`]: what a client remembers, to get back what it missed when it reconnects.

use roomcast_protocol::ArgsRef;
use serde_json::{Map, Value};

/// What a client remembers to recover its state. The rules are those of the official client 4.8, also where they are odd:
/// a test should fail where production does.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Recovery {
    pid: Option<String>,
    /// The last string that ended an event.
    offset: Option<String>,
    recovered: bool,
}

impl Recovery {
    /// Whether the server has recovered the state.
    pub(crate) fn has_recovered(&self) -> bool {
        self.recovered
    }

    /// The server has accepted a CONNECT. It names a pid if it can recover the state later.
    pub(crate) fn accepted(&mut self, pid: Option<&str>) {
        self.recovered = pid.is_some() && self.pid.as_deref() == pid;
        self.pid = pid.map(str::to_owned);
    }

    /// An event has come. The offset is its last argument; of an event without arguments it is the name. An event that wants
    /// an answer ends in the function that gives it, and so has none.
    pub(crate) fn heard(&mut self, event: &str, wants_answer: bool, args: ArgsRef<'_>) {
        if self.pid.is_none() || wants_answer {
            return;
        }
        let offset = match args.iter().last() {
            None => Some(event.to_owned()),
            Some(last) => serde_json::from_str(last).ok(),
        };
        if offset.is_some() {
            self.offset = offset;
        }
    }

    /// The payload of the next CONNECT: what is remembered, then the auth payload, whose keys win.
    pub(crate) fn payload(&self, auth: Option<&Value>) -> Option<String> {
        let mut payload = Map::new();
        if let Some(pid) = &self.pid {
            payload.insert("pid".to_owned(), pid.as_str().into());
            if let Some(offset) = &self.offset {
                payload.insert("offset".to_owned(), offset.as_str().into());
            }
        }
        if let Some(Value::Object(auth)) = auth {
            payload.extend(auth.clone());
        }
        let sent = auth.is_some() || !payload.is_empty();
        sent.then(|| Value::Object(payload).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::Args;
    use serde_json::json;

    fn payload(recovery: &Recovery, auth: Option<&Value>) -> Option<Value> {
        recovery.payload(auth).map(|json| serde_json::from_str(&json).unwrap())
    }

    fn heard(recovery: &mut Recovery, wants_answer: bool, args: &Args) {
        recovery.heard("event", wants_answer, args.as_ref());
    }

    #[test]
    fn a_client_that_knows_no_pid_says_only_who_it_is() {
        let mut recovery = Recovery::default();
        heard(&mut recovery, false, &Args::of("offset").unwrap());
        assert_eq!(payload(&recovery, None), None);
        assert_eq!(payload(&recovery, Some(&json!({}))), Some(json!({})));
        assert_eq!(payload(&recovery, Some(&json!({"token": 1}))), Some(json!({"token": 1})));
    }

    #[test]
    fn a_client_that_comes_back_says_what_it_has() {
        let mut recovery = Recovery::default();
        recovery.accepted(Some("p"));
        assert_eq!(payload(&recovery, None), Some(json!({"pid": "p"})));
        heard(&mut recovery, false, &Args::of(&(1, "offset")).unwrap());
        heard(&mut recovery, false, &Args::of(&("no offset", 1)).unwrap());
        heard(&mut recovery, true, &Args::of("of a question").unwrap());
        assert_eq!(
            payload(&recovery, Some(&json!({"token": 1}))),
            Some(json!({"pid": "p", "offset": "offset", "token": 1}))
        );
        heard(&mut recovery, false, &Args::none());
        assert_eq!(payload(&recovery, None), Some(json!({"pid": "p", "offset": "event"})));
    }

    #[test]
    fn it_is_recovered_if_the_server_knows_the_pid() {
        let mut recovery = Recovery::default();
        let mut accepted = |pid| {
            recovery.accepted(pid);
            recovery.has_recovered()
        };
        assert_eq!([accepted(Some("p")), accepted(Some("p")), accepted(Some("q"))], [false, true, false]);
        assert_eq!([accepted(None), accepted(None)], [false, false]);
    }
}
