//! permessage-deflate and compressed polls over real sockets. The protocol's own tests are in roomcast-protocol.

use crate::common::counting::Counters;
use crate::common::streams::over_streams;
use crate::common::wire::{Answer, Frame, TEXT, Wire, frame, upgrade};
use crate::common::{Event, Server, message, say, until};
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::{Compress, Compression, FlushCompress};
use roomcast_engine::{CloseReason, Connection, Deflate};
use roomcast_protocol::Packet;
use std::io::Read as _;
use std::sync::Arc;

const TARGET: &str = "/engine.io/?EIO=4&transport=websocket";
const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Text and binary with RSV1.
const DEFLATED_TEXT: u8 = 0xc1;
const DEFLATED_BINARY: u8 = 0xc2;

async fn server() -> Server {
    Server::with(|config| config.per_message_deflate = Some(Deflate::default())).await
}

/// A WebSocket whose `open` packet was read.
async fn open(server: &Server, target: &str, headers: &[(&str, &str)]) -> Wire {
    let mut wire = server.connect().await;
    begin(&mut wire, target, headers).await;
    wire
}

async fn begin(wire: &mut Wire, target: &str, headers: &[(&str, &str)]) {
    wire.send(upgrade(target, headers)).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 101, "{answer:?}");
    let agreed = headers.contains(&OFFER).then_some(AGREED);
    assert_eq!(answer.header("sec-websocket-extensions").as_deref(), agreed);
    if !target.contains("sid=") {
        assert!(wire.text().await.starts_with("0{"), "the open packet is below the threshold");
    }
}

/// A message as a client compresses it.
fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1_000);
    Compress::new(Compression::new(6), false).compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

/// Reads a frame of the server as a client does.
fn inflated(frame: &Frame) -> Vec<u8> {
    assert_eq!(frame.first & 0x40, 0x40, "the frame is not compressed");
    let mut out = Vec::new();
    let stream = [&frame.payload[..], &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    DeflateDecoder::new(&stream[..]).read_to_end(&mut out).unwrap();
    out
}

/// JSON-like text of so many bytes.
fn text(length: usize, seed: u32) -> String {
    let mut state = seed;
    let mut text = String::new();
    while text.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(&format!("{{\"id\":{},\"name\":\"user\"}},", state >> 12));
    }
    text.truncate(length);
    text
}

// --- WebSocket ---

async fn long_messages_are_compressed_both_ways() {
    let server = server().await;
    let mut wire = open(&server, TARGET, &[OFFER]).await;
    for length in [1_022, 1_023, 5_000, 100_000] {
        let text = format!("4{}", text(length, 1));
        wire.send(frame(DEFLATED_TEXT, &deflated(text.as_bytes()))).await;
        let echo = wire.frame().await;
        if length < 1_023 {
            assert_eq!((echo.first, &*echo.payload), (TEXT, text.as_bytes()), "below the threshold");
        } else {
            assert_eq!(echo.first, DEFLATED_TEXT);
            assert!(echo.payload.len() < text.len() / 2);
            assert!(inflated(&echo) == text.as_bytes());
        }
    }
    // Binary, and short messages that the client compresses all the same.
    let bytes = vec![7; 3_000];
    wire.send(frame(DEFLATED_BINARY, &deflated(&bytes))).await;
    let echo = wire.frame().await;
    assert_eq!((echo.first, inflated(&echo)), (DEFLATED_BINARY, bytes));
    wire.send(frame(DEFLATED_TEXT, &deflated(b"4short"))).await;
    assert_eq!(wire.text().await, "4short");
    wire.assert_alive("x").await;
    assert_eq!(server.connection().outstanding().packets, 0);
    server.finish().await;
}

async fn without_an_agreement_nothing_is_compressed() {
    let server = server().await;
    for headers in [&[][..], &[("Sec-WebSocket-Extensions", "x-webkit-deflate-frame, permessage-deflate; unknown")]] {
        let mut wire = open(&server, TARGET, headers).await;
        let text = text(5_000, 1);
        wire.say(&format!("4{text}")).await;
        assert!(wire.text().await == format!("4{text}"));
        wire.send(frame(DEFLATED_TEXT, &deflated(b"4x"))).await;
        wire.assert_closed(Some(1002)).await;
    }
    // The server does not offer it.
    let plain = Server::start().await;
    let mut wire = plain.connect().await;
    wire.send(upgrade(TARGET, &[OFFER])).await;
    assert_eq!(wire.answer().await.header("sec-websocket-extensions"), None);
    let malformed = [("Sec-WebSocket-Extensions", ",;permessage-deflate")];
    assert_eq!(open_status(&plain, &malformed).await, 101, "as in Node, the header is not read at all");
    let refusal = server.refused(TARGET, &malformed).await;
    refusal.assert_refused("Invalid or unacceptable Sec-WebSocket-Extensions header");
    let two = [("Sec-WebSocket-Extensions", "permessage-deflate; unknown"), ("Sec-WebSocket-Extensions", OFFER.1)];
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &two)).await;
    assert_eq!(
        wire.answer().await.header("sec-websocket-extensions").as_deref(),
        Some(AGREED),
        "two headers are one list"
    );
    plain.finish().await;
    server.finish().await;
}

