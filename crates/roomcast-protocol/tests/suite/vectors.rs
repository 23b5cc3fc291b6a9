//! Replays what engine.io-parser 5.2.3 and socket.io-parser 4.2.7 wrote and read, byte for byte.
//!
//! A vector with a different result must be in [`DEVIATIONS`], with the reason. One that is listed and has the same
//! result fails too, so the table is always true.

use crate::common::js::{self, Arguments, Js};
use crate::common::wire::{Decoded, Frame, Ways, decode};
use base64::Engine as _;
use roomcast_protocol::{Args, Decoder, DecoderLimits, EngineData, EngineKind, EnginePacket, Packet, Payload};

/// Where we are stricter than socket.io-parser on purpose (the decoder table of `docs/protocol.md`): the vector, our
/// result, and why.
const DEVIATIONS: [(&str, Refused, &str); 15] = [
    ("attachments written 1.0", ILLEGAL_COUNT, COUNT),
    ("attachments written \" 1\"", ILLEGAL_COUNT, COUNT),
    ("attachments written 1e0", ILLEGAL_COUNT, COUNT),
    ("attachments written 0x1", ILLEGAL_COUNT, COUNT),
    ("attachments written +1", ILLEGAL_COUNT, COUNT),
    (
        "BINARY_EVENT count 1e9",
        ILLEGAL_COUNT,
        "both refuse: to Node it is a number over the limit, to us no count at all",
    ),
    ("huge id", Refused("invalid packet id"), "JavaScript rounds it, so the answer would go to another event"),
    ("space before the payload", INVALID_PAYLOAD, ID),
    ("EVENT BOM before payload", INVALID_PAYLOAD, ID),
    ("one space", Refused("unknown packet type NaN"), TYPE),
    ("newline", Refused("unknown packet type NaN"), TYPE),
    ("EVENT without payload", INVALID_PAYLOAD, NO_NAME),
    ("EVENT with namespace and no payload", INVALID_PAYLOAD, NO_NAME),
    ("BINARY_EVENT without payload", INVALID_PAYLOAD, NO_NAME),
    (
        "num 0.5 gives undefined",
        Refused("illegal attachments"),
        "it names no attachment, and raw JSON has no `undefined`",
    ),
];
const COUNT: &str = "a count is plain digits";
const ID: &str = "an id is plain digits; JavaScript takes a blank for the number 0";
const TYPE: &str = "a type is a digit; JavaScript takes a blank for the number 0, which is CONNECT";
const NO_NAME: &str = "an event has a name";
const ILLEGAL_COUNT: Refused = Refused("Illegal attachments");
const INVALID_PAYLOAD: Refused = Refused("invalid payload");

/// The error for a frame that Node reads differently.
#[derive(Clone, Copy)]
struct Refused(&'static str);

impl Refused {
    /// Whether this is what [`same`] found.
    fn explains(self, difference: &str) -> bool {
        difference.starts_with(&format!("outcome: Err({:?})", self.0))
    }
}

/// Vectors that need something that Rust does not have.
const NOT_APPLICABLE: [(&str, &str); 3] = [
    ("undefined as input", "a text message is a `&str`"),
    ("BigInt", "Rust's wide integers are written as JSON numbers"),
    ("circular", "a value that owns its parts has no cycles"),
];

/// Lists of `parser-engineio.json` that are not replayed: roomcast has no WebTransport.
const NOT_OFFERED: [&str; 2] = ["webtransport_encode", "webtransport_decode"];

fn file(text: &str) -> Vec<(String, Vec<Js>)> {
    let Some(Js::Object(members)) = js::parse(text) else { panic!("not an object") };
    let lists = members.into_iter().filter_map(|(key, value)| Some((key, value.array()?.to_vec())));
    lists.collect()
}

fn engine_io() -> Vec<(String, Vec<Js>)> {
    file(include_str!("../../../../vectors/parser-engineio.json"))
}

fn socket_io() -> Vec<(String, Vec<Js>)> {
    file(include_str!("../../../../vectors/parser-socketio.json"))
}

fn list<'a>(file: &'a [(String, Vec<Js>)], name: &str) -> &'a [Js] {
    &file.iter().find(|(key, _)| key == name).unwrap().1
}

fn name(vector: &Js) -> String {
    vector.get("name").and_then(Js::text).unwrap()
}

