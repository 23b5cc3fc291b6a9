//! [`decode`]: bytes of the sharded dialect into messages. Every type may be JSON or MessagePack.

use super::encode::{FETCH_ROOMS, REFUSED, ROOMS};
use crate::wire::read::{JsonOptions, Malformed, Name, Names, Text, read_trailer, room_names, sockets_or_ids};
use crate::wire::write::TRAILER;
use bytes::Bytes;
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Body, Message, RequestId, ServerId, Trailer};
use roomcast_protocol::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Types that are ignored: heartbeats, and notices that an adapter was closed. Other adapters send them.
const IGNORED: [u64; 3] = [1, 2, 13];

/// Longest timeout of a question, in milliseconds: a day.
const MAX_TIMEOUT: u64 = 86_400_000;

#[derive(Deserialize)]
struct Wire<'a> {
    uid: Option<Name>,
    nsp: Option<String>,
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    rc: Option<&'a RawValue>,
}

/// The data of every type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    request_id: Option<String>,
    opts: Option<JsonOptions>,
    rooms: Option<Names>,
    parts: Option<u64>,
    close: Option<bool>,
    count: Option<RawCount>,
    client_count: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(borrow)]
    packet: Option<&'a RawValue>,
}

/// In a question: whether only a number is wanted; in an answer: the number.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawCount {
    Wanted(bool),
    Number(u64),
}

#[derive(Deserialize)]
struct Packet<'a> {
    r#type: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Decodes a payload as the server `own` does in `namespace`. `None` if the message is for another namespace, is the
/// server's own, or has a type that is ignored.
pub(crate) fn decode(payload: &Bytes, namespace: &str, own: &ServerId) -> Result<Option<Message>, Malformed> {
    let text = Text::read(payload)?;
    let wire: Wire<'_> = serde_json::from_str(&text.json)?;
    if wire.nsp.ok_or(Malformed::Field("nsp"))? != namespace {
        return Ok(None);
    }
    let sender = match wire.uid {
        Some(Name::Text(uid)) => Some(ServerId::from(&*uid)),
        _ => None,
    };
    if sender.as_ref() == Some(own) {
        return Ok(None);
    }
    let kind = wire.r#type.ok_or(Malformed::Field("type"))?.get();
    let data = || -> Result<Data<'_>, Malformed> {
        Ok(serde_json::from_str(wire.data.ok_or(Malformed::Field("data"))?.get())?)
    };
    let body = match kind.parse::<u64>() {
        Ok(kind) if IGNORED.contains(&kind) => return Ok(None),
        Ok(kind) => body(kind, data, &text)?,
        // A text is one of our own types, or unknown.
        Err(_) => match &*serde_json::from_str::<String>(kind).map_err(|_| Malformed::Field("type"))? {
            FETCH_ROOMS => Body::FetchRooms { request: data()?.asked()? },
            ROOMS => {
                let data = data()?;
                let rooms = room_names(Some(data.rooms.ok_or(Malformed::Field("rooms"))?));
                let request = RequestId(data.request_id.ok_or(Malformed::Field("requestId"))?.into());
                Body::Rooms { request, rooms, parts: data.parts.unwrap_or(1) }
            }
            REFUSED => Body::Refused { request: data()?.asked()? },
            _ => return Err(Malformed::Field("type")),
        },
    };
    let trailer = read_trailer(wire.rc).filter(|trailer| trailer.namespace == Trailer::hash(namespace));
    Ok(Some(Message { sender, to: None, trailer, body }))
}

