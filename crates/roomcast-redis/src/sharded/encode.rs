//! [`encode`]: messages into bytes of the sharded dialect, with keys in Node's order.

use super::names::Names;
use super::options::ShardedMode;
use crate::wire::servers;
use crate::wire::write::{
    EncodeError, Flag, TRAILER, flags, invalid, list, object, parts_of, quoted, socket, unique, write_options,
};
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, SERVERS, ServerId};
use roomcast_adapter::{Room, Target};
use roomcast_protocol::Args;
use roomcast_protocol::msgpack::{Flavour, Writer, args_array, from_json};
use serde_json::json;
use std::fmt::Write as _;

/// Message types that only roomcast servers know. Node's types are numbers, and it ignores these.
pub(crate) const FETCH_ROOMS: &str = "fetchRooms";
pub(crate) const ROOMS: &str = "rooms";
pub(crate) const REFUSED: &str = "refused";

/// Channel and payload of a message.
pub(crate) fn encode(outgoing: &Outgoing, names: &Names, mode: ShardedMode) -> Result<(String, Vec<u8>), EncodeError> {
    let (namespace, message) = (&*outgoing.namespace, &outgoing.message);
    let channel = channel(outgoing, names, mode);
    if namespace == SERVERS {
        let payload = servers::write(message);
        return payload.map(|payload| (channel, payload)).ok_or_else(|| unsupported("it is not an announcement"));
    }
    let payload = match Content::of(&message.body)? {
        Content::Json(kind, data) => json_message(&kind, &data, message, namespace),
        Content::Args(kind, parts) if parts.args.attachments().is_empty() => {
            json_message(&kind.to_string(), &parts.json(), message, namespace)
        }
        Content::Args(kind, parts) => msgpack_message(kind, &parts, message, namespace)?,
    };
    Ok((channel, payload))
}

/// The channel of a message. A broadcast to one room goes out on the room's channel, if the mode gives the room one. An
/// answer goes to one server.
pub(crate) fn channel(outgoing: &Outgoing, names: &Names, mode: ShardedMode) -> String {
    let (namespace, message) = (&*outgoing.namespace, &outgoing.message);
    if namespace == SERVERS {
        return message.to.as_ref().map_or_else(|| names.servers(), |to| names.server(to.as_str()));
    }
    if let Body::Broadcast { target, .. } = &message.body
        && let [room] = unique(&target.rooms)[..]
        && mode.has_channel(room)
    {
        return names.room(namespace, room);
    }
    match &message.to {
        Some(server) => names.room(namespace, server.as_str()),
        None => names.main(namespace),
    }
}

/// The type and data of a message.
enum Content<'a> {
    /// Data that cannot contain bytes.
    Json(String, String),
    /// Data with arguments. If they contain bytes, the message is MessagePack, as in Node.
    Args(u64, Parts<'a>),
}

/// The pieces of data with arguments.
struct Parts<'a> {
    request: Option<&'a RequestId>,
    args: &'a Args,
    form: Form<'a>,
}

enum Form<'a> {
    /// `{packet: {type, data}, [requestId], opts}`.
    Packet(&'a Target, Vec<Flag>),
    /// `{[requestId], packet: [event, …args]}`.
    Event,
    /// `{requestId, [packet]}`: the first argument; without one the key is left out.
    Answer,
}