fn member(value: &Js, key: &str) -> Js {
    value.get(key).cloned().unwrap_or(Js::Undefined)
}

/// Compares, and returns what differs.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, recorded: &T) -> Result<(), String> {
    if ours == recorded { Ok(()) } else { Err(format!("{what}: {ours:?}, recorded: {recorded:?}")) }
}

// Engine.IO.

fn engine_kind(packet: &Js) -> Option<EngineKind> {
    Some(match packet.get("type")?.text()?.as_str() {
        "open" => EngineKind::Open,
        "close" => EngineKind::Close,
        "ping" => EngineKind::Ping,
        "pong" => EngineKind::Pong,
        "message" => EngineKind::Message,
        "upgrade" => EngineKind::Upgrade,
        "noop" => EngineKind::Noop,
        "error" => return None,
        other => panic!("{other}"),
    })
}

fn engine_packet(packet: &Js) -> Packet {
    let text = match member(packet, "data").denoted() {
        Js::Binary(bytes) => return Packet::binary(&bytes).unwrap(),
        Js::Undefined => String::new(),
        Js::Number(number) => number.0.to_string(),
        other => other.text().unwrap(),
    };
    Packet::engine(engine_kind(packet).unwrap(), &text).unwrap()
}

fn frame(frame: &Js) -> Frame {
    match frame.clone().denoted() {
        Js::Binary(bytes) => Frame::Binary(bytes),
        text => Frame::Text(text.text().unwrap()),
    }
}

/// What a packet was read as: its kind and data, or `None` for "parser error".
fn read<E>(packet: &Result<EnginePacket<'_>, E>) -> Option<(EngineKind, Frame)> {
    packet.as_ref().ok().map(|packet| {
        let data = match &packet.data {
            EngineData::Text(text) => Frame::Text((*text).to_owned()),
            EngineData::Binary(bytes) => Frame::Binary(bytes.to_vec()),
        };
        (packet.kind, data)
    })
}

fn recorded(packet: &Js) -> Option<(EngineKind, Frame)> {
    let data = match packet.get("data") {
        None => Frame::Text(String::new()),
        Some(data) => frame(data),
    };
    engine_kind(packet).map(|kind| (kind, data))
}

#[test]
fn engine_packets_encode_to_the_recorded_frames() {
    let file = engine_io();
    let vectors = list(&file, "encode_packet");
    assert_eq!(vectors.len(), 20);
    for vector in vectors {
        let ways = Ways::of(&engine_packet(&member(vector, "packet")));
        assert_eq!(ways.websocket, [frame(&member(vector, "binary_supported"))], "{}", name(vector));
        assert_eq!(ways.base64, [frame(&member(vector, "binary_not_supported"))], "{}", name(vector));
        assert_eq!(ways.base64, [Frame::Text(ways.polling)], "{}", name(vector));
    }
}

#[test]
fn engine_frames_decode_to_the_recorded_packets() {
    let file = engine_io();
    let vectors = list(&file, "decode_packet");
    assert_eq!(vectors.len(), 34);
    for vector in vectors {
        let expected = recorded(&member(vector, "packet"));
        match frame(&member(vector, "input")) {
            Frame::Text(text) => assert_eq!(read(&EnginePacket::from_text(&text)), expected, "{}", name(vector)),
            Frame::Binary(bytes) => {
                let packet: Result<_, ()> = Ok(EnginePacket::from_binary(&bytes));
                assert_eq!(read(&packet), expected, "{}", name(vector));
            }
        }
    }
}

#[test]
fn payloads_encode_to_the_recorded_bodies() {
    let file = engine_io();
    let vectors = list(&file, "encode_payload");
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let mut payload = Vec::new();
        for packet in member(vector, "packets").array().unwrap() {
            engine_packet(packet).push_polling(&mut payload);
        }
        // Node never calls back for an empty list, as there is no such payload.
        let expected = member(vector, "encoded").denoted().text().unwrap_or_default();
        assert_eq!(String::from_utf8(payload).unwrap(), expected, "{}", name(vector));
    }
}

