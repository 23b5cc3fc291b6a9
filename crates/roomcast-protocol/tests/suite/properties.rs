//! What holds for every packet that is sent, and for every text and byte that is received.

use crate::common::js::{self, Arguments, Js};
use crate::common::wire::{Decoded, Frame, Ways, attachment, decode};
use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use roomcast_protocol::json;
use roomcast_protocol::limits::{MAX_ACK_ID, MAX_DEPTH, MAX_DEPTH_OPTION};
use roomcast_protocol::{
    Args, Assembled, Attachment, DecodeError, Decoder, DecoderLimits, EnginePacket, Packet, Payload, RESERVED_EVENTS,
    Received, SEPARATOR,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The library's default allows 10 attachments; a generated packet may have any number.
fn decoder() -> Decoder {
    Decoder::new(DecoderLimits { max_attachments: usize::MAX, ..DecoderLimits::default() })
}

/// Any value that JSON and attachments carry unchanged: no `undefined`, no `NaN`, no `-0`.
fn value() -> impl Strategy<Value = Js> {
    let leaf = prop_oneof![
        Just(Js::Null),
        any::<bool>().prop_map(Js::Bool),
        any::<i32>().prop_map(|number| Js::number(f64::from(number))),
        (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
            .prop_map(|number| Js::number(number + 0.0)),
        any::<String>().prop_map(|text| Js::string(&text)),
        vec(any::<u16>(), 0..4).prop_map(Js::String),
        vec(any::<u8>(), 0..200).prop_map(Js::Binary),
    ];
    leaf.prop_recursive(5, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Js::Array),
            btree_map(any::<String>(), inner, 0..6).prop_map(|members| Js::Object(members.into_iter().collect())),
        ]
    })
}

/// Any namespace that is distinguishable from what follows it. A record separator in a name breaks polling, in Node as
/// here.
fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,\u{1e}]{0,40}"]
}

fn event_name() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("reserved", |name| !RESERVED_EVENTS.contains(&name.as_str()))
}

/// Any packet that a client may send: its encoding, and what it must decode to.
fn packet() -> impl Strategy<Value = (Packet, Decoded)> {
    let object =
        btree_map(any::<String>(), value(), 0..4).prop_map(|members| Js::Object(members.into_iter().collect()));
    let id = 0..=MAX_ACK_ID;
    prop_oneof![
        1 => (namespace(), option::of(object)).prop_map(|(namespace, auth)| {
            let text = auth.map_or_else(String::new, |auth| Args::of(&auth).unwrap().items().to_owned());
            // CONNECT carries only text: bytes in it stay the placeholders that this test wrote.
            let data = js::parse(&text).into_iter().collect();
            (Packet::connect(&namespace, &text).unwrap(), Decoded { kind: 0, namespace, id: None, data })
        }),
        1 => namespace().prop_map(|namespace| {
            (Packet::disconnect(&namespace).unwrap(), Decoded { kind: 1, namespace, id: None, data: Vec::new() })
        }),
        6 => (namespace(), option::of(id.clone()), event_name(), vec(value(), 0..5)).prop_map(
            |(namespace, id, name, args)| {
                let event = Args::event(&name, &Arguments(&args)).unwrap();
                let data = std::iter::once(Js::string(&name)).chain(args).collect();
                (Packet::event(&namespace, id, &event).unwrap(), Decoded { kind: 2, namespace, id, data })
            }
        ),
        3 => (namespace(), id, vec(value(), 0..5)).prop_map(|(namespace, id, data)| {
            let args = Args::of(&Arguments(&data)).unwrap();
            (Packet::ack(&namespace, id, &args).unwrap(), Decoded { kind: 3, namespace, id: Some(id), data })
        }),
    ]
}

