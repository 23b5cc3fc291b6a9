//! Payloads published by hand (`inbound-classic.json`): which are messages, which are counted as malformed, and which
//! are ignored. What a server does with the messages is in `tests/suite/inbound.rs`.

use crate::classic::decode;
use crate::classic::encode::encode;
use crate::classic::listener::NamespaceListener;
use crate::classic::names::Prefix;
use crate::delivery::{Delivery, Listener};
use crate::wire::read::MAX_ROOMS;

use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Body, Inbox, Message, Outgoing, Trailer};
use roomcast_adapter::{Room, Target};
use roomcast_protocol::Args;
use std::collections::BTreeSet;
use std::sync::Arc;

#[path = "../../../tests/common/by_hand.rs"]
#[allow(dead_code, reason = "the effects on a server are checked in `tests/suite/inbound.rs`")]
mod by_hand;

/// Messages that are only counted as malformed. Node ignores those without a mark; those marked `!` end its process, or
/// would with the other Redis library; at those marked `~` it does something that makes no sense.
const MALFORMED: [&str; 20] = [
    "broadcast, packet null",
    "! broadcast, opts missing",
    "broadcast, opts rooms is a string",
    "! broadcast as JSON",
    "~ broadcast with packet type 3 (ACK) and id",
    "! broadcast, garbage (not msgpack)",
    "! broadcast, truncated msgpack",
    "! broadcast, trailing bytes",
    "! broadcast, a map instead of an array (as the streams adapter publishes)",
    "! broadcast, empty payload",
    "! request type 5 REMOTE_FETCH without opts",
    "request of unknown type 42",
    "request, malformed JSON",
    "request, malformed msgpack",
    "! request, msgpack nil",
    "request, JSON with leading space (not \"{\" first)",
    "request, msgpack integer 0x7b (= \"{\")",
    "request, empty payload",
    "response, malformed",
    "! response, msgpack nil",
];

/// Messages that arrive and are for nobody here.
const PASSED_OVER: [&str; 7] = [
    "broadcast, same uid as the receiver",
    "broadcast, packet of another namespace on this channel",
    "broadcast on a room channel for a room that does not exist here",
    "broadcast on channel without the final #",
    "broadcast on room channel, garbage, unknown room",
    "request type 2 REMOTE_JOIN with opts, own uid",
    "request type 6 SERVER_SIDE_EMIT own uid",
];

/// Messages on channels that a server of this namespace does not subscribe.
const NOT_SUBSCRIBED: [&str; 2] = [
    "broadcast, packet without nsp on the /chat channel",
    "request type 1 ALL_ROOMS on a channel with a suffix nobody subscribes",
];

#[derive(Default)]
struct FakeInbox(Mutex<(usize, usize)>); // Messages, and malformed payloads.

