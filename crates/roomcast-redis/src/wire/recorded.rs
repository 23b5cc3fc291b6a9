//! Vector files (`vectors/`), as far as the tests of both dialects read them.

use crate::js::{Js, parse};
use roomcast_adapter::cluster::{Body, Message};
use roomcast_adapter::{Details, Room, SocketDetails};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::path::Path;

pub(crate) fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Sockets whose handshake and data are kept as the recorded text.
#[derive(Deserialize)]
pub(crate) struct Sockets {
    sockets: Vec<Socket>,
}

#[derive(Deserialize)]
struct Socket {
    id: String,
    handshake: Box<RawValue>,
    rooms: Vec<String>,
    data: Box<RawValue>,
}

impl Sockets {
    pub(crate) fn details(self) -> Vec<SocketDetails> {
        let details = |socket: Socket| SocketDetails {
            id: socket.id,
            rooms: socket.rooms.iter().map(Room::from).collect(),
            details: Details { handshake: socket.handshake.get().to_owned(), data: socket.data.get().to_owned() },
        };
        self.sockets.into_iter().map(details).collect()
    }
}

/// A message whose arguments are compared by meaning: bytes in their places, Dates as text, no `undefined`.
pub(crate) fn meaning(message: &Message) -> (Message, Option<Js>) {
    let mut message = message.clone();
    let args = match &mut message.body {
        Body::Broadcast { data, .. } | Body::BroadcastWithAck { data, .. } | Body::ServerSideEmit { data, .. } => data,
        Body::ClientAck { args, .. } | Body::ServerAnswer { args, .. } => args,
        _ => return (message, None),
    };
    let args = std::mem::take(args);
    let value = parse(&format!("[{}]", args.items())).expect("JSON").filled(args.attachments());
    (message, Some(value))
}

/// A command that a Node server sent to a Redis Cluster.
pub(crate) struct Asked {
    /// What the server was asked to do.
    pub(crate) step: String,
    pub(crate) cmd: String,
    pub(crate) args: Vec<Value>,
}

/// All commands that servers with this adapter sent.
pub(crate) fn on_a_cluster(adapter: &str) -> Vec<Asked> {
    #[derive(Deserialize)]
    struct File {
        runs: Vec<Run>,
    }
    #[derive(Deserialize)]
    struct Run {
        adapter: String,
        steps: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        name: String,
        #[serde(default)]
        commands: Vec<Recorded>,
    }
    #[derive(Deserialize)]
    struct Recorded {
        cmd: String,
        args: Vec<Value>,
    }
    let file: File = serde_json::from_str(&file("redis-cluster.json")).expect("a vector file");
    let steps = file.runs.into_iter().filter(|run| run.adapter == adapter).flat_map(|run| run.steps);
    let commands = |Step { name, commands }: Step| {
        commands.into_iter().map(move |Recorded { cmd, args }| Asked { step: name.clone(), cmd, args })
    };
    steps.flat_map(commands).collect()
}
