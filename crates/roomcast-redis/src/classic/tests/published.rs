//! We publish what Node published, on the same channel and with the same bytes; and we decode it to its recorded
//! meaning.

use super::js::{Js, unhex};
use super::recorded::{Published, Vectors};
use crate::classic::decode;
use crate::classic::encode::encode;
use crate::classic::names::Prefix;
use crate::wire::recorded::{Asked, file, meaning, on_a_cluster};
use bytes::Bytes;
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, ServerId, Trailer};
use roomcast_protocol::{Args, ToArgs};
use std::collections::BTreeSet;

/// Roomcast servers add only a trailer, with a number, and the sender in answers.
const NUMBER: u64 = 7;
const SENDER: &str = "0123456789abcdef";

/// Vectors that we publish differently, and why. They are decoded all the same.
const OTHER_BYTES: [(&str, &str); 9] = [
    (
        "broadcast_numbers",
        "JSON has neither NaN nor Infinity, and the integer that wrapped in Node is sent as it reads",
    ),
    ("broadcast_date_tojson", "in JSON a Date is text"),
    ("to_room_number", "names of rooms are text"),
    ("compress_true", "the flag is the default: a broadcast may be compressed unless it says otherwise"),
    ("volatile_compress_to", "as compress_true"),
    ("timeout_without_ack", "no receiver reads the timeout if no answers are wanted"),
    ("ack_flags", "receivers apply neither flag to events that are acknowledged"),
    ("remote_socket_emit", "no receiver reads expectSingleResponse"),
    ("remote_socket_emit_ack", "as remote_socket_emit"),
];

#[test]
fn the_adapter() {
    let used = replay("adapter-classic.json", "socket.io", false, 110);
    let listed: BTreeSet<&str> =
        OTHER_BYTES.iter().map(|(name, _)| *name).filter(|name| *name != "volatile_compress_to").collect();
    assert_eq!(used.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed, "the deviations are stale");
}

#[test]
fn the_adapter_with_options() {
    let used = replay("adapter-classic-options.json", "myapp", true, 110);
    assert_eq!(used.len(), OTHER_BYTES.len() - 1, "the deviations are stale: {used:?}");
}

#[test]
fn the_emitter() {
    let mut vectors: Vectors = serde_json::from_str(&file("redis-emitter.json")).unwrap();
    let with_key: Vec<_> = ["options", "options_nsp"].into();
    let (keyed, plain): (Vec<_>, Vec<_>) =
        vectors.vectors.drain(..).partition(|vector| with_key.contains(&&*vector.name));
    assert!(replay_all(&Vectors { vectors: keyed }, "myapp", false, 2).is_empty());
    assert_eq!(replay_all(&Vectors { vectors: plain }, "socket.io", false, 29), ["volatile_compress_to"]);
}

fn replay(name: &str, prefix: &str, specific: bool, expected: usize) -> Vec<String> {
    let vectors: Vectors = serde_json::from_str(&file(name)).unwrap();
    replay_all(&vectors, prefix, specific, expected)
}

/// Replays every PUBLISH. Returns the names of the vectors that we publish differently.
fn replay_all(vectors: &Vectors, prefix: &str, specific: bool, expected: usize) -> Vec<String> {
    let (mut count, mut different) = (0, Vec::new());
    for vector in &vectors.vectors {
        for command in vector.commands.iter().filter(|command| command.cmd == "PUBLISH") {
            let published = command.published(prefix).unwrap_or_else(|| panic!("{}: not understood", vector.name));
            let same = check(&vector.name, &published, prefix, specific);
            let may_differ = OTHER_BYTES.iter().any(|(name, _)| *name == vector.name);
            assert!(same || may_differ, "{}: other bytes or another channel", vector.name);
            if !same {
                different.push(vector.name.clone());
            }
            count += 1;
        }
    }
    assert_eq!(count, expected, "PUBLISH commands");
    different
}

