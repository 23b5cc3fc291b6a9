//! What Node's server and the official client said to each other (`vectors/csr-memory.json`), repeated with this server.

use super::start;
use crate::common::wire::{Frame, Wire};
use roomcast_server::{DisconnectReason, NotRecovered, RecoveryOptions, RecoveryOutcome, Socket};
use serde_json::Value;
use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

#[derive(Default)]
struct Names {
    /// What Node's ids and offsets are here.
    ours: HashMap<String, String>,
}

impl Names {
    /// Checks that something of Node's stands for the same thing here as before, and for nothing else.
    fn is(&mut self, node: &str, ours: &str, step: &str) {
        let known = self.ours.entry(node.to_owned()).or_insert_with(|| ours.to_owned());
        assert_eq!(known, ours, "{step}: {node}");
        assert_eq!(self.ours.values().filter(|other| *other == ours).count(), 1, "{step}: {ours} has two meanings");
    }

    /// A frame of the client in our words.
    fn said(&self, frame: &str) -> String {
        self.ours.iter().fold(frame.to_owned(), |frame, (node, ours)| frame.replace(node, ours))
    }

    fn compare(&mut self, step: &str, node: &str, ours: &str) {
        let at = |text: &str| text.find(['[', '{']).unwrap_or(text.len());
        assert_eq!(node[..at(node)], ours[..at(ours)], "{step}: {node} {ours}");
        let [mut theirs, mut here] =
            [node, ours].map(|text| serde_json::from_str::<Value>(&text[at(text)..]).unwrap_or_default());
        if let (Value::Object(_), Value::Object(fields)) = (&theirs, &here) {
            for (key, value) in fields {
                self.is(theirs[key].as_str().unwrap_or_else(|| panic!("{step}: {key}")), value.as_str().unwrap(), step);
            }
            let keys = |text: &str| text.split('"').skip(1).step_by(4).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(keys(node), keys(ours), "{step}: the same keys in the same order");
            return;
        }
        if let (Some(Value::String(theirs)), Some(Value::String(here))) =
            (theirs.as_array_mut().and_then(Vec::pop), here.as_array_mut().and_then(Vec::pop))
        {
            self.is(&theirs, &here, step);
        } else {
            assert_eq!(node, ours, "{step}");
        }
        assert_eq!(theirs, here, "{step}");
    }
}

/// The one step in which this server differs on purpose: Node keeps a copy of a session that was recovered, and continues from it even after
/// the client has left on purpose (`docs/protocol.md`, 4.3).
const DEVIATES: &str = "reconnect with the same pid (session is gone)";

