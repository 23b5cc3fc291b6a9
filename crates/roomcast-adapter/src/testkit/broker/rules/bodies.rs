//! A message of every kind, and the parts of it that no dialect may lose.

use crate::Target;
use crate::cluster::RequestId;
use crate::cluster::{Alive, Series, SeriesReport};
use crate::cluster::{Body, Message};
use crate::testkit::stage::{data, rooms, to};
use crate::{Details, SocketDetails};
use roomcast_protocol::Args;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Does not compile when a body is added to the enum: then add it to one of the two lists below, so that every broker is checked with it.
const fn _every_body_is_listed(body: &Body) {
    match body {
        Body::Broadcast { .. }
        | Body::BroadcastWithAck { .. }
        | Body::AskedClients { .. }
        | Body::ClientAck { .. }
        | Body::Join { .. }
        | Body::Leave { .. }
        | Body::Disconnect { .. }
        | Body::Done { .. }
        | Body::FetchSockets { .. }
        | Body::Count { .. }
        | Body::Counted { .. }
        | Body::Sockets { .. }
        | Body::FetchIds { .. }
        | Body::Ids { .. }
        | Body::FetchRooms { .. }
        | Body::Rooms { .. }
        | Body::Refused { .. }
        | Body::ServerSideEmit { .. }
        | Body::ServerAnswer { .. }
        | Body::Alive(_)
        | Body::Hello
        | Body::Goodbye => {}
    }
}

/// A body of every kind that belongs to a namespace.
pub(super) fn all() -> Result<Vec<Body>, String> {
    let request = || RequestId("0123456789abcdef".into());
    let event = || data("event", &("text", 5, vec![1.5, -3.0]));
    let answer = || Args::of(&"answer").map_err(|error| error.to_string());
    let target = || to(&["one", "two"], &["three"]);
    let details = Details { handshake: r#"{"headers":{"a":"b"}}"#.to_owned(), data: r#"{"name":"x"}"#.to_owned() };
    let socket = SocketDetails {
        id: "AAAAAAAAAAAAAAAAAAAA".to_owned(),
        rooms: rooms(&["one", "AAAAAAAAAAAAAAAAAAAA"]),
        details,
    };
    Ok(vec![
        Body::Broadcast { data: event()?, target: Target::everyone(), volatile: false, compress: true },
        Body::Broadcast { data: event()?, target: target(), volatile: true, compress: false },
        Body::BroadcastWithAck {
            request: request(),
            data: event()?,
            target: target(),
            timeout: Some(Duration::from_millis(1_500)),
        },
        Body::BroadcastWithAck { request: request(), data: event()?, target: Target::everyone(), timeout: None },
        Body::AskedClients { request: request(), count: 0 },
        Body::AskedClients { request: request(), count: 70_000 },
        Body::ClientAck { request: request(), args: answer()? },
        Body::Join { target: target(), rooms: rooms(&["four", "five"]), request: None },
        Body::Leave { target: Target::room("one"), rooms: rooms(&["four"]), request: None },
        Body::Disconnect { target: target(), close: true, request: None },
        Body::Disconnect { target: Target::everyone(), close: false, request: None },
        Body::Done { request: request() },
        Body::FetchSockets { request: request(), target: target() },
        Body::FetchSockets { request: request(), target: Target::everyone() },
        Body::Count { request: request(), target: target() },
        Body::Counted { request: request(), count: 0 },
        Body::Counted { request: request(), count: 70_000 },
        Body::Sockets { request: request(), sockets: vec![socket], parts: 1 },
        Body::Sockets { request: request(), sockets: Vec::new(), parts: 3 },
        Body::FetchIds { request: request(), target: target() },
        Body::Ids { request: request(), ids: vec!["AAAAAAAAAAAAAAAAAAAA".to_owned()] },
        Body::FetchRooms { request: request() },
        Body::Rooms { request: request(), rooms: rooms(&["one", "two"]), parts: u64::from(u32::MAX) },
        Body::Rooms { request: request(), rooms: Vec::new(), parts: 1 },
        Body::Refused { request: request() },
        Body::ServerSideEmit { request: None, data: event()? },
        Body::ServerSideEmit { request: Some(request()), data: event()? },
        Body::ServerAnswer { request: request(), args: answer()? },
    ])
}

/// The bodies that are for the servers themselves.
pub(super) fn servers() -> Vec<Body> {
    let numbers = vec![
        SeriesReport::new("/".into(), Series::Main, 0, 1),
        SeriesReport::new("/a".into(), Series::Rooms, 70_000, 1 << 40),
    ];
    let mut alive = Alive { sequence: 7, follows: 5, interval: 1_000, numbers, ..Alive::default() };
    alive.opened = vec![("/".into(), 1), ("/\"ü".into(), u64::MAX)];
    let mut whole = Alive { sequence: u64::MAX, interval: 10_000, whole: true, ..Alive::default() };
    whole.closed = vec!["/b".into()];
    vec![Body::Alive(alive), Body::Alive(whole), Body::Alive(Alive::default()), Body::Hello, Body::Goodbye]
}

/// Whether a dialect may lack such messages.
pub(super) fn may_be_missing(body: &Body) -> bool {
    matches!(body, Body::FetchIds { .. } | Body::Ids { .. } | Body::Done { .. })
}

/// The message in a canonical form: a dialect may rewrite JSON, so only the meaning is compared.
pub(super) fn canonical(message: &Message) -> Message {
    let mut message = message.clone();
    match &mut message.body {
        Body::Broadcast { data: args, .. }
        | Body::BroadcastWithAck { data: args, .. }
        | Body::ServerSideEmit { data: args, .. }
        | Body::ClientAck { args, .. }
        | Body::ServerAnswer { args, .. } => {
            let items: Vec<String> = args.as_ref().iter().map(spelled).collect();
            *args = Args::from_parts(items.join(",").into(), args.attachments().to_vec());
        }
        Body::Sockets { sockets, .. } => {
            for SocketDetails { details, .. } in sockets {
                *details = Details { handshake: spelled(&details.handshake), data: spelled(&details.data) };
            }
        }
        _ => {}
    }
    message
}

/// JSON text in a canonical form: keys sorted, numbers as in JavaScript.
fn spelled(json: &str) -> String {
    fn doubles(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Number(number), Value::from),
            Value::Array(items) => items.into_iter().map(doubles).collect(),
            Value::Object(items) => {
                let sorted: BTreeMap<String, Value> =
                    items.into_iter().map(|(key, value)| (key, doubles(value))).collect();
                sorted.into_iter().collect()
            }
            other => other,
        }
    }
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), |value| doubles(value).to_string())
}

/// The parts that no dialect may lose: kind, question, event and target.
pub(super) fn essence(body: &Body) -> Body {
    let mut body = body.clone();
    match &mut body {
        Body::Broadcast { compress, target, .. } => {
            *compress = true;
            target.local = false;
        }
        Body::BroadcastWithAck { timeout, target, .. } => {
            *timeout = None;
            target.local = false;
        }
        _ => {}
    }
    body
}
