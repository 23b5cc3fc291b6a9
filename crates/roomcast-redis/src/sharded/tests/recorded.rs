//! Vector files, and the message that each recorded payload stands for. The message is made from the recorded meaning
//! of the payload, not by our own decoder.

use super::js::{Arguments, Js, parse, unhex};
use crate::wire::recorded::{self, Sockets};
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, ServerId};
use roomcast_adapter::{Room, SocketDetails, Target};
use roomcast_protocol::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// A recorded SPUBLISH.
#[derive(Deserialize)]
pub(super) struct Command {
    pub(super) cmd: String,
    pub(super) channel: Option<String>,
    payload_hex: Option<String>,
    payload_text: Option<String>,
    decoded: Option<Box<RawValue>>,
}

impl Command {
    pub(super) fn payload(&self) -> Vec<u8> {
        unhex(self.payload_hex.as_deref().expect("a payload"))
    }

    /// The message that it stands for.
    pub(super) fn outgoing(&self, prefix: &str) -> Outgoing {
        let text = self.payload_text.as_deref().or(self.decoded.as_deref().map(RawValue::get)).expect("its meaning");
        let meaning = parse(text).expect("JSON").denoted();
        let namespace = field(&meaning, "nsp").expect("nsp");
        let main = format!("{prefix}#{namespace}#");
        let rest = self.channel.as_deref().and_then(|channel| channel.strip_prefix(&main)).expect("a channel of it");
        let body = body(&meaning, text);
        let to = body.answers().and(rest.strip_suffix('#')).map(ServerId::from);
        let sender = field(&meaning, "uid").map(|uid| ServerId::from(&*uid));
        Outgoing { namespace: namespace.as_str().into(), message: Message { sender, to, trailer: None, body } }
    }
}

fn field(value: &Js, key: &str) -> Option<String> {
    value.get(key).and_then(Js::text)
}

fn number(value: &Js, key: &str) -> Option<u64> {
    value.get(key).and_then(Js::double).map(|number| number as u64)
}

fn rooms(list: Option<&Js>) -> Vec<Room> {
    let name = |room: &Js| match room {
        Js::Number(number) => Room::from(number.0.to_string()),
        other => Room::from(other.text().expect("a room's name")),
    };
    list.and_then(Js::array).unwrap_or_default().iter().map(name).collect()
}

fn args(list: Option<&Js>) -> Args {
    Args::of(&Arguments(list.and_then(Js::array).expect("a list"))).expect("arguments")
}

fn body(meaning: &Js, recorded: &str) -> Body {
    let data = meaning.get("data").expect("data");
    let options = data.get("opts");
    let target = || {
        let options = options.expect("opts");
        Target { rooms: rooms(options.get("rooms")), except: rooms(options.get("except")), local: false, one: false }
    };
    let flag = |name: &str| options?.get("flags")?.get(name).map(|value| *value == Js::Bool(true));
    let id = field(data, "requestId").map(|id| RequestId(id.as_str().into()));
    let asked = || id.clone().expect("requestId");
    let first = || data.get("packet").map_or_else(Args::none, |value| Args::of(value).expect("an argument"));
    let event = || args(data.get("packet").and_then(|packet| packet.get("data")));
    match (number(meaning, "type").expect("type"), id.is_some()) {
        (3, false) => Body::Broadcast {
            data: event(),
            target: target(),
            volatile: flag("volatile").unwrap_or(false),
            compress: flag("compress").unwrap_or(true),
        },
        (3, true) => {
            let timeout = options.and_then(|options| options.get("flags")?.get("timeout")?.double());
            let timeout = timeout.map(|timeout| Duration::from_millis(timeout as u64));
            Body::BroadcastWithAck { request: asked(), data: event(), target: target(), timeout }
        }
        (4, _) => Body::Join { target: target(), rooms: rooms(data.get("rooms")), request: None },
        (5, _) => Body::Leave { target: target(), rooms: rooms(data.get("rooms")), request: None },
        (6, _) => {
            Body::Disconnect { target: target(), close: data.get("close") == Some(&Js::Bool(true)), request: None }
        }
        (7, _) => Body::FetchSockets { request: asked(), target: target() },
        (8, _) => Body::Sockets { request: asked(), sockets: sockets(recorded), parts: 1 },
        (9, _) => Body::ServerSideEmit { request: id.clone(), data: args(data.get("packet")) },
        (10, _) => Body::ServerAnswer { request: asked(), args: first() },
        (11, _) => Body::AskedClients { request: asked(), count: number(data, "clientCount").expect("clientCount") },
        (12, _) => Body::ClientAck { request: asked(), args: first() },
        (other, _) => panic!("type {other} was never recorded"),
    }
}

fn sockets(recorded: &str) -> Vec<SocketDetails> {
    #[derive(Deserialize)]
    struct Answer {
        data: Sockets,
    }
    serde_json::from_str::<Answer>(recorded).expect("sockets").data.details()
}

/// The meaning of a decoded message, without its recipient, which is not in the payload.
pub(super) fn meaning(message: &Message) -> (Message, Option<Js>) {
    recorded::meaning(&Message { to: None, ..message.clone() })
}
