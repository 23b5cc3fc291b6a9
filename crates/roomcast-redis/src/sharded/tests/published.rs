//! We publish what Node published, on the same channel and with the same bytes; and we decode it to its recorded
//! meaning.

use super::recorded::{Command, meaning};
use crate::sharded::ShardedMode;
use crate::sharded::decode::{decode, trailer};
use crate::sharded::encode::{Tail, encode};
use crate::sharded::names::Names;
use crate::wire::recorded::{Asked, file, on_a_cluster};
use bytes::Bytes;
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, ServerId, Trailer};
use roomcast_protocol::Args;
use serde::Deserialize;

/// Vectors that we publish differently, and why. They are decoded all the same.
const OTHER_BYTES: [(&str, &str); 9] = [
    (
        "broadcast_lone_surrogate",
        "the test's JavaScript values cannot hold such text; a received one is encoded unchanged, see `check`",
    ),
    ("to_room_number", "names of rooms are text"),
    ("compress_true", "the flag is the default: a broadcast may be compressed unless it says otherwise"),
    ("timeout_without_ack", "no receiver reads the timeout if no answers are wanted"),
    ("ack_flags", "receivers apply neither flag to events that are acknowledged"),
    ("fetch_sockets_timeout_flag", "no receiver reads it"),
    ("fetch_sockets_binary_data", "the data of sockets is JSON"),
    ("remote_socket_emit", "no receiver reads expectSingleResponse"),
    ("sockets_join_flags", "no receiver reads them"),
];

/// A call in the list above, with an acknowledgement.
const AND_WITH_ACK: &str = "remote_socket_emit_ack";

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    commands: Vec<Command>,
}

#[test]
fn the_adapter_in_each_mode() {
    for (name, mode) in [
        ("adapter-sharded-static.json", ShardedMode::Static),
        ("adapter-sharded-dynamic.json", ShardedMode::Dynamic),
        ("adapter-sharded-dynamic-private.json", ShardedMode::DynamicPrivate),
    ] {
        let vectors: Vectors = serde_json::from_str(&file(name)).unwrap();
        let (mut count, mut different) = (0, Vec::new());
        for Vector { name, commands } in &vectors.vectors {
            for command in commands.iter().filter(|command| command.cmd == "SPUBLISH") {
                let same = check(name, command, mode);
                let listed = OTHER_BYTES.iter().any(|(listed, _)| listed == name) || name == AND_WITH_ACK;
                assert!(same || listed, "{name}: other bytes or another channel");
                if !same {
                    different.push(name.as_str());
                }
                count += 1;
            }
        }
        assert_eq!(count, 108, "SPUBLISH commands of {name}");
        different.dedup();
        let mut listed: Vec<&str> = OTHER_BYTES.iter().map(|(name, _)| *name).chain([AND_WITH_ACK]).collect();
        different.sort_unstable();
        listed.sort_unstable();
        assert_eq!(different, listed, "the deviations are stale");
    }
}

fn names() -> Names {
    Names("socket.io".into())
}

/// Whether we publish the same bytes.
fn check(name: &str, command: &Command, mode: ShardedMode) -> bool {
    let (outgoing, payload) = (command.outgoing("socket.io"), command.payload());
    let read = decode(&payload.clone().into(), &outgoing.namespace, &"nobody".into()).unwrap();
    let read = read.unwrap_or_else(|| panic!("{name}: taken for another namespace's"));
    // Bytes in the data of sockets become other text in JSON.
    if !matches!(name, "broadcast_lone_surrogate" | "fetch_sockets_binary_data") {
        assert_eq!(meaning(&read), meaning(&outgoing.message), "{name} has another meaning");
    }
    if name == "broadcast_lone_surrogate" {
        let again = Outgoing { namespace: outgoing.namespace, message: read };
        assert_eq!(encode(&again, &names(), mode).unwrap().1, payload);
        return false;
    }
    let sent = encode(&outgoing, &names(), mode).unwrap();
    with_trailer(name, &outgoing, mode, &sent);
    sent == (command.channel.clone().unwrap(), payload)
}

/// A roomcast server adds only a trailer, which is found at the end and decoded again.
fn with_trailer(name: &str, outgoing: &Outgoing, mode: ShardedMode, bare: &(String, Vec<u8>)) {
    let mut ours = outgoing.clone();
    let number = Trailer::new(&ours.namespace, 7, 8, 9);
    ours.message.trailer = Some(number);
    let (channel, mut payload) = encode(&ours, &names(), mode).unwrap();
    assert_eq!(channel, bare.0, "{name}");
    let read = decode(&payload.clone().into(), &ours.namespace, &"nobody".into()).unwrap().unwrap();
    assert_eq!(read.trailer, Some(number), "{name}");
    assert_eq!(trailer(&payload, &ours.namespace), Some(number), "{name}");
    assert_eq!(trailer(&payload, "/elsewhere"), None, "{name}");
    let sender = ours.message.sender.clone().unwrap();
    assert_eq!(decode(&payload.clone().into(), &ours.namespace, &sender).unwrap(), None, "its own");
    assert!(Tail::of(&sender, &ours.namespace).ends(&payload), "{name}");
    assert!(
        !Tail::of(&sender, "/elsewhere").ends(&payload) && !Tail::of(&"nobody".into(), &ours.namespace).ends(&payload)
    );
    assert!(
        !Tail::of(&sender, &ours.namespace).ends(&bare.1),
        "{name}: only a message with a trailer is recognized by its end"
    );
    let hex = number.to_hex();
    let (last, is_json) = match payload[0] {
        b'{' => (format!(",\"rc\":\"{hex}\"}}").into_bytes(), true),
        _ => ([&b"\xa2rc\xd9\x3c"[..], hex.as_bytes()].concat(), false),
    };
    payload.truncate(payload.strip_suffix(&last[..]).expect("the trailer at the end").len());
    if is_json {
        payload.push(b'}');
    } else {
        payload[0] -= 1;
    }
    assert_eq!(payload, bare.1, "{name}: more is added than a trailer");
}

