//! The codec for brokers: every message comes back as it was, and input that is not a message is an error.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use roomcast_adapter::cluster::codec::{CodecError, MAX_ATTACHMENTS, MAX_BYTES, MAX_DEPTH, decode, encode};
use roomcast_adapter::cluster::{Alive, Body, Message, RequestId, Series, SeriesReport, ServerId, Trailer};
use roomcast_adapter::{Details, Room, SocketDetails, Target};
use roomcast_protocol::{Args, ByteStr};
use std::sync::Arc;
use std::time::Duration;

fn args() -> impl Strategy<Value = Args> {
    let event = (".{0,12}", ".{0,40}", any::<f64>(), vec(vec(any::<u8>(), 0..40), 0..4));
    let event = event.prop_map(|(name, text, number, attachments)| {
        let attachments: Vec<_> = attachments.into_iter().map(serde_bytes::ByteBuf::from).collect();
        Args::event(&name, &(text, number, attachments)).unwrap()
    });
    prop_oneof![1 => Just(Args::none()), 1 => Just(Args::of(&()).unwrap()), 8 => event]
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![".{0,12}", "/[a-z#*?\\[\\]]{0,5}", Just(String::new())].prop_map(Arc::from)
}

fn room_list() -> impl Strategy<Value = Vec<Room>> {
    vec(text().prop_map(|text| Room::from(&*text)), 0..4)
}

fn target() -> impl Strategy<Value = Target> {
    (room_list(), room_list(), any::<bool>()).prop_map(|(rooms, except, local)| Target {
        rooms,
        except,
        local,
        one: false,
    })
}

fn request() -> impl Strategy<Value = RequestId> {
    text().prop_map(RequestId)
}

fn sockets() -> impl Strategy<Value = Vec<SocketDetails>> {
    let json = || prop_oneof![Just("{}".to_owned()), ".{0,9}".prop_map(|text| serde_json::to_string(&text).unwrap())];
    let socket = (".{0,20}", room_list(), json(), json());
    let details = |handshake, data| Details { handshake, data };
    vec(socket.prop_map(move |(id, rooms, one, two)| SocketDetails { id, rooms, details: details(one, two) }), 0..4)
}

fn body() -> impl Strategy<Value = Body> {
    let maybe = || option::of(request());
    prop_oneof![
        (args(), target(), any::<bool>(), any::<bool>())
            .prop_map(|(data, target, volatile, compress)| Body::Broadcast { data, target, volatile, compress }),
        (request(), args(), target(), option::of(any::<Duration>()))
            .prop_map(|(request, data, target, timeout)| Body::BroadcastWithAck { request, data, target, timeout }),
        (request(), any::<u64>()).prop_map(|(request, count)| Body::AskedClients { request, count }),
        (request(), args()).prop_map(|(request, args)| Body::ClientAck { request, args }),
        (target(), room_list(), maybe()).prop_map(|(target, rooms, request)| Body::Join { target, rooms, request }),
        (target(), room_list(), maybe()).prop_map(|(target, rooms, request)| Body::Leave { target, rooms, request }),
        (target(), any::<bool>(), maybe()).prop_map(|(target, close, request)| Body::Disconnect {
            target,
            close,
            request
        }),
        request().prop_map(|request| Body::Done { request }),
        (request(), target()).prop_map(|(request, target)| Body::FetchSockets { request, target }),
        (request(), target()).prop_map(|(request, target)| Body::Count { request, target }),
        (request(), any::<u64>()).prop_map(|(request, count)| Body::Counted { request, count }),
        (request(), sockets(), any::<u64>()).prop_map(|(request, sockets, parts)| Body::Sockets {
            request,
            sockets,
            parts
        }),
        (request(), target()).prop_map(|(request, target)| Body::FetchIds { request, target }),
        (request(), vec(".{0,20}", 0..4)).prop_map(|(request, ids)| Body::Ids { request, ids }),
        request().prop_map(|request| Body::FetchRooms { request }),
        (request(), room_list(), any::<u64>()).prop_map(|(request, rooms, parts)| Body::Rooms {
            request,
            rooms,
            parts
        }),
        request().prop_map(|request| Body::Refused { request }),
        (maybe(), args()).prop_map(|(request, data)| Body::ServerSideEmit { request, data }),
        (request(), args()).prop_map(|(request, args)| Body::ServerAnswer { request, args }),
        vec((text(), any::<bool>(), any::<u64>(), any::<u64>()), 0..4).prop_map(|numbers| {
            let told = |(name, rooms, number, since)| {
                SeriesReport::new(name, if rooms { Series::Rooms } else { Series::Main }, number, since)
            };
            let mut alive = Alive::default();
            alive.numbers = numbers.into_iter().map(told).collect();
            Body::Alive(alive)
        }),
        (any::<[u64; 3]>(), any::<bool>(), (vec((text(), any::<u64>()), 0..3), vec(text(), 0..3))).prop_map(
            |([sequence, follows, interval], whole, (opened, closed))| {
                let mut alive = Alive::default();
                (alive.sequence, alive.follows) = (sequence, follows);
                (alive.interval, alive.whole) = (interval, whole);
                (alive.opened, alive.closed) = (opened, closed);
                Body::Alive(alive)
            }
        ),
        Just(Body::Hello),
        Just(Body::Goodbye),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let id = || option::of(text().prop_map(|text| ServerId::from(&*text)));
    let trailer = (any::<[bool; 2]>(), any::<[u64; 3]>()).prop_map(|([again, one], [process, serial, number])| {
        let mut trailer = Trailer::new("/", process, serial, number);
        (trailer.again, trailer.one) = (again, one);
        trailer
    });
    (id(), id(), option::of(trailer), body()).prop_map(|(sender, to, trailer, body)| Message {
        sender,
        to,
        trailer,
        body,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_message_comes_back_as_it_was(message in message()) {
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = decode(&[&[2, 0, 0, 0, bytes.len() as u8], &bytes[..], &[0; Trailer::BYTES]].concat());
    }

    #[test]
    fn a_message_with_any_byte_changed_is_a_message_or_an_error(
        message in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&message);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&read)), Ok(read));
        }
    }

    #[test]
    fn a_part_of_a_message_is_an_error(message in message(), at in any::<prop::sample::Index>(), more in any::<u8>()) {
        let mut bytes = encode(&message);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        bytes.push(more);
        prop_assert_eq!(decode(&bytes), Err(CodecError::Length));
    }
}