/// Text that begins like a packet, more often than chance would.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        r#"[0-6b]?[0-6]?[0-9]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,3}[\[\]{}:,"\\ 0-9a-fntrulse.+-]{0,24}"#,
        r#"4?[256][12]-(/é,)?[0-9]?\["[a-z]","?[0-9],\{"_placeholder":true,"num":[0-9]\}\]"#,
        r#"[2b4\x1e]{0,12}"#,
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        text().prop_map(Frame::Text),
        vec(any::<u8>(), 0..16).prop_map(Frame::Binary),
        // With these weights, about every second sequence awaits attachments.
        Just(Frame::Text(r#"52-["a",{"_placeholder":true,"num":1}]"#.to_owned())),
    ]
}

/// Passes `text` to every reader of text. They must return, and must agree.
fn read_by_all(text: &str) {
    let whole = json::check(text, MAX_DEPTH_OPTION);
    assert_eq!(whole.is_ok(), js::parse(text).is_some(), "{text}");
    let mut decoder = decoder();
    let outcome = decoder.text(text).map(|received| received.map(Decoded::from));
    if let Ok(None) = outcome {
        assert!(decoder.is_awaiting());
    }
    let _ = EnginePacket::from_text(text);
    for part in Payload::new(text) {
        if part.is_err() {
            break;
        }
    }
    // This text is unchecked: it may be read or refused, but yields at most one item for each byte.
    let args = Args::from_parts(text.into(), vec![Bytes::from_static(b"attachment")]);
    assert!(args.as_ref().iter().count() <= text.len());
    let _ = args.parse::<serde_json::Value>();
    let _ = args.parse::<(String, u8, Option<Bytes>)>();
    let _ = args.parse::<BTreeMap<String, Bytes>>();
    let _ = args.parse::<(Vec<Attachment>, Tagged, Untagged)>();
    let _ = args.parse::<()>();
}

fn prefixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[..at])
}

