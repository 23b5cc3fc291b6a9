//! Packets of socket.io-msgpack-parser 3.0.2: what Node's server and client wrote, what Node refused, and limits.
//!
//! A vector with a different outcome must be in [`DEVIATIONS`], and one that is listed must differ.

use crate::common::js::{self, Arguments, Js, unhex, value};
use crate::common::wire::{Decoded, Ways};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_protocol::limits::{
    MAX_ACK_ID, MAX_ATTACHMENTS, MAX_DEPTH, MAX_DEPTH_OPTION, MAX_NAMESPACE_BYTES, MAX_PACKET_BYTES,
    MAX_UNPACKED_PAYLOADS,
};
use roomcast_protocol::msgpack::Writer;
use roomcast_protocol::{
    Args, DecodeError, DecoderLimits, EncodeError, Packet, PacketTooLarge, Parser, RESERVED_EVENTS, Received, Unpacked,
};

/// Where we are stricter than the package on purpose (docs/protocol.md, 4.1): the vector, our outcome, and why.
const DEVIATIONS: [(&str, DecodeError, &str); 5] = [
    ("EVENT data empty array", DecodeError::InvalidPayload, "an event has a name"),
    ("EVENT reserved name", DecodeError::InvalidPayload, "as with the default parser"),
    ("EVENT name null", DecodeError::InvalidPayload, "an event has a name"),
    ("id -1", DecodeError::InvalidId, "an id is 0 or more"),
    ("msgpack nil", DecodeError::InvalidType, "Node's own text is that of a TypeError"),
];

/// Vectors of text messages, which no parser of binary messages is given.
const TEXTS: [&str; 2] = ["text frame of the default parser", "empty text"];

fn file(text: &str) -> Js {
    js::parse(text).unwrap()
}

fn parser_vectors(list: &str) -> Vec<Js> {
    let file = file(include_str!("../../../../vectors/parser-msgpack.json"));
    file.get(list).and_then(Js::array).unwrap().to_vec()
}

fn member(value: &Js, key: &str) -> Js {
    value.get(key).cloned().unwrap_or(Js::Undefined)
}

fn text(value: &Js, key: &str) -> String {
    member(value, key).text().unwrap()
}

fn read(message: &[u8]) -> Result<Decoded, DecodeError> {
    Unpacked::read(message, DecoderLimits::default()).map(|packet| Decoded::from(packet.received()))
}

/// A value as a handler gets it: as `JSON.stringify` leaves it, with bytes.
fn plain(value: Js) -> Js {
    match value {
        Js::ToJson(inner) => plain(*inner),
        Js::Number(number) if !number.0.is_finite() => Js::Null,
        Js::Undefined => Js::Null,
        Js::Array(items) => Js::Array(items.into_iter().map(plain).collect()),
        Js::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| *value != Js::Undefined);
            Js::Object(members.map(|(key, value)| (key, plain(value))).collect())
        }
        other => other,
    }
}

/// What a recorded packet is to us.
fn recorded(packet: &Js) -> Decoded {
    let kind = member(packet, "type").double().unwrap() as u8;
    let data = match member(packet, "data").denoted() {
        _ if kind == 4 => Vec::new(),
        Js::Undefined => Vec::new(),
        Js::Array(items) => items.into_iter().map(plain).collect(),
        object => vec![plain(object)],
    };
    let id = member(packet, "id").denoted().double().filter(|_| matches!(kind, 2 | 3)).map(|id| id as u64);
    Decoded { kind, namespace: text(packet, "nsp"), id, data }
}

/// The packet as our server encodes it.
fn encoded(packet: &Js) -> Packet {
    let namespace = text(packet, "nsp");
    let data = member(packet, "data").denoted();
    let args = |data: &Js| Args::of(&Arguments(data.array().unwrap())).unwrap();
    let id = member(packet, "id").denoted().double().map(|id| id as u64);
    let json = || Args::of(&data).unwrap().items().to_owned();
    let parser = Parser::MessagePack;
    match member(packet, "type").double().unwrap() as u8 {
        0 => parser.connect(&namespace, &json()),
        1 => parser.disconnect(&namespace),
        2 => parser.event(&namespace, id, &args(&data)),
        3 => parser.ack(&namespace, id.unwrap(), &args(&data)),
        _ => parser.connect_error(&namespace, &json()),
    }
    .unwrap()
}