#[test]
fn payloads_decode_to_the_recorded_packets() {
    let file = engine_io();
    let vectors = list(&file, "decode_payload");
    assert_eq!(vectors.len(), 11);
    for vector in vectors {
        let body = member(vector, "input").text().unwrap();
        let ours: Vec<_> = Payload::new(&body).map(|packet| read(&packet)).collect();
        let expected: Vec<_> = member(vector, "packets").array().unwrap().iter().map(recorded).collect();
        assert_eq!(ours, expected, "{}", name(vector));
    }
}

// Socket.IO.

/// The text of the data of a CONNECT or CONNECT_ERROR. Callers write it with serde_json, and nothing is extracted from
/// it: bytes are spelled out, as by Node's `Buffer.prototype.toJSON`.
fn json(data: &Js) -> String {
    fn spelled_out(value: &Js) -> Js {
        match value {
            Js::Binary(bytes) => Js::Object(vec![
                ("type".to_owned(), Js::string("Buffer")),
                ("data".to_owned(), Js::Array(bytes.iter().map(|byte| Js::number(f64::from(*byte))).collect())),
            ]),
            Js::Object(members) => {
                Js::Object(members.iter().map(|(key, value)| (key.clone(), spelled_out(value))).collect())
            }
            other => other.clone(),
        }
    }
    if *data == Js::Undefined { String::new() } else { Args::of(&spelled_out(data)).unwrap().items().to_owned() }
}

/// Encodes the packet of a vector.
fn packet(vector: &Js) -> Packet {
    let packet = member(vector, "packet");
    let namespace = member(&packet, "nsp").text().unwrap();
    let id = member(&packet, "id").double().map(|id| id as u64);
    let data = member(&packet, "data").denoted();
    match member(&packet, "type").double().unwrap() as u8 {
        0 => Packet::connect(&namespace, &json(&data)),
        1 => Packet::disconnect(&namespace),
        2 => Packet::event(&namespace, id, &event_args(&with_to_json(vector, data.array().unwrap()))),
        3 => Packet::ack(&namespace, id.unwrap(), &Args::of(&Arguments(data.array().unwrap())).unwrap()),
        4 => Packet::connect_error(&namespace, &json(&data)),
        other => panic!("type {other}"),
    }
    .unwrap()
}

/// The vectors cannot show what a `toJSON` function returns. It is what the other side decoded.
fn with_to_json(vector: &Js, data: &[Js]) -> Vec<Js> {
    let decoded =
        member(&member(vector, "decoded").array().and_then(<[_]>::first).cloned().unwrap_or(Js::Null), "data");
    let returned = |at: usize| Js::ToJson(Box::new(decoded.clone().denoted().array().unwrap()[at].clone()));
    let item = |(at, item): (usize, &Js)| {
        if item.get("toJSON").is_some() { returned(at) } else { item.clone() }
    };
    data.iter().enumerate().map(item).collect()
}

/// [`Args::event`] takes a name that is text, as the server's API does. Other names are written as they are.
fn event_args(data: &[Js]) -> Args {
    let spelled = Args::of(&Arguments(data)).unwrap();
    if let Some(name) = data[0].text() {
        assert_eq!(Args::event(&name, &Arguments(&data[1..])).unwrap(), spelled);
    }
    spelled
}

/// A recorded packet, reduced to what our decoder keeps: a numeric name becomes its text; the data of packets that only
/// a server sends, and the ids of kinds that have none, are dropped; no data means no arguments.
fn recorded_packet(packet: &Js) -> Decoded {
    let kind = member(packet, "type").double().unwrap() as u8;
    let data = member(packet, "data").denoted();
    let mut data = match data {
        Js::Array(items) => items,
        Js::Undefined => Vec::new(),
        object => vec![object],
    };
    if let Some(Js::Number(name)) = data.first().filter(|_| kind == 2) {
        data[0] = Js::string(&name.0.to_string());
    }
    Decoded {
        kind,
        namespace: member(packet, "nsp").text().unwrap(),
        id: packet.get("id").and_then(Js::double).filter(|_| matches!(kind, 2 | 3)).map(|id| id as u64),
        data: if kind == 4 { Vec::new() } else { data },
    }
}

/// Recorded Socket.IO frames as Engine.IO carries them.
fn frames(vector: &Js) -> Vec<Frame> {
    let engine = |recorded: &Js| match frame(recorded) {
        Frame::Text(text) => Frame::Text(format!("4{text}")),
        binary @ Frame::Binary(_) => binary,
    };
    member(vector, "frames").array().unwrap().iter().map(engine).collect()
}