proptest! {
    #[test]
    fn every_packet_comes_back_by_every_way((packet, expected) in packet()) {
        let ways = Ways::of(&packet);
        for decoded in ways.decoded(decoder) {
            prop_assert_eq!(decoded, std::slice::from_ref(&expected));
        }
        prop_assert_eq!(ways.websocket.len(), packet.parts());
        prop_assert_eq!(packet.size(), packet.frames(false).len());
        let binaries: Vec<_> = packet.binaries().map(|bytes| Frame::Binary(bytes.to_vec())).collect();
        prop_assert_eq!(&ways.websocket[..1], &[Frame::Text(packet.text().unwrap().to_owned())]);
        prop_assert_eq!(&ways.websocket[1..], binaries);
    }

    #[test]
    fn packets_in_one_payload_keep_their_borders(packets in vec(packet(), 1..6)) {
        let mut body = Vec::new();
        for (packet, _) in &packets {
            packet.push_polling(&mut body);
        }
        let body = String::from_utf8(body).unwrap();
        let parts: usize = packets.iter().map(|(packet, _)| packet.parts()).sum();
        prop_assert_eq!(body.bytes().filter(|byte| *byte == SEPARATOR).count(), parts - 1);
        let [_, _, decoded] = Ways { websocket: Vec::new(), base64: Vec::new(), polling: body }.decoded(decoder);
        prop_assert_eq!(decoded, packets.into_iter().map(|(_, expected)| expected).collect::<Vec<_>>());
    }

    #[test]
    fn a_relayed_event_is_the_same_event((packet, expected) in packet()) {
        let mut decoder = decoder();
        for frame in Ways::of(&packet).websocket {
            let assembled;
            let received = match &frame {
                Frame::Text(text) => decoder.text(&text[1..]).unwrap(),
                Frame::Binary(bytes) => {
                    assembled = decoder.binary(bytes).unwrap();
                    assembled.as_ref().map(Assembled::received)
                }
            };
            let Some(Received::Event { namespace, id, event }) = received else { continue };
            let data = Args::event(&event.name, &event.args.to_owned()).unwrap();
            let relayed = Packet::event(namespace, id, &data).unwrap();
            prop_assert_eq!(relayed.frames(false), packet.frames(false), "{:?}", expected);
        }
    }

    /// Beside an attachment, arrays and objects are read by a reader of our own. It must read the same as serde_json
    /// reads from text that contains the bytes as numbers.
    #[test]
    fn what_is_beside_an_attachment_is_what_serde_json_reads(value in value()) {
        let beside = Args::of(&Arguments(&[Js::Array(vec![Js::Binary(vec![1, 2]), value.clone()])])).unwrap();
        let spelled = Args::of(&Arguments(&[Js::Array(vec![spelled_out(Js::Binary(vec![1, 2])), spelled_out(value)])])).unwrap();
        let expected = serde_json::from_str::<serde_json::Value>(spelled.items()).ok();
        prop_assert_eq!(beside.parse::<serde_json::Value>().ok(), expected.clone());
        // serde's buffer and its borrowed forms.
        if let Ok(Buffered::Any(first, second)) = beside.parse::<Buffered>() {
            prop_assert_eq!(expected, Some(serde_json::json!([&*first, second])));
        }
    }

    #[test]
    fn typed_arguments_come_back(sent in typed(), name in event_name()) {
        let args = Args::event(&name, &(&sent, 7, &sent.parts)).unwrap();
        let packet = Packet::event("/", None, &args).unwrap();
        let mut decoder = decoder();
        for frame in Ways::of(&packet).websocket {
            let assembled;
            let received = match &frame {
                Frame::Text(text) => decoder.text(&text[1..]).unwrap(),
                Frame::Binary(bytes) => {
                    assembled = decoder.binary(bytes).unwrap();
                    assembled.as_ref().map(Assembled::received)
                }
            };
            if let Some(Received::Event { event, .. }) = received {
                let (first, second, third) = event.args.to_owned().parse::<(Typed, u8, Vec<Bytes>)>().unwrap();
                prop_assert_eq!(&first, &sent);
                prop_assert_eq!((second, &third), (7, &sent.parts));
                prop_assert_eq!(event.name.as_ref(), name.as_str());
            }
        }
    }

    /// Every prefix of every valid input, in every reader.
    #[test]
    fn each_prefix_of_a_packet_ends((packet, expected) in packet()) {
        let text = packet.text().unwrap();
        for prefix in prefixes(text) {
            read_by_all(prefix);
            read_by_all(prefix.get(1..).unwrap_or_default());
            // A proper prefix of an event is not an event, as its array is not closed.
            if expected.kind == 2 && !prefix.is_empty() {
                let mut decoder = decoder();
                prop_assert!(decoder.text(&prefix[1..]).is_err(), "{}", prefix);
            }
        }
        let ways = Ways::of(&packet);
        prefixes(&ways.polling).for_each(read_by_all);
    }

    #[test]
    fn each_prefix_of_json_ends(value in value()) {
        let args = Args::of(&Arguments(&[value])).unwrap();
        prop_assert!(json::check(args.items(), MAX_DEPTH).is_ok());
        for prefix in prefixes(args.items()) {
            read_by_all(prefix);
            // A prefix of a number may be a number. Everything else needs its end.
            if !args.items().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
                prop_assert_eq!(json::check(prefix, MAX_DEPTH), Err(json::JsonError::Syntax));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in text()) {
        read_by_all(&text);
    }

    #[test]
    fn any_sequence_of_frames_is_read_or_refused(frames in vec(frame(), 0..12)) {
        let mut decoder = Decoder::new(DecoderLimits::default());
        for frame in frames {
            let awaiting = decoder.is_awaiting();
            let outcome = match &frame {
                Frame::Text(text) => decoder.text(text).map(|received| received.map(Decoded::from)),
                Frame::Binary(bytes) => attachment(&mut decoder, bytes),
            };
            match (&frame, awaiting) {
                (Frame::Text(_), true) => prop_assert_eq!(outcome, Err(DecodeError::UnexpectedText)),
                (Frame::Binary(_), false) => prop_assert_eq!(outcome, Err(DecodeError::UnexpectedBinary)),
                _ => prop_assert_eq!(outcome == Ok(None), outcome.is_ok() && decoder.is_awaiting()),
            }
        }
    }

    #[test]
    fn any_bytes_are_a_binary_packet(bytes in vec(any::<u8>(), 0..64)) {
        let frame = Frame::Binary(bytes.clone());
        let unexpected = decode(&mut decoder(), &frame);
        prop_assert_eq!(unexpected, Err(DecodeError::UnexpectedBinary.to_string()));
        let ways = Ways::of(&Packet::binary(&bytes).unwrap());
        prop_assert_eq!(ways.websocket, [frame]);
        prop_assert_eq!(&ways.base64, &[Frame::Text(ways.polling.clone())]);
        prop_assert_eq!(EnginePacket::from_text(&ways.polling).unwrap(), EnginePacket::from_binary(&bytes));
        if let Ok(text) = std::str::from_utf8(&bytes) {
            read_by_all(text);
        }
    }
}

/// What a handler's own type looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Typed {
    name: String,
    number: i64,
    parts: Vec<Bytes>,
    thumb: Option<Bytes>,
    files: BTreeMap<String, Bytes>,
    shape: Shape,
    tagged: Vec<Tagged>,
    untagged: Vec<Untagged>,
    shared: Attachment,
    #[serde(flatten)]
    more: BTreeMap<String, Untagged>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Image { data: Bytes, name: String },
    Shared { parts: Vec<Attachment> },
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Raw(Attachment),
    Named { data: Bytes, number: i64 },
    Number(i64),
    Text(String),
}