/// The one binary message of a packet. By polling it is base64.
fn message(packet: &Packet) -> Vec<u8> {
    let ways = Ways::of(packet);
    let [crate::common::wire::Frame::Binary(bytes)] = &ways.websocket[..] else { panic!("{:?}", ways.websocket) };
    let [crate::common::wire::Frame::Text(base64)] = &ways.base64[..] else { panic!("{:?}", ways.base64) };
    assert!(base64.starts_with('b') && *base64 == ways.polling);
    assert_eq!((packet.parts(), packet.text()), (1, None));
    bytes.clone()
}

#[test]
fn what_node_wrote_is_read_as_node_reads_it() {
    let vectors = parser_vectors("valid");
    assert_eq!(vectors.len(), 20);
    for vector in vectors {
        let frame = unhex(&text(&vector, "frame_hex"));
        assert_eq!(read(&frame), Ok(recorded(&member(&vector, "decoded"))), "{}", text(&vector, "name"));
        for length in 0..frame.len() {
            assert_eq!(read(&frame[..length]), Err(DecodeError::Unreadable));
        }
    }
}

#[test]
fn what_node_refused_is_refused_with_its_reason_or_is_listed() {
    let (mut differ, mut compared) = (Vec::new(), 0);
    for vector in parser_vectors("invalid") {
        let name = text(&vector, "name");
        let Js::Binary(frame) = member(&vector, "frame").denoted() else {
            assert!(TEXTS.contains(&&*name), "{name}");
            continue;
        };
        let outcome = member(&vector, "outcome");
        let expected = match outcome.get("error") {
            Some(error) => Err(error.text().unwrap()),
            None => Ok(recorded(&member(&outcome, "packet"))),
        };
        let ours = read(&frame);
        compared += 1;
        if ours.clone().map_err(|error| error.to_string()) != expected {
            let listed = DEVIATIONS.iter().find(|(known, ..)| *known == name);
            assert_eq!(Some(&ours), listed.map(|(_, error, _)| Err(*error)).as_ref(), "{name}: {expected:?}");
            differ.push(name);
        }
    }
    assert_eq!(compared, 30);
    assert_eq!(differ, DEVIATIONS.map(|(name, ..)| name));
}

/// Frames of a connection between Node's server and client.
#[test]
fn what_nodes_server_sent_is_written_byte_for_byte() {
    let file = file(include_str!("../../../../vectors/socketio-server.json"));
    let (mut by_server, mut by_client) = (0, 0);
    for step in file.get("msgpack").and_then(Js::array).unwrap() {
        for frame in step.get("frames").and_then(Js::array).unwrap() {
            let (bytes, decoded) = (unhex(&text(frame, "hex")), member(frame, "decoded"));
            if text(frame, "from") == "server" {
                let ours = message(&encoded(&decoded));
                assert_eq!(ours, bytes, "{} {ours:x?}", text(step, "name"));
                by_server += 1;
            } else {
                assert_eq!(read(&bytes), Ok(recorded(&decoded)), "{}", text(step, "name"));
                by_client += 1;
            }
        }
    }
    assert!(by_server >= 6 && by_client >= 10, "{by_server} {by_client}");
    // Those of the parser's own vectors in which the keys are in the server's order.
    let mut same = 0;
    for vector in parser_vectors("valid").iter().filter(|vector| text(vector, "name").contains("as the server builds"))
    {
        assert_eq!(message(&encoded(&member(vector, "packet"))), unhex(&text(vector, "frame_hex")));
        same += 1;
    }
    assert_eq!(same, 2);
}

/// What we write of each recorded packet is read as Node read its own.
#[test]
fn other_recorded_packets_keep_their_meaning() {
    for vector in parser_vectors("valid") {
        let packet = member(&vector, "packet");
        let (kind, name) = (member(&packet, "type").double().unwrap(), text(&vector, "name"));
        if kind == 0.0 || kind == 4.0 || name == "EVENT toJSON" {
            continue;
        }
        assert_eq!(read(&message(&encoded(&packet))), Ok(recorded(&member(&vector, "decoded"))), "{name}");
    }
}

