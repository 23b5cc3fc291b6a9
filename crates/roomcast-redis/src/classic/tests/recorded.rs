//! Vector files, and the message that each recorded payload stands for. The message is made from the recorded meaning
//! of the payload, not by our own decoder.

use super::js::{Arguments, Js, parse, unhex};
use crate::wire::recorded::Sockets;
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, ServerId};
use roomcast_adapter::{Room, SocketDetails, Target};
use roomcast_protocol::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

#[derive(Deserialize)]
pub(super) struct Vectors {
    pub(super) vectors: Vec<Vector>,
}

#[derive(Deserialize)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) commands: Vec<Command>,
}

#[derive(Deserialize)]
pub(super) struct Command {
    pub(super) cmd: String,
    channel: Option<String>,
    payload_hex: Option<String>,
    payload_text: Option<String>,
    decoded: Option<Box<RawValue>>,
}

/// A recorded PUBLISH.
pub(super) struct Published {
    pub(super) channel: String,
    pub(super) payload: Vec<u8>,
    pub(super) outgoing: Outgoing,
}

impl Command {
    pub(super) fn published(&self, prefix: &str) -> Option<Published> {
        let (channel, hex) = (self.channel.clone()?, self.payload_hex.as_deref()?);
        let text = self.payload_text.as_deref().or(self.decoded.as_deref().map(RawValue::get))?;
        let meaning = parse(text)?.denoted();
        let rest = channel.strip_prefix(prefix)?;
        let outgoing = if let Some(rest) = rest.strip_prefix('#') {
            broadcast(rest, &meaning)
        } else if let Some(rest) = rest.strip_prefix("-request#") {
            request(rest, &meaning)
        } else {
            response(rest.strip_prefix("-response#")?, &meaning, text)
        };
        Some(Published { channel, payload: unhex(hex), outgoing })
    }
}

fn text(value: &Js, key: &str) -> Option<String> {
    value.get(key).and_then(Js::text)
}

/// The namespace is the text before the first `#`: no recorded one contains a `#`.
fn namespace(rest: &str) -> &str {
    rest.split('#').next().unwrap_or_default()
}

fn rooms(list: Option<&Js>) -> Vec<Room> {
    let name = |room: &Js| match room {
        Js::Number(number) => Room::from(number.0.to_string()),
        other => Room::from(other.text().expect("a room's name")),
    };
    list.and_then(Js::array).unwrap_or_default().iter().map(name).collect()
}

fn target(options: &Js) -> Target {
    Target { rooms: rooms(options.get("rooms")), except: rooms(options.get("except")), local: false, one: false }
}

fn data(packet: &Js) -> Args {
    Args::of(&Arguments(packet.get("data").and_then(Js::array).expect("data"))).expect("arguments")
}

fn flag(options: &Js, name: &str) -> Option<bool> {
    options.get("flags")?.get(name).map(|value| *value == Js::Bool(true))
}

fn outgoing(namespace: &str, sender: Option<String>, to: Option<&str>, body: Body) -> Outgoing {
    let (sender, to) = (sender.map(|sender| ServerId::from(&*sender)), to.map(ServerId::from));
    Outgoing { namespace: namespace.into(), message: Message { sender, to, trailer: None, body } }
}

fn broadcast(rest: &str, meaning: &Js) -> Outgoing {
    let [sender, packet, options] = meaning.array().expect("an array") else { panic!("not three elements") };
    assert_eq!(text(packet, "nsp").as_deref(), Some(namespace(rest)));
    let body = Body::Broadcast {
        data: data(packet),
        target: target(options),
        volatile: flag(options, "volatile").unwrap_or(false),
        compress: flag(options, "compress").unwrap_or(true),
    };
    outgoing(namespace(rest), sender.text(), None, body)
}

fn request(rest: &str, meaning: &Js) -> Outgoing {
    let id = text(meaning, "requestId").map(|id| RequestId(id.as_str().into()));
    let asked = || id.clone().expect("requestId");
    let options = meaning.get("opts");
    let target = || target(options.expect("opts"));
    let body = match meaning.get("type").and_then(Js::double).expect("type") as u64 {
        1 => Body::FetchRooms { request: asked() },
        2 => Body::Join { target: target(), rooms: rooms(meaning.get("rooms")), request: None },
        3 => Body::Leave { target: target(), rooms: rooms(meaning.get("rooms")), request: None },
        4 => {
            let close = meaning.get("close") == Some(&Js::Bool(true));
            Body::Disconnect { target: target(), close, request: None }
        }
        5 => Body::FetchSockets { request: asked(), target: target() },
        6 => Body::ServerSideEmit { request: id.clone(), data: data(meaning) },
        7 => {
            let timeout = options.and_then(|options| options.get("flags")?.get("timeout")?.double());
            let timeout = timeout.map(|timeout| Duration::from_millis(timeout as u64));
            let data = data(meaning.get("packet").expect("packet"));
            Body::BroadcastWithAck { request: asked(), data, target: target(), timeout }
        }
        other => panic!("type {other} was never recorded"),
    };
    outgoing(namespace(rest), text(meaning, "uid"), None, body)
}

fn response(rest: &str, meaning: &Js, recorded: &str) -> Outgoing {
    let request = RequestId(text(meaning, "requestId").expect("requestId").as_str().into());
    let first = |key: &str| meaning.get(key).map_or_else(Args::none, |value| Args::of(value).expect("an argument"));
    let body = match meaning.get("type").and_then(Js::double).map(|kind| kind as u64) {
        Some(6) => Body::ServerAnswer { request, args: first("data") },
        Some(8) => {
            let count = meaning.get("clientCount").and_then(Js::double).expect("clientCount") as u64;
            Body::AskedClients { request, count }
        }
        Some(9) => Body::ClientAck { request, args: first("packet") },
        _ if meaning.get("sockets").is_some() => Body::Sockets { request, sockets: sockets(recorded), parts: 1 },
        _ => Body::Rooms { request, rooms: rooms(meaning.get("rooms")), parts: 1 },
    };
    // `NSP#` or `NSP#UID#`.
    let to = rest.split('#').nth(1).filter(|uid| !uid.is_empty());
    outgoing(namespace(rest), None, to, body)
}

fn sockets(recorded: &str) -> Vec<SocketDetails> {
    serde_json::from_str::<Sockets>(recorded).expect("sockets").details()
}
