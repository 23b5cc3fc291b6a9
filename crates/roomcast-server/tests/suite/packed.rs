//! A server whose parser is MessagePack, over both transports and in a cluster with a server of the default parser.

use crate::common::wire::{Frame, Wire};
use crate::common::{Frozen, Log, Server, until};
use bytes::Bytes;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork, ServerId};
use roomcast_protocol::msgpack::{Flavour, Reader, Writer, from_json, to_json};
use roomcast_protocol::{EngineData, EnginePacket, Packet};
use roomcast_server::{
    Ack, Args, Attachment, Builder, ConnectError, OverRate, Parser, Rate, RateLimits, Socket, SocketIo,
};
use std::future::ready;
use std::time::Duration;

fn packed(builder: Builder) -> Builder {
    builder.parser(Parser::MessagePack)
}

/// A packet as a JavaScript client writes it. `data` is JSON, or empty for `undefined`.
fn packet(kind: u64, namespace: &str, id: Option<u64>, data: &str, attachments: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).map(4 + usize::from(id.is_some())).str("type").uint(kind).str("data");
    if data.is_empty() {
        Writer::new(&mut out).undefined();
    } else {
        from_json(data, attachments, &mut out, Flavour::Notepack).unwrap();
    }
    let mut writer = Writer::new(&mut out);
    writer.str("options").map(1).str("compress").bool(true);
    if let Some(id) = id {
        writer.str("id").uint(id);
    }
    writer.str("nsp").str(namespace);
    out
}

/// A server's packet as JSON with `undefined` left out, and the bytes in it.
fn json(message: &[u8]) -> (String, Vec<Bytes>) {
    let (mut json, mut attachments) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(message);
    to_json(&mut reader, &mut json, &mut attachments, 128).unwrap();
    reader.finish().unwrap();
    (String::from_utf8(json).unwrap(), attachments)
}

/// Bytes as text, `b` and base64.
fn base64(message: &[u8]) -> String {
    let mut payload = Vec::new();
    Packet::binary(message).unwrap().push_polling(&mut payload);
    String::from_utf8(payload).unwrap()
}

/// A server's packet in that form.
fn from_base64(text: &str) -> (String, Vec<Bytes>) {
    match EnginePacket::from_text(text).unwrap().data {
        EngineData::Binary(message) => json(&message),
        text @ EngineData::Text(_) => panic!("not bytes: {text:?}"),
    }
}

/// The next packet over a WebSocket.
async fn next(wire: &mut Wire) -> (String, Vec<Bytes>) {
    match wire.frame().await {
        Frame::Binary(message) => json(&message),
        frame => panic!("not a packet: {frame:?}"),
    }
}

async fn next_text(wire: &mut Wire) -> String {
    next(wire).await.0
}

