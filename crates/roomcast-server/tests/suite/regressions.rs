//! Bugs that other servers had and that concern more than one part; a number with `#` is that of an issue of socketioxide. More of them
//! are in `connects.rs`, `handlers.rs`, `acks.rs` and `disconnects.rs`.

use crate::common::{Log, Server, until};
use bytes::Bytes;
use roomcast_server::{Ack, Args, Socket};
use std::future::ready;

/// A socket that is in several of the rooms gets the event once (#813).
async fn two_rooms_one_delivery() {
    let server = Server::start(|io| {
        io.of("/").on_connection(|socket: Socket| ready(socket.join(["a", "b"]).map(drop)));
    })
    .await;
    let mut wire = server.joined().await;
    server.io.to("a").to("b").to(["a", "b"]).emit("once", ()).unwrap();
    assert_eq!(wire.texts().await, ["42[\"once\"]"]);
    server.io.to("a").except("b").emit("never", ()).unwrap();
    assert!(wire.sync().await.is_empty());
    server.finish().await;
}

/// Text while attachments are awaited closes the connection, and later bytes complete no packet (#811).
async fn text_between_attachments() {
    let log = Log::default();
    let server = Server::start(|io| {
        log.watch(&io.of("/"));
        let seen = log.clone();
        io.of("/").on_fallback(move |_: Socket, args: Args| {
            seen.push(args.items());
            ready(())
        });
    })
    .await;
    let mut wire = server.joined().await;
    let mut bytes = crate::common::wire::frame(1, b"451-[\"b\",{\"_placeholder\":true,\"num\":0}]");
    bytes.extend(crate::common::wire::frame(1, b"42[\"between\"]"));
    bytes.extend(crate::common::wire::frame(2, b"x"));
    bytes.extend(crate::common::wire::frame(1, b"42[\"after\"]"));
    wire.send(bytes).await;
    wire.assert_closed().await;
    log.expect(&["/ connected", "/ forced close"]).await;
    server.finish().await;
}

/// A sid that names no session is refused, whatever it looks like, and opens no session (#815).
async fn a_malformed_sid_is_no_handshake() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    let long = "a".repeat(5_000);
    for sid in ["x", "%00", "%ff", "eio1---------------", "eio1-----------------", "..%2f", &long] {
        let answer = server.poll(sid).await;
        assert_eq!(
            (answer.status(), &*answer.text()),
            (400, "{\"code\":1,\"message\":\"Session ID unknown\"}"),
            "{sid}"
        );
    }
    assert_eq!(server.io.connections(), 0);
    server.finish().await;
}

/// The server's path must end where a segment of the URL ends (#816).
async fn a_path_that_only_begins_alike_is_not_ours() {
    let server = Server::with(|builder| builder.path("/socket.io"), |_| {}).await;
    for (path, status) in [
        ("/socket.io", 200),
        ("/socket.io/", 200),
        ("/socket.io/more", 200),
        ("/socket.io-admin", 404),
        ("/socket.io-admin/", 404),
        ("/socket.i", 404),
    ] {
        let target = format!("{path}?EIO=4&transport=polling");
        assert_eq!(server.ask("GET", &target, &[], "").await.status(), status, "{path}");
    }
    server.finish().await;
}

/// Packets that wait for one poll have one separator between each two. Texts, attachments and the events around them stay apart, and
/// bytes that look like a packet stay bytes (engineioxide 0.17.4).
async fn packets_in_a_payload_stay_apart() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    let sid = server.join_by_polling().await;
    let emit = |name: &str, bytes: &'static [u8]| server.io.emit(name, Bytes::from_static(bytes)).unwrap();
    server.io.emit("a", "\u{1e}").unwrap();
    // The base64 form of the first begins with a `4`.
    emit("b", b"\xe3\x8e\x34");
    server.io.emit("c", 1).unwrap();
    emit("d", b"");
    server.io.emit("e", &(Bytes::from_static(b"42[]"), Bytes::from_static(b"\x1e"))).unwrap();
    let header = |name: &str| format!("451-[\"{name}\",{{\"_placeholder\":true,\"num\":0}}]");
    let expected = [
        "42[\"a\",\"\\u001e\"]".to_owned(),
        header("b"),
        "b4440".to_owned(),
        "42[\"c\",1]".to_owned(),
        header("d"),
        "b".to_owned(),
        "452-[\"e\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]".to_owned(),
        "bNDJbXQ==".to_owned(),
        "bHg==".to_owned(),
    ];
    assert_eq!(server.poll(&sid).await.text(), expected.join("\u{1e}"));
    server.finish().await;
}

/// The same packets by POST and by WebSocket are the same events, even if base64 begins with `b4`.
async fn bytes_come_in_by_either_transport() {
    let log = Log::default();
    let seen = log.clone();
    let server = Server::start(|io| {
        io.of("/").on("b", move |_: Socket, bytes: Bytes| {
            seen.push(format!("{bytes:x?}"));
            ready(())
        });
    })
    .await;
    let header = "451-[\"b\",{\"_placeholder\":true,\"num\":0}]";
    let sid = server.join_by_polling().await;
    server.post(&sid, &format!("{header}\u{1e}b4440\u{1e}{header}\u{1e}b")).await;
    let mut wire = server.joined().await;
    for text in [header, "b4440", header, "b"] {
        wire.say(text).await;
    }
    assert!(wire.sync().await.is_empty());
    let (some, none) = (format!("{:x?}", Bytes::from_static(b"\xe3\x8e\x34")), format!("{:x?}", Bytes::new()));
    log.expect(&[&some, &none, &some, &none]).await;
    server.finish().await;
}

