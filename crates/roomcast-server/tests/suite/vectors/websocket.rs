//! Replays `engineio-websocket.json`: WebSocket, and the upgrade to it.

use super::app::bin;
use super::http::abandoned;
use super::{Outcome, answer, comparable, node_log, our_log, replay_all, silence, wanted_log, without_namespace};
use crate::common::Server;
use crate::common::wire::{Frame, Wire, frame, upgrade};
use bytes::Bytes;
use serde_json::{Value, json};

const OPEN: &str = "EIO=4&transport=websocket";
const HEADER: &str = "451-[\"b\",{\"_placeholder\":true,\"num\":0}]";

#[tokio::test]
async fn recorded_exchanges_over_websocket() {
    replay_all(1, "websocket", async |name, vector, server, seen| {
        let result = match raw(name, server).await {
            None => match framed(name, server).await {
                None => upgraded(name, server).await,
                result => result,
            },
            result => result,
        };
        let Some(result) = result else { panic!("{name:?} is not replayed") };
        let (node, log) = (comparable(vector["result"].clone()), node_log(vector));
        let our_log = our_log(seen, without_namespace, &wanted_log(name, &log)).await;
        [
            Outcome { parts: vec![("result", node), ("log", log)] },
            Outcome { parts: vec![("result", comparable(result)), ("log", our_log)] },
        ]
    })
    .await;
}