/// A WebSocket that has joined `/`.
async fn joined(server: &Server) -> Wire {
    let mut wire = server.websocket().await;
    wire.say_bytes(&packet(0, "/", None, "", &[])).await;
    let welcome = next_text(&mut wire).await;
    assert!(welcome.starts_with(r#"{"type":0,"data":{"sid":""#) && welcome.ends_with(r#""},"nsp":"/"}"#), "{welcome}");
    wire
}

fn application(io: &SocketIo) {
    for name in ["/", "/chat"] {
        let namespace = io.of(name);
        namespace.on("echo", |_: Socket, args: Args, ack: Ack| {
            ack.send(&args).unwrap();
            ready(())
        });
        namespace.on("back", |socket: Socket, args: Args| {
            socket.emit("back", &args).unwrap();
            ready(())
        });
        namespace.on("bye", |socket: Socket| async move { socket.disconnect(false) });
        namespace.on("ask", |socket: Socket| async move {
            let answer = socket.emit_with_ack("asked", &1).await.unwrap();
            socket.emit("answered", &answer).unwrap();
        });
    }
    io.of("/guarded").middleware(|socket: Socket| {
        let auth: serde_json::Value = socket.auth().unwrap();
        ready(Err(ConnectError::new("no").with_data(&auth)))
    });
}

#[tokio::test]
async fn everything_over_a_websocket() {
    let server = Server::with(packed, application).await;
    let mut wire = joined(&server).await;
    let bytes = [Bytes::from_static(b"\0\xff")];
    let placeholder = r#"{"_placeholder":true,"num":0}"#;

    let echo = format!(r#"["echo",1.5,{{"k":[{placeholder}]}},null]"#);
    wire.say_bytes(&packet(2, "/", Some(0), &echo, &bytes)).await;
    let answer = format!(r#"{{"id":0,"type":3,"data":[1.5,{{"k":[{placeholder}]}},null],"nsp":"/"}}"#);
    assert_eq!(next(&mut wire).await, (answer, bytes.to_vec()));

    wire.say_bytes(&packet(2, "/", None, &format!(r#"["back",{placeholder}]"#), &bytes)).await;
    let event = format!(r#"{{"type":2,"data":["back",{placeholder}],"nsp":"/"}}"#);
    assert_eq!(next(&mut wire).await, (event, bytes.to_vec()));

    wire.say_bytes(&packet(2, "/", None, r#"["ask"]"#, &[])).await;
    assert_eq!(next_text(&mut wire).await, r#"{"type":2,"data":["asked",1],"id":0,"nsp":"/"}"#);
    wire.say_bytes(&packet(3, "/", Some(0), r#"["yes"]"#, &[])).await;
    assert_eq!(next_text(&mut wire).await, r#"{"type":2,"data":["answered","yes"],"nsp":"/"}"#);

    server.io.of("/").everyone().emit("all", Attachment::from(vec![7])).unwrap();
    let all = format!(r#"{{"type":2,"data":["all",{placeholder}],"nsp":"/"}}"#);
    assert_eq!(next(&mut wire).await, (all, vec![Bytes::from_static(b"\x07")]));

    wire.say_bytes(&packet(0, "/nope", None, "", &[])).await;
    assert_eq!(next_text(&mut wire).await, r#"{"type":4,"data":{"message":"Invalid namespace"},"nsp":"/nope"}"#);
    wire.say_bytes(&packet(0, "/guarded", None, r#"{"a":1}"#, &[])).await;
    let refusal = r#"{"type":4,"data":{"message":"no","data":{"a":1}},"nsp":"/guarded"}"#;
    assert_eq!(next_text(&mut wire).await, refusal);

    wire.say_bytes(&packet(0, "/chat", None, "", &[])).await;
    assert!(next_text(&mut wire).await.ends_with(r#""},"nsp":"/chat"}"#));
    wire.say_bytes(&packet(2, "/chat", None, r#"["bye"]"#, &[])).await;
    assert_eq!(next_text(&mut wire).await, r#"{"type":1,"nsp":"/chat"}"#);
    wire.say_bytes(&packet(1, "/", None, "", &[])).await;
    assert!(wire.sync().await.is_empty(), "the connection stays");
    assert_eq!(server.io.of("/").everyone().count().await.value, 0);
    server.finish().await;
}

#[tokio::test]
async fn everything_by_polling_in_base64() {
    let server = Server::with(packed, application).await;
    let sid = server.handshake().await;
    let heard = |payload: &str| payload.split('\u{1e}').map(from_base64).collect::<Vec<_>>();
    assert_eq!(server.post(&sid, &base64(&packet(0, "/", None, "", &[]))).await.text(), "ok");
    let welcome = heard(&server.poll(&sid).await.text());
    assert!(welcome[0].0.starts_with(r#"{"type":0,"data":{"sid":""#) && welcome.len() == 1);
    let bytes = [Bytes::from_static(b"\x1e\x1e")];
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    // Two in one payload.
    let both = [
        base64(&packet(2, "/", Some(7), &format!(r#"["echo",{placeholder}]"#), &bytes)),
        base64(&packet(2, "/", None, r#"["back","b"]"#, &[])),
    ];
    assert_eq!(server.post(&sid, &both.join("\u{1e}")).await.text(), "ok");
    let answers = [
        (format!(r#"{{"id":7,"type":3,"data":[{placeholder}],"nsp":"/"}}"#), bytes.to_vec()),
        (r#"{"type":2,"data":["back","b"],"nsp":"/"}"#.to_owned(), Vec::new()),
    ];
    assert_eq!(heard(&server.poll(&sid).await.text()), answers);
    server.finish().await;
}

/// Over a WebSocket with `b64` too.
#[tokio::test]
async fn base64_over_a_websocket() {
    let server = Server::with(packed, application).await;
    let mut wire = server.upgrade("EIO=4&transport=websocket&b64=1").await;
    wire.text().await;
    wire.say(&base64(&packet(0, "/", None, "", &[]))).await;
    let (welcome, _) = from_base64(&wire.text().await);
    assert!(welcome.starts_with(r#"{"type":0,"#), "{welcome}");
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_a_packet_closes_the_connection_with_nodes_reason() {
    let log = Log::default();
    let server = Server::with(packed, |io: &SocketIo| log.watch(&io.of("/"))).await;
    let mut ended = 0;
    let mut ends = async |wire: &mut Wire| {
        wire.assert_closed().await;
        ended += 2;
        until("the reason", || log.lines().len() >= ended).await;
        assert_eq!(log.lines()[ended - 2..], ["/ connected", "/ forced close"]);
    };
    for malformed in [&b""[..], b"\xc1", b"\x80", b"\x83\xa4type\x02", b"\x81\xa4type\x09", b"\xc0"] {
        let mut wire = joined(&server).await;
        wire.say_bytes(malformed).await;
        ends(&mut wire).await;
    }
    for text in ["40", "42[\"e\"]", "4"] {
        let mut wire = joined(&server).await;
        wire.say(text).await;
        ends(&mut wire).await;
    }
    // Packets that are sound, and may not be sent now.
    for (kind, namespace, data) in [(0, "/", ""), (4, "/", "\"x\""), (2, "/other", "[\"e\"]"), (3, "/other", "[]")] {
        let mut wire = joined(&server).await;
        wire.say_bytes(&packet(kind, namespace, Some(1), data, &[])).await;
        ends(&mut wire).await;
    }
    server.finish().await;
}

/// The other way round: a client of MessagePack at a server of the default parser.
#[tokio::test]
async fn the_default_parser_refuses_messagepack() {
    let server = Server::start(application).await;
    let mut wire = server.joined().await;
    wire.say_bytes(&packet(2, "/", None, r#"["back",1]"#, &[])).await;
    wire.assert_closed().await;
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_joins_nothing_in_time_is_closed() {
    let server = Server::with(|builder| packed(builder).connect_timeout(Duration::from_secs(2)), application).await;
    let clock = Frozen::new();
    let (mut joined, mut silent) = (joined(&server).await, server.websocket().await);
    clock.advance(2_100).await;
    silent.assert_closed().await;
    assert!(joined.sync().await.is_empty());
    drop(clock);
    server.finish().await;
}

/// What a client is told of a rate that it exceeds.
#[tokio::test]
async fn refusals_of_rates_are_written_by_the_parser() {
    let limited = |builder: Builder| {
        let mut limits = RateLimits::default();
        limits.events = Some(Rate::per_second(10).unwrap().burst(1));
        limits.over = OverRate::Error;
        packed(builder).rate_limits(limits)
    };
    let server = Server::with(limited, application).await;
    let clock = Frozen::new();
    let mut wire = joined(&server).await;
    wire.say_bytes(&packet(2, "/", Some(1), r#"["echo"]"#, &[])).await;
    assert_eq!(next_text(&mut wire).await, r#"{"id":1,"type":3,"data":[],"nsp":"/"}"#);
    wire.say_bytes(&packet(2, "/", Some(2), r#"["echo"]"#, &[])).await;
    let refusal = r#"{"ok":false,"error":"rate limit exceeded","retryAfterMs":100}"#;
    assert_eq!(next_text(&mut wire).await, format!(r#"{{"id":2,"type":3,"data":[{refusal}],"nsp":"/"}}"#));
    wire.say_bytes(&packet(0, "/chat", None, "", &[])).await;
    let refusal = r#"{"message":"rate limit exceeded","data":{"retryAfterMs":100}}"#;
    assert_eq!(next_text(&mut wire).await, format!(r#"{{"type":4,"data":{refusal},"nsp":"/chat"}}"#));
    drop(clock);
    server.finish().await;
}

/// What travels between servers does not depend on the parser, so each may have its own.
#[tokio::test]
async fn servers_with_different_parsers_form_one_cluster() {
    let network = MemoryNetwork::new();
    let member = |name: &str, parser: Parser| {
        let cluster = Cluster::with_id(ServerId::from(name), network.broker(), ClusterOptions::default());
        move |builder: Builder| builder.parser(parser).cluster(&cluster)
    };
    let one = Server::with(member("one", Parser::MessagePack), application).await;
    let two = Server::with(member("two", Parser::Default), application).await;
    let (mut packed, mut plain) = (joined(&one).await, two.joined().await);
    for server in [&one, &two] {
        let namespace = server.io.of("/");
        while namespace.server_count().await.value < 2 {
            tokio::task::yield_now().await;
        }
    }
    let bytes = Attachment::from(vec![7]);
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    for server in [&one, &two] {
        server.io.of("/").emit("all", ("a", &bytes)).unwrap();
        let all = format!(r#"{{"type":2,"data":["all","a",{placeholder}],"nsp":"/"}}"#);
        assert_eq!(next(&mut packed).await, (all, vec![Bytes::from_static(b"\x07")]));
        assert_eq!(plain.text().await, format!(r#"451-["all","a",{placeholder}]"#));
        assert_eq!(plain.frame().await, Frame::Binary(vec![7]));
    }
    // Acknowledgements cross over too.
    let asking = two.io.clone();
    let asked = tokio::spawn(async move { asking.of("/").everyone().emit_with_ack("q", &1).await.unwrap() });
    assert_eq!(next_text(&mut packed).await, r#"{"type":2,"data":["q",1],"id":0,"nsp":"/"}"#);
    packed.say_bytes(&packet(3, "/", Some(0), r#"["packed"]"#, &[])).await;
    assert_eq!(plain.text().await, "420[\"q\",1]");
    plain.say("430[\"plain\"]").await;
    let mut answers: Vec<String> = asked.await.unwrap().answers.iter().map(|args| args.items().to_owned()).collect();
    answers.sort_unstable();
    assert_eq!(answers, ["\"packed\"", "\"plain\""]);
    for server in [one, two] {
        server.finish().await;
    }
}

/// An emit whose raw arguments nobody has checked is refused, and nothing is sent.
#[tokio::test]
async fn arguments_that_are_not_json_are_an_error_of_the_emit() {
    let server = Server::with(packed, application).await;
    let mut wire = joined(&server).await;
    let broken = Args::from_parts("[".into(), Vec::new());
    let error = server.io.of("/").emit("e", &broken).unwrap_err();
    assert!(error.to_string().starts_with("arguments that MessagePack cannot hold"), "{error}");
    assert!(wire.sync().await.is_empty());
    server.finish().await;
}
