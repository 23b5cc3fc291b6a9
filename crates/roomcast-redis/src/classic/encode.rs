//! Messages into the bytes of the classic dialect, its keys in Node's order.

use super::names::Prefix;
use roomcast_adapter::cluster::{Body, Outgoing, RequestId, SERVERS, ServerId, Trailer};
use roomcast_adapter::{Room, SocketDetails, Target};
use roomcast_protocol::Args;
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use roomcast_protocol::msgpack::{Flavour, Writer, args_array, from_json};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// The last key of our JSON, and of our MessagePack that is a map: the trailer in hexadecimal digits.
pub(crate) const TRAILER: &str = "rc";

/// The sender that emitters give.
pub(crate) const EMITTER: &str = "emitter";

/// A message that cannot be written: it is dropped, and counted.
#[derive(Debug, thiserror::Error)]
#[error("a message cannot be written: {0}")]
pub(crate) struct EncodeError(String);

/// Channel and payload of a message.
pub(crate) fn encode(
    outgoing: &Outgoing,
    prefix: &Prefix,
    specific_responses: bool,
) -> Result<(String, Vec<u8>), EncodeError> {
    let (namespace, message) = (&*outgoing.namespace, &outgoing.message);
    let sender = message.sender.as_ref().map_or("", |sender| sender.as_str());
    let request_channel = || prefix.request(namespace);
    let response_channel = || match &message.to {
        Some(server) if specific_responses => prefix.response_to(namespace, server.as_str()),
        _ => prefix.response(namespace),
    };
    let json = Json { sender: message.sender.as_ref().map(ServerId::as_str), trailer: message.trailer };
    Ok(match &message.body {
        Body::Broadcast { data, target, volatile, compress } => {
            let channel = match unique(&target.rooms)[..] {
                [room] => prefix.room(namespace, room),
                _ => prefix.broadcast(namespace),
            };
            let mut payload = Vec::new();
            let mut writer = Writer::new(&mut payload);
            writer.array(3 + usize::from(message.trailer.is_some()));
            match &message.sender {
                Some(sender) => writer.str(sender.as_str()),
                None => writer.nil(),
            };
            write_packet(&mut payload, data, namespace)?;
            write_options(&mut payload, target, &flags(*volatile, *compress), sender == EMITTER);
            if let Some(trailer) = message.trailer {
                // The last bytes, so that it is found without reading what is before.
                Writer::new(&mut payload).bin(&trailer.to_bytes());
            }
            (channel, payload)
        }
        Body::BroadcastWithAck { request, data, target, timeout } => {
            let mut payload = Vec::new();
            let mut writer = Writer::new(&mut payload);
            writer.map(5 + usize::from(message.trailer.is_some()));
            writer.str("uid").str(sender).str("requestId").str(&request.0).str("type").uint(7).str("packet");
            write_packet(&mut payload, data, namespace)?;
            Writer::new(&mut payload).str("opts");
            let timeout = timeout.map(|timeout| timeout.as_millis() as u64);
            let flags: Vec<Flag> = timeout.map(|timeout| Flag::Number("timeout", timeout)).into_iter().collect();
            write_options(&mut payload, target, &flags, false);
            if let Some(trailer) = message.trailer {
                Writer::new(&mut payload).str(TRAILER).str(&trailer.to_hex());
            }
            (request_channel(), payload)
        }
        Body::ClientAck { request, args } => {
            let mut payload = Vec::new();
            let first = args.as_ref().iter().next();
            let mut writer = Writer::new(&mut payload);
            let extra = usize::from(message.sender.is_some()) + usize::from(message.trailer.is_some());
            writer.map(2 + usize::from(first.is_some()) + extra);
            writer.str("type").uint(9).str("requestId").str(&request.0);
            if let Some(first) = first {
                writer.str("packet");
                from_json(first, args.attachments(), &mut payload, Flavour::Notepack).map_err(invalid)?;
            }
            if message.sender.is_some() {
                Writer::new(&mut payload).str("uid").str(sender);
            }
            if let Some(trailer) = message.trailer {
                Writer::new(&mut payload).str(TRAILER).str(&trailer.to_hex());
            }
            (response_channel(), payload)
        }
        Body::AskedClients { request, count } => {
            let text = json.response(&[
                ("type", "8".to_owned()),
                ("requestId", quoted(&request.0)),
                ("clientCount", count.to_string()),
            ]);
            (response_channel(), text)
        }
        Body::Join { target, rooms, request } => {
            (request_channel(), json.request(request.as_ref(), 2, &[("opts", options(target)), ("rooms", list(rooms))]))
        }
        Body::Leave { target, rooms, request } => {
            (request_channel(), json.request(request.as_ref(), 3, &[("opts", options(target)), ("rooms", list(rooms))]))
        }
        Body::Disconnect { target, close, request } => {
            let fields = [("opts", options(target)), ("close", close.to_string())];
            (request_channel(), json.request(request.as_ref(), 4, &fields))
        }
        // To Node's servers it is the question above, which they answer in full.
        Body::Count { request, target } => {
            let fields = [("opts", options(target)), ("count", "true".to_owned())];
            (request_channel(), json.request(Some(request), 5, &fields))
        }
        Body::Counted { request, count } => {
            let fields = [("requestId", quoted(&request.0)), ("count", count.to_string())];
            (response_channel(), json.response(&fields))
        }
        Body::FetchSockets { request, target } => {
            (request_channel(), json.request(Some(request), 5, &[("opts", options(target))]))
        }
        Body::FetchIds { request, target } => {
            (request_channel(), json.request(Some(request), 0, &[("rooms", list(&target.rooms))]))
        }
        Body::FetchRooms { request } => (request_channel(), json.request(Some(request), 1, &[])),
        Body::ServerSideEmit { request, data } => {
            let data = format!("[{}]", inline_buffers(data)?);
            (request_channel(), json.request(request.as_ref(), 6, &[("data", data)]))
        }
        Body::ServerAnswer { request, args } => {
            // Node passes one argument; without one the key is left out.
            let items = inline_buffers(args)?;
            let first = roomcast_protocol::ArgsRef { items: &items, attachments: &[] }.iter().next();
            let mut fields = vec![("type", "6".to_owned()), ("requestId", quoted(&request.0))];
            fields.extend(first.map(|first| ("data", first.to_owned())));
            // Always on the channel of all, whatever the option says: so does Node.
            (prefix.response(namespace), json.response(&fields))
        }
        Body::Sockets { request, sockets } => {
            let sockets: Vec<String> = sockets.iter().map(socket).collect();
            let fields = [("requestId", quoted(&request.0)), ("sockets", format!("[{}]", sockets.join(",")))];
            (response_channel(), json.response(&fields))
        }
        Body::Ids { request, ids } => {
            let fields = [("requestId", quoted(&request.0)), ("sockets", json!(ids).to_string())];
            (response_channel(), json.response(&fields))
        }
        Body::Rooms { request, rooms } => {
            (response_channel(), json.response(&[("requestId", quoted(&request.0)), ("rooms", list(rooms))]))
        }
        Body::Done { request } => (response_channel(), json.response(&[("requestId", quoted(&request.0))])),
        Body::Alive(_) | Body::Hello | Body::Goodbye => {
            debug_assert_eq!(namespace, SERVERS);
            let field = match &message.body {
                Body::Alive(alive) => ("alive", json!(alive).to_string()),
                Body::Hello => ("hello", "true".to_owned()),
                _ => ("alive", "null".to_owned()),
            };
            match &message.to {
                Some(server) => {
                    (prefix.server(server.as_str()), json.response(&[field, ("to", quoted(server.as_str()))]))
                }
                None => (prefix.servers(), json.response(&[field])),
            }
        }
    })
}

