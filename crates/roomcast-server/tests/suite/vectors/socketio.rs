//! Replays `socketio-server.json`: Socket.IO packets. These vectors also contain what the client sends.

use super::app::{bin, unbin};
use super::{Outcome, node_log, our_log, replay_all, wanted_log, with_namespace};
use crate::common::wire::{Frame, Wire};
use serde_json::{Value, json};

#[tokio::test]
async fn recorded_exchanges_of_packets() {
    replay_all(2, "tests", async |name, vector, server, seen| {
        let mut wire = server.websocket().await;
        let mut frames = Vec::new();
        for say in vector["client_sends"].as_array().unwrap() {
            match say {
                Value::String(text) => wire.try_say(text).await,
                // A pause, in which the server sends what it has to send.
                Value::Number(_) => receive(&mut wire, &mut frames).await,
                _ if say.get("$call").is_some() => server.io.close().await,
                _ => wire.say_bytes(&unbin(say).unwrap()).await,
            }
        }
        if vector["server_options"].get("connectTimeout").is_some() {
            let frame = wire.frame().await;
            wire.answer_close(&frame).await;
            frames.push(frame);
        } else {
            receive(&mut wire, &mut frames).await;
        }
        let closed = match frames.last() {
            Some(Frame::Close(code, _)) => json!(code.unwrap_or(1005)),
            _ => Value::Null,
        };
        let sent = frames.into_iter().filter_map(recorded).collect();
        let node_log = node_log(vector);
        let our_log = our_log(seen, with_namespace, &wanted_log(name, &node_log)).await;
        let node = ["server_sends", "closed"].map(|part| (part, vector[part].clone()));
        let ours = [("server_sends", seen.labelled(&sent)), ("closed", closed)];
        [
            Outcome { parts: node.into_iter().chain([("log", node_log)]).collect() },
            Outcome { parts: ours.into_iter().chain([("log", our_log)]).collect() },
        ]
    })
    .await;
}

async fn receive(wire: &mut Wire, frames: &mut Vec<Frame>) {
    if !matches!(frames.last(), Some(Frame::Close(..))) {
        frames.extend(wire.sync().await);
    }
}

/// A frame in the form of the vectors, which contain close frames elsewhere.
fn recorded(frame: Frame) -> Option<Value> {
    match frame {
        Frame::Text(text) => Some(json!(text)),
        Frame::Binary(bytes) => Some(bin(&bytes)),
        Frame::Close(..) => None,
        Frame::Pong(_) => panic!("a pong without a ping"),
    }
}
