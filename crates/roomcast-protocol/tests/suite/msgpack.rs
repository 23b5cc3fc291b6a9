//! MessagePack: compared with what Node's packages wrote, known attacks, and what holds for any value and any bytes.

use crate::common::js::{self, Js, unhex, value};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_protocol::Args;
use roomcast_protocol::json;
use roomcast_protocol::limits::{MAX_DEPTH, MAX_PACKET_BYTES};
use roomcast_protocol::msgpack::{Flavour, MsgpackError, Reader, args_array, from_json, read_arg, read_args, to_json};
use std::collections::{BTreeMap, BTreeSet};

/// Payloads that come back as other bytes: the vector, and what of it JSON text cannot hold.
const OTHER_BYTES: [(&str, &str); 7] = [
    ("broadcast_numbers", "NaN and the infinities are null"),
    ("broadcast_date_tojson", "a Date is its text"),
    ("CONNECT answer as the server builds it", "an undefined member is none"),
    ("EVENT with id undefined", "an undefined member is none"),
    ("EVENT undefined (fixext1 type 0)", "undefined is null, or no member"),
    ("EVENT Date (fixext8 type 0, ms as int64)", "a Date is its text"),
    ("EVENT floats", "NaN is null"),
];

/// Bytes in notepack's ext 0 come back as bin, which is the same to every reader.
const BIN_FOR_EXT: [&str; 3] = [
    "EVENT Uint8Array (ext type 0)",
    "EVENT ArrayBuffer (ext type 0)",
    "broadcast with legacy ext-0 binary (fixext notepack 2 ArrayBuffer)",
];

const FILES: [(&str, &str); 11] = [
    ("adapter-classic", include_str!("../../../../vectors/adapter-classic.json")),
    ("adapter-classic-options", include_str!("../../../../vectors/adapter-classic-options.json")),
    ("adapter-sharded-static", include_str!("../../../../vectors/adapter-sharded-static.json")),
    ("adapter-sharded-dynamic", include_str!("../../../../vectors/adapter-sharded-dynamic.json")),
    ("adapter-sharded-dynamic-private", include_str!("../../../../vectors/adapter-sharded-dynamic-private.json")),
    ("adapter-streams", include_str!("../../../../vectors/adapter-streams.json")),
    ("adapter-streams-options", include_str!("../../../../vectors/adapter-streams-options.json")),
    ("inbound-classic", include_str!("../../../../vectors/inbound-classic.json")),
    ("parser-msgpack", include_str!("../../../../vectors/parser-msgpack.json")),
    ("redis-cluster", include_str!("../../../../vectors/redis-cluster.json")),
    ("redis-emitter", include_str!("../../../../vectors/redis-emitter.json")),
];

#[derive(Debug)]
struct Vector {
    name: String,
    bytes: Vec<u8>,
    flavour: Flavour,
    /// What Node decoded, if it was recorded.
    decoded: Option<Js>,
}

fn vectors() -> Vec<Vector> {
    let mut found = Vec::new();
    for (file, text) in FILES {
        let before = found.len();
        collect(&js::parse(text).unwrap(), file, &mut found);
        assert!(found.len() > before + 5, "{file} has no MessagePack");
    }
    found
}

fn collect(value: &Js, name: &str, found: &mut Vec<Vector>) {
    let name = &value.get("name").and_then(Js::text).unwrap_or_else(|| name.to_owned());
    let text = |key: &str| value.get(key).and_then(Js::text);
    let decoded = |key: &str| Some(plain(value.get(key)?.clone().denoted()));
    let mut push = |hex: Option<String>, flavour, decoded| {
        if let Some(hex) = hex {
            found.push(Vector { name: name.clone(), bytes: unhex(&hex), flavour, decoded });
        }
    };
    if text("encoding").as_deref() == Some("msgpack") {
        push(text("payload_hex"), Flavour::Notepack, decoded("decoded"));
    }
    if text("data_encoding").as_deref() == Some("base64(msgpack)") {
        push(text("data_hex"), Flavour::MsgpackJs, decoded("data_decoded"));
    }
    push(text("frame_hex"), Flavour::Notepack, decoded("decoded"));
    push(text("$hex"), Flavour::Notepack, None);
    match value {
        Js::Array(items) => items.iter().for_each(|item| collect(item, name, found)),
        Js::Object(members) => members.iter().for_each(|(_, member)| collect(member, name, found)),
        _ => {}
    }
}

/// A value as `JSON.stringify` leaves it.
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