fn broadcast(data: Args) -> Message {
    let body = Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true };
    Message { sender: Some("a".into()), to: None, trailer: Some(Trailer::new("/", 7, 1, 1)), body }
}

fn raw(items: &str, attachments: usize) -> Message {
    broadcast(Args::from_parts(ByteStr::from(items), vec![Bytes::from_static(b"x"); attachments]))
}

fn came_back(message: &Message) -> bool {
    decode(&encode(message)).as_ref() == Ok(message)
}

/// Bytes as [`encode`] would make them, with another head.
fn with_head(head: &str, rest: &[u8]) -> Vec<u8> {
    [&[2], &u32::try_from(head.len()).unwrap().to_be_bytes()[..], head.as_bytes(), rest, &[0; Trailer::BYTES]].concat()
}

#[test]
fn a_message_at_the_limit_and_one_past_it() {
    let around = encode(&raw("\"\"", 0)).len();
    // The length of the arguments takes seven digits instead of one.
    let fill = MAX_BYTES - around - 6;
    let text = |length: usize| raw(&format!("\"{}\"", "x".repeat(length)), 0);
    assert_eq!(encode(&text(fill)).len(), MAX_BYTES);
    assert!(came_back(&text(fill)));
    assert_eq!(decode(&encode(&text(fill + 1))), Err(CodecError::TooLarge(MAX_BYTES + 1)));
}

#[test]
fn nesting_at_the_limit_and_one_past_it() {
    // The arguments' own array is one level.
    let nested = |depth: usize| raw(&("[".repeat(depth) + &"]".repeat(depth)), 0);
    assert!(came_back(&nested(MAX_DEPTH - 1)));
    assert!(matches!(decode(&encode(&nested(MAX_DEPTH))), Err(CodecError::Data(_))));
    assert!(matches!(decode(&encode(&nested(1_000_000))), Err(CodecError::Data(_))));
    let head = format!("{{\"body\":{}", "[".repeat(100_000));
    assert!(matches!(decode(&with_head(&head, b"")), Err(CodecError::Head(_))));
}

#[test]
fn attachments_at_the_limit_and_one_past_it() {
    assert!(came_back(&raw("1", MAX_ATTACHMENTS)));
    assert!(matches!(decode(&encode(&raw("1", MAX_ATTACHMENTS + 1))), Err(CodecError::Head(_))));
}

#[test]
fn placeholders_have_their_attachments() {
    let placeholder = |number: usize| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    assert!(came_back(&raw(&placeholder(0), 1)));
    assert!(matches!(decode(&encode(&raw(&placeholder(1), 1))), Err(CodecError::Data(_))));
    // Without attachments it is an ordinary object.
    assert!(came_back(&raw(&placeholder(1), 0)));
}

#[test]
fn input_that_is_not_json_is_refused() {
    for items in ["x", "1,", "1],[2", "{\"a\"}", "\"\n\""] {
        assert!(matches!(decode(&encode(&raw(items, 0))), Err(CodecError::Data(_))), "{items}");
    }
    let details = Details { handshake: "{".to_owned(), data: "{}".to_owned() };
    let sockets = vec![SocketDetails { id: "x".to_owned(), rooms: Vec::new(), details }];
    let body = Body::Sockets { request: RequestId("r".into()), sockets, parts: 1 };
    let message = Message { sender: None, to: None, trailer: None, body };
    assert!(matches!(decode(&encode(&message)), Err(CodecError::Data(_))));
    // What JavaScript accepts is accepted: a lone surrogate, a number that no double can hold.
    assert!(came_back(&raw(r#""\ud800",1e400"#, 0)));
}

#[test]
fn heads_with_wrong_lengths_are_refused() {
    for head in [
        r#"{"args":18446744073709551615,"body":"goodbye"}"#,
        r#"{"args":2,"body":"goodbye"}"#,
        r#"{"attachments":[18446744073709551615],"body":"goodbye"}"#,
        r#"{"attachments":[1],"body":"goodbye"}"#,
        r#"{"body":{"server_side_emit":{"request":null}}}"#,
        r#"{"body":"nobody"}"#,
        r#"{}"#,
        r#"{"sender":-1,"body":"goodbye"}"#,
    ] {
        assert!(decode(&with_head(head, b"")).is_err(), "{head}");
    }
    assert!(matches!(decode(&with_head(r#"{"args":2,"body":"goodbye"}"#, b"[]")), Err(CodecError::Data(_))));
    assert_eq!(decode(&[&[2, 255, 255, 255, 255][..], &[0; Trailer::BYTES]].concat()), Err(CodecError::Length));
    assert_eq!(decode(&[1]), Err(CodecError::Version));
    assert_eq!(decode(&[]), Err(CodecError::Version));
    // Keys that a later release adds are ignored.
    assert!(decode(&with_head(r#"{"new":1,"body":"goodbye"}"#, b"")).is_ok());
}
