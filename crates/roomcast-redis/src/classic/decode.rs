//! Bytes of the classic dialect into messages. Everything that comes from Redis is untrusted: decoding is strict,
//! bounded, and never fatal.

use crate::wire::read::{
    JsonOptions, MAX_ROOMS, Malformed, Name, Names, Text, check_size, read_trailer, room_names, sockets_or_ids,
    target_rooms,
};
use bytes::Bytes;
use roomcast_adapter::cluster::{Body, Message, RequestId, ServerId, Trailer};
use roomcast_adapter::{Room, Target};
use roomcast_protocol::Args;
use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::msgpack::{Kind, Reader, read_args};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

/// The trailer of a broadcast, read from its end: the broadcast is then an array of four whose last element has 30
/// bytes. `None` if it has no trailer, or is for another namespace.
pub(crate) fn trailer(payload: &[u8], namespace: &str) -> Option<Trailer> {
    const ARRAY_OF_FOUR: u8 = 0x94;
    const BIN_8: u8 = 0xc4;
    let (rest, trailer) = payload.split_last_chunk::<{ Trailer::BYTES }>()?;
    let length = u8::try_from(Trailer::BYTES).ok()?;
    let framed = rest.first() == Some(&ARRAY_OF_FOUR) && rest.ends_with(&[BIN_8, length]);
    Trailer::from_bytes(trailer).filter(|trailer| framed && trailer.namespace == Trailer::hash(namespace))
}

/// Decodes a broadcast, `[uid, {type, data, nsp}, {rooms, except, flags}, trailer]`. `None` if it is for another
/// namespace or was sent by the server `own`; its first bytes show that, which matters because every server receives
/// all that it publishes.
pub(crate) fn broadcast(payload: &Bytes, namespace: &str, own: &ServerId) -> Result<Option<Message>, Malformed> {
    check_size(payload)?;
    let mut reader = Reader::shared(payload);
    let elements = reader.array_len()?;
    if elements < 3 {
        return Err(Malformed::Field("packet or options"));
    }
    let sender = match reader.peek()? {
        Kind::Str => Some(ServerId::from(&*reader.str_lossy()?)),
        _ => {
            reader.skip_value()?;
            None
        }
    };
    if sender.as_ref() == Some(own) {
        return Ok(None);
    }
    let Some(data) = packet(&mut reader, namespace)? else { return Ok(None) };
    let options = Options::read(&mut reader)?;
    for _ in 3..elements {
        reader.skip_value()?;
    }
    reader.finish()?;
    let Options { target, volatile, compress, .. } = options;
    let body = Body::Broadcast { data, target, volatile, compress };
    Ok(Some(Message { sender, to: None, trailer: trailer(payload, namespace), body }))
}

/// The type of an event, even of one with attachments.
const EVENT: u64 = 2;

/// The type that emitters before 5.0 give an event with attachments.
const BINARY_EVENT: u64 = 5;

/// Reads `{type, data, nsp, …}` and returns the data; `None` for another namespace (a missing one means the main
/// namespace). Types other than events make no sense in a broadcast, and Node passes them to clients unchecked; here
/// they are malformed. An `id` is ignored: it is the sender's, and here a client's answer to it could match another
/// question.
fn packet(reader: &mut Reader<'_>, namespace: &str) -> Result<Option<Args>, Malformed> {
    let mut data = None;
    let mut named: Cow<'_, str> = "/".into();
    let mut kind = None;
    for _ in 0..reader.map_len()? {
        match &*reader.key()? {
            "type" if reader.peek()? == Kind::Int => kind = Some(reader.uint()?),
            "data" if reader.peek()? == Kind::Array => data = Some(read_args(reader, MAX_DEPTH)?),
            "nsp" if reader.peek()? == Kind::Str => named = reader.str_lossy()?,
            _ => reader.skip_value()?,
        }
    }
    if named != namespace {
        return Ok(None);
    }
    match kind {
        Some(EVENT | BINARY_EVENT) => {}
        Some(other) => return Err(Malformed::Type(other)),
        None => return Err(Malformed::Field("type")),
    }
    data.filter(|data| !data.is_empty()).map(Some).ok_or(Malformed::Field("data"))
}