/// What every JSON message begins or ends with.
struct Json<'a> {
    sender: Option<&'a str>,
    trailer: Option<Trailer>,
}

impl Json<'_> {
    /// `{uid, requestId, type, …, rc}`.
    fn request(&self, request: Option<&RequestId>, kind: u8, fields: &[(&str, String)]) -> Vec<u8> {
        let mut all = Vec::with_capacity(fields.len() + 4);
        all.extend(self.sender.map(|sender| ("uid", quoted(sender))));
        all.extend(request.map(|request| ("requestId", quoted(&request.0))));
        all.push(("type", kind.to_string()));
        all.extend(fields.iter().cloned());
        all.extend(self.trailer.map(|trailer| (TRAILER, quoted(&trailer.to_hex()))));
        object(&all)
    }

    /// The fields, and sender and trailer behind them: Node's answers do not tell them, and do not mind them.
    fn response(&self, fields: &[(&str, String)]) -> Vec<u8> {
        let mut all = fields.to_vec();
        all.extend(self.sender.map(|sender| ("uid", quoted(sender))));
        all.extend(self.trailer.map(|trailer| (TRAILER, quoted(&trailer.to_hex()))));
        object(&all)
    }
}

fn object(fields: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from("{");
    for (name, value) in fields {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, "{comma}\"{name}\":{value}");
    }
    text.push('}');
    text.into_bytes()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(rooms: &[Room]) -> String {
    json!(rooms).to_string()
}