impl Inbox for FakeInbox {
    fn wants(&self, room: &str) -> bool {
        room == "room1"
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        let mut received = self.0.lock();
        for arrival in arrivals {
            match arrival {
                Arrival::Message(_) => received.0 += 1,
                Arrival::Malformed(_) => received.1 += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn connected(&self) {}

    fn lost(&self) {}
}

#[test]
fn every_payload_published_by_hand() {
    let tests = by_hand::tests();
    let prefix = Prefix("socket.io".into());
    let bare = |list: &[&'static str]| -> BTreeSet<&'static str> {
        list.iter().map(|name| name.trim_start_matches(['!', '~', ' '])).collect()
    };
    let (mut malformed, mut passed_over, mut not_subscribed, mut messages) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for test in &tests {
        let inbox = Arc::new(FakeInbox::default());
        let namespace = NamespaceListener::new(&prefix, &"/".into(), &"nodeB0".into(), inbox.clone());
        let names = namespace.names(&prefix);
        let pattern = names.patterns.iter().find(|pattern| test.channel.starts_with(pattern.trim_end_matches('*')));
        if pattern.is_none() && !names.channels.contains(&test.channel) {
            not_subscribed.insert(&*test.name);
            continue;
        }
        let (by_pattern, channel) = (pattern.is_some(), test.channel.clone().into_bytes());
        namespace.receive(vec![Delivery { by_pattern, channel, payload: test.payload() }]);
        let received = *inbox.0.lock();
        match received {
            (1, 0) => messages += 1,
            (0, 1) => drop(malformed.insert(&*test.name)),
            (0, 0) => drop(passed_over.insert(&*test.name)),
            other => panic!("{}: {other:?}", test.name),
        }
    }
    assert_eq!(malformed, bare(&MALFORMED), "malformed");
    assert_eq!(passed_over, bare(&PASSED_OVER), "passed over");
    assert_eq!(not_subscribed, bare(&NOT_SUBSCRIBED), "not subscribed");
    assert_eq!(messages, 63 - malformed.len() - passed_over.len() - not_subscribed.len());
}

/// Rooms have members here as soon as a join was received, and none before.
#[derive(Default)]
struct Joiner(Mutex<Vec<&'static str>>);

impl Inbox for Joiner {
    fn wants(&self, _: &str) -> bool {
        self.0.lock().contains(&"join")
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            self.0.lock().push(match arrival {
                Arrival::Message(Message { body: Body::Join { .. }, .. }) => "join",
                Arrival::Message(_) => "broadcast",
                Arrival::PassedOver(_) => "passed over",
                other => panic!("{other:?}"),
            });
        }
    }

    fn connected(&self) {}

    fn lost(&self) {}
}

#[test]
fn a_broadcast_after_a_join_reaches_the_new_member() {
    let prefix = Prefix("socket.io".into());
    let target = Target::room("r");
    let join = Body::Join { target: target.clone(), rooms: vec!["r".into()], request: None };
    let data = Args::event("hello", &()).unwrap();
    let broadcast = Body::Broadcast { data, target, volatile: false, compress: true };
    let delivery = |body: &Body| {
        let message = Message {
            sender: Some("nodeA0".into()),
            to: None,
            trailer: Some(Trailer::new("/", 7, 1, 1)),
            body: body.clone(),
        };
        let outgoing = Outgoing { namespace: "/".into(), message };
        let (channel, payload) = encode(&outgoing, &prefix, false).unwrap();
        Delivery { by_pattern: matches!(body, Body::Broadcast { .. }), channel: channel.into_bytes(), payload }
    };
    let joiner = Arc::new(Joiner::default());
    let namespace = NamespaceListener::new(&prefix, &"/".into(), &"nodeB0".into(), joiner.clone());
    namespace.receive(vec![delivery(&broadcast), delivery(&join), delivery(&broadcast), delivery(&broadcast)]);
    assert_eq!(*joiner.0.lock(), ["passed over", "join", "broadcast", "broadcast"]);
}

/// Values that Node's servers allow as rooms: `undefined` (as notepack writes it), null, a boolean, an object.
const ODD: [&[u8]; 4] = [b"\xd4\x00\x00", b"\xc0", b"\xc3", b"\x80"];

/// The target of a Node broadcast with these rooms and exceptions.
fn broadcast(rooms: &[&[u8]], except: &[&[u8]]) -> Target {
    let list = |elements: &[&[u8]]| [&[0x90 | elements.len() as u8][..], &elements.concat()].concat();
    let payload = [
        &b"\x93\xa6nodeA0\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/\x83\xa5rooms"[..],
        &list(rooms),
        b"\xa6except",
        &list(except),
        b"\xa5flags\x80",
    ];
    let read = decode::broadcast(&payload.concat().into(), "/", &"nodeB0".into()).unwrap().unwrap();
    let Body::Broadcast { target, .. } = read.body else { panic!("{read:?}") };
    target
}

#[test]
fn values_that_cannot_be_rooms_match_nobody_and_do_no_harm() {
    for odd in ODD {
        assert_eq!(broadcast(&[], &[odd]), Target::everyone());
        assert_eq!(broadcast(&[b"\xa1a", odd], &[]), Target::room("a"));
        assert_eq!(broadcast(&[b"\xa1a"], &[odd, b"\xa1b"]), Target::room("a").except("b"));
        assert_eq!(broadcast(&[odd], &[]), Target::room(Room::nobody()), "not everybody");
    }
    for odd in ["null", "true", "{}", "[1]"] {
        let text = format!(r#"{{"uid":"n","requestId":"r","type":5,"opts":{{"rooms":[{odd}],"except":[{odd}]}}}}"#);
        let read = decode::request(&text.into_bytes().into(), "/").unwrap().unwrap();
        let Body::FetchSockets { target, .. } = read.body else { panic!("{read:?}") };
        assert_eq!(target, Target::room(Room::nobody()));
        let text = format!(r#"{{"requestId":"r","sockets":[{{"id":"x","rooms":["a",{odd},5]}}]}}"#);
        let read = decode::response(&text.into_bytes().into()).unwrap();
        let Body::Sockets { sockets, .. } = read.body else { panic!("{read:?}") };
        assert_eq!(sockets[0].rooms, ["a".into(), Room::from("5")]);
        let text = format!(r#"{{"requestId":"r","rooms":["a",{odd}]}}"#);
        let read = decode::response(&text.into_bytes().into()).unwrap();
        assert!(matches!(&read.body, Body::Rooms { rooms, .. } if *rooms == ["a".into()]), "{read:?}");
    }
}

#[test]
fn rooms_at_the_limit_and_one_past_it() {
    for (rooms, taken) in [(MAX_ROOMS, true), (MAX_ROOMS + 1, false)] {
        let list = vec!["\"r\""; rooms].join(",");
        let text = format!(r#"{{"uid":"n","requestId":"r","type":5,"opts":{{"rooms":[{list}],"except":[]}}}}"#);
        assert_eq!(decode::request(&text.into_bytes().into(), "/").is_ok(), taken, "{rooms}");
        let mut payload = b"\x93\xa6nodeA0\x83\xa4type\x02\xa4data\x91\xa1e\xa3nsp\xa1/\x83\xa5rooms\xdd".to_vec();
        payload.extend((rooms as u32).to_be_bytes());
        (0..rooms).for_each(|_| payload.extend(b"\xa1r"));
        payload.extend(b"\xa6except\x90\xa5flags\x80");
        assert_eq!(decode::broadcast(&payload.into(), "/", &"me".into()).is_ok(), taken, "{rooms}");
    }
}

#[test]
fn the_id_of_the_question_is_read_at_the_beginning_of_an_answer() {
    let long = "ü".repeat(1_000);
    for (answer, request) in [
        (r#"{"requestId":"abc","sockets":[]}"#.to_owned(), Some("abc")),
        (r#"{"type":6,"requestId":"abc","data":1}"#.to_owned(), Some("abc")),
        (format!(r#"{{"requestId":"abc","rooms":["{long}"]}}"#), Some("abc")),
        (format!(r#"{{"rooms":["{long}"],"requestId":"abc"}}"#), None),
        (r#"{"data":{"requestId":"inner"},"requestId":"abc"}"#.to_owned(), None),
        (r#"{"requestId":"a\"b"}"#.to_owned(), None),
        (r#"{"requestId":5}"#.to_owned(), None),
        (String::new(), None),
    ] {
        assert_eq!(decode::answers(answer.as_bytes()), request, "{answer:.60}");
    }
}

/// Awaits the answers to one question.
#[derive(Default)]
struct Asker(Mutex<Vec<String>>);

impl Inbox for Asker {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn awaits(&self, request: &str) -> bool {
        request == "mine"
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let Arrival::Message(message) = arrival else { panic!("{arrival:?}") };
            self.0.lock().push(message.body.answers().unwrap().0.to_string());
        }
    }

    fn connected(&self) {}

    fn lost(&self) {}
}

#[test]
fn answers_for_other_servers_are_not_even_decoded() {
    let prefix = Prefix("socket.io".into());
    let asker = Arc::new(Asker::default());
    let namespace = NamespaceListener::new(&prefix, &"/".into(), &"nodeB0".into(), asker.clone());
    for answer in [
        r#"{"requestId":"theirs","rooms":[]}"#,
        r#"{"requestId":"theirs","the rest is not JSON"#,
        r#"{"requestId":"mine","rooms":[]}"#,
    ] {
        let (channel, payload) = (prefix.response("/").into_bytes(), answer.as_bytes().to_vec());
        namespace.receive(vec![Delivery { by_pattern: false, channel, payload }]);
    }
    assert_eq!(*asker.0.lock(), ["mine"]);
}