/// `{rooms, except, flags}`.
#[derive(Debug)]
struct Options {
    target: Target,
    volatile: bool,
    compress: bool,
    timeout: Option<Duration>,
}

impl Options {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut options = Self { target: Target::default(), volatile: false, compress: true, timeout: None };
        for _ in 0..reader.map_len()? {
            match &*reader.key()? {
                "rooms" => options.target.rooms = target_rooms(rooms(reader)?),
                "except" => options.target.except = rooms(reader)?.into_iter().flatten().collect(),
                "flags" if reader.peek()? == Kind::Map => {
                    for _ in 0..reader.map_len()? {
                        match (&*reader.key()?, reader.peek()?) {
                            ("volatile", Kind::Bool) => options.volatile = reader.bool()?,
                            ("compress", Kind::Bool) => options.compress = reader.bool()?,
                            ("timeout", Kind::Int | Kind::Float) => {
                                let milliseconds = reader.f64()?.clamp(0.0, 86_400_000.0);
                                options.timeout = Some(Duration::from_millis(milliseconds as u64));
                            }
                            _ => reader.skip_value()?,
                        }
                    }
                }
                _ => reader.skip_value()?,
            }
        }
        Ok(options)
    }
}

/// Reads room names. A number is a room of that name, and null means no rooms. Node's servers allow any value to be a
/// room: `undefined`, `true`, an object. Such a room cannot have members here, and is returned as `None`.
fn rooms(reader: &mut Reader<'_>) -> Result<Vec<Option<Room>>, Malformed> {
    match reader.peek()? {
        Kind::Array => {}
        Kind::Nil => {
            reader.nil()?;
            return Ok(Vec::new());
        }
        _ => return Err(Malformed::Field("rooms")),
    }
    let (mut rooms, named) = (Vec::new(), reader.array_len()?);
    if named > MAX_ROOMS {
        return Err(Malformed::Rooms);
    }
    for _ in 0..named {
        match reader.peek()? {
            Kind::Str | Kind::Int | Kind::Float => rooms.push(Some(Room::from(&*reader.key()?))),
            _ => {
                reader.skip_value()?;
                rooms.push(None);
            }
        }
    }
    Ok(rooms)
}

/// The id of the question that this answers, if it is near the beginning, where Node's servers and ours write it. That
/// is enough to skip large answers that are for other servers.
pub(crate) fn answers(payload: &[u8]) -> Option<&str> {
    const BEGINNING: usize = 256;
    let head = payload.get(..BEGINNING).unwrap_or(payload);
    let valid = std::str::from_utf8(head).map_or_else(|error| error.valid_up_to(), str::len);
    let head = std::str::from_utf8(head.get(..valid)?).ok()?;
    let (before, rest) = head.split_once("\"requestId\":\"")?;
    let (id, _) = rest.split_once('"')?;
    let at_the_top = before.starts_with('{') && !before.get(1..)?.contains(['{', '[']);
    (at_the_top && !id.contains('\\')).then_some(id)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: Option<Name>,
    request_id: Option<String>,
    r#type: u64,
    opts: Option<JsonOptions>,
    rooms: Option<Names>,
    close: Option<bool>,
    count: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
    sid: Option<String>,
    room: Option<Name>,
    #[serde(borrow)]
    rc: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    nsp: Option<String>,
}

