//! Known attacks on Socket.IO parsers, each with its advisory or bug report.

use bytes::Bytes;
use roomcast_protocol::frame::close_frame;
use roomcast_protocol::limits::{MAX_ATTACHMENTS, MAX_DEPTH, MAX_NAMESPACE_BYTES, MAX_PACKET_BYTES};
use roomcast_protocol::{
    Args, Assembled, DecodeError, Decoder, DecoderLimits, EngineData, EngineError, EngineKind, EnginePacket, Packet,
    PacketTooLarge, Payload, RESERVED_EVENTS, Received,
};

fn decoder() -> Decoder {
    Decoder::new(DecoderLimits::default())
}

/// The error for an Engine.IO text packet, given with its type character.
fn refusal(packet: &str) -> Option<DecodeError> {
    let packet = EnginePacket::from_text(packet).unwrap();
    assert_eq!(packet.kind, EngineKind::Message);
    let EngineData::Text(text) = packet.data else { panic!("binary") };
    decoder().text(text).err()
}

/// CVE-2020-36049: header fields that fill the whole message.
#[test]
fn endless_header_fields_are_refused() {
    let long = |unit: &str| unit.repeat(900_000);
    assert_eq!(refusal(&format!("45{}-[]", long("1"))), Some(DecodeError::IllegalAttachments));
    assert_eq!(refusal(&format!("40/{}", long("a"))), Some(DecodeError::NamespaceTooLong));
    assert_eq!(refusal(&format!("40/{}", long("é"))), Some(DecodeError::NamespaceTooLong));
    assert_eq!(refusal(&format!("4/{}", long("a"))), Some(DecodeError::UnknownType(Some('/'))));
    assert_eq!(refusal(&format!("42{}[\"a\"]", long("9"))), Some(DecodeError::InvalidId));
    assert_eq!(refusal(&format!("42{}[\"a\"]", "9".repeat(400))), Some(DecodeError::InvalidId));
    assert_eq!(refusal("29007199254740993[\"a\"]".replacen('2', "42", 1).as_str()), Some(DecodeError::InvalidId));
    let longest = format!("40/{},", "a".repeat(MAX_NAMESPACE_BYTES - 1));
    assert_eq!(refusal(&longest), None);
}