fn body<'a>(kind: u64, data: impl FnOnce() -> Result<Data<'a>, Malformed>, text: &Text) -> Result<Body, Malformed> {
    if !(3..=12).contains(&kind) {
        return Err(Malformed::Type(kind));
    }
    let mut data = data()?;
    Ok(match kind {
        3 => {
            let data_of_packet = data.event(text)?;
            let options = data.opts.take().ok_or(Malformed::Field("opts"))?;
            let flag = |name: &str| options.flags.as_ref()?.get(name).cloned();
            let (volatile, compress) = (flag("volatile"), flag("compress"));
            let timeout = flag("timeout").and_then(|timeout| timeout.as_f64());
            let target = options.target();
            match data.request_id.take() {
                Some(id) => {
                    let timeout = timeout.map(|timeout| Duration::from_millis((timeout as u64).min(MAX_TIMEOUT)));
                    Body::BroadcastWithAck { request: RequestId(id.into()), data: data_of_packet, target, timeout }
                }
                // Node answers a request id of `null` with the id `null`, for which nobody can be waiting.
                None => Body::Broadcast {
                    data: data_of_packet,
                    target,
                    volatile: volatile.and_then(|flag| flag.as_bool()).unwrap_or(false),
                    compress: compress.and_then(|flag| flag.as_bool()).unwrap_or(true),
                },
            }
        }
        4 | 5 => {
            let (target, rooms) = (data.target()?, room_names(data.rooms.take()));
            match kind {
                4 => Body::Join { target, rooms, request: None },
                _ => Body::Leave { target, rooms, request: None },
            }
        }
        6 => Body::Disconnect { target: data.target()?, close: data.close.unwrap_or(false), request: None },
        7 => {
            let (request, target) = (data.asked()?, data.target()?);
            match data.count {
                Some(RawCount::Wanted(true)) => Body::Count { request, target },
                _ => Body::FetchSockets { request, target },
            }
        }
        8 => match (data.sockets, &data.count) {
            (Some(sockets), _) => match sockets_or_ids(data.asked()?, sockets, data.parts)? {
                sockets @ Body::Sockets { .. } => sockets,
                _ => return Err(Malformed::Field("sockets")),
            },
            (None, Some(RawCount::Number(count))) => Body::Counted { request: data.asked()?, count: *count },
            _ => return Err(Malformed::Field("sockets")),
        },
        9 => {
            let event = text.array(data.packet.ok_or(Malformed::Field("packet"))?)?;
            if event.is_empty() {
                return Err(Malformed::Field("packet"));
            }
            Body::ServerSideEmit { request: data.request_id.take().map(|id| RequestId(id.into())), data: event }
        }
        10 => Body::ServerAnswer { request: data.asked()?, args: data.first(text) },
        11 => {
            let count = data.client_count.ok_or(Malformed::Field("clientCount"))?;
            Body::AskedClients { request: data.asked()?, count }
        }
        _ => Body::ClientAck { request: data.asked()?, args: data.first(text) },
    })
}

impl Data<'_> {
    fn asked(&self) -> Result<RequestId, Malformed> {
        self.request_id.as_deref().map(|id| RequestId(id.into())).ok_or(Malformed::Field("requestId"))
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        Ok(self.opts.take().ok_or(Malformed::Field("opts"))?.target())
    }

    fn first(&self, text: &Text) -> Args {
        self.packet.map_or_else(Args::none, |raw| text.args(raw.get()))
    }

    /// The data of an event. Packet types other than events make no sense in a broadcast, and Node passes them to
    /// clients unchecked; here they are malformed. An `id` is ignored, as it is the sender's; so is a namespace in the
    /// packet, which Node overwrites.
    fn event(&self, text: &Text) -> Result<Args, Malformed> {
        const EVENT: u64 = 2;
        const BINARY_EVENT: u64 = 5;
        let packet: Packet<'_> = serde_json::from_str(self.packet.ok_or(Malformed::Field("packet"))?.get())?;
        match packet.r#type {
            Some(EVENT | BINARY_EVENT) => {}
            Some(other) => return Err(Malformed::Type(other)),
            None => return Err(Malformed::Field("type")),
        }
        let data = text.array(packet.data.ok_or(Malformed::Field("data"))?)?;
        if data.is_empty() { Err(Malformed::Field("data")) } else { Ok(data) }
    }
}

/// The trailer at the end of a payload, found without decoding what comes before it. `None` if there is none, or it is
/// for another namespace.
pub(crate) fn trailer(payload: &[u8], namespace: &str) -> Option<Trailer> {
    const DIGITS: usize = 2 * Trailer::BYTES;
    let payload = if payload.first() == Some(&b'{') { payload.strip_suffix(b"\"}")? } else { payload };
    let (before, digits) = payload.split_last_chunk::<DIGITS>()?;
    let json = before.strip_suffix(b"\":\"").is_some_and(|before| before.ends_with(TRAILER.as_bytes()));
    let msgpack = before.strip_suffix(&[0xd9, 60]).is_some_and(|before| before.ends_with(TRAILER.as_bytes()));
    let trailer = Trailer::from_hex(std::str::from_utf8(digits).ok()?)?;
    ((json || msgpack) && trailer.namespace == Trailer::hash(namespace)).then_some(trailer)
}