/// A pair with anything beside its bytes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Buffered {
    Any(Attachment, serde_json::Value),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    None,
    Blob(Bytes),
    Pair(u8, Bytes),
    Named { bytes: Bytes },
}

fn typed() -> impl Strategy<Value = Typed> {
    let bytes = || vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let shared = || bytes().prop_map(Attachment::from);
    let shape = prop_oneof![
        Just(Shape::None),
        bytes().prop_map(Shape::Blob),
        (any::<u8>(), bytes()).prop_map(|(number, bytes)| Shape::Pair(number, bytes)),
        bytes().prop_map(|bytes| Shape::Named { bytes }),
    ];
    let tagged = prop_oneof![
        (bytes(), any::<String>()).prop_map(|(data, name)| Tagged::Image { data, name }),
        vec(shared(), 0..3).prop_map(|parts| Tagged::Shared { parts }),
        Just(Tagged::Nothing),
    ];
    let untagged = || {
        prop_oneof![
            shared().prop_map(Untagged::Raw),
            (bytes(), any::<i64>()).prop_map(|(data, number)| Untagged::Named { data, number }),
            any::<i64>().prop_map(Untagged::Number),
            any::<String>().prop_map(Untagged::Text),
        ]
    };
    let files = btree_map(any::<String>(), bytes(), 0..3);
    let plain = (any::<String>(), any::<i64>(), vec(bytes(), 0..4), option::of(bytes()), files, shape);
    let buffered =
        (vec(tagged, 0..3), vec(untagged(), 0..3), shared(), btree_map("more [a-z\u{e9}]{0,3}", untagged(), 0..3));
    (plain, buffered).prop_map(|((name, number, parts, thumb, files, shape), (tagged, untagged, shared, more))| Typed {
        name,
        number,
        parts,
        thumb,
        files,
        shape,
        tagged,
        untagged,
        shared,
        more,
    })
}

/// Bytes as arrays of numbers.
fn spelled_out(value: Js) -> Js {
    match value {
        Js::Binary(bytes) => Js::Array(bytes.into_iter().map(|byte| Js::number(f64::from(byte))).collect()),
        Js::Array(items) => Js::Array(items.into_iter().map(spelled_out).collect()),
        Js::Object(members) => Js::Object(members.into_iter().map(|(key, value)| (key, spelled_out(value))).collect()),
        other => other,
    }
}