async fn open_status(server: &Server, headers: &[(&str, &str)]) -> u16 {
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, headers)).await;
    wire.answer().await.status
}

async fn bombs_and_damage_end_the_connection_with_their_codes() {
    let server = server().await;
    let bomb = deflated(&vec![b'4'; 1_000_001]);
    let whole = frame(DEFLATED_TEXT, &bomb);
    let (half, rest) = bomb.split_at(bomb.len() / 2);
    let fragments = [frame(0x41, half), frame(0x80, rest)].concat();
    let cases = [
        (whole, 1009),
        (fragments, 1009),
        (frame(DEFLATED_TEXT, &[0xff; 50]), 1007),
        (frame(DEFLATED_TEXT, &deflated(b"4\xff")), 1007),
        (frame(0xc9, b""), 1002),
        ([frame(0x01, b"4"), frame(0xc0, b"x")].concat(), 1002),
    ];
    let count = cases.len();
    for (bytes, code) in cases {
        let mut wire = open(&server, TARGET, &[OFFER]).await;
        wire.send(&bytes).await;
        wire.assert_closed(Some(code)).await;
    }
    for index in 0..count {
        assert_eq!(server.closed(index).await, CloseReason::TransportError);
    }
    // At the bound itself the message arrives.
    let mut wire = open(&server, TARGET, &[OFFER]).await;
    wire.send(frame(DEFLATED_TEXT, &deflated(&vec![b'4'; 1_000_000]))).await;
    assert_eq!(inflated(&wire.frame().await).len(), 1_000_000);
    server.finish().await;
}

async fn a_session_that_is_upgraded_compresses_then() {
    let server = server().await;
    let sid = server.handshake().await;
    let mut wire = open(&server, &format!("{TARGET}&sid={sid}"), &[OFFER]).await;
    wire.send(frame(DEFLATED_TEXT, &deflated(b"2probe"))).await;
    assert_eq!(wire.text().await, "3probe");
    let long = text(5_000, 1);
    server.say(&long);
    assert_eq!(server.poll(&sid).await.body, format!("4{long}"));
    wire.say("5").await;
    until("the session has moved", || server.connection().transport() == roomcast_engine::Transport::WebSocket).await;
    server.say(&long);
    assert!(inflated(&wire.frame().await) == format!("4{long}").as_bytes());
    server.finish().await;
}

/// One packet for all: with and without the extension, with base64, and by polling.
async fn a_broadcast_is_compressed_once_and_everybody_gets_their_form() {
    let counters = Arc::new(Counters::default());
    let _guard = metrics::set_default_local_recorder(&*counters);
    let server = server().await;
    let sids = [server.handshake().await, server.handshake().await];
    let mut wires = Vec::new();
    for number in 0..110 {
        let target = if number % 10 == 9 { format!("{TARGET}&b64=1") } else { TARGET.to_owned() };
        let headers: &[_] = if number < 100 { &[OFFER] } else { &[] };
        wires.push((number, open(&server, &target, headers).await));
    }
    let everybody: Vec<Arc<Connection>> = (0..112).map(|index| server.opened(index)).collect();
    let long = text(10_000, 1);
    let packet = Arc::new(message(&long));
    let binary = Arc::new(Packet::binary(long.as_bytes()).unwrap());
    for packet in [&packet, &binary] {
        let sent: Vec<_> = everybody.iter().map(|connection| connection.send(packet)).collect();
        drop(sent);
    }
    for (number, wire) in &mut wires {
        let (text, binary) = (wire.frame().await, wire.frame().await);
        let base64 = *number % 10 == 9;
        if *number < 100 {
            assert_eq!(text.first, DEFLATED_TEXT);
            assert!(inflated(&text) == format!("4{long}").as_bytes());
        } else {
            assert!((text.first, &*text.payload) == (TEXT, format!("4{long}").as_bytes()));
        }
        match (base64, *number < 100) {
            (true, _) => assert!(binary.first == TEXT && binary.payload[0] == b'b'),
            (false, true) => assert!(binary.first == DEFLATED_BINARY && inflated(&binary) == long.as_bytes()),
            (false, false) => assert!(binary.first == 0x82 && binary.payload == long.as_bytes()),
        }
    }
    for sid in &sids {
        let body = server.poll(sid).await.body;
        assert!(body.starts_with(&format!("4{long}\u{1e}b")), "{}", body.len());
    }
    assert_eq!(counters.of("roomcast_compressed_total{what=message}"), 2, "the text, and the binary message");
    let (before, after) = ("roomcast_compressed_bytes_before_total", "roomcast_compressed_bytes_after_total");
    let of = |name: &str| counters.of(&format!("{name}{{what=message}}"));
    assert_eq!(of(before), (packet.size() + binary.size()) as u64);
    assert!(of(after) > 0 && of(after) < of(before) / 2);
    server.finish().await;
}

