//! What both dialects read alike: JSON or MessagePack, rooms, options, sockets. Everything that comes from Redis is
//! untrusted: reading is strict, bounded, and never fatal.

use bytes::Bytes;
use roomcast_adapter::cluster::{Body, RequestId, Trailer};
use roomcast_adapter::{Details, Room, SocketDetails, Target};
use roomcast_protocol::limits::MAX_DEPTH;
use roomcast_protocol::msgpack::{MsgpackError, Reader, to_json};
use roomcast_protocol::{Args, json};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// Most bytes of one message, as in the contract of brokers (`roomcast_adapter::cluster::codec::MAX_BYTES`).
pub(crate) const MAX_MESSAGE: usize = 8_000_000;

/// Most rooms that one message may name, as targets or otherwise. A room takes some 50 bytes in memory, and as few as 2
/// in the message.
pub(crate) const MAX_ROOMS: usize = 65_536;

/// Why a payload is not a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a message of {0} bytes; {MAX_MESSAGE} are allowed")]
    TooLarge(usize),
    #[error("MessagePack: {0}")]
    Msgpack(#[from] MsgpackError),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("JSON: {0}")]
    Syntax(#[from] json::JsonError),
    #[error("not UTF-8")]
    Utf8,
    #[error("{0} is missing or of the wrong type")]
    Field(&'static str),
    #[error("more than {MAX_ROOMS} rooms")]
    Rooms,
    #[error("unknown message type {0}")]
    Type(u64),
}

/// The rooms of a target, where `None` is a value that cannot have members here. No rooms mean everybody, so a target
/// that names only such values is for nobody.
pub(crate) fn target_rooms(rooms: Vec<Option<Room>>) -> Vec<Room> {
    let named = !rooms.is_empty();
    let rooms: Vec<Room> = rooms.into_iter().flatten().collect();
    if named && rooms.is_empty() { vec![Room::nobody()] } else { rooms }
}

/// JSON text, or MessagePack converted to JSON with its byte strings as attachments. Requests and answers may have
/// either form.
pub(crate) struct Text {
    pub(crate) json: String,
    attachments: Vec<Bytes>,
}

impl Text {
    pub(crate) fn read(payload: &Bytes) -> Result<Self, Malformed> {
        check_size(payload)?;
        if payload.first() == Some(&b'{') {
            let text = std::str::from_utf8(payload).map_err(|_| Malformed::Utf8)?;
            json::check(text, MAX_DEPTH)?;
            return Ok(Self { json: text.to_owned(), attachments: Vec::new() });
        }
        let (mut json, mut attachments) = (Vec::new(), Vec::new());
        let mut reader = Reader::shared(payload);
        to_json(&mut reader, &mut json, &mut attachments, MAX_DEPTH)?;
        reader.finish()?;
        Ok(Self { json: String::from_utf8(json).map_err(|_| Malformed::Utf8)?, attachments })
    }

    pub(crate) fn args(&self, raw: &str) -> Args {
        Args::from_parts(raw.into(), self.attachments.clone())
    }

    pub(crate) fn array(&self, raw: &RawValue) -> Result<Args, Malformed> {
        let text = raw.get().trim();
        let items = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or(Malformed::Field("data"))?;
        Ok(self.args(items.trim()))
    }
}

/// A room name, which may be a number. Node allows any value to be a room; other values never have members here.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Name {
    Text(String),
    Number(serde_json::Number),
    Other(serde::de::IgnoredAny),
}

impl Name {
    pub(crate) fn room(self) -> Option<Room> {
        match self {
            Self::Text(text) => Some(Room::from(text)),
            Self::Number(number) => Some(Room::from(number.to_string())),
            Self::Other(_) => None,
        }
    }
}

#[derive(Default)]
pub(crate) struct Names(pub(crate) Vec<Name>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rooms")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    if names.len() >= MAX_ROOMS {
                        return Err(A::Error::custom(Malformed::Rooms));
                    }
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

pub(crate) fn room_names(names: Option<Names>) -> Vec<Room> {
    names.unwrap_or_default().0.into_iter().filter_map(Name::room).collect()
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct JsonOptions {
    rooms: Option<Names>,
    except: Option<Names>,
    pub(crate) flags: Option<HashMap<String, serde_json::Value>>,
}

impl JsonOptions {
    pub(crate) fn target(self) -> Target {
        let rooms = self.rooms.unwrap_or_default().0.into_iter().map(Name::room).collect();
        Target { rooms: target_rooms(rooms), except: room_names(self.except), local: false, one: false }
    }
}

#[derive(Deserialize)]
pub(crate) struct Socket<'a> {
    id: String,
    #[serde(borrow)]
    handshake: Option<&'a RawValue>,
    rooms: Option<Names>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(crate) fn sockets_or_ids(request: RequestId, raw: &RawValue, parts: Option<u64>) -> Result<Body, Malformed> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw.get())?;
    if elements.first().is_some_and(|first| first.get().starts_with('"')) {
        return Ok(Body::Ids { request, ids: serde_json::from_str(raw.get())? });
    }
    let socket = |raw: &RawValue| -> Result<SocketDetails, Malformed> {
        let socket: Socket<'_> = serde_json::from_str(raw.get())?;
        let object = |raw: Option<&RawValue>| raw.map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
        let details = Details { handshake: object(socket.handshake), data: object(socket.data) };
        Ok(SocketDetails { id: socket.id, rooms: room_names(socket.rooms), details })
    };
    let sockets: Result<Vec<SocketDetails>, Malformed> = elements.into_iter().map(socket).collect();
    Ok(Body::Sockets { request, sockets: sockets?, parts: parts.unwrap_or(1) })
}

/// Reads a trailer in hexadecimal digits. `None` for any other value.
pub(crate) fn read_trailer(raw: Option<&RawValue>) -> Option<Trailer> {
    Trailer::from_hex(&serde_json::from_str::<String>(raw?.get()).ok()?)
}

pub(crate) fn check_size(payload: &Bytes) -> Result<(), Malformed> {
    if payload.len() > MAX_MESSAGE { Err(Malformed::TooLarge(payload.len())) } else { Ok(()) }
}