/// CVE-2023-32695: payloads that are not events.
#[test]
fn payloads_that_are_not_events_are_refused() {
    let mut packets: Vec<String> = [
        r#"42[{"toString":"foo"}]"#,
        "42[true]",
        "42[null]",
        "42[[]]",
        "42{}",
        r#"42"x""#,
        "42[]",
        "42",
        "42[1e999,\"a\"]",
        "42[\"a\",NaN]",
    ]
    .map(str::to_owned)
    .into();
    packets.extend(RESERVED_EVENTS.map(|name| format!("42[{name:?}]")));
    packets.extend(RESERVED_EVENTS.map(|name| format!("451-[{name:?},{{\"_placeholder\":true,\"num\":0}}]")));
    // The name is what counts, and not its spelling.
    packets.push(r#"42["\u0063onnect"]"#.to_owned());
    for packet in packets {
        assert_eq!(refusal(&packet), Some(DecodeError::InvalidPayload), "{packet}");
    }
}

/// CVE-2024-38355: `error` is a name like any other, and CONNECT_ERROR is for the caller to refuse.
#[test]
fn an_event_named_error_is_an_ordinary_event() {
    for (packet, items) in [(r#"2["error"]"#, ""), (r#"2["error",1]"#, "1")] {
        let mut decoder = decoder();
        let Ok(Some(Received::Event { event, .. })) = decoder.text(packet) else { panic!("{packet}") };
        assert_eq!((event.name.as_ref(), event.args.items), ("error", items));
    }
    for packet in ["4", r#"4{"message":"x"}"#] {
        assert_eq!(decoder().text(packet), Ok(Some(Received::ConnectError { namespace: "/" })));
    }
}

/// CVE-2026-33151: attachments without end.
#[test]
fn attachments_are_bounded_in_number_and_bytes() {
    assert_eq!(refusal("4511-[\"x\"]"), Some(DecodeError::TooManyAttachments));
    assert_eq!(refusal("4599999999-["), Some(DecodeError::TooManyAttachments));
    assert_eq!(refusal(&format!("45{MAX_ATTACHMENTS}-[\"x\"]")), None);

    let limits = DecoderLimits { max_bytes: 5, ..DecoderLimits::default() };
    let at = |sizes: [usize; 2]| {
        let mut decoder = Decoder::new(limits);
        assert_eq!(decoder.text("52-[\"x\"]"), Ok(None));
        let first = decoder.binary(&vec![0; sizes[0]]).map(|received| received.is_some());
        first.and_then(|_| decoder.binary(&vec![0; sizes[1]]).map(|received| received.is_some()))
    };
    assert_eq!(at([3, 2]), Ok(true));
    assert_eq!(at([3, 3]), Err(DecodeError::AttachmentsTooLarge));
    assert_eq!(at([6, 0]), Err(DecodeError::AttachmentsTooLarge));
}

/// Without a limit, the count that a client names still sizes no allocation (one of that size would abort).
#[test]
fn a_count_sizes_no_allocation() {
    let mut decoder = Decoder::new(DecoderLimits { max_attachments: usize::MAX, ..DecoderLimits::default() });
    assert_eq!(decoder.text("59999999999-[\"x\"]"), Ok(None));
    assert!(matches!(decoder.binary(b"1"), Ok(None)));
    assert!(decoder.is_awaiting());
}

/// The first bytes of an EIO=3 payload. In EIO=4, which roomcast speaks, they are an unexpected attachment.
#[test]
fn a_truncated_payload_of_the_old_protocol() {
    let bytes = [0x01, 0x05, 0xff, 0x04, 0x01, 0x02];
    for end in 0..=bytes.len() {
        let packet = EnginePacket::from_binary(&bytes[..end]);
        let EngineData::Binary(data) = packet.data else { panic!("text") };
        assert_eq!(decoder().binary(&data).err(), Some(DecodeError::UnexpectedBinary));
        assert_eq!(Args::from_parts("".into(), Vec::new()).parse::<Option<u8>>().unwrap(), None);
    }
}

/// socketioxide #794: short Engine.IO packets that begin with a character of several bytes, and a lone `b`.
#[test]
fn peers_794_short_packets_of_wide_characters() {
    for wide in ["é", "€", "😀", "\u{7f}", "\u{80}", "\u{feff}"] {
        for tail in ["", "4", "b", "é", "4é", "\u{1e}"] {
            let text = format!("{wide}{tail}");
            assert_eq!(EnginePacket::from_text(&text), Err(EngineError), "{text}");
            assert!(Payload::new(&text).all(|packet| packet.is_err()), "{text}");
            assert_eq!(decoder().text(&text), Err(DecodeError::UnknownType(text.chars().next())));
            // After a type character it is data.
            for kind in "0123456".chars() {
                let text = format!("{kind}{wide}");
                assert_eq!(EnginePacket::from_text(&text).map(|packet| packet.data), Ok(EngineData::Text(wide)));
            }
            let binary = format!("b{wide}{tail}");
            assert!(matches!(EnginePacket::from_text(&binary), Ok(EnginePacket { data: EngineData::Binary(_), .. })));
        }
    }
    // As recorded from engine.io-parser: without base64 there are no bytes, and no error.
    let EngineData::Binary(data) = EnginePacket::from_text("b").unwrap().data else { panic!("text") };
    assert!(data.is_empty());
}

/// socketioxide #811: text while attachments are awaited is an error, and binary messages after it complete nothing.
#[test]
fn peers_811_text_while_attachments_are_awaited() {
    let mut decoder = decoder();
    assert_eq!(
        decoder.text("52-[\"a\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]"),
        Ok(None)
    );
    assert!(matches!(decoder.binary(b"1"), Ok(None)));
    assert_eq!(decoder.text("2[\"b\"]"), Err(DecodeError::UnexpectedText));
    assert_eq!(decoder.text("2[\"b\"]"), Err(DecodeError::UnexpectedText));
}

/// Data that a client sent, passed on beside bytes: in Node it stands for those bytes, or ends the connection of every
/// client that reads it.
#[test]
fn data_that_looks_like_a_placeholder_ends_no_connection() {
    for number in [0, 9] {
        let mut sender = decoder();
        let text = format!(r#"2["say",{{"_placeholder":true,"num":{number}}}]"#);
        let Ok(Some(Received::Event { event, .. })) = sender.text(&text) else { panic!("{text}") };
        let said = event.args.to_owned().parse::<serde_json::Value>().unwrap();
        let args = Args::event("said", &(said, Bytes::from_static(b"avatar"))).unwrap();
        let packet = Packet::event("/", None, &args).unwrap();
        let mut reader = decoder();
        assert_eq!(reader.text(&packet.text().unwrap()[1..]), Ok(None));
        let assembled = reader.binary(b"avatar").unwrap().unwrap();
        let Received::Event { event, .. } = assembled.received() else { panic!("{packet:?}") };
        let expected = format!(r#"{{"_placeholder":null,"num":{number}}}"#);
        assert_eq!(event.args.iter().next(), Some(&*expected));
        let (_, avatar) = event.args.to_owned().parse::<(serde_json::Value, Bytes)>().unwrap();
        assert_eq!(avatar, "avatar");
    }
}

/// Nesting is refused at one past the limit, in every kind of packet, on a small stack too.
#[test]
fn nesting_at_the_limit_and_one_past_it() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let objects = |depth: usize| "{\"a\":".repeat(depth - 1) + "{}" + &"}".repeat(depth - 1);
    let packets = move |depth: usize| {
        [
            format!("42[\"a\",{}]", nested(depth - 1)),
            format!("431[{}]", nested(depth - 1)),
            format!("451-[\"a\",{}]", nested(depth - 1)),
            format!("40{}", objects(depth)),
            format!("44{}", objects(depth)),
        ]
    };
    let check = move || {
        for packet in packets(MAX_DEPTH) {
            assert_eq!(refusal(&packet), None, "{packet}");
        }
        for packet in packets(MAX_DEPTH + 1).into_iter().chain(packets(400_000)) {
            assert_eq!(refusal(&packet), Some(DecodeError::TooDeep), "{}", &packet[..20]);
        }
    };
    std::thread::Builder::new().stack_size(128 * 1024).spawn(check).unwrap().join().unwrap();
}

/// What socket.io-parser 4.2.7 does with odd packets, and where we differ on purpose (section 4.1 of
/// `docs/protocol.md`).
#[test]
fn what_socket_io_parser_does_with_odd_packets() {
    const ONE: &str = r#"["a",{"_placeholder":true,"num":0}]"#;
    let refused = [
        // As in Node.
        (r#"50-["a"]"#.to_owned(), DecodeError::IllegalAttachments),
        (r#"5-["a"]"#.to_owned(), DecodeError::IllegalAttachments),
        (r#"5 -["a"]"#.to_owned(), DecodeError::IllegalAttachments),
        ("5-1-[]".to_owned(), DecodeError::IllegalAttachments),
        (r#"511-["a"]"#.to_owned(), DecodeError::TooManyAttachments),
        (r#"2/ns["a"]"#.to_owned(), DecodeError::InvalidPayload),
        ("0null".to_owned(), DecodeError::InvalidPayload),
        ("1x".to_owned(), DecodeError::InvalidPayload),
        ("2[]".to_owned(), DecodeError::InvalidPayload),
        ("7".to_owned(), DecodeError::UnknownType(Some('7'))),
        (r#"2["a",NaN]"#.to_owned(), DecodeError::InvalidPayload),
        // Stricter than Node.
        (format!("51e0-{ONE}"), DecodeError::IllegalAttachments),
        (format!("50x1-{ONE}"), DecodeError::IllegalAttachments),
        (format!("5+1-{ONE}"), DecodeError::IllegalAttachments),
        (format!("51.0-{ONE}"), DecodeError::IllegalAttachments),
        (format!("500000000001-{ONE}"), DecodeError::IllegalAttachments),
        (r#"2 1["a"]"#.to_owned(), DecodeError::InvalidPayload),
        ("2\t5[\"a\"]".to_owned(), DecodeError::InvalidPayload),
        (r#"29007199254740993["a"]"#.to_owned(), DecodeError::InvalidId),
        (format!("2{}[\"a\"]", "9".repeat(400)), DecodeError::InvalidId),
        ("2".to_owned(), DecodeError::InvalidPayload),
        (String::new(), DecodeError::UnknownType(None)),
        (r#"2[1e999,"a"]"#.to_owned(), DecodeError::InvalidPayload),
    ];
    for (packet, error) in refused {
        assert_eq!(decoder().text(&packet), Err(error), "{packet}");
    }
    let taken = [
        (r#"51-["a"]"#, 1, ""),
        (
            r#"51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
            1,
            r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}"#,
        ),
        (r#"2["a"] "#, 0, ""),
        (r#"2["a",1e999]"#, 0, "1e999"),
        (r#"2["\ud800"]"#, 0, ""),
        (r#"2["a","\ud800\ud800"]"#, 0, r#""\ud800\ud800""#),
        (r#"2["a",-0,1E+2,9007199254740993,1e-999]"#, 0, "-0,1E+2,9007199254740993,1e-999"),
        (r#"2["a",{"k":1,"k":2,"__proto__":{}}]"#, 0, r#"{"k":1,"k":2,"__proto__":{}}"#),
        ("2[\"a\",\"\u{2028}\u{feff}\u{7f}\\u0000\"]", 0, "\"\u{2028}\u{feff}\u{7f}\\u0000\""),
    ];
    for (packet, attachments, items) in taken {
        let mut decoder = decoder();
        let mut received = decoder.text(packet).unwrap();
        let mut assembled = None;
        for number in 1..=attachments {
            assert_eq!(received, None, "{packet}");
            assembled = decoder.binary(b"bytes").unwrap();
            assert_eq!(assembled.is_some(), number == attachments, "{packet}");
        }
        received = received.or(assembled.as_ref().map(Assembled::received));
        let Some(Received::Event { namespace: "/", id: None, event }) = received else { panic!("{packet}") };
        assert_eq!((event.args.items, event.args.attachments.len()), (items, attachments), "{packet}");
    }
    // A query is a part of the name.
    let connect = Received::Connect { namespace: "/ns?token=1", auth: None };
    assert_eq!(decoder().text("0/ns?token=1,"), Ok(Some(connect)));
}

/// Node accepts a fraction, and passes `undefined` to the handler. Any spelling of a whole number names an attachment.
#[test]
fn numbers_of_placeholders() {
    let last = |number: &str, attachments: usize| {
        let mut decoder = decoder();
        let text = format!(r#"5{attachments}-["a",{{"_placeholder":true,"num":{number}}}]"#);
        assert_eq!(decoder.text(&text), Ok(None));
        for _ in 1..attachments {
            assert!(matches!(decoder.binary(b"1"), Ok(None)));
        }
        decoder.binary(b"2").map(|assembled| assembled.is_some())
    };
    for number in ["0", "-0", "0.0", "1", "1e0", "10e-1", "1.0", "1E0"] {
        assert_eq!(last(number, 2), Ok(true), "{number}");
    }
    for number in
        ["0.5", "1.5", "-1", "-0.5", "2", "1e400", "9007199254740993", "1e-7", "\"0\"", "null", "true", "[0]", "{}"]
    {
        assert_eq!(last(number, 2), Err(DecodeError::IllegalPlaceholder), "{number}");
    }
}

/// JavaScript clients send lone surrogates and numbers beyond a double. They pass through unchanged.
#[test]
fn what_rust_cannot_hold_passes_through() {
    let mut decoder = decoder();
    let Ok(Some(Received::Event { event, .. })) = decoder.text(r#"2["\ud800",1e999,"\udfff"]"#) else {
        panic!("refused")
    };
    assert_eq!(event.args.items, r#"1e999,"\udfff""#);
    let args = event.args.to_owned();
    assert!(args.parse::<String>().is_err());
    assert_eq!(Args::event("a", &args).unwrap().items(), r#""a",1e999,"\udfff""#);
}

/// An event whose name is a number has the name that JavaScript spells.
#[test]
fn numeric_event_names() {
    for (packet, name) in [
        ("2[1]", "1"),
        ("2[1.0]", "1"),
        ("2[-0]", "0"),
        ("2[1.50]", "1.5"),
        ("2[1e21]", "1e+21"),
        ("2[123456789012345678901]", "123456789012345680000"),
        ("2[1e-7]", "1e-7"),
        ("2[0.000001]", "0.000001"),
    ] {
        let mut decoder = decoder();
        let Ok(Some(Received::Event { event, .. })) = decoder.text(packet) else { panic!("{packet}") };
        assert_eq!(event.name, name, "{packet}");
    }
}

/// `b64` concerns messages only: a ping, pong or close frame is the same for all clients.
#[test]
fn control_frames_are_not_put_into_base64() {
    let frame = close_frame(Some(1000), "bye");
    let packet = Packet::control(frame.clone());
    assert_eq!(packet.frames(false), frame);
    assert_eq!(packet.frames(true), frame);
    assert_eq!((packet.size(), packet.binaries().count()), (frame.len(), 0));
}

#[test]
fn packet_size_at_the_limit_and_one_past_it() {
    let mut bytes = vec![0; MAX_PACKET_BYTES];
    assert_eq!(Packet::binary(&bytes).map(|packet| packet.parts()), Ok(1));
    // An attachment counts with its frame's header.
    let with = |bytes: Bytes| {
        let args = Args::from_parts("0".into(), vec![bytes]);
        Packet::event("/", None, &args).map(|packet| packet.size())
    };
    let text_frame = 2 + r#"451-[0]"#.len();
    bytes.truncate(MAX_PACKET_BYTES - 10 - text_frame);
    assert_eq!(with(bytes.clone().into()), Ok(MAX_PACKET_BYTES));
    bytes.push(0);
    assert_eq!(with(bytes.clone().into()), Err(PacketTooLarge));
    bytes.resize(MAX_PACKET_BYTES + 1, 0);
    assert!(Packet::binary(&bytes).is_err());
}