fn check(name: &str, published: &Published, prefix: &str, specific: bool) -> bool {
    let Published { channel, payload, outgoing } = published;
    let prefix = Prefix(prefix.into());
    let read = decode_on(&prefix, &outgoing.namespace, channel, payload);
    let mut expected = outgoing.message.clone();
    expected.to = None;
    if name != "broadcast_numbers" {
        assert_eq!(meaning(&read), meaning(&expected), "{name} has another meaning");
    }
    let sent = encode(outgoing, &prefix, specific).unwrap();
    assert_eq!(bare(outgoing, &prefix, specific), sent, "{name}: more is added than trailer and sender");
    sent == (channel.clone(), payload.clone())
}

fn decode_on(prefix: &Prefix, namespace: &str, channel: &str, payload: &[u8]) -> Message {
    let payload = Bytes::copy_from_slice(payload);
    let read = if channel.starts_with(&prefix.broadcast(namespace)) {
        decode::broadcast(&payload, namespace, &"nobody".into()).unwrap()
    } else if channel == prefix.request(namespace) {
        decode::request(&payload, namespace).unwrap()
    } else {
        Some(decode::response(&payload).unwrap())
    };
    read.unwrap_or_else(|| panic!("{channel}: taken for another namespace's"))
}

/// Encodes a message with trailer and sender, decodes it again, and returns its bytes without trailer and sender.
fn bare(outgoing: &Outgoing, prefix: &Prefix, specific: bool) -> (String, Vec<u8>) {
    let mut ours = outgoing.clone();
    let trailer = Trailer::new(&ours.namespace, 7, NUMBER, NUMBER);
    ours.message.trailer = Some(trailer);
    let answers = ours.message.body.answers().is_some();
    if answers {
        ours.message.sender = Some(ServerId::from(SENDER));
    }
    let (channel, mut payload) = encode(&ours, prefix, specific).unwrap();
    let mut read = decode_on(prefix, &ours.namespace, &channel, &payload);
    read.to.clone_from(&ours.message.to);
    assert_eq!((read.sender, read.trailer), (ours.message.sender.clone(), ours.message.trailer));
    let hex = trailer.to_hex();
    let last = [&b"\xa2rc\xd9\x3c"[..], hex.as_bytes()].concat();
    let keys = match (payload[0], answers) {
        (b'{', true) => format!(",\"uid\":\"{SENDER}\",\"rc\":\"{hex}\"}}").into_bytes(),
        (b'{', false) => format!(",\"rc\":\"{hex}\"}}").into_bytes(),
        (_, true) => [&b"\xa3uid\xb0"[..], SENDER.as_bytes(), &last].concat(),
        (0x90..=0x9f, false) => [&b"\xc4\x1e"[..], &trailer.to_bytes()].concat(),
        (_, false) => last,
    };
    payload.truncate(payload.strip_suffix(&keys[..]).expect("trailer and sender at the end").len());
    match (payload[0], answers) {
        (b'{', _) => payload.push(b'}'),
        (_, true) => payload[0] -= 2,
        (_, false) => payload[0] -= 1,
    }
    (channel, payload)
}

#[test]
fn the_cluster() {
    let prefix = Prefix("socket.io".into());
    let (mut published, mut subscribed, mut counted) = (0, 0, 0);
    for Asked { step, cmd, args } in on_a_cluster("classic") {
        let text = |at: usize| args[at].as_str().unwrap().to_owned();
        match &*cmd {
            "PUBLISH" => {
                let payload = match args[1].get("$hex") {
                    Some(hex) => unhex(hex.as_str().unwrap()),
                    None => text(1).into_bytes(),
                };
                let message = decode_on(&prefix, "/", &text(0), &payload);
                let again = encode(&Outgoing { namespace: "/".into(), message }, &prefix, false).unwrap();
                assert_eq!(again, (text(0), payload), "{step}");
                published += 1;
            }
            "SUBSCRIBE" => {
                let uid = text(2).rsplit('#').nth(1).unwrap().to_owned();
                let ours = [prefix.request("/"), prefix.response("/"), prefix.response_to("/", &uid)];
                assert_eq!(args, ours);
                subscribed += 1;
            }
            "PSUBSCRIBE" => {
                assert_eq!(args, [prefix.pattern("/")]);
                subscribed += 1;
            }
            "PUBSUB" => {
                assert_eq!(args, ["NUMSUB".to_owned(), prefix.request("/")]);
                counted += 1;
            }
            other => panic!("{other} was never recorded"),
        }
    }
    assert_eq!((published, subscribed), (8, 8));
    assert!(counted >= 12, "{counted} counts on 3 nodes, twice, by two libraries");
}

