//! What both dialects write alike, as Node's servers write it.

use roomcast_adapter::{Room, SocketDetails, Target};
use roomcast_protocol::Args;
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use roomcast_protocol::msgpack::Writer;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// The last key in JSON and in MessagePack maps of ours. Its value is the trailer in hexadecimal digits.
pub(crate) const TRAILER: &str = "rc";

/// A message that cannot be encoded. It is dropped and counted.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode a message: {0}")]
pub(crate) struct EncodeError(pub(crate) String);

pub(crate) fn object(fields: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from("{");
    for (name, value) in fields {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, "{comma}\"{name}\":{value}");
    }
    text.push('}');
    text.into_bytes()
}

pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The number of messages that make up an answer, if it is not one. Node's servers ignore the key.
pub(crate) fn parts_of(parts: u64) -> Option<(&'static str, String)> {
    (parts != 1).then(|| ("parts", parts.to_string()))
}

pub(crate) fn list(rooms: &[Room]) -> String {
    json!(rooms).to_string()
}

/// The distinct rooms: a room that is named twice is one room, and the message goes out on its channel.
pub(crate) fn unique(rooms: &[Room]) -> Vec<&Room> {
    let mut seen = HashSet::with_capacity(rooms.len());
    rooms.iter().filter(|room| seen.insert(*room)).collect()
}

pub(crate) fn socket(socket: &SocketDetails) -> String {
    let SocketDetails { id, rooms, details } = socket;
    format!(
        "{{\"id\":{},\"handshake\":{},\"rooms\":{},\"data\":{}}}",
        quoted(id),
        details.handshake,
        list(rooms),
        details.data
    )
}

/// Arguments as JSON, with each attachment written as `JSON.stringify` writes a Buffer, as JSON messages cannot carry
/// bytes. All other text is copied unchanged.
pub(crate) fn inline_buffers(args: &Args) -> Result<String, EncodeError> {
    let mut rest = args.items();
    if args.attachments().is_empty() {
        return Ok(rest.to_owned());
    }
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = rest.find(['"', '{']) {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        let placeholder = placeholder(after).and_then(|(number, end)| Some((args.attachments().get(number)?, end)));
        let end = match placeholder {
            Some((bytes, end)) => {
                // A byte takes up to three digits and a comma, and the same attachment may appear in many places.
                if text.len().saturating_add(bytes.len().saturating_mul(4)) > MAX_PACKET_BYTES {
                    return Err(EncodeError(format!(
                        "with its attachments as JSON it exceeds {MAX_PACKET_BYTES} bytes"
                    )));
                }
                text.push_str("{\"type\":\"Buffer\",\"data\":[");
                for (at, byte) in bytes.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    let _ = write!(text, "{comma}{byte}");
                }
                text.push_str("]}");
                end
            }
            None => {
                let end = if after.starts_with('"') { string_end(after) } else { 1 };
                text.push_str(&after[..end]);
                end
            }
        };
        rest = &after[end..];
    }
    text.push_str(rest);
    Ok(text)
}

/// The end of the JSON string at the beginning of `text`.
pub(crate) fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The number and the end of the placeholder at the beginning of `text`, if there is one.
pub(crate) fn placeholder(text: &str) -> Option<(usize, usize)> {
    let mut rest = text;
    for part in ["{", "\"_placeholder\"", ":", "true", ",", "\"num\"", ":"] {
        rest = rest.strip_prefix(part)?.trim_ascii_start();
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    let rest = rest[digits..].trim_ascii_start().strip_prefix('}')?;
    Some((number, text.len() - rest.len()))
}

pub(crate) enum Flag {
    Bool(&'static str, bool),
    Number(&'static str, u64),
}

/// The flags to write: only those that differ from the default.
pub(crate) fn flags(volatile: bool, compress: bool) -> Vec<Flag> {
    let volatile = volatile.then_some(Flag::Bool("volatile", true));
    let compress = (!compress).then_some(Flag::Bool("compress", false));
    volatile.into_iter().chain(compress).collect()
}

/// Writes `{rooms, except, flags}`; an emitter writes `flags` before `except`.
pub(crate) fn write_options(payload: &mut Vec<u8>, target: &Target, flags: &[Flag], emitter: bool) {
    let rooms = |payload: &mut Vec<u8>, name: &str, rooms: &[Room]| {
        let rooms = unique(rooms);
        let mut writer = Writer::new(payload);
        writer.str(name).array(rooms.len());
        for room in rooms {
            writer.str(room);
        }
    };
    let write_flags = |payload: &mut Vec<u8>| {
        let mut writer = Writer::new(payload);
        writer.str("flags").map(flags.len());
        for flag in flags {
            match flag {
                Flag::Bool(name, value) => writer.str(name).bool(*value),
                Flag::Number(name, value) => writer.str(name).uint(*value),
            };
        }
    };
    Writer::new(payload).map(3);
    rooms(payload, "rooms", &target.rooms);
    if emitter {
        write_flags(payload);
    }
    rooms(payload, "except", &target.except);
    if !emitter {
        write_flags(payload);
    }
}

pub(crate) fn invalid(error: impl std::fmt::Display) -> EncodeError {
    EncodeError(error.to_string())
}
