//! Replays, over TCP, every exchange that was recorded from socket.io 4.8.4 and engine.io 6.6.12 (`vectors/*.json` of the
//! repository). The vectors contain the answers; the requests are in [`http`], [`websocket`] and [`socketio`].
//!
//! The tests compare status line, body, headers and frames, and what the application saw (`event`, `connection`, `disconnecting`,
//! `disconnect`, `ack received`). They do not compare the headers in [`NOT_COMPARED`], the order and case of header names, and what only
//! Node's engine reports (`engine packet`, `engine close`, `connection_error`, `socket error`).

mod app;
mod http;
mod socketio;
mod websocket;

use crate::common::Server;
use crate::common::wire::Answer;
use app::{Seen, server};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The vectors that are not replayed: name and reason.
const EXCLUDED: &[(&str, &str)] = &[
    ("EIO=3 with allowEIO3", NO_EIO3),
    ("EIO=3 with allowEIO3 and b64=1", NO_EIO3),
    ("EIO=3 with allowEIO3 over WebSocket: client ping, binary", NO_EIO3),
    ("EIO=3 custom namespace", NO_EIO3),
    ("JSONP handshake j=0", NO_JSONP),
];
const NO_EIO3: &str = "the protocol of socket.io-client 1 and 2 is not offered";
const NO_JSONP: &str = "JSONP is not offered";

/// The lists in the files that are not replayed: name and reason.
const EXCLUDED_LISTS: &[(&str, &str)] = &[("msgpack", "MessagePack as the clients' parser is not offered")];

/// The intentional deviations from Node (`docs/protocol.md`, section 4): vector, part of the outcome, the part here, and the reason. The
/// test fails if a row no longer applies.
const DEVIATIONS: &[(&str, &str, &str, &str)] = &[
    (
        "two packets in one POST, two in one GET",
        "result",
        r#"{"status_line": "HTTP/1.1 200 OK", "headers": ["cache-control: no-store", "content-type: text/plain; charset=UTF-8"],
            "body": "40{\"sid\":\"sock1---------------\"}\u001e44/nope,{\"message\":\"Invalid namespace\"}"}"#,
        "answers come in the order of the requests; in Node an accepted CONNECT is answered in the next turn of the event loop",
    ),
    (
        "binary poll with b64=1 in the query (EIO=4: no difference)",
        "result",
        r#"{"status_line": "HTTP/1.1 200 OK", "headers": ["cache-control: no-store", "content-type: text/plain; charset=UTF-8"],
            "body": "451-[\"back\",{\"_placeholder\":true,\"num\":0}]\u001ebAQI="}"#,
        "attachments leave together with their text; Node answers a pending GET with the text only",
    ),
    (
        "POST with a bad packet after a good one, GET pending",
        "log",
        r#"[["disconnect", "sock1---------------", "parse error"]]"#,
        "a CONNECT is handled immediately, so the socket exists when the bad packet arrives",
    ),
    (
        "cors list, not matching",
        "result",
        r#"{"status_line": "HTTP/1.1 200 OK", "headers": ["access-control-allow-origin: http://a.example", "cache-control: no-store",
            "content-type: text/plain; charset=UTF-8", "vary: Origin"], "body": "0{\"sid\":\"eio1----------------\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}"}"#,
        "a list with one origin is treated like that origin; browsers refuse both answers",
    ),
    (
        "EIO=3 (raw): 101, then an HTTP error text on the upgraded socket",
        "result",
        r#"{"status_line": "HTTP/1.1 400 Bad Request", "headers": ["content-type: text/html"],
            "body": "Unsupported protocol version", "connection_ended_by_server": true}"#,
        "clients show the status of a refusal, but cannot read an HTTP answer inside a WebSocket",
    ),
    (
        "static client file",
        "result",
        r#"{"status_line": "HTTP/1.1 200 OK", "headers": ["cache-control: public, max-age=0",
            "content-type: application/javascript; charset=utf-8", "etag: \"28-7a33a30e\"", "vary: Accept-Encoding"],
            "body": "/*!\n * Socket.IO v4.8.4\n * (c) 2014-2026"}"#,
        "the tag is that of the content, so that it changes with a changed file; caches must keep the encodings apart",
    ),
    (
        "static client file, If-None-Match",
        "result",
        r#"{"status_line": "HTTP/1.1 304 Not Modified", "headers": ["cache-control: public, max-age=0", "etag: \"28-7a33a30e\"",
            "vary: Accept-Encoding"], "body": ""}"#,
        "RFC 9110, 15.4.5: a 304 has the headers that a 200 would have for caches",
    ),
    (
        "permessage-deflate enabled (raw)",
        "result",
        r#"{"status_line": "HTTP/1.1 101 Switching Protocols", "headers": ["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover", "upgrade: websocket"],
            "body": "\ufffdk0{\"sid\":\"eio1----------------\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}"}"#,
        "without a context between messages one compression serves all recipients; short messages are not compressed",
    ),
    ("message of one space \"4 \" is read as CONNECT \"/\"", "server_sends", "[]", BLANK),
    ("message of one space \"4 \" is read as CONNECT \"/\"", "closed", "1005", BLANK),
    ("message of one space \"4 \" is read as CONNECT \"/\"", "log", "[]", BLANK),
    ("EVENT without payload", "closed", "1005", NO_NAME),
    (
        "EVENT without payload",
        "log",
        r#"[["connection", "/", "sock1---------------", {}], ["disconnecting", "/", "forced close", ["sock1---------------"]],
            ["disconnect", "/", "forced close"]]"#,
        NO_NAME,
    ),
];
const BLANK: &str = "the type of a packet must be a digit; JavaScript converts a blank to 0";
const NO_NAME: &str = "an event must have a name";

