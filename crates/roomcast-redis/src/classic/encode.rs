//! [`encode`]: messages into bytes of the classic dialect, with keys in Node's order.

use super::names::Prefix;
use crate::wire::servers;
use crate::wire::write::{
    EncodeError, Flag, TRAILER, flags, inline_buffers, invalid, list, object, parts_of, quoted, socket, unique,
    write_options,
};
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Body, Outgoing, RequestId, SERVERS, ServerId, Trailer};
use roomcast_protocol::Args;
use roomcast_protocol::msgpack::{Flavour, Writer, args_array, from_json};
use serde_json::json;

/// The sender id of emitters.
pub(crate) const EMITTER: &str = "emitter";

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
                // At the very end, so that it is found without decoding what comes before it.
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
        // Node's servers take it for `FetchSockets`, and answer in full.
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
            // Node passes on one argument; if there is none, the key is left out.
            let items = inline_buffers(args)?;
            let first = roomcast_protocol::ArgsRef { items: &items, attachments: &[] }.iter().next();
            let mut fields = vec![("type", "6".to_owned()), ("requestId", quoted(&request.0))];
            fields.extend(first.map(|first| ("data", first.to_owned())));
            // Always on the channel of all servers, whatever the option says, as in Node.
            (prefix.response(namespace), json.response(&fields))
        }
        Body::Sockets { request, sockets, parts } => {
            let sockets: Vec<String> = sockets.iter().map(socket).collect();
            let mut fields = vec![("requestId", quoted(&request.0)), ("sockets", format!("[{}]", sockets.join(",")))];
            fields.extend(parts_of(*parts));
            (response_channel(), json.response(&fields))
        }
        Body::Ids { request, ids } => {
            let fields = [("requestId", quoted(&request.0)), ("sockets", json!(ids).to_string())];
            (response_channel(), json.response(&fields))
        }
        Body::Rooms { request, rooms, parts } => {
            let mut fields = vec![("requestId", quoted(&request.0)), ("rooms", list(rooms))];
            fields.extend(parts_of(*parts));
            (response_channel(), json.response(&fields))
        }
        Body::Refused { request } => {
            let fields = [("requestId", quoted(&request.0)), ("refused", "true".to_owned())];
            (response_channel(), json.response(&fields))
        }
        Body::Done { request } => (response_channel(), json.response(&[("requestId", quoted(&request.0))])),
        Body::Alive(_) | Body::Hello | Body::Goodbye => {
            debug_assert_eq!(namespace, SERVERS);
            let channel = match &message.to {
                Some(server) => prefix.server(server.as_str()),
                None => prefix.servers(),
            };
            (channel, servers::write(message).unwrap_or_default())
        }
    })
}

/// The parts that JSON messages have in common.
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

    /// The fields, then sender and trailer: Node's answers do not have these two, and its servers ignore them.
    fn response(&self, fields: &[(&str, String)]) -> Vec<u8> {
        let mut all = fields.to_vec();
        all.extend(self.sender.map(|sender| ("uid", quoted(sender))));
        all.extend(self.trailer.map(|trailer| (TRAILER, quoted(&trailer.to_hex()))));
        object(&all)
    }
}

fn options(target: &Target) -> String {
    format!("{{\"rooms\":{},\"except\":{}}}", json!(unique(&target.rooms)), json!(unique(&target.except)))
}

/// Writes `{type: 2, data, nsp}`. The type is EVENT even with attachments; receivers find the bytes themselves.
fn write_packet(payload: &mut Vec<u8>, data: &Args, namespace: &str) -> Result<(), EncodeError> {
    Writer::new(payload).map(3).str("type").uint(2).str("data");
    args_array(data, payload, Flavour::Notepack).map_err(invalid)?;
    Writer::new(payload).str("nsp").str(namespace);
    Ok(())
}