fn encodes_and_decodes(vector: &Js) -> Result<(), String> {
    let frames = frames(vector);
    let packet = packet(vector);
    let ways = Ways::of(&packet);
    let base64: Vec<Frame> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Binary(bytes) => {
                Frame::Text(format!("b{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
            }
            text @ Frame::Text(_) => text.clone(),
        })
        .collect();
    let texts: Vec<_> = base64.iter().map(|frame| if let Frame::Text(text) = frame { text } else { "" }).collect();
    same("WebSocket frames", &ways.websocket, &frames)?;
    same("frames for b64", &ways.base64, &base64)?;
    same("polling payload", &ways.polling, &texts.join("\u{1e}"))?;
    same("parts", &packet.parts(), &frames.len())?;

    let mut decoder = Decoder::new(DecoderLimits::default());
    let (mut decoded, mut errors) = (Vec::new(), Vec::new());
    for frame in &frames {
        match decode(&mut decoder, frame) {
            Ok(packet) => decoded.extend(packet),
            Err(error) => errors.push(error),
        }
    }
    let expected: Vec<_> = member(vector, "decoded").array().unwrap().iter().map(recorded_packet).collect();
    let expected_errors = member(vector, "decode_errors");
    let expected_errors = expected_errors.array().unwrap_or_default().iter().map(|error| error.text().unwrap());
    same("decoded", &decoded, &expected)?;
    same("errors", &errors, &expected_errors.collect())
}

fn comes_out_as_recorded(vector: &Js) -> Result<(), String> {
    let mut decoder = Decoder::new(DecoderLimits::default());
    let outcomes = member(vector, "outcome");
    for (frame, outcome) in frames(vector).iter().zip(outcomes.array().unwrap()) {
        let expected = match outcome.get("error") {
            Some(error) => Err(error.text().unwrap()),
            None => Ok(outcome.get("emitted").map(|emitted| recorded_packet(&emitted.array().unwrap()[0]))),
        };
        same("outcome", &decode(&mut decoder, frame), &expected)?;
    }
    Ok(())
}

#[test]
fn socket_io_vectors_have_the_recorded_result_or_are_listed() {
    let file = socket_io();
    let (valid, decode_only, invalid) = (list(&file, "valid"), list(&file, "decode_only"), list(&file, "invalid"));
    assert_eq!((valid.len(), decode_only.len(), invalid.len()), (57, 37, 61));
    let outcomes = valid.iter().map(|vector| (name(vector), encodes_and_decodes(vector))).chain(
        decode_only
            .iter()
            .chain(invalid)
            .filter(|vector| !NOT_APPLICABLE.iter().any(|(known, _)| *known == name(vector)))
            .map(|vector| (name(vector), comes_out_as_recorded(vector))),
    );
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, outcome) in outcomes {
        let listed = DEVIATIONS.iter().find(|(known, ..)| *known == name);
        seen += usize::from(listed.is_some());
        match (outcome, listed) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => wrong.push(format!("{name}: listed as a deviation, and comes out as recorded")),
            (Err(difference), Some((_, ours, _))) if ours.explains(&difference) => {}
            (Err(difference), _) => wrong.push(format!("{name}: {difference}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, DEVIATIONS.len(), "the table names a vector that is not there, or one twice");
}

#[test]
fn every_list_in_the_files_is_replayed_or_excluded() {
    let keys = |file: Vec<(String, Vec<Js>)>| file.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let replayed = ["encode_packet", "decode_packet", "encode_payload", "decode_payload"];
    assert_eq!(keys(engine_io()), [&replayed[..], &NOT_OFFERED].concat());
    assert_eq!(keys(socket_io()), ["valid", "encode_errors", "decode_only", "invalid"]);
    let file = socket_io();
    let names: Vec<_> = file.iter().flat_map(|(_, vectors)| vectors.iter().map(name)).collect();
    for (known, reason) in NOT_APPLICABLE {
        assert!(names.iter().any(|name| name == known), "{known} ({reason})");
    }
    assert!(
        list(&file, "encode_errors")
            .iter()
            .all(|vector| NOT_APPLICABLE.iter().any(|(known, _)| *known == name(vector)))
    );
}