/// Replays vectors that contain the bytes of the answer.
async fn raw(name: &str, server: &Server) -> Option<Value> {
    if !name.ends_with("(raw)") && !name.contains("(raw):") {
        return None;
    }
    let (query, version, headers): (&str, &str, &[(&str, &str)]) = match name {
        "upgrade answer (raw)" | "allowRequest refuses (raw): 400, not 403" | "transports [\"polling\"] (raw)" => {
            (OPEN, "13", &[])
        }
        "upgrade answer with cors and cookie options (raw)" => (OPEN, "13", &[("Origin", "http://a.example")]),
        "permessage-deflate offered, not enabled (raw)" => {
            (OPEN, "13", &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")])
        }
        "unknown sid (raw)" => ("EIO=4&transport=websocket&sid=nope", "13", &[]),
        "unknown transport (raw)" => ("EIO=4&transport=foo", "13", &[]),
        "transport=polling with an upgrade request (raw)" => ("EIO=4&transport=polling", "13", &[]),
        "EIO=3 (raw): 101, then an HTTP error text on the upgraded socket" => ("EIO=3&transport=websocket", "13", &[]),
        "bad Sec-WebSocket-Version (raw)" => (OPEN, "99", &[]),
        "other path (raw)" => {
            let mut wire = server.connect().await;
            wire.send(upgrade(&format!("/other/?{OPEN}"), "13", &[])).await;
            assert_eq!(wire.rest().await, b"");
            return Some(silence(true));
        }
        _ => return None,
    };
    let mut wire = server.connect().await;
    wire.send(upgrade(&server.target(query), version, headers)).await;
    let mut answered = wire.answer("GET").await;
    if name.starts_with("EIO=3") {
        assert_eq!(wire.rest().await, b"");
        answered.ended = true;
    } else if answered.status() == 101 {
        answered.body = wire.raw_frame().await;
    }
    Some(answer(&answered))
}

/// Frames of the server in the form of the vectors.
#[derive(Default)]
struct Frames {
    list: Vec<Value>,
    closed: bool,
}

impl Frames {
    fn push(&mut self, frame: &Frame) {
        self.list.push(match frame {
            Frame::Text(text) => json!(text),
            Frame::Binary(bytes) => bin(bytes),
            Frame::Pong(_) => json!({"control": "pong"}),
            // Clients report a close frame without a code as code 1005.
            Frame::Close(code, reason) => {
                self.closed = true;
                json!({"closed": code.unwrap_or(1005), "reason": reason})
            }
        });
    }

    async fn next(&mut self, wire: &mut Wire) {
        let frame = wire.frame().await;
        self.push(&frame);
        if self.closed {
            wire.answer_close(&frame).await;
        }
    }

    /// Reads all frames that the server has to send now.
    async fn sync(&mut self, wire: &mut Wire) {
        if !self.closed {
            wire.sync().await.iter().for_each(|frame| self.push(frame));
        }
    }

    /// Closes the connection without a close frame.
    fn cut(&mut self, wire: Wire) {
        drop(wire);
        self.list.push(json!({"closed": 1006, "reason": ""}));
    }

    fn ready_state(&self) -> u8 {
        if self.closed { 3 } else { 1 }
    }
}

/// Replays vectors that contain the frames of a session that begins with a WebSocket.
async fn framed(name: &str, server: &Server) -> Option<Value> {
    /// A message of the client.
    enum Say {
        Text(String),
        Bytes(Vec<u8>),
    }
    let text = |text: &str| Say::Text(text.to_owned());
    let says = match name {
        "binary message in" => vec![text(HEADER), Say::Bytes(vec![1, 2, 3])],
        "binary message in as base64 text frame" => vec![text(HEADER), text("bAQID")],
        "unknown packet type 9" => vec![text("9")],
        "empty text frame" => vec![text("")],
        "\"2\" ping from the client" => vec![text("2")],
        "\"2probe\" outside an upgrade" => vec![text("2probe")],
        "\"0\", \"3\", \"5\", \"6\" from the client" => {
            vec![text("0"), text("3"), text("5"), text("6"), text("42[\"still\"]")]
        }
        "binary frame without a header" => vec![Say::Bytes(vec![1])],
        "frame of maxHttpBufferSize + 1 bytes" => vec![Say::Text(format!("42[\"{}\"]", "a".repeat(95)))],
        "binary attachment over maxHttpBufferSize" => vec![text(HEADER), Say::Bytes(vec![7; 101])],
        _ => return listed(name, server).await,
    };
    let (mut wire, mut frames) = begin(server, OPEN, true).await;
    for say in says {
        match say {
            Say::Text(text) => wire.say(&text).await,
            Say::Bytes(bytes) => wire.say_bytes(&bytes).await,
        }
    }
    frames.sync(&mut wire).await;
    Some(ended(&frames))
}

fn ended(frames: &Frames) -> Value {
    json!({"opened": true, "frames": frames.list, "ready_state_at_end": frames.ready_state()})
}

/// Opens a session, reads its `open` packet, and joins `/` if `join` is set.
async fn begin(server: &Server, query: &str, join: bool) -> (Wire, Frames) {
    let mut wire = server.upgrade(query).await;
    let mut frames = Frames::default();
    frames.next(&mut wire).await;
    if join {
        wire.say("40").await;
        frames.next(&mut wire).await;
    }
    (wire, frames)
}

/// Replays vectors that consist of more than messages of the client.
async fn listed(name: &str, server: &Server) -> Option<Value> {
    let query = if name.ends_with("b64=1") { "EIO=4&transport=websocket&b64=1" } else { OPEN };
    let join = !matches!(name, "websocket control ping" | "heartbeat answered");
    let known = [
        "binary message out",
        "binary message out with b64=1",
        "websocket control ping",
        "client closes with code 4000",
        "heartbeat: ping, then no pong",
        "heartbeat answered",
        "socket.disconnect(true)",
        "socket.disconnect() (namespace only)",
    ];
    if !known.contains(&name) {
        return None;
    }
    let (mut wire, mut frames) = begin(server, query, join).await;
    match name {
        "binary message out" | "binary message out with b64=1" => {
            server.io.emit("b", Bytes::from_static(&[1, 2])).unwrap();
            frames.sync(&mut wire).await;
            frames.cut(wire);
        }
        "websocket control ping" => {
            wire.send(frame(9, b"x")).await;
            let pong = wire.frame().await;
            assert_eq!(pong, Frame::Pong(b"x".to_vec()));
            frames.push(&pong);
            frames.cut(wire);
        }
        "client closes with code 4000" => {
            wire.send(frame(8, b"\x0f\xa0bye")).await;
            frames.push(&wire.frame().await);
            assert_eq!(wire.rest().await, b"");
        }
        "heartbeat: ping, then no pong" => {
            while !frames.closed {
                frames.next(&mut wire).await;
            }
            return Some(ended(&frames));
        }
        "heartbeat answered" => {
            for _ in 0..3 {
                frames.next(&mut wire).await;
                wire.say("3").await;
            }
            frames.sync(&mut wire).await;
        }
        _ => {
            server.io.of("/").everyone().disconnect_sockets(name == "socket.disconnect(true)").unwrap();
            frames.sync(&mut wire).await;
        }
    }
    Some(json!(frames.list))
}

/// Replays vectors with an upgrade from polling.
async fn upgraded(name: &str, server: &Server) -> Option<Value> {
    let sid = server.join_by_polling().await;
    let query = format!("{OPEN}&sid={sid}");
    let held = match name {
        "upgrade with a GET pending: noop within 100 ms" => Some(server.hold(&sid).await),
        _ => None,
    };
    let mut wire = server.upgrade(&query).await;
    let mut frames = Frames::default();
    if !matches!(name, "upgrade without a probe (\"5\" first)" | "\"2\" without probe payload") {
        wire.say("2probe").await;
        frames.next(&mut wire).await;
    }
    let mut result = json!({});
    if let Some(mut held) = held {
        result["pending_get"] = answer(&held.answer("GET").await);
    }
    // Whether the session still uses polling at the end.
    let mut polling = false;
    match name {
        "upgrade: probe, upgrade" => {
            wire.say("5").await;
            wire.say("42[\"via-ws\"]").await;
        }
        "upgrade with a GET pending: noop within 100 ms" => {
            wire.say("5").await;
            frames.sync(&mut wire).await;
            server.io.emit("x", ()).unwrap();
        }
        "emit between probe and upgrade without pending GET is flushed over the WebSocket" => {
            server.io.emit("x", ()).unwrap();
            wire.say("5").await;
        }
        "upgrade without a probe (\"5\" first)" => wire.say("5").await,
        "message before \"5\"" => {
            wire.say("42[\"x\"]").await;
            polling = true;
        }
        "\"2\" without probe payload" => {
            wire.say("2").await;
            polling = true;
        }
        "upgradeTimeout" => {
            frames.next(&mut wire).await;
            polling = true;
        }
        "second upgrade while the first is in progress" => {
            frames.list.push(second(server, &query).await);
            wire.say("5").await;
        }
        "second upgrade after the first" => {
            wire.say("5").await;
            frames.sync(&mut wire).await;
            frames.list.push(second(server, &query).await);
        }
        "probing WebSocket closed by the client: the session goes on by polling" => {
            wire.send(frame(8, b"")).await;
            frames.push(&wire.frame().await);
            polling = true;
        }
        _ => return None,
    }
    frames.sync(&mut wire).await;
    result["get_after"] = if polling { abandoned(server, &sid).await } else { answer(&server.poll(&sid).await) };
    result["ws_ready_state"] = json!(frames.ready_state());
    result["frames"] = json!(frames.list);
    Some(result)
}

async fn second(server: &Server, query: &str) -> Value {
    let mut wire = server.upgrade(query).await;
    let mut frames = Frames::default();
    frames.next(&mut wire).await;
    assert_eq!(wire.rest().await, b"");
    json!({"second_websocket": frames.list})
}