async fn a_packet_may_be_exempt() {
    let server = server().await;
    let mut wire = open(&server, TARGET, &[OFFER]).await;
    let long = text(10_000, 1);
    let connection = server.connection();
    connection.send(&Arc::new(message(&long).with_compress(false))).wake();
    assert!(wire.text().await == format!("4{long}"));
    connection.send(&Arc::new(message(&long))).wake();
    assert_eq!(wire.frame().await.first, DEFLATED_TEXT);
    server.finish().await;
}

/// More than the kernel and the client take at once, so that frames leave in parts.
async fn a_slow_client_gets_all_in_order() {
    let server = server().await;
    let mut wire = server.narrow().await;
    begin(&mut wire, TARGET, &[OFFER]).await;
    let texts: Vec<String> = (0..150).map(|number| text(60_000, number * 7 + 1)).collect();
    let connection = server.connection();
    for (number, text) in texts.iter().enumerate() {
        // Some of them plain, and one in a packet of its own turn.
        connection.send(&Arc::new(message(text).with_compress(number % 3 != 0))).wake();
    }
    assert!(connection.outstanding().packets > 0, "nothing waits");
    for (number, text) in texts.iter().enumerate() {
        let frame = wire.frame().await;
        let payload = if number % 3 == 0 { frame.payload } else { inflated(&frame) };
        assert!(payload == format!("4{text}").as_bytes(), "message {number}");
    }
    until("nothing is left", || connection.outstanding().bytes == 0).await;
    server.finish().await;
}

// --- polling ---

async fn gzip(server: &Server, sid: &str, accepts: &str) -> Answer {
    let target = format!("/engine.io/?EIO=4&transport=polling&sid={sid}");
    server.ask("GET", &target, &[("Accept-Encoding", accepts)], "").await
}

async fn long_polls_are_compressed_for_those_who_accept_it() {
    let counters = Arc::new(Counters::default());
    let _guard = metrics::set_default_local_recorder(&*counters);
    let server = Server::with(|config| config.http_compression = Some(Deflate::default())).await;
    let sid = server.handshake().await;
    let connection = server.connection();
    for (length, accepts, encoding) in [
        (1_022, "gzip", None),
        (1_023, "gzip", Some("gzip")),
        (30_000, "gzip, deflate, br, zstd", Some("gzip")),
        (30_000, "deflate", Some("deflate")),
        (30_000, "deflate;q=0.9, gzip;q=0.1", Some("deflate")),
        (30_000, "br", None),
        (30_000, "gzip;q=0", None),
    ] {
        let text = text(length, 1);
        say(&connection, &text);
        let answer = gzip(&server, &sid, accepts).await;
        assert_eq!((answer.status, answer.header("content-encoding").as_deref()), (200, encoding), "{accepts}");
        assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; charset=UTF-8"));
        assert_eq!(answer.header("content-length"), Some(answer.bytes.len().to_string()));
        let mut body = Vec::new();
        match encoding {
            Some("gzip") => drop(GzDecoder::new(&answer.bytes[..]).read_to_end(&mut body).unwrap()),
            Some(_) => drop(ZlibDecoder::new(&answer.bytes[..]).read_to_end(&mut body).unwrap()),
            None => body.clone_from(&answer.bytes),
        }
        assert!(body == format!("4{text}").as_bytes());
        until("the answer has left", || connection.outstanding().bytes == 0).await;
    }
    assert_eq!(counters.of("roomcast_compressed_total{what=poll}"), 4);
    // As in Node, one packet that may be compressed is enough for the payload.
    let exempt = || Arc::new(message(&text(5_000, 1)).with_compress(false));
    connection.send(&exempt()).wake();
    assert_eq!(gzip(&server, &sid, "gzip").await.header("content-encoding"), None);
    connection.send(&exempt()).wake();
    say(&connection, "x");
    assert_eq!(gzip(&server, &sid, "gzip").await.header("content-encoding").as_deref(), Some("gzip"));
    // A GET that is held is answered in the same way.
    let target = format!("/engine.io/?EIO=4&transport=polling&sid={sid}");
    let mut held = server.begin(crate::common::wire::request("GET", &target, &[("Accept-Encoding", "gzip")], "")).await;
    say(&connection, &text(5_000, 1));
    assert_eq!(held.answer().await.header("content-encoding").as_deref(), Some("gzip"));
    assert!(server.log.events(0).iter().all(|event| !matches!(event, Event::Closed(_))));
    server.finish().await;
}

async fn polls_are_not_compressed_by_default() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.say(&text(30_000, 1));
    assert_eq!(gzip(&server, &sid, "gzip").await.header("content-encoding"), None);
    server.finish().await;
}

over_streams! {
    [serve, serve_tls, awkward, tls, axum]
    {
        current_thread: long_messages_are_compressed_both_ways, without_an_agreement_nothing_is_compressed,
            bombs_and_damage_end_the_connection_with_their_codes, a_session_that_is_upgraded_compresses_then,
            a_broadcast_is_compressed_once_and_everybody_gets_their_form, a_packet_may_be_exempt,
            a_slow_client_gets_all_in_order, long_polls_are_compressed_for_those_who_accept_it,
            polls_are_not_compressed_by_default;
    }
}