/// A whole message as JSON text and attachments.
fn decode(bytes: &[u8]) -> Result<(String, Vec<Bytes>), MsgpackError> {
    let (mut text, mut attachments) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    to_json(&mut reader, &mut text, &mut attachments, MAX_DEPTH)?;
    reader.finish()?;
    Ok((String::from_utf8(text).unwrap(), attachments))
}

fn encode(text: &str, attachments: &[Bytes], flavour: Flavour) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(from_json(text, attachments, &mut out, flavour), Ok(1), "{text}");
    out
}

#[test]
fn what_node_wrote_is_read_as_node_reads_it() {
    let mut compared = 0;
    for vector in vectors() {
        let (text, attachments) = decode(&vector.bytes).unwrap_or_else(|error| panic!("{error}: {vector:?}"));
        assert!(json::check(&text, MAX_DEPTH).is_ok(), "{text}");
        if let Some(decoded) = vector.decoded {
            assert_eq!(js::parse(&text).unwrap().filled(&attachments), decoded, "{}: {text}", vector.name);
            compared += 1;
        }
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn what_node_wrote_comes_back_byte_for_byte() {
    let mut other: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for vector in vectors() {
        let (text, attachments) = decode(&vector.bytes).unwrap();
        let ours = encode(&text, &attachments, vector.flavour);
        if ours != vector.bytes {
            // Even then it means the same after it went through JSON.
            assert_eq!(decode(&ours).unwrap(), (text, attachments));
            other.insert(vector.name, ours);
        }
    }
    let expected: BTreeSet<&str> = OTHER_BYTES.iter().map(|(name, _)| *name).chain(BIN_FOR_EXT).collect();
    assert_eq!(other.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for name in BIN_FOR_EXT {
        assert!(other[name].contains(&0xc4), "{name}: {:x?}", other[name]);
    }
}

#[test]
fn reading_every_prefix_of_what_node_wrote_ends() {
    // The same calls were recorded with several adapters, and long texts add nothing to short ones.
    let messages: BTreeSet<Vec<u8>> = vectors().into_iter().map(|vector| vector.bytes).collect();
    for message in messages.iter().filter(|message| message.len() < 1_000) {
        for length in 0..message.len() {
            let prefix = &message[..length];
            assert_eq!(Reader::new(prefix).skip_value(), Err(MsgpackError::Truncated));
            assert_eq!(decode(prefix), Err(MsgpackError::Truncated), "{message:x?} up to {length}");
        }
    }
}

#[test]
fn the_parsers_bytes_that_are_not_messagepack_are_refused() {
    let file = js::parse(include_str!("../../../../vectors/parser-msgpack.json")).unwrap().denoted();
    let mut refused = 0;
    for vector in file.get("invalid").and_then(Js::array).unwrap() {
        let Some(Js::Binary(frame)) = vector.get("frame") else { continue };
        let error = vector.get("outcome").and_then(|outcome| outcome.get("error")).and_then(Js::text);
        let malformed = error.is_some_and(|error| error == "Could not parse" || error.contains("trailing"));
        assert_eq!(decode(frame).is_err(), malformed, "{frame:x?}");
        refused += usize::from(malformed);
    }
    assert_eq!(refused, 4);
}

/// RUSTSEC-2017-0006 and rmpv: lengths that are only declared, and nesting.
#[test]
fn declared_lengths_allocate_nothing_and_depth_is_limited() {
    let mut inputs: Vec<Vec<u8>> = [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xc9\xff\xff\xff\xff\x00",
    ]
    .map(<[u8]>::to_vec)
    .into();
    inputs.push([&b"\xdd\xff\xff\xff\xff"[..], &[0xc0; 1_000]].concat());
    for input in &inputs {
        let (mut text, mut attachments) = (Vec::new(), Vec::new());
        let result = to_json(&mut Reader::new(input), &mut text, &mut attachments, MAX_DEPTH);
        assert_eq!(result, Err(MsgpackError::Truncated), "{input:x?}");
        // Room is made by the length of the message that is there.
        assert!(text.capacity() <= 2 * input.len(), "{input:x?}");
        assert_eq!(attachments.capacity(), 0, "{input:x?}");
        assert_eq!(Reader::new(input).skip_value(), Err(MsgpackError::Truncated));
        assert!(read_args(&mut Reader::new(input), MAX_DEPTH).is_err());
    }
    let deep = [vec![0x91; 10_000], vec![0xc0]].concat();
    assert_eq!(decode(&deep), Err(MsgpackError::Depth));
    assert_eq!(read_args(&mut Reader::new(&deep), MAX_DEPTH), Err(MsgpackError::Depth));
    let maps = [b"\x81\xa1a".repeat(10_000), vec![0xc0]].concat();
    assert_eq!(decode(&maps), Err(MsgpackError::Depth));
    // The innermost array is cut off. How soon that is found does not matter.
    assert!(decode(&vec![0x91; 10_000]).is_err());
}

/// Reads the envelope of a packet as an adapter does.
fn packet(bytes: &[u8]) -> Result<(String, Args), MsgpackError> {
    let mut reader = Reader::new(bytes);
    let (mut namespace, mut args) = (String::new(), Args::none());
    for _ in 0..reader.map_len()? {
        match &*reader.key()? {
            "nsp" => namespace = reader.str()?.to_owned(),
            "data" => args = read_args(&mut reader, MAX_DEPTH)?,
            _ => reader.skip_value()?,
        }
    }
    reader.finish()?;
    Ok((namespace, args))
}

/// socketioxide, GHSA-7xpx-rcqc-8qjh (#796, #797).
#[test]
fn a_packet_that_declares_more_than_it_holds_or_ends_at_a_key() {
    let whole = b"\x83\xa4type\x02\xa4data\x92\xa3foo\x01\xa3nsp\xa1/";
    assert_eq!(packet(whole).unwrap().1.items(), r#""foo",1"#);
    for declared in [&b"\x84"[..], b"\x8f", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff"] {
        let more = [declared, &whole[1..]].concat();
        assert_eq!(packet(&more), Err(MsgpackError::Truncated));
    }
    for at_key in [&b"\x81\xa3nsp"[..], b"\x82\xa3nsp\xa1/\xa4data", b"\x81\xa4data\x92\xa3foo"] {
        assert_eq!(packet(at_key), Err(MsgpackError::Truncated));
    }
}

/// socketioxide #798: an event name longer than the input.
#[test]
fn a_name_longer_than_the_input() {
    for name in [&b"\xbfabc"[..], b"\xd9\xffabc", b"\xda\xff\xffabc", b"\xdb\xff\xff\xff\xffabc"] {
        assert_eq!(packet(&[b"\x81\xa4data\x91", name].concat()), Err(MsgpackError::Truncated));
    }
}

/// socketioxide #810.
#[test]
fn keys_after_an_extension_are_read() {
    for ext in
        [&b"\xc7\x02\x07ab"[..], b"\xc8\x00\x02\x07ab", b"\xc9\x00\x00\x00\x02\x07ab", b"\xd5\x07ab", b"\xd4\x00\x00"]
    {
        let bytes = [b"\x83\xa1x", ext, b"\xa4data\x91\xa1e\xa3nsp\xa2/n"].concat();
        let (namespace, args) = packet(&bytes).unwrap();
        assert_eq!((&*namespace, args.items()), ("/n", r#""e""#));
    }
}

fn flavour() -> impl Strategy<Value = Flavour> {
    prop_oneof![Just(Flavour::Notepack), Just(Flavour::MsgpackJs)]
}

/// Bytes that are often MessagePack: headers with small lengths, and what may follow.
fn nearly_messagepack() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => (0x80u8..=0xaf).prop_map(|byte| vec![byte & 0xf3]),
        1 => Just(b"\xac_placeholder\xc3".to_vec()),
        1 => Just(b"\xc4\x01x".to_vec()),
        1 => vec(any::<u8>(), 8).prop_map(|bytes| [b"\xd7\xff", &bytes[..]].concat()),
        1 => vec(any::<u8>(), 12).prop_map(|bytes| [b"\xc7\x0c\xff", &bytes[..]].concat()),
        1 => vec(any::<u8>(), 8).prop_map(|bytes| [b"\xcb", &bytes[..]].concat()),
        1 => Just(b"\xd4\x00\x00".to_vec()),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn arguments_come_back_as_they_were(values in vec(value(), 0..5), flavour in flavour()) {
        let args = Args::of(&crate::common::js::Arguments(&values)).unwrap();
        let mut out = Vec::new();
        args_array(&args, &mut out, flavour).unwrap();
        let mut reader = Reader::new(&out);
        prop_assert_eq!(&read_args(&mut reader, MAX_DEPTH).unwrap(), &args);
        prop_assert_eq!(reader.finish(), Ok(()));
        let shared = Bytes::from(out);
        prop_assert_eq!(&read_args(&mut Reader::shared(&shared), MAX_DEPTH).unwrap(), &args);
        for length in (0..shared.len()).step_by(1 + shared.len() / 50) {
            prop_assert_eq!(read_args(&mut Reader::new(&shared[..length]), MAX_DEPTH), Err(MsgpackError::Truncated));
        }
    }

    #[test]
    fn integers_of_64_bits_keep_their_digits(unsigned in any::<u64>(), signed in any::<i64>()) {
        let items = format!("{unsigned},{signed}");
        let mut out = Vec::new();
        from_json(&items, &[], &mut out, Flavour::Notepack).unwrap();
        let mut reader = Reader::new(&out);
        prop_assert_eq!((reader.uint(), reader.int()), (Ok(unsigned), Ok(signed)));
        // The other flavour may write a float, as Node does. JavaScript reads the same from both.
        let doubles = (unsigned as f64, signed as f64);
        for flavour in [Flavour::Notepack, Flavour::MsgpackJs] {
            let mut out = Vec::new();
            from_json(&items, &[], &mut out, flavour).unwrap();
            let mut reader = Reader::new(&out);
            prop_assert_eq!((reader.f64().unwrap(), reader.f64().unwrap()), doubles);
        }
    }

    #[test]
    fn text_of_any_utf_16_loses_only_lone_surrogates(units in vec(any::<u16>(), 0..40)) {
        let json = Args::of(&Js::String(units.clone())).unwrap();
        let mut out = Vec::new();
        args_array(&json, &mut out, Flavour::Notepack).unwrap();
        let mut reader = Reader::new(&out);
        reader.array_len().unwrap();
        prop_assert_eq!(reader.str().unwrap(), String::from_utf16_lossy(&units));
    }

    #[test]
    fn any_bytes_end_in_an_error_or_in_json(bytes in prop_oneof![vec(any::<u8>(), 0..200), nearly_messagepack()]) {
        let mut reader = Reader::new(&bytes);
        let (mut text, mut attachments) = (Vec::new(), Vec::new());
        let result = to_json(&mut reader, &mut text, &mut attachments, MAX_DEPTH);
        // The worst case is an empty bin, of two bytes: it becomes a placeholder and a `Bytes`.
        let size = text.len() + attachments.len() * size_of::<Bytes>();
        prop_assert!(size <= 40 * bytes.len(), "{} bytes of {}", size, bytes.len());
        let mut skipping = Reader::new(&bytes);
        let skipped = skipping.skip_value();
        if result.is_ok() {
            let text = String::from_utf8(text).unwrap();
            prop_assert!(json::check(&text, MAX_DEPTH).is_ok(), "{}", text);
            prop_assert_eq!((skipped, skipping.position()), (Ok(()), reader.position()));
            // Once it is JSON, it does not change. A lookalike beside bytes is disarmed, so each bin is used once.
            for flavour in [Flavour::Notepack, Flavour::MsgpackJs] {
                let again = encode(&text, &attachments, flavour);
                let mut second = Vec::new();
                let mut same = Vec::new();
                to_json(&mut Reader::new(&again), &mut second, &mut same, MAX_DEPTH).unwrap();
                prop_assert_eq!(&same, &attachments);
                prop_assert_eq!(js::parse(&String::from_utf8(second).unwrap()), js::parse(&text));
            }
        } else {
            prop_assert!(text.is_empty() && attachments.is_empty());
        }
        let _ = read_args(&mut Reader::new(&bytes), MAX_DEPTH);
        let _ = read_arg(&mut Reader::new(&bytes), 0);
        let _ = packet(&bytes);
    }

    #[test]
    fn any_text_ends_in_an_error_or_in_messagepack(
        text in r#"[\[\]{}:,"\\ 0-9a-fntrulse.+-]{0,24}"#,
        attachments in 0usize..2,
    ) {
        let mut out = Vec::new();
        let result = from_json(&text, &vec![Bytes::new(); attachments], &mut out, Flavour::Notepack);
        let array = format!("[{text}]");
        prop_assert_eq!(result.is_ok(), json::check(&array, MAX_DEPTH).is_ok(), "{}", text);
        let mut reader = Reader::new(&out);
        for _ in 0..result.unwrap_or(0) {
            prop_assert_eq!(reader.skip_value(), Ok(()));
        }
        prop_assert!(reader.is_at_end());
    }
}

/// Attachments that are emitted again: a thousand placeholders for one large attachment.
#[test]
fn placeholders_expand_up_to_the_limit_of_a_packet() {
    let args = Args::from_parts(
        vec![r#"{"_placeholder":true,"num":0}"#; 1_000].join(",").as_str().into(),
        vec![Bytes::from(vec![0; 1_000_000])],
    );
    let mut out = Vec::new();
    assert_eq!(args_array(&args, &mut out, Flavour::Notepack), Err(MsgpackError::TooLarge));
    assert!(out.is_empty() && out.capacity() <= 2 * MAX_PACKET_BYTES);
}