impl<'a> Content<'a> {
    fn of(body: &'a Body) -> Result<Self, EncodeError> {
        let id = |request: &RequestId| quoted(&request.0);
        Ok(match body {
            Body::Broadcast { data, target, volatile, compress } => {
                let form = Form::Packet(target, flags(*volatile, *compress));
                Self::Args(3, Parts { request: None, args: data, form })
            }
            Body::BroadcastWithAck { request, data, target, timeout } => {
                let timeout = timeout.map(|timeout| Flag::Number("timeout", timeout.as_millis() as u64));
                let form = Form::Packet(target, timeout.into_iter().collect());
                Self::Args(3, Parts { request: Some(request), args: data, form })
            }
            Body::ServerSideEmit { request, data } => {
                Self::Args(9, Parts { request: request.as_ref(), args: data, form: Form::Event })
            }
            Body::ServerAnswer { request, args } => {
                Self::Args(10, Parts { request: Some(request), args, form: Form::Answer })
            }
            Body::ClientAck { request, args } => {
                Self::Args(12, Parts { request: Some(request), args, form: Form::Answer })
            }
            Body::Join { target, rooms, .. } => Self::json(4, &[("opts", options(target)), ("rooms", list(rooms))]),
            Body::Leave { target, rooms, .. } => Self::json(5, &[("opts", options(target)), ("rooms", list(rooms))]),
            Body::Disconnect { target, close, .. } => {
                Self::json(6, &[("opts", options(target)), ("close", close.to_string())])
            }
            Body::FetchSockets { request, target } => {
                Self::json(7, &[("opts", options(target)), ("requestId", id(request))])
            }
            // Node's servers take it for `FetchSockets`, and answer in full.
            Body::Count { request, target } => {
                Self::json(7, &[("opts", options(target)), ("requestId", id(request)), ("count", "true".to_owned())])
            }
            Body::Sockets { request, sockets, parts } => {
                let sockets: Vec<String> = sockets.iter().map(socket).collect();
                let mut fields = vec![("requestId", id(request)), ("sockets", format!("[{}]", sockets.join(",")))];
                fields.extend(parts_of(*parts));
                Self::json(8, &fields)
            }
            Body::Counted { request, count } => {
                Self::json(8, &[("requestId", id(request)), ("count", count.to_string())])
            }
            Body::AskedClients { request, count } => {
                Self::json(11, &[("requestId", id(request)), ("clientCount", count.to_string())])
            }
            Body::FetchRooms { request } => Self::ours(FETCH_ROOMS, &[("requestId", id(request))]),
            Body::Rooms { request, rooms, parts } => {
                let mut fields = vec![("requestId", id(request)), ("rooms", list(rooms))];
                fields.extend(parts_of(*parts));
                Self::ours(ROOMS, &fields)
            }
            Body::Refused { request } => Self::ours(REFUSED, &[("requestId", id(request))]),
            _ => return Err(unsupported("the sharded dialect has no such message")),
        })
    }

    fn json(kind: u8, fields: &[(&str, String)]) -> Self {
        Self::Json(kind.to_string(), text(fields))
    }

    fn ours(kind: &str, fields: &[(&str, String)]) -> Self {
        Self::Json(quoted(kind), text(fields))
    }
}

impl Parts<'_> {
    /// The data as JSON. The arguments are copied as text, as they contain no bytes.
    fn json(&self) -> String {
        let id = self.request.map(|request| ("requestId", quoted(&request.0)));
        let items = self.args.items();
        let mut fields = Vec::new();
        match &self.form {
            Form::Packet(target, flags) => {
                fields.push(("packet", format!("{{\"type\":2,\"data\":[{items}]}}")));
                fields.extend(id);
                fields.push(("opts", options_with(target, flags)));
            }
            Form::Event => {
                fields.extend(id);
                fields.push(("packet", format!("[{items}]")));
            }
            Form::Answer => {
                fields.extend(id);
                let first = self.args.as_ref().iter().next();
                fields.extend(first.map(|first| ("packet", first.to_owned())));
            }
        }
        text(&fields)
    }

    fn msgpack(&self, payload: &mut Vec<u8>) -> Result<(), EncodeError> {
        let asked = usize::from(self.request.is_some());
        let id = |payload: &mut Vec<u8>| {
            if let Some(request) = self.request {
                Writer::new(payload).str("requestId").str(&request.0);
            }
        };
        match &self.form {
            Form::Packet(target, flags) => {
                Writer::new(payload).map(2 + asked).str("packet").map(2).str("type").uint(2).str("data");
                args_array(self.args, payload, Flavour::Notepack).map_err(invalid)?;
                id(payload);
                Writer::new(payload).str("opts");
                write_options(payload, target, flags, false);
            }
            Form::Event => {
                Writer::new(payload).map(1 + asked);
                id(payload);
                Writer::new(payload).str("packet");
                args_array(self.args, payload, Flavour::Notepack).map_err(invalid)?;
            }
            Form::Answer => {
                let first = self.args.as_ref().iter().next();
                Writer::new(payload).map(asked + usize::from(first.is_some()));
                id(payload);
                if let Some(first) = first {
                    Writer::new(payload).str("packet");
                    from_json(first, self.args.attachments(), payload, Flavour::Notepack).map_err(invalid)?;
                }
            }
        }
        Ok(())
    }
}