#[test]
fn an_absent_pid_or_data_is_undefined_and_one_that_is_there_is_kept() {
    let data = |packet: Result<Packet, EncodeError>| member(&node_reads(&message(&packet.unwrap())), "data");
    let object = |members: &[(&str, Js)]| {
        Js::Object(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    let parser = Parser::MessagePack;
    assert_eq!(
        data(parser.connect("/", r#"{"sid":"a"}"#)),
        object(&[("sid", Js::string("a")), ("pid", Js::Undefined)])
    );
    assert_eq!(
        data(parser.connect("/", r#"{"sid":"a","pid":"b"}"#)),
        object(&[("sid", Js::string("a")), ("pid", Js::string("b"))])
    );
    assert_eq!(
        data(parser.connect_error("/", r#"{"message":"no","data":{"code":1}}"#)),
        object(&[("message", Js::string("no")), ("data", object(&[("code", Js::number(1.0))]))])
    );
    assert_eq!(
        data(parser.connect_error("/", r#"{"message":"\"no\""}"#)),
        object(&[("message", Js::string("\"no\"")), ("data", Js::Undefined)])
    );
    // With sixteen members the map's header is longer.
    let many: String = (0..15).map(|number| format!(r#""k{number}":0,"#)).collect();
    let data = data(parser.connect("/", &format!(r#"{{{many}"sid":"a"}}"#)));
    let Js::Object(members) = data else { panic!("{data:?}") };
    assert_eq!((members.len(), &members[16]), (17, &("pid".to_owned(), Js::Undefined)));
}

/// A packet's map, with its members in this order.
fn map(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.map(members.len());
    for (key, value) in members {
        writer.str(key).raw(value);
    }
    out
}

fn event_with(data: &[u8]) -> Vec<u8> {
    map(&[("type", b"\x02"), ("data", data), ("nsp", b"\xa1/")])
}

/// The text and the attachments of an event's arguments.
fn event(message: &[u8]) -> Result<(String, String, Vec<Bytes>), DecodeError> {
    let packet = Unpacked::read(message, DecoderLimits::default())?;
    let Received::Event { event, .. } = packet.received() else { panic!("{packet:?}") };
    Ok((event.name.to_string(), event.args.items.to_owned(), event.args.attachments.to_vec()))
}

#[test]
fn fields_may_come_in_any_order_and_the_last_of_equal_ones_counts() {
    let fields: [(&str, &[u8]); 5] = [
        ("nsp", b"\xa2/a"),
        ("id", b"\x07"),
        ("options", b"\x81\xa8compress\xc3"),
        ("type", b"\x02"),
        ("data", b"\x91\xa1e"),
    ];
    let expected = Decoded { kind: 2, namespace: "/a".into(), id: Some(7), data: vec![Js::string("e")] };
    for first in 0..fields.len() {
        let mut turned = fields;
        turned.rotate_left(first);
        assert_eq!(read(&map(&turned)), Ok(expected.clone()));
    }
    let twice = map(&[
        ("type", b"\x00"),
        ("data", b"\xc0"),
        ("nsp", b"\x01"),
        ("type", b"\x02"),
        ("data", b"\x91\xa1e"),
        ("nsp", b"\xa2/a"),
        ("id", b"\xc0"),
        ("id", b"\xcb\x40\x1c\0\0\0\0\0\0"),
    ]);
    assert_eq!(read(&twice), Ok(expected));
}

#[test]
fn types_and_ids_are_whole_numbers_in_any_form() {
    let kind = |kind: &[u8]| {
        read(&map(&[("type", kind), ("data", b"\x91\xa1e"), ("nsp", b"\xa1/")])).map(|packet| packet.kind)
    };
    for two in [&b"\x02"[..], b"\xcc\x02", b"\xd3\0\0\0\0\0\0\0\x02", b"\xcb\x40\0\0\0\0\0\0\0", b"\xca\x40\0\0\0"] {
        assert_eq!(kind(two), Ok(2), "{two:x?}");
    }
    for wrong in
        [&b"\x05"[..], b"\x06", b"\xff", b"\xc0", b"\xc3", b"\xa12", b"\xd4\0\0", b"\x90", b"\xcb\x7f\xf8\0\0\0\0\0\0"]
    {
        assert_eq!(kind(wrong), Err(DecodeError::InvalidType), "{wrong:x?}");
    }
    let id = |id: &[u8]| {
        read(&map(&[("type", b"\x02"), ("data", b"\x91\xa1e"), ("nsp", b"\xa1/"), ("id", id)])).map(|packet| packet.id)
    };
    let number = |number: u64| [&[0xcf][..], &number.to_be_bytes()].concat();
    assert_eq!(id(b"\xd4\0\0"), Ok(None));
    assert_eq!(id(&number(MAX_ACK_ID)), Ok(Some(MAX_ACK_ID)));
    assert_eq!(id(&number(MAX_ACK_ID + 1)), Err(DecodeError::InvalidId));
    for wrong in
        [&b"\xc0"[..], b"\xff", b"\xc2", b"\xa11", b"\xcb\x3f\xf8\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\x90"]
    {
        assert_eq!(id(wrong), Err(DecodeError::InvalidId), "{wrong:x?}");
    }
}

#[test]
fn names_are_those_of_the_default_parser() {
    let named = |name: &[u8]| event(&event_with(&[b"\x91", name].concat())).map(|(name, ..)| name);
    assert_eq!(named(b"\xa1e").as_deref(), Ok("e"));
    assert_eq!(named(b"\xa0").as_deref(), Ok(""));
    assert_eq!(named(b"\x07").as_deref(), Ok("7"));
    assert_eq!(named(b"\xcb\x3f\xf8\0\0\0\0\0\0").as_deref(), Ok("1.5"));
    assert_eq!(named(b"\xa1\xff").as_deref(), Ok("\u{fffd}"));
    for wrong in
        [&b"\xc0"[..], b"\xc3", b"\xd4\0\0", b"\x90", b"\x80", b"\xc4\x01e", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xd4\x05\0"]
    {
        assert_eq!(named(wrong), Err(DecodeError::InvalidPayload), "{wrong:x?}");
    }
    for reserved in RESERVED_EVENTS {
        let mut name = Vec::new();
        Writer::new(&mut name).str(reserved);
        assert_eq!(named(&name), Err(DecodeError::InvalidPayload), "{reserved}");
    }
}

#[test]
fn namespaces_begin_with_a_slash_and_are_bounded() {
    let named = |name: &[u8]| {
        let mut text = Vec::new();
        Writer::new(&mut text).raw(b"\xda").raw(&(name.len() as u16).to_be_bytes()).raw(name);
        read(&map(&[("type", b"\x01"), ("nsp", &text)])).map(|packet| packet.namespace)
    };
    assert_eq!(named(b"/a,b?c").as_deref(), Ok("/a,b?c"));
    for wrong in [&b""[..], b"a", b" /"] {
        assert_eq!(named(wrong), Err(DecodeError::InvalidNamespace));
    }
    let long = |bytes: usize| named(format!("/{}", "a".repeat(bytes - 1)).as_bytes());
    assert!(long(MAX_NAMESPACE_BYTES).is_ok());
    assert_eq!(long(MAX_NAMESPACE_BYTES + 1), Err(DecodeError::NamespaceTooLong));
    // What is not UTF-8 becomes longer.
    let broken = |bytes: usize| named(&[b"/", &vec![0xff; bytes][..]].concat());
    assert!(broken((MAX_NAMESPACE_BYTES - 1) / 3).is_ok());
    assert_eq!(broken(MAX_NAMESPACE_BYTES / 3 + 1), Err(DecodeError::NamespaceTooLong));
    for wrong in [&b"\xc0"[..], b"\xc4\x01/", b"\x01", b"\xd4\0\0"] {
        assert_eq!(read(&map(&[("type", b"\x01"), ("nsp", wrong)])), Err(DecodeError::InvalidNamespace));
    }
}

#[test]
fn values_that_json_cannot_hold() {
    for (value, expected) in [
        (&b"\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b"[..], r#""2023-11-14T22:13:20.123Z""#),
        (b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null"),
        // To notepack 2 this is an unknown extension, as any other.
        (b"\xd6\xff\x65\x93\x7d\x25", r#"[-1,{"_placeholder":true,"num":0}]"#),
        (b"\xd5\x05ab", r#"[5,{"_placeholder":true,"num":0}]"#),
        (b"\xd4\x00\x00", "null"),
        (b"\x82\xa1a\xd4\x00\x00\xa1b\xc0", r#"{"b":null}"#),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "0"),
        (b"\xca\x3f\x00\x00\x00", "0.5"),
        (b"\xa3\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\""),
        (b"\x81\x07\x01", r#"{"7":1}"#),
        (b"\xc7\x02\x00ab", r#"{"_placeholder":true,"num":0}"#),
        (b"\x82\xac_placeholder\xc3\xa3num\x00", r#"{"_placeholder":true,"num":0}"#),
    ] {
        let (name, items, _) = event(&event_with(&[b"\x92\xa1e", value].concat())).unwrap();
        assert_eq!((&*name, &*items), ("e", expected), "{value:x?}");
    }
    assert_eq!(event(&event_with(b"\x92\xa1e\x81\x90\x01")), Err(DecodeError::InvalidPayload));
    // A lookalike beside bytes is not those bytes.
    let both = b"\x93\xa1e\x82\xac_placeholder\xc3\xa3num\x00\xc4\x01x";
    let (_, items, attachments) = event(&event_with(both)).unwrap();
    assert_eq!(items, r#"{"_placeholder":null,"num":0},{"_placeholder":true,"num":0}"#);
    assert_eq!(attachments, [&b"x"[..]]);
}

/// An auth payload is JSON: in it bytes are spelled out, as Node's default parser sends a Buffer there.
#[test]
fn bytes_in_an_auth_payload_are_spelled_out() {
    let auth = |data: &[u8]| {
        let message = map(&[("type", b"\x00"), ("data", data), ("nsp", b"\xa1/")]);
        let packet = Unpacked::read(&message, DecoderLimits::default())?;
        let Received::Connect { auth, .. } = packet.received() else { panic!("{packet:?}") };
        Ok::<_, DecodeError>(auth.map(str::to_owned))
    };
    assert_eq!(auth(b"\xd4\0\0"), Ok(None));
    assert_eq!(auth(b"\x80").unwrap().as_deref(), Some("{}"));
    assert_eq!(
        auth(b"\x82\xa1k\xc4\x03\x00\x07\xff\xa1n\x91\xc4\x00").unwrap().as_deref(),
        Some(r#"{"k":{"type":"Buffer","data":[0,7,255]},"n":[{"type":"Buffer","data":[]}]}"#)
    );
    assert_eq!(auth(b"\x81\xa1k\xd4\x05\x09").unwrap().as_deref(), Some(r#"{"k":[5,{"type":"Buffer","data":[9]}]}"#));
    for wrong in [&b"\xc0"[..], b"\xa1x", b"\x90", b"\xc4\x00", b"\xd7\0\0\0\0\0\0\0\0\0", b"\xd4\x05\0"] {
        assert_eq!(auth(wrong), Err(DecodeError::InvalidPayload), "{wrong:x?}");
    }
    // The object is a level, and a spelled Buffer two.
    let nested = |depth: usize, inner: &[u8]| [&b"\x81\xa1k".repeat(depth)[..], inner].concat();
    assert!(auth(&nested(MAX_DEPTH, b"\xc0")).is_ok());
    assert_eq!(auth(&nested(MAX_DEPTH + 1, b"\xc0")), Err(DecodeError::TooDeep));
    assert!(auth(&nested(MAX_DEPTH - 2, b"\xc4\x00")).is_ok());
    assert_eq!(auth(&nested(MAX_DEPTH - 1, b"\xc4\x00")), Err(DecodeError::TooDeep));
}

#[test]
fn depth_at_the_limit_and_one_past_it() {
    // The array around the arguments is a level, as for the default parser.
    let nested = |depth: usize| event_with(&[&b"\x92\xa1e"[..], &vec![0x91; depth - 1], b"\xc0"].concat());
    assert!(event(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(event(&nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
    for max_depth in [0, 1, MAX_DEPTH_OPTION] {
        let limits = DecoderLimits { max_depth, ..DecoderLimits::default() };
        assert_eq!(Unpacked::read(&nested(max_depth.max(1)), limits).is_ok(), max_depth > 0);
        assert_eq!(Unpacked::read(&nested(max_depth + 1), limits).err(), Some(DecodeError::TooDeep));
    }
    // What nobody reads may be as deep as it likes: it takes no memory.
    let deep = [vec![0x91; 100_000], vec![0xc0]].concat();
    let other = map(&[("type", b"\x02"), ("x", &deep), ("data", b"\x91\xa1e"), ("nsp", b"\xa1/")]);
    assert!(read(&other).is_ok());
}

#[test]
fn expansion_at_the_limit_and_one_past_it() {
    const BYTES: usize = 1_000;
    let limits = DecoderLimits { max_bytes: BYTES, ..DecoderLimits::default() };
    let read = |arguments: &[u8], count: usize| {
        let mut data = Vec::new();
        Writer::new(&mut data).array(count + 1).str("e").raw(arguments);
        Unpacked::read(&event_with(&data), limits).map(|packet| {
            let Received::Event { event, .. } = packet.received() else { panic!("{packet:?}") };
            event.args.items.len() + event.args.attachments.iter().map(Bytes::len).sum::<usize>()
        })
    };
    const MOST: usize = MAX_UNPACKED_PAYLOADS * BYTES;
    // `false,` takes six bytes for one; the last has no comma.
    assert_eq!(read(&[0xc2; BYTES], BYTES), Ok(MOST - 1));
    assert_eq!(read(&[[0xc2; BYTES].as_slice(), b"\x01"].concat(), BYTES + 1), Err(DecodeError::PayloadTooLarge));
    // A control character takes six too.
    let text = |plain: usize| {
        let mut text = Vec::new();
        Writer::new(&mut text).str(&("\u{1}".repeat(BYTES - 1) + &"a".repeat(plain)));
        read(&text, 1)
    };
    assert_eq!(text(4), Ok(MOST));
    assert_eq!(text(5), Err(DecodeError::PayloadTooLarge));
    // Bytes count as well as their placeholders.
    let placeholder = r#"{"_placeholder":true,"num":0}"#.len();
    let bin = |length: usize| {
        let mut bin = Vec::new();
        Writer::new(&mut bin).bin(&vec![7; length]);
        read(&bin, 1)
    };
    assert_eq!(bin(MOST - placeholder), Ok(MOST));
    assert_eq!(bin(MOST - placeholder + 1), Err(DecodeError::PayloadTooLarge));
    // Empty ones are what expands most.
    assert_eq!(read(&b"\xc4\x00".repeat(BYTES), BYTES), Err(DecodeError::PayloadTooLarge));
}

/// As in Node, the limit of attachments is for the default parser alone.
#[test]
fn there_may_be_more_attachments_than_with_the_default_parser() {
    let many: Vec<Js> = (0..=MAX_ATTACHMENTS as u8 * 3).map(|byte| Js::Binary(vec![byte])).collect();
    let args = Args::event("e", &Arguments(&many)).unwrap();
    let packet = Parser::MessagePack.event("/", None, &args).unwrap();
    let (_, _, attachments) = event(&message(&packet)).unwrap();
    assert_eq!(attachments.len(), many.len());
}

#[test]
fn what_cannot_be_encoded_is_told() {
    let parser = Parser::MessagePack;
    let raw = |items: &str, attachments: Vec<Bytes>| Args::from_parts(items.into(), attachments);
    for items in ["x", "[1", "\"e\",]"] {
        assert!(matches!(parser.event("/", None, &raw(items, vec![])), Err(EncodeError::Arguments(_))), "{items}");
    }
    let deep = |depth: usize| raw(&("[".repeat(depth) + &"]".repeat(depth)), vec![]);
    assert!(parser.ack("/", 1, &deep(MAX_DEPTH_OPTION)).is_ok());
    assert!(matches!(parser.ack("/", 1, &deep(MAX_DEPTH_OPTION + 1)), Err(EncodeError::Arguments(_))));
    assert!(matches!(parser.connect("/", "[]"), Err(EncodeError::Arguments(_))));
    // The envelope is what exceeds the limit.
    let event =
        |bytes: usize| parser.event("/", None, &raw(r#"{"_placeholder":true,"num":0}"#, vec![vec![0; bytes].into()]));
    let around = event(70_000).unwrap().size() - 70_000 - 10;
    let most = MAX_PACKET_BYTES - around;
    let largest = event(most).unwrap();
    assert_eq!(largest.binaries().map(<[u8]>::len).sum::<usize>(), MAX_PACKET_BYTES);
    assert_eq!(event(most + 1).err(), Some(EncodeError::TooLarge(PacketTooLarge)));
    // One attachment that is named many times.
    let named = vec![r#"{"_placeholder":true,"num":0}"#; 1_000].join(",");
    let error = parser.event("/", None, &raw(&named, vec![vec![0; 1_000_000].into()])).err();
    assert_eq!(error, Some(EncodeError::TooLarge(PacketTooLarge)));
}

/// Everything that cannot be encoded for its size was suspected before.
#[test]
fn what_is_too_large_is_suspected() {
    let third = MAX_PACKET_BYTES / 3;
    let fractions = Args::from_parts(vec!["0.5"; third / 4 + 1_000].join(",").as_str().into(), Vec::new());
    let named = vec![r#"{"_placeholder":true,"num":0}"#; 100].join(",");
    let named = Args::from_parts(named.as_str().into(), vec![vec![0; MAX_PACKET_BYTES / 99].into()]);
    for args in [fractions, named] {
        assert!(Parser::MessagePack.may_be_too_large("/", &args));
    }
    let small = Args::event("e", &("hello", Bytes::from(vec![7; 100_000]))).unwrap();
    assert!(!Parser::MessagePack.may_be_too_large("/", &small) && !Parser::Default.may_be_too_large("/", &small));
}

/// The length of the frame's header depends on the message.
#[test]
fn messages_of_every_length_of_header() {
    for length in [
        0, 80, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 126, 65_000, 65_490, 65_491, 65_499, 65_500,
        65_501, 65_502, 65_503, 65_504, 65_505, 65_510, 70_000,
    ] {
        let args = Args::event("e", &"a".repeat(length)).unwrap();
        let packet = Parser::MessagePack.event("/", Some(3), &args).unwrap();
        let (name, items, _) = event(&message(&packet)).unwrap();
        assert_eq!((&*name, items.len()), ("e", length + 2));
    }
}

/// A reader that shares no code with ours, and reads what notepack 2 reads. It trusts its input.
fn node_reads(mut bytes: &[u8]) -> Js {
    let value = node_value(&mut bytes);
    assert_eq!(bytes, b"");
    value
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn unsigned(bytes: &mut &[u8], count: usize) -> u64 {
    take(bytes, count).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn node_value(bytes: &mut &[u8]) -> Js {
    let string = |bytes: &mut &[u8], length: usize| Js::string(&String::from_utf8_lossy(take(bytes, length)));
    let array = |bytes: &mut &[u8], length: usize| Js::Array((0..length).map(|_| node_value(bytes)).collect());
    let map = |bytes: &mut &[u8], length: usize| {
        let member = |bytes: &mut &[u8]| {
            let Js::String(key) = node_value(bytes) else { panic!("a key is text") };
            (String::from_utf16_lossy(&key), node_value(bytes))
        };
        Js::Object((0..length).map(|_| member(bytes)).collect())
    };
    let first = take(bytes, 1)[0];
    let low = usize::from(first & 0x1f);
    match first {
        0x00..=0x7f => Js::number(f64::from(first)),
        0x80..=0x8f => map(bytes, low & 0x0f),
        0x90..=0x9f => array(bytes, low & 0x0f),
        0xa0..=0xbf => string(bytes, low),
        0xc0 => Js::Null,
        0xc2 | 0xc3 => Js::Bool(first == 0xc3),
        0xc4..=0xc6 => {
            let length = unsigned(bytes, 1 << (first - 0xc4)) as usize;
            Js::Binary(take(bytes, length).to_vec())
        }
        0xcb => Js::number(f64::from_bits(unsigned(bytes, 8))),
        0xcc..=0xcf => Js::number(unsigned(bytes, 1 << (first - 0xcc)) as f64),
        0xd0..=0xd3 => {
            let size = 1 << (first - 0xd0);
            let raw = unsigned(bytes, size);
            let shift = 64 - 8 * size as u32;
            Js::number(((raw << shift) as i64 >> shift) as f64)
        }
        0xd4 => {
            assert_eq!(take(bytes, 2), [0, 0]);
            Js::Undefined
        }
        0xd9..=0xdb => {
            let length = unsigned(bytes, 1 << (first - 0xd9)) as usize;
            string(bytes, length)
        }
        0xdc | 0xdd => {
            let length = unsigned(bytes, 2 << (first - 0xdc)) as usize;
            array(bytes, length)
        }
        0xde | 0xdf => {
            let length = unsigned(bytes, 2 << (first - 0xde)) as usize;
            map(bytes, length)
        }
        0xe0..=0xff => Js::number(f64::from(first as i8)),
        other => panic!("notepack does not write {other:#x}"),
    }
}

/// Bytes that are often a packet.
fn nearly_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => (0x80u8..=0xaf).prop_map(|byte| vec![byte & 0xf3]),
        1 => Just(b"\x84\xa4type\x02\xa3nsp\xa1/\xa2id\x01\xa4data\x92\xa1e".to_vec()),
        1 => Just(b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data".to_vec()),
        1 => Just(b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x81\xa1k".to_vec()),
        1 => Just(b"\xac_placeholder\xc3".to_vec()),
        1 => Just(b"\xc4\x01x".to_vec()),
        1 => Just(b"\xd4\x00\x00".to_vec()),
        1 => vec(any::<u8>(), 8).prop_map(|bytes| [b"\xd7\x00", &bytes[..]].concat()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn node_reads_what_we_write_and_so_do_we(values in vec(value(), 0..5), id in prop::option::of(0..=MAX_ACK_ID)) {
        let args = Args::event("e", &Arguments(&values)).unwrap();
        let packet = Parser::MessagePack.event("/é", id, &args).unwrap();
        let bytes = message(&packet);
        let read = node_reads(&bytes);
        let data: Vec<Js> = [Js::string("e")].into_iter().chain(values.iter().cloned()).collect();
        prop_assert_eq!(member(&read, "data"), Js::Array(data));
        prop_assert_eq!(member(&read, "id"), id.map_or(Js::Undefined, |id| Js::number(id as f64)));
        prop_assert_eq!((member(&read, "type"), member(&read, "nsp")), (Js::number(2.0), Js::string("/é")));
        let unpacked = Unpacked::read(&bytes, DecoderLimits::default()).unwrap();
        let Received::Event { namespace, id: same, event } = unpacked.received() else { panic!("{unpacked:?}") };
        prop_assert_eq!((namespace, same, &*event.name), ("/é", id, "e"));
        prop_assert_eq!(event.args.to_owned(), args.skip(1));

        let args = args.skip(1);
        let packet = Parser::MessagePack.ack("/", 3, &args).unwrap();
        let bytes = message(&packet);
        prop_assert_eq!(member(&node_reads(&bytes), "data"), Js::Array(values));
        let unpacked = Unpacked::read(&bytes, DecoderLimits::default()).unwrap();
        prop_assert_eq!(unpacked.received(), Received::Ack { namespace: "/", id: Some(3), args: args.as_ref() });
    }

    #[test]
    fn any_bytes_end_in_an_error_or_in_a_packet(bytes in prop_oneof![vec(any::<u8>(), 0..200), nearly_a_packet()]) {
        let Ok(packet) = Unpacked::read(&bytes, DecoderLimits::default()) else { return Ok(()) };
        match packet.received() {
            Received::Connect { namespace, auth } => {
                prop_assert!(namespace.starts_with('/'));
                if let Some(auth) = auth {
                    prop_assert!(js::parse(auth).is_some(), "{}", auth);
                }
            }
            Received::Event { event, namespace, id } => {
                let args = Args::event(&event.name, &event.args.to_owned()).unwrap();
                // Sent on, it is the same event.
                let again = Parser::MessagePack.event(namespace, id, &args).unwrap();
                let again = message(&again);
                let again = Unpacked::read(&again, DecoderLimits::default()).unwrap();
                prop_assert_eq!(again.received(), packet.received());
            }
            _ => {}
        }
    }
}