/// Rooms are a set: one that is named twice is one room, and has the channel of one.
fn unique(rooms: &[Room]) -> Vec<&Room> {
    let mut seen = HashSet::with_capacity(rooms.len());
    rooms.iter().filter(|room| seen.insert(*room)).collect()
}

fn options(target: &Target) -> String {
    format!("{{\"rooms\":{},\"except\":{}}}", json!(unique(&target.rooms)), json!(unique(&target.except)))
}

fn socket(socket: &SocketDetails) -> String {
    let SocketDetails { id, rooms, details } = socket;
    format!(
        "{{\"id\":{},\"handshake\":{},\"rooms\":{},\"data\":{}}}",
        quoted(id),
        details.handshake,
        list(rooms),
        details.data
    )
}

/// Arguments as JSON in which attachments are what `JSON.stringify` makes of a Buffer: JSON messages carry no bytes. All else
/// stays the text that it is.
fn inline_buffers(args: &Args) -> Result<String, EncodeError> {
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
                // A byte is up to three digits and a comma, and the same attachment may stand in many places.
                if text.len().saturating_add(bytes.len().saturating_mul(4)) > MAX_PACKET_BYTES {
                    return Err(EncodeError(format!("its bytes as JSON are more than {MAX_PACKET_BYTES}")));
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

/// Where the string ends with which `text` begins.
fn string_end(text: &str) -> usize {
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

/// The number in the placeholder with which `text` begins, and where it ends.
fn placeholder(text: &str) -> Option<(usize, usize)> {
    let mut rest = text;
    for part in ["{", "\"_placeholder\"", ":", "true", ",", "\"num\"", ":"] {
        rest = rest.strip_prefix(part)?.trim_ascii_start();
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    let rest = rest[digits..].trim_ascii_start().strip_prefix('}')?;
    Some((number, text.len() - rest.len()))
}

/// `{type: 2, data, nsp}`. It is an EVENT even with attachments; receivers find the bytes themselves.
fn write_packet(payload: &mut Vec<u8>, data: &Args, namespace: &str) -> Result<(), EncodeError> {
    Writer::new(payload).map(3).str("type").uint(2).str("data");
    args_array(data, payload, Flavour::Notepack).map_err(invalid)?;
    Writer::new(payload).str("nsp").str(namespace);
    Ok(())
}

enum Flag {
    Bool(&'static str, bool),
    Number(&'static str, u64),
}

/// Only flags that were set travel: a broadcast that may be compressed says nothing of it.
fn flags(volatile: bool, compress: bool) -> Vec<Flag> {
    let volatile = volatile.then_some(Flag::Bool("volatile", true));
    let compress = (!compress).then_some(Flag::Bool("compress", false));
    volatile.into_iter().chain(compress).collect()
}

/// `{rooms, except, flags}`; an emitter's flags come before its except.
fn write_options(payload: &mut Vec<u8>, target: &Target, flags: &[Flag], emitter: bool) {
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

fn invalid(error: impl std::fmt::Display) -> EncodeError {
    EncodeError(error.to_string())
}