/// Headers that depend on the HTTP library or the time.
const NOT_COMPARED: [&str; 5] = ["connection", "keep-alive", "transfer-encoding", "content-length", "date"];

/// The outcome of replaying a vector.
struct Outcome {
    /// The parts by name: `result`, or `server_sends` and `closed`; and `log`.
    parts: Vec<(&'static str, Value)>,
}

/// Replays a list of a file, each vector on a server of its own. `replay` returns the outcomes of Node and of this server.
async fn replay_all(file: usize, list: &str, replay: impl AsyncFn(&str, &Value, &Server, &Seen) -> [Outcome; 2]) {
    let all = self::file(FILES[file].0);
    let vectors = all[list].as_array().unwrap();
    let mut report = Report::default();
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        if report.exclude(name) {
            continue;
        }
        let seen = Seen::default();
        let server = server(name, &vector["server_options"], &seen).await;
        let [node, ours] = replay(name, vector, &server, &seen).await;
        report.compare(name, node, ours);
        server.finish().await;
    }
    report.finish(FILES[file].0, vectors);
}

#[derive(Default)]
struct Report {
    replayed: usize,
    /// The rows of [`DEVIATIONS`] that were compared with an outcome: vector and part.
    deviating: BTreeSet<(&'static str, &'static str)>,
    excluded: BTreeSet<&'static str>,
    failures: Vec<String>,
}

impl Report {
    /// Whether a vector is in [`EXCLUDED`].
    fn exclude(&mut self, name: &str) -> bool {
        match EXCLUDED.iter().find(|(excluded, _)| *excluded == name) {
            Some((excluded, _)) => self.excluded.insert(excluded),
            None => false,
        }
    }

    /// Compares the outcomes of Node and of this server.
    fn compare(&mut self, name: &str, node: Outcome, ours: Outcome) {
        self.replayed += 1;
        for ((part, node), (_, ours)) in node.parts.into_iter().zip(ours.parts) {
            let deviation = DEVIATIONS.iter().find(|(vector, deviating, ..)| *vector == name && *deviating == part);
            let failure = match deviation {
                None if ours == node => continue,
                None => format!("{name}: {part}\n  Node: {node}\n  ours: {ours}"),
                Some((vector, part, listed, _)) => {
                    self.deviating.insert((vector, part));
                    let listed: Value = serde_json::from_str(listed).unwrap();
                    if ours == node {
                        format!("{name}: {part} is the same as in Node; remove its row from DEVIATIONS")
                    } else if ours != listed {
                        format!("{name}: {part}\n  Node:   {node}\n  listed: {listed}\n  ours:   {ours}")
                    } else {
                        continue;
                    }
                }
            };
            self.failures.push(failure);
        }
    }

    fn finish(self, file: &str, vectors: &[Value]) {
        assert!(self.failures.is_empty(), "{} failures\n{}", self.failures.len(), self.failures.join("\n"));
        assert_eq!(self.replayed + self.excluded.len(), vectors.len());
        for (vector, part, ..) in DEVIATIONS {
            let here = vectors.iter().any(|other| other["name"] == *vector);
            assert!(
                !here || self.deviating.contains(&(*vector, *part)),
                "{vector} has no part {part}: correct DEVIATIONS"
            );
        }
        let deviating: BTreeSet<&str> = self.deviating.iter().map(|(vector, _)| *vector).collect();
        println!(
            "{file}: {} vectors, {} replayed, of which {} deviate as listed, {} excluded",
            vectors.len(),
            self.replayed,
            deviating.len(),
            self.excluded.len()
        );
    }
}

fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const FILES: [(&str, &str); 3] = [
    (include_str!("../../../../vectors/engineio-http.json"), "http"),
    (include_str!("../../../../vectors/engineio-websocket.json"), "websocket"),
    (include_str!("../../../../vectors/socketio-server.json"), "tests"),
];