/// An upgrade ends while a GET is held and events are emitted: each event arrives once, in order (#809).
async fn an_upgrade_between_emits_loses_nothing() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    for _ in 0..20 {
        let sid = server.join_by_polling().await;
        let mut got = Vec::new();
        let mut held = server.hold(&sid).await;
        server.io.emit("n", 0).unwrap();
        let mut wire = server.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await;
        wire.say("2probe").await;
        assert_eq!(wire.text().await, "3probe");
        server.io.emit("n", 1).unwrap();
        got.push(held.answer("GET").await.text());
        let mut held = server.hold(&sid).await;
        server.io.emit("n", 2).unwrap();
        wire.say("5").await;
        server.io.emit("n", 3).unwrap();
        let answer = held.answer("GET").await;
        // On several threads the upgrade may end before the server begins this GET, which it then refuses. No event may be lost then either.
        if answer.status() == 200 {
            got.push(answer.text());
        }
        server.io.emit("n", 4).unwrap();
        got.extend(wire.texts().await);
        let got = got.join("\u{1e}").split('\u{1e}').filter(|text| *text != "6").collect::<Vec<_>>().join(" ");
        assert_eq!(got, (0..5).map(|n| format!("42[\"n\",{n}]")).collect::<Vec<_>>().join(" "));
        drop(wire);
        until("the client is gone", || server.io.connections() == 0).await;
    }
    server.finish().await;
}

/// The nesting limit of arguments, auth and acknowledgements, at the limit and one past it. Passing arguments on costs no depth.
async fn nesting_at_the_limit_and_one_past_it() {
    const LIMIT: usize = 128;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let server = Server::start(|io| {
        io.of("/").on("relay", |socket: Socket, args: Args| ready(socket.emit("relayed", &args)));
        io.of("/").on("echo", |_: Socket, args: Args, ack: Ack| ready(ack.send(&args)));
    })
    .await;
    // The array of arguments is one level, and so is the auth object.
    let inside = nested(LIMIT - 1);
    let too_deep = nested(LIMIT);
    let mut wire = server.websocket().await;
    wire.say(&format!("40{{\"a\":{inside}}}")).await;
    assert!(wire.text().await.starts_with("40{\"sid\":\""));
    wire.say(&format!("42[\"relay\",{inside}]")).await;
    wire.say(&format!("427[\"echo\",{inside}]")).await;
    assert_eq!(wire.texts().await, [format!("42[\"relayed\",{inside}]"), format!("437[{inside}]")]);
    for deep in [
        format!("42[\"relay\",{too_deep}]"),
        format!("430[{too_deep}]"),
        format!("42[\"relay\",{}]", "[".repeat(400_000)),
        format!("42[\"relay\",{}]", "{\"a\":".repeat(150_000)),
    ] {
        let mut wire = server.joined().await;
        wire.say(&deep).await;
        wire.assert_closed().await;
    }
    let mut wire = server.websocket().await;
    wire.say(&format!("40{{\"a\":{too_deep}}}")).await;
    wire.assert_closed().await;
    server.finish().await;
}

/// An event named `error` is an ordinary event.
async fn error_is_an_ordinary_event() {
    let server = Server::start(|io| {
        io.of("/").on("error", |_: Socket, (): (), ack: Ack| ready(ack.send("fine")));
    })
    .await;
    let mut wire = server.joined().await;
    wire.say("420[\"error\"]").await;
    assert_eq!(wire.texts().await, ["430[\"fine\"]"]);
    wire.say("44{\"message\":\"x\"}").await;
    wire.assert_closed().await;
    server.finish().await;
}

/// Event names that are reserved, and input that has not the form of an event.
async fn input_that_is_not_an_event_closes_the_connection() {
    let server = Server::start(|io| drop(io.of("/"))).await;
    for data in [
        "[{\"toString\":\"foo\"}]",
        "[true]",
        "[null]",
        "[[]]",
        "{}",
        "\"x\"",
        "[]",
        "[\"connect\"]",
        "[\"connect_error\"]",
        "[\"disconnect\"]",
        "[\"disconnecting\"]",
        "[\"newListener\"]",
        "[\"removeListener\"]",
    ] {
        let mut wire = server.joined().await;
        wire.say(&format!("42{data}")).await;
        wire.assert_closed().await;
    }
    server.finish().await;
}

crate::common::runtime::on_both_runtimes! {
    two_rooms_one_delivery,
    text_between_attachments,
    a_malformed_sid_is_no_handshake,
    a_path_that_only_begins_alike_is_not_ours,
    packets_in_a_payload_stay_apart,
    bytes_come_in_by_either_transport,
    an_upgrade_between_emits_loses_nothing,
    nesting_at_the_limit_and_one_past_it,
    error_is_an_ordinary_event,
    input_that_is_not_an_event_closes_the_connection,
}