/// Decodes a request. `None` if it is for another namespace. A request id of `null` counts as missing: Node answers it
/// with the id `null`, for which nobody can be waiting.
pub(crate) fn request(payload: &Bytes, namespace: &str) -> Result<Option<Message>, Malformed> {
    let text = Text::read(payload)?;
    let request: Request<'_> = serde_json::from_str(&text.json)?;
    let id = request.request_id.map(|id| RequestId(id.into()));
    let asked = || id.clone().ok_or(Malformed::Field("requestId"));
    let options = |given: Option<JsonOptions>| given.ok_or(Malformed::Field("opts"));
    // Servers before 4.0 name a single socket, and wait for a confirmation.
    let legacy = request.sid.as_deref().map(Target::room);
    let body = match request.r#type {
        0 => {
            let rooms = request.rooms.unwrap_or_default().0.into_iter().map(Name::room).collect();
            let target = Target { rooms: target_rooms(rooms), ..Target::default() };
            Body::FetchIds { request: asked()?, target }
        }
        1 => Body::FetchRooms { request: asked()? },
        kind @ (2 | 3) => {
            let (target, rooms, request) = match (legacy, request.room.and_then(Name::room)) {
                (Some(target), Some(room)) if request.rooms.is_none() => (target, vec![room], id),
                _ => (options(request.opts)?.target(), room_names(request.rooms), None),
            };
            if kind == 2 { Body::Join { target, rooms, request } } else { Body::Leave { target, rooms, request } }
        }
        4 => {
            let close = request.close.unwrap_or(false);
            match (legacy, request.opts) {
                (Some(target), None) => Body::Disconnect { target, close, request: id },
                (_, Some(options)) => Body::Disconnect { target: options.target(), close, request: None },
                (None, None) => return Err(Malformed::Field("opts")),
            }
        }
        5 => {
            let (id, target) = (asked()?, options(request.opts)?.target());
            match request.count {
                Some(true) => Body::Count { request: id, target },
                _ => Body::FetchSockets { request: id, target },
            }
        }
        6 => {
            let data = text.array(request.data.ok_or(Malformed::Field("data"))?)?;
            if data.is_empty() {
                return Err(Malformed::Field("data"));
            }
            Body::ServerSideEmit { request: id, data }
        }
        7 => {
            let packet: Packet<'_> = serde_json::from_str(request.packet.ok_or(Malformed::Field("packet"))?.get())?;
            if packet.nsp.as_deref().unwrap_or("/") != namespace {
                return Ok(None);
            }
            let data = text.array(packet.data.ok_or(Malformed::Field("data"))?)?;
            if data.is_empty() {
                return Err(Malformed::Field("data"));
            }
            let mut options = options(request.opts)?;
            let timeout = options.flags.take().and_then(|flags| flags.get("timeout")?.as_u64());
            let timeout = timeout.map(|timeout| Duration::from_millis(timeout.min(86_400_000)));
            Body::BroadcastWithAck { request: asked()?, data, target: options.target(), timeout }
        }
        kind => return Err(Malformed::Type(kind)),
    };
    let sender = match request.uid {
        Some(Name::Text(uid)) => Some(ServerId::from(&*uid)),
        _ => None,
    };
    let trailer = read_trailer(request.rc).filter(|trailer| trailer.namespace == Trailer::hash(namespace));
    Ok(Some(Message { sender, to: None, trailer, body }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    request_id: String,
    uid: Option<String>,
    r#type: Option<u64>,
    client_count: Option<u64>,
    count: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    rooms: Option<Names>,
    parts: Option<u64>,
    refused: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
    #[serde(borrow)]
    rc: Option<&'a RawValue>,
}

/// Decodes an answer.
pub(crate) fn response(payload: &Bytes) -> Result<Message, Malformed> {
    let text = Text::read(payload)?;
    let response: Response<'_> = serde_json::from_str(&text.json)?;
    let request = RequestId(response.request_id.into());
    let first = |raw: Option<&RawValue>| raw.map_or_else(Args::none, |raw| text.args(raw.get()));
    let body = match (response.r#type, response.sockets, response.rooms) {
        (None, None, None) if response.count.is_some() => {
            Body::Counted { request, count: response.count.unwrap_or_default() }
        }
        (Some(6), ..) => Body::ServerAnswer { request, args: first(response.data) },
        (Some(8), ..) => {
            Body::AskedClients { request, count: response.client_count.ok_or(Malformed::Field("clientCount"))? }
        }
        (Some(9), ..) => Body::ClientAck { request, args: first(response.packet) },
        (_, Some(sockets), _) => sockets_or_ids(request, sockets, response.parts)?,
        (_, None, Some(rooms)) => {
            Body::Rooms { request, rooms: room_names(Some(rooms)), parts: response.parts.unwrap_or(1) }
        }
        _ if response.refused == Some(true) => Body::Refused { request },
        _ => Body::Done { request },
    };
    let sender = response.uid.as_deref().map(ServerId::from);
    Ok(Message { sender, to: None, trailer: read_trailer(response.rc), body })
}