async fn the_exchange_of_node_is_repeated() {
    let file: Value = serde_json::from_str(include_str!("../../../../../vectors/csr-memory.json")).unwrap();
    let (server, app) = start(RecoveryOptions::new()).await;
    let io = server.io.clone();
    let (mut names, mut wire, mut lost) = (Names::default(), None::<Wire>, 0);
    let bytes = |bytes: &'static [u8]| roomcast_server::Attachment::from(bytes.to_vec());
    let mut asked = Vec::new();
    for step in file["steps"].as_array().unwrap() {
        let name = step["name"].as_str().unwrap();
        let frames = step["frames"].as_array().unwrap();
        let (connections, middlewares) = (app.connections.lock().len(), app.middlewares.load(SeqCst));
        if frames.iter().any(|frame| frame[1].as_str().is_some_and(|text| text.starts_with("0{"))) {
            if name == "reconnect to node A with {pid, offset}" {
                app.lost(lost).await;
            }
            wire = Some(server.websocket().await);
        }
        let socket_id = names.ours.get("sockA1--------------").cloned().unwrap_or_default();
        let to_socket = io.to(&socket_id);
        match name {
            "socket.emit('direct', 1) on the local socket" => {
                // What a handler of the socket does.
                wire.as_mut().unwrap().say(r#"42["direct",1]"#).await;
            }
            "io.emit('hello', 1)" => io.emit("hello", 1).unwrap(),
            "io.to('room1').emit('hello', Buffer 01)" => io.to("room1").emit("hello", bytes(b"\x01")).unwrap(),
            "io.volatile.emit('hello', 2) (no offset)" => {
                io.of("/").everyone().volatile().emit("hello", 2).unwrap();
            }
            "io.timeout(200).emit('ask', cb) (no offset)" => {
                let everyone = io.of("/").everyone().timeout(Duration::from_secs(60));
                asked.push(tokio::spawn(async move { drop(everyone.emit_with_ack("ask", &()).await) }));
            }
            "socket.emit('ask2', cb) (with ack)" => {
                asked.push(tokio::spawn(async move { drop(to_socket.emit_with_ack("ask2", &()).await) }));
            }
            "io.emit('last-seen', 3)" => io.emit("last-seen", 3).unwrap(),
            "the transport is killed (session is persisted)" => {
                wire = None;
                lost += 1;
                app.lost(lost).await;
                assert!(matches!(app.disconnects.lock()[..], [DisconnectReason::Connection(_)]));
                continue;
            }
            "while away: io.emit('missed', 1)" => io.emit("missed", 1).unwrap(),
            "while away: io.to('room1').emit('missed-room', Buffer 07)" => {
                io.to("room1").emit("missed-room", bytes(b"\x07")).unwrap();
            }
            "while away: io.to('other').emit('not-for-me')" => io.to("other").emit("not-for-me", ()).unwrap(),
            "while away: io.except('room1').emit('excluded')" => {
                io.of("/").except("room1").emit("excluded", ()).unwrap();
            }
            "while away: io.volatile.emit('missed-volatile')" => {
                io.of("/").everyone().volatile().emit("missed-volatile", ()).unwrap();
            }
            "io.close() on that node (server shutting down is persisted)" => {
                io.close().await;
                assert_eq!(wire.as_mut().unwrap().frame().await, Frame::Close(None, String::new()));
                continue;
            }
            _ => {}
        }
        let Some(open) = &mut wire else { continue };
        for frame in frames {
            match (frame[0].as_str().unwrap(), &frame[1]) {
                ("client", said) => open.say(&names.said(said.as_str().unwrap())).await,
                ("server", Value::String(text)) if text.starts_with("0{") => {}
                ("server", _) if name == DEVIATES => {}
                ("server", Value::String(text)) => names.compare(name, text, &open.text().await),
                ("server", binary) => {
                    let byte = u8::from_str_radix(binary["$bin"].as_str().unwrap(), 16).unwrap();
                    assert_eq!(open.frame().await, Frame::Binary(vec![byte]), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        if name == DEVIATES {
            let answer: Value = serde_json::from_str(&open.text().await[2..]).unwrap();
            assert_ne!(answer["pid"], names.ours["pidA1---------------"].as_str());
            assert_eq!(app.last().outcome, RecoveryOutcome::NotRecovered(NotRecovered::Left));
            continue;
        }
        if name.starts_with("after recovery: DISCONNECT") {
            lost += 1;
            app.lost(lost).await;
        }
        let events = step["server_events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let called = events.iter().any(|event| event["middleware_called"] == true);
        assert_eq!(app.middlewares.load(SeqCst) - middlewares, usize::from(called), "{name}: middlewares");
        if let Some(event) = events.iter().find(|event| event["sid"].is_string()) {
            assert_eq!(app.connections.lock().len(), connections + 1, "{name}");
            let seen = app.last();
            assert_eq!(seen.outcome == RecoveryOutcome::Recovered, event["recovered"] == true, "{name}");
            assert_eq!(seen.id, names.ours[event["sid"].as_str().unwrap()], "{name}");
            let rooms = event["rooms"].as_array().unwrap().iter().map(|room| names.said(room.as_str().unwrap()));
            assert_eq!(seen.rooms, rooms.collect::<Vec<_>>(), "{name}");
            assert_eq!(seen.data["user"], event["data"]["user"], "{name}");
        }
        if name.starts_with("connect (") {
            // What Node's test did at the server.
            let id = names.ours["sockA1--------------"].clone();
            io.of("/").on("direct", |socket: Socket, number: u32| ready(socket.emit("direct", number)));
            io.to(&id).sockets_join("room1").unwrap();
            open.say(r#"42["data",{"user":"ann"}]"#).await;
        }
    }
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    drop(wire);
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    the_exchange_of_node_is_repeated,
}