#[test]
fn every_row_of_the_tables_names_a_vector_and_every_list_is_replayed_or_excluded() {
    let mut names = BTreeSet::new();
    for (text, list) in FILES {
        for (key, value) in file(text).as_object().unwrap() {
            if key == list {
                for vector in value.as_array().unwrap() {
                    let name = vector["name"].as_str().unwrap().to_owned();
                    assert!(names.insert(name.clone()), "two vectors are called {name}");
                }
            } else if key != "about" && key != "versions" {
                assert!(
                    EXCLUDED_LISTS.iter().any(|(excluded, _)| excluded == key),
                    "the list {key} is neither replayed nor excluded"
                );
            }
        }
    }
    let rows = EXCLUDED.iter().map(|(name, _)| name).chain(DEVIATIONS.iter().map(|(name, ..)| name));
    for name in rows {
        assert!(names.contains(*name), "there is no vector {name:?}");
    }
}

/// An answer in the form of the vectors, without what is not compared.
fn answer(answer: &Answer) -> Value {
    let headers: Vec<String> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut value = json!({"status_line": answer.status_line, "headers": headers, "body": answer.text()});
    if answer.ended {
        value["connection_ended_by_server"] = json!(true);
    }
    comparable(value)
}

/// The value for a request that is not answered.
fn silence(ended: bool) -> Value {
    json!({"raw": "", "connection_ended_by_server": ended})
}

/// Removes from a value what is not compared, and replaces random ids by labels.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.remove("chunked");
            if let Some(Value::Array(end)) = members.get_mut("closed_reason_and_ms") {
                // Node's timer was 3 ms late, so the time is rounded down to 10 ms.
                end[1] = json!(end[1].as_u64().unwrap() / 10 * 10);
            }
            if members.contains_key("raw") && members["raw"] != json!("") {
                panic!("not an answer: {members:?}");
            }
            if let Some(Value::Array(headers)) = members.get_mut("headers") {
                let mut kept: Vec<String> = headers
                    .iter()
                    .map(|header| header.as_str().unwrap().split_once(": ").unwrap())
                    .map(|(name, value)| (name.to_ascii_lowercase(), value))
                    .filter(|(name, _)| !NOT_COMPARED.contains(&&**name))
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect();
                kept.sort();
                *headers = kept.into_iter().map(Value::from).collect();
            }
            members.values_mut().for_each(|value| *value = comparable(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| *value = comparable(value.take())),
        Value::String(text) => *text = labelled(text),
        _ => {}
    }
    value
}

/// Replaces a Socket.IO id in an answer to CONNECT, and Node's label for one (`auto7`), by `sock1`: there is only one socket.
fn labelled(text: &str) -> String {
    const BEFORE: &str = "40{\"sid\":\"";
    let mut text = match text.find(BEFORE) {
        Some(at) => {
            let (before, id) = text.split_at(at + BEFORE.len());
            format!("{before}{}{}", app::label(1), &id[20..])
        }
        None => text.to_owned(),
    };
    if text.len() == 20 && text.starts_with("auto") {
        text = app::label(1);
    }
    text
}

/// The entries of Node's log that an application sees here too, as `[kind, …]`.
fn node_log(vector: &Value) -> Value {
    const KINDS: [&str; 5] = ["connection", "event", "disconnecting", "disconnect", "ack received"];
    let log = vector["server_log"].as_array().unwrap().iter();
    let mut kept: Vec<Value> = log.filter(|entry| KINDS.contains(&entry[0].as_str().unwrap())).cloned().collect();
    for entry in &mut kept {
        // In JavaScript the name of an event may be a number, or missing.
        if let (true, Some(Value::Number(name))) = (entry[0] == "event", entry.get(2)) {
            entry[2] = json!(name.to_string());
        }
    }
    comparable(Value::Array(kept))
}

/// The log of the application. Waits until it is `wanted`, or until the limit has passed.
async fn our_log(seen: &Seen, write: fn(&Value) -> Option<Value>, wanted: &Value) -> Value {
    let deadline = Instant::now() + crate::common::PATIENCE;
    loop {
        let log = Value::Array(seen.log().iter().filter_map(write).collect());
        if log == *wanted || Instant::now() > deadline {
            return log;
        }
        std::thread::sleep(Duration::from_micros(100));
        tokio::task::yield_now().await;
    }
}

/// What the log has to be: that of [`DEVIATIONS`], or else Node's.
fn wanted_log(name: &str, node: &Value) -> Value {
    match DEVIATIONS.iter().find(|(vector, part, ..)| *vector == name && *part == "log") {
        Some((_, _, listed, _)) => serde_json::from_str(listed).unwrap(),
        None => node.clone(),
    }
}

/// An entry as in the Engine.IO vectors: without the namespace. `None` for kinds that these vectors do not contain.
fn without_namespace(entry: &Value) -> Option<Value> {
    let entry = entry.as_array().unwrap();
    match entry[0].as_str().unwrap() {
        "event" | "disconnect" => {
            Some(entry.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, value)| value.clone()).collect())
        }
        _ => None,
    }
}

/// An entry as in the Socket.IO vectors: for a disconnect without the id.
fn with_namespace(entry: &Value) -> Option<Value> {
    let mut entry = entry.as_array().unwrap().clone();
    if entry[0] == "disconnect" || entry[0] == "disconnecting" {
        entry.remove(2);
    }
    Some(Value::Array(entry))
}