fn event<T: ToArgs + ?Sized>(name: &str, value: &T) -> Args {
    Args::event(name, value).unwrap()
}

fn sent(body: Body) -> String {
    let message = Message { sender: Some(ServerId::from("nodeA0")), to: None, trailer: None, body };
    let (_, payload) = encode(&Outgoing { namespace: "/".into(), message }, &Prefix("p".into()), false).unwrap();
    String::from_utf8(payload).unwrap()
}

/// As in `server_side_emit_binary` and `server_side_emit_ack_binary`.
#[test]
fn bytes_in_json_are_written_as_stringify_writes_a_buffer() {
    let bytes = |bytes: &[u8]| Js::Binary(bytes.to_vec());
    let data = event("sse", &bytes(&[1, 2]));
    assert_eq!(data.attachments().len(), 1);
    let text = sent(Body::ServerSideEmit { request: None, data });
    assert_eq!(text, r#"{"uid":"nodeA0","type":6,"data":["sse",{"type":"Buffer","data":[1,2]}]}"#);
    let args = Args::of(&bytes(&[9, 8])).unwrap();
    let text = sent(Body::ServerAnswer { request: RequestId("req001".into()), args });
    let answer = r#"{"type":6,"requestId":"req001","data":{"type":"Buffer","data":[9,8]},"uid":"nodeA0"}"#;
    assert_eq!(text, answer);
}

#[test]
fn text_outside_of_placeholders_is_copied_unchanged() {
    let inlined = |items: &str, attachments: Vec<Bytes>| {
        let data = Args::from_parts(items.into(), attachments);
        sent(Body::ServerSideEmit { request: None, data })
    };
    let one = || vec![Bytes::from_static(&[7])];
    for items in [
        r#""z","{\"_placeholder\":true,\"num\":0}",{"b":1e400,"a":"\ud83d"},9007199254740993"#,
        r#""z",{"_placeholder":true,"num":1},{"_placeholder":true,"num":-1},{"_placeholder":false,"num":0}"#,
        r#""z","\\","\"{",{"_placeholder":true,"num":0.5}"#,
    ] {
        let text = inlined(items, one());
        assert_eq!(text, format!(r#"{{"uid":"nodeA0","type":6,"data":[{items}]}}"#));
    }
    let text = inlined(r#""z",{"k":[ { "_placeholder" : true , "num" : 0 } ,{"_placeholder":true,"num":0}]}"#, one());
    let buffer = r#"{"type":"Buffer","data":[7]}"#;
    assert_eq!(text, format!(r#"{{"uid":"nodeA0","type":6,"data":["z",{{"k":[ {buffer} ,{buffer}]}}]}}"#));
}

#[test]
fn repeated_attachments_are_bounded() {
    let twice = r#""z",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}"#;
    let data = Args::from_parts(twice.into(), vec![Bytes::from(vec![0; 12_000_000])]);
    let body = Body::ServerSideEmit { request: None, data };
    let message = Message { sender: None, to: None, trailer: None, body };
    let outgoing = Outgoing { namespace: "/".into(), message };
    assert!(encode(&outgoing, &Prefix("p".into()), false).is_err());
}