/// `{type, data, uid, nsp, rc}`.
fn json_message(kind: &str, data: &str, message: &Message, namespace: &str) -> Vec<u8> {
    let mut text = format!("{{\"type\":{kind},\"data\":{data}");
    if let Some(sender) = &message.sender {
        let _ = write!(text, ",\"uid\":{}", quoted(sender.as_str()));
    }
    let _ = write!(text, ",\"nsp\":{}", quoted(namespace));
    if let Some(trailer) = message.trailer {
        let _ = write!(text, ",\"{TRAILER}\":\"{}\"", trailer.to_hex());
    }
    text.push('}');
    text.into_bytes()
}

/// The same keys, as a MessagePack map.
fn msgpack_message(kind: u64, parts: &Parts<'_>, message: &Message, namespace: &str) -> Result<Vec<u8>, EncodeError> {
    let mut payload = Vec::new();
    let keys = 3 + usize::from(message.sender.is_some()) + usize::from(message.trailer.is_some());
    Writer::new(&mut payload).map(keys).str("type").uint(kind).str("data");
    parts.msgpack(&mut payload)?;
    let mut writer = Writer::new(&mut payload);
    if let Some(sender) = &message.sender {
        writer.str("uid").str(sender.as_str());
    }
    writer.str("nsp").str(namespace);
    if let Some(trailer) = message.trailer {
        writer.str(TRAILER).str(&trailer.to_hex());
    }
    Ok(payload)
}

/// The end of each message of one server in one namespace, up to the digits of the trailer.
pub(super) struct Tail {
    json: Vec<u8>,
    msgpack: Vec<u8>,
}

impl Tail {
    pub(super) fn of(server: &ServerId, namespace: &str) -> Self {
        let json = format!(",\"uid\":{},\"nsp\":{},\"{TRAILER}\":\"", quoted(server.as_str()), quoted(namespace));
        let mut msgpack = Vec::new();
        Writer::new(&mut msgpack).str("uid").str(server.as_str()).str("nsp").str(namespace).str(TRAILER);
        // The head of a string of 60 bytes.
        msgpack.extend([0xd9, 60]);
        Self { json: json.into_bytes(), msgpack }
    }

    /// Whether a payload is this server's own, which need not be decoded: no other server's message with a trailer ends
    /// like this.
    pub(super) fn ends(&self, payload: &[u8]) -> bool {
        let before = |end: usize| payload.get(..payload.len().saturating_sub(end)).unwrap_or_default();
        match payload.first() {
            Some(b'{') => before(62).ends_with(&self.json) && payload.ends_with(b"\"}"),
            _ => before(60).ends_with(&self.msgpack),
        }
    }
}

fn text(fields: &[(&str, String)]) -> String {
    String::from_utf8(object(fields)).unwrap_or_default()
}

/// `{rooms, except, flags}`.
fn options(target: &Target) -> String {
    options_with(target, &[])
}

fn options_with(target: &Target, flags: &[Flag]) -> String {
    let flags: Vec<(&str, String)> = flags
        .iter()
        .map(|flag| match flag {
            Flag::Bool(name, value) => (*name, value.to_string()),
            Flag::Number(name, value) => (*name, value.to_string()),
        })
        .collect();
    let set = |rooms: &[Room]| json!(unique(rooms)).to_string();
    let fields = [("rooms", set(&target.rooms)), ("except", set(&target.except)), ("flags", text(&flags))];
    text(&fields)
}

fn unsupported(why: &str) -> EncodeError {
    EncodeError(why.to_owned())
}