#[test]
fn the_cluster() {
    let (mut published, mut subscribed, mut counted) = (0, 0, 0);
    for Asked { step, cmd, args } in on_a_cluster("sharded") {
        let text = |at: usize| args[at].as_str().unwrap().to_owned();
        match &*cmd {
            "SPUBLISH" => {
                let payload = text(1).into_bytes();
                let mut message = decode(&payload.clone().into(), "/", &"nobody".into()).unwrap().unwrap();
                message.to = message.body.answers().map(|_| ServerId::from("a000000000000000"));
                let outgoing = Outgoing { namespace: "/".into(), message };
                assert_eq!(encode(&outgoing, &names(), ShardedMode::Dynamic).unwrap(), (text(0), payload), "{step}");
                published += 1;
            }
            "SSUBSCRIBE" => {
                let uid = text(0).rsplit('#').nth(1).unwrap().to_owned();
                assert!([names().main("/"), names().room("/", &uid)].contains(&text(0)));
                subscribed += 1;
            }
            "PUBSUB" => {
                assert_eq!(args, ["SHARDNUMSUB".to_owned(), names().main("/")]);
                counted += 1;
            }
            other => panic!("{other} was never recorded"),
        }
    }
    assert_eq!((published, subscribed, counted), (8, 8, 12));
}

/// With recovery Node publishes the same as without it; the offset exists only between it and its clients.
#[test]
fn with_recovery() {
    #[derive(Deserialize)]
    struct File {
        steps: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        name: String,
        #[serde(default)]
        commands: Vec<Command>,
    }
    let file: File = serde_json::from_str(&file("csr-sharded.json")).unwrap();
    let mut count = 0;
    for Step { name, commands } in &file.steps {
        for command in commands.iter().filter(|command| command.cmd == "SPUBLISH") {
            // We do not publish the `id` of a packet, which is the sender's.
            let expected = !String::from_utf8_lossy(&command.payload()).contains(",\"id\":");
            assert_eq!(check(name, command, ShardedMode::Dynamic), expected, "{name}");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} messages");
}

fn ours(body: Body, to: Option<&str>) -> (String, String) {
    let to = to.map(ServerId::from);
    let outgoing =
        Outgoing { namespace: "/".into(), message: Message { sender: Some("me".into()), to, trailer: None, body } };
    let (channel, payload) = encode(&outgoing, &names(), ShardedMode::Dynamic).unwrap();
    let read = decode(&Bytes::from(payload.clone()), "/", &"you".into()).unwrap().unwrap();
    assert_eq!(read.body, outgoing.message.body);
    (channel, String::from_utf8(payload).unwrap())
}

#[test]
fn messages_that_only_roomcast_servers_send() {
    let request = || RequestId("r".into());
    let all = |text: &str| (names().main("/"), text.to_owned());
    let one = |text: &str| (names().room("/", "you"), text.to_owned());
    assert_eq!(
        ours(Body::FetchRooms { request: request() }, None),
        all(r#"{"type":"fetchRooms","data":{"requestId":"r"},"uid":"me","nsp":"/"}"#)
    );
    assert_eq!(
        ours(Body::Rooms { request: request(), rooms: vec!["a".into()], parts: 1 }, Some("you")),
        one(r#"{"type":"rooms","data":{"requestId":"r","rooms":["a"]},"uid":"me","nsp":"/"}"#)
    );
    let target = roomcast_adapter::Target::everyone();
    let options = r#"{"rooms":[],"except":[],"flags":{}}"#;
    assert_eq!(
        ours(Body::Count { request: request(), target }, None),
        all(&format!(r#"{{"type":7,"data":{{"opts":{options},"requestId":"r","count":true}},"uid":"me","nsp":"/"}}"#))
    );
    assert_eq!(
        ours(Body::Counted { request: request(), count: 7 }, Some("you")),
        one(r#"{"type":8,"data":{"requestId":"r","count":7},"uid":"me","nsp":"/"}"#)
    );
}

#[test]
fn messages_that_the_dialect_lacks_are_never_sent() {
    for body in [
        Body::FetchIds { request: RequestId("r".into()), target: roomcast_adapter::Target::everyone() },
        Body::Ids { request: RequestId("r".into()), ids: Vec::new() },
        Body::Done { request: RequestId("r".into()) },
        Body::Hello,
    ] {
        let message = Message { sender: None, to: None, trailer: None, body };
        assert!(encode(&Outgoing { namespace: "/".into(), message }, &names(), ShardedMode::Static).is_err());
    }
    let data = Args::event("e", &()).unwrap();
    let message = Message { sender: None, to: None, trailer: None, body: Body::ServerSideEmit { request: None, data } };
    assert!(encode(&Outgoing { namespace: "".into(), message }, &names(), ShardedMode::Static).is_err());
}
