//! WebSocket sessions over real sockets.

use crate::common::over::Over;
use crate::common::streams::over_streams;
use crate::common::wire::{ACCEPT, BINARY, CLOSE, Frame, KEY, PING, PONG, TEXT, frame, request, upgrade};
use crate::common::{Event, Server, message};
use roomcast_engine::{CloseReason, Cookie, Cors, OutboxLimits, Transport, bind};
use roomcast_protocol::Packet;
use std::sync::Arc;
use std::time::Duration;

const TARGET: &str = "/engine.io/?EIO=4&transport=websocket";

// --- the handshake ---

async fn the_answer_is_101_and_the_open_packet_comes_first() {
    let server = Server::start().await;
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &[])).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade").as_deref(), Some("websocket"));
    assert_eq!(answer.header("connection").as_deref(), Some("Upgrade"));
    assert_eq!(answer.header("sec-websocket-accept").as_deref(), Some(ACCEPT));
    for absent in ["sec-websocket-extensions", "sec-websocket-protocol", "set-cookie", "content-length"] {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
    let sid = server.connection().sid().to_string();
    assert_eq!(
        wire.text().await,
        format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#)
    );
    assert_eq!(server.connection().transport(), Transport::WebSocket);
    wire.assert_alive("x").await;
    server.finish().await;
}

async fn hooks_and_cors_reach_the_101_and_the_cookie_does_not() {
    let server = Server::with(|config| {
        config.cookie = Some(Cookie::default());
        config.cors = Some(Cors::origins(["http://a.example"]).unwrap().credentials(true));
        config.headers = Some(Arc::new(|_, headers, initial| {
            headers.insert("x-initial", initial.to_string().parse().unwrap());
        }));
    })
    .await;
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &[("Origin", "http://a.example")])).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("http://a.example"));
    assert_eq!(answer.header("vary").as_deref(), Some("Origin"));
    assert_eq!(answer.header("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(answer.header("x-initial").as_deref(), Some("true"));
    assert_eq!(answer.header("set-cookie"), None);
    server.finish().await;
}

async fn the_first_subprotocol_is_echoed() {
    let server = Server::start().await;
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &[("Sec-WebSocket-Protocol", "b, a")])).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol").as_deref()), (101, Some("b")));
    let refusal = server.refused(TARGET, &[("Sec-WebSocket-Protocol", "a,,b")]).await;
    refusal.assert_refused("Invalid Sec-WebSocket-Protocol header");
    server.finish().await;
}

async fn bad_handshakes_are_refused_as_by_ws() {
    let server = Server::start().await;
    let key = "Missing or invalid Sec-WebSocket-Key header";
    server.refused(TARGET, &[("Sec-WebSocket-Key", "")]).await.assert_refused(key);
    server.refused(TARGET, &[("Sec-WebSocket-Key", "abc")]).await.assert_refused(key);
    for version in ["", "12", "13, 8"] {
        let answer = server.refused(TARGET, &[("Sec-WebSocket-Version", version)]).await;
        answer.assert_refused("Missing or invalid Sec-WebSocket-Version header");
        assert_eq!(answer.header("sec-websocket-version").as_deref(), Some("13, 8"));
    }
    for other in ["h2c", "websocket, h2c"] {
        server.refused(TARGET, &[("Upgrade", other)]).await.assert_refused("Invalid Upgrade header");
    }
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &[]).replacen("GET", "POST", 1)).await;
    wire.answer().await.assert_refused("Bad handshake method");
    assert_eq!(server.log.opened(), 0);
    // Version 8 is accepted as 13 is, and headers are case-insensitive.
    let mut wire = server.connect().await;
    let headers = [("Sec-WebSocket-Version", "8"), ("Upgrade", "WebSocket"), ("Connection", "keep-alive, upgrade")];
    wire.send(upgrade(TARGET, &headers)).await;
    assert_eq!(wire.answer().await.status, 101);
    server.finish().await;
}

async fn refusals_are_bare_text_and_end_the_connection() {
    let server = Server::with(|config| {
        config.allow_request = Some(Arc::new(|request| {
            let refuse = request.headers.contains_key("x-refuse");
            Box::pin(async move { if refuse { Err("no thanks".to_owned()) } else { Ok(()) } })
        }));
    })
    .await;
    let sid = server.handshake().await;
    let cases = [
        ("EIO=4&transport=foo".to_owned(), "Transport unknown"),
        ("EIO=4".to_owned(), "Transport unknown"),
        ("EIO=4&transport=websocket&sid=nope".to_owned(), "Session ID unknown"),
        (format!("EIO=3&transport=websocket&sid={sid}"), "Bad request"),
    ];
    for (query, text) in cases {
        let mut wire = server.connect().await;
        wire.send(upgrade(&format!("/engine.io/?{query}"), &[])).await;
        wire.answer().await.assert_refused(text);
        wire.assert_ended().await;
    }
    // 400, not 403.
    server.refused(TARGET, &[("X-Refuse", "1")]).await.assert_refused("no thanks");
    assert_eq!(server.log.opened(), 1);
    server.finish().await;
}

/// Browsers let a foreign page open a WebSocket with the user's cookies, so a list of origins must refuse it.
async fn a_list_of_origins_refuses_a_foreign_websocket() {
    let (ours, evil) = (("Origin", "https://app.example"), ("Origin", "https://evil.example"));
    let lists = [Cors::origins(["https://app.example"]), Cors::origins(["https://app.example", "https://b.example"])];
    for list in lists {
        let server = Server::with(|config| config.cors = Some(list.unwrap())).await;
        server.refused(TARGET, &[evil, ("Cookie", "session=1")]).await.assert_refused("Forbidden");
        assert_eq!(server.log.opened(), 0);
        for headers in [&[ours][..], &[]] {
            let mut wire = server.connect().await;
            wire.send(upgrade(TARGET, headers)).await;
            assert_eq!(wire.answer().await.status, 101);
        }
        server.finish().await;
    }
}

async fn an_upgrade_of_a_foreign_path_ends_without_an_answer() {
    let server = Server::start().await;
    let mut wire = server.connect().await;
    let begun = tokio::time::Instant::now();
    wire.send(upgrade("/other/?EIO=4&transport=websocket", &[])).await;
    server.assert_unanswered(wire).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    server.finish().await;
}

async fn without_the_websocket_transport_an_upgrade_is_a_plain_request() {
    let server = Server::with(|config| config.transports = vec![Transport::Polling]).await;
    let answer = server.refused(TARGET, &[]).await;
    assert_eq!(answer.error(), (400, 0, "Transport unknown".to_owned()));
    server.finish().await;
}

async fn an_upgrade_to_polling_is_accepted_and_closed() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for query in ["EIO=4&transport=polling".to_owned(), format!("EIO=4&transport=polling&sid={sid}")] {
        server.upgrade(&query).await.assert_closed(None).await;
    }
    assert_eq!(server.log.closed(0), None);
    server.finish().await;
}

/// A client of version 1 or 2 shows the status. Node would accept it and write the refusal into the WebSocket.
async fn another_protocol_is_refused() {
    let server = Server::start().await;
    for query in ["EIO=3&transport=websocket", "transport=websocket"] {
        let mut wire = server.connect().await;
        wire.send(upgrade(&format!("/engine.io/?{query}"), &[])).await;
        wire.answer().await.assert_refused("Unsupported protocol version");
        wire.assert_ended().await;
    }
    assert_eq!(server.log.opened(), 0);
    server.finish().await;
}

/// nginx by default speaks HTTP/1.0 to its backend, and passes an upgrade on. As in Node, the answer is of HTTP/1.1.
async fn an_upgrade_by_http_1_0_is_accepted() {
    // hyper supports no such upgrade and answers 505. Only `serve` supports it.
    let server = Server::over(Over::Serve, bind("127.0.0.1:0").await.unwrap(), |_| {}, |_| {}).await;
    let mut wire = server.connect().await;
    let headers = [("Sec-WebSocket-Protocol", "a, b")];
    wire.send(upgrade(TARGET, &headers).replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("upgrade").as_deref()), (101, Some("websocket")));
    assert_eq!(answer.header("sec-websocket-accept").as_deref(), Some(ACCEPT));
    assert_eq!(answer.header("sec-websocket-protocol").as_deref(), Some("a"));
    assert!(wire.text().await.starts_with("0{\"sid\":\""));
    wire.assert_alive("x").await;
    // Refusals are answered as usual.
    let mut refused = server.connect().await;
    let other = upgrade(&TARGET.replace("EIO=4", "EIO=3"), &[]);
    refused.send(other.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert!(String::from_utf8(refused.rest().await).unwrap().starts_with("HTTP/1.0 400 "));
    // A session by polling can be upgraded like this too.
    let sid = server.handshake().await;
    let mut probing = server.connect().await;
    let target = format!("{TARGET}&sid={sid}");
    probing.send(upgrade(&target, &[]).replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert_eq!(probing.answer().await.status, 101);
    probing.say("5").await;
    probing.assert_alive("y").await;
    server.finish().await;
}

// --- messages ---

async fn text_and_binary_are_echoed_in_order() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    for length in [0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 300_000] {
        let text = "x".repeat(length);
        wire.say(&format!("4{text}")).await;
        wire.send(frame(BINARY, text.as_bytes())).await;
        assert_eq!(wire.text().await, format!("4{text}"));
        assert_eq!(wire.frame().await, Frame { first: BINARY, payload: text.clone().into_bytes() });
    }
    server.finish().await;
}

async fn binary_is_base64_text_where_the_client_wants_it() {
    let server = Server::start().await;
    let mut wire = server.upgrade("EIO=4&transport=websocket&b64=1").await;
    wire.text().await;
    wire.send(frame(BINARY, &[1, 2])).await;
    assert_eq!(wire.text().await, "bAQI=");
    let mut wire = server.upgrade("EIO=4&transport=websocket&b64=").await;
    wire.text().await;
    // Base64 is accepted from all clients.
    wire.say("bAQID").await;
    assert_eq!(wire.frame().await, Frame { first: BINARY, payload: vec![1, 2, 3] });
    assert_eq!(server.log.events(1), [Event::Binary(vec![1, 2, 3])]);
    server.finish().await;
}

async fn a_record_separator_means_nothing() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    wire.assert_alive("a\u{1e}4b").await;
    assert_eq!(server.log.texts(0), ["a\u{1e}4b"]);
    server.finish().await;
}

async fn fragments_make_one_message() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    let first = frame(0x01, "4a\u{e9}".as_bytes());
    // The character is split, and a ping comes between.
    let (head, tail) = first.split_at(first.len() - 1);
    let head = frame(0x01, &head[6..]);
    wire.send([head, frame(PING, b"p"), frame(0x00, &[tail[0], b'b']), frame(0x80, b"c")].concat()).await;
    assert_eq!(wire.frame().await, Frame { first: PONG, payload: b"p".to_vec() });
    assert_eq!(wire.text().await, "4a\u{e9}bc");
    server.finish().await;
}

async fn packets_without_a_meaning_are_ignored() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    for packet in ["0", "1", "3", "5", "6", "3probe", "1x", "0{}"] {
        wire.say(packet).await;
    }
    wire.assert_alive("still").await;
    assert_eq!(server.log.texts(0), ["still"]);
    server.finish().await;
}

async fn a_message_that_is_not_a_packet_ends_the_session() {
    for (text, reason) in [
        ("9", CloseReason::ParseError),
        ("", CloseReason::ParseError),
        ("\u{e9}", CloseReason::ParseError),
        ("{}", CloseReason::ParseError),
        ("2", CloseReason::TransportError),
        ("2probe", CloseReason::TransportError),
    ] {
        let server = Server::start().await;
        let mut wire = server.websocket().await;
        // What comes after it in the same segment is ignored.
        wire.send([frame(TEXT, b"4a"), frame(TEXT, text.as_bytes()), frame(TEXT, b"4b")].concat()).await;
        assert_eq!(wire.text().await, "4a");
        wire.assert_closed(None).await;
        assert_eq!(server.closed(0).await, reason, "{text:?}");
        assert_eq!(server.log.texts(0), ["a"]);
        server.finish().await;
    }
}

// --- control frames ---

/// Pings of every length.
async fn a_ping_of_any_length_is_answered_by_the_same_bytes() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    let payload = |length: usize| (0..length).map(|byte| byte as u8 ^ 0xa5).collect::<Vec<_>>();
    for length in 0..=125 {
        wire.send(frame(PING, &payload(length))).await;
        assert_eq!(wire.frame().await, Frame { first: PONG, payload: payload(length) });
    }
    // All at once, and unsolicited pongs.
    wire.send(
        (0..=125).flat_map(|length| [frame(PING, &payload(length)), frame(PONG, b"x")].concat()).collect::<Vec<_>>(),
    )
    .await;
    for length in 0..=125 {
        assert_eq!(wire.frame().await, Frame { first: PONG, payload: payload(length) });
    }
    wire.assert_alive("x").await;
    server.finish().await;
}

async fn close_codes_and_reasons_are_echoed() {
    let server = Server::start().await;
    let codes = [None, Some(1000), Some(1001), Some(3000), Some(4000), Some(4999)];
    for (index, code) in codes.into_iter().enumerate() {
        let mut wire = server.websocket().await;
        let mut payload = code.map_or(Vec::new(), |code: u16| code.to_be_bytes().to_vec());
        if code.is_some() {
            payload.extend(b"bye");
        }
        wire.send(frame(CLOSE, &payload)).await;
        assert_eq!(wire.frame().await, Frame { first: CLOSE, payload });
        wire.assert_ended().await;
        assert_eq!(server.closed(index).await, CloseReason::TransportClose);
    }
    server.finish().await;
}

async fn a_connection_that_just_ends_is_a_transport_close() {
    let server = Server::start().await;
    drop(server.websocket().await);
    assert_eq!(server.closed(0).await, CloseReason::TransportClose);
    server.websocket().await.reset();
    assert_eq!(server.closed(1).await, CloseReason::TransportClose);
    server.finish().await;
}

async fn broken_frames_end_with_the_code_of_the_rule() {
    let cases: [(&[u8], u16); 9] = [
        // Not masked; an unknown opcode; a continuation without a message; a fragmented ping; a ping that is too long.
        (b"\x81\x024a", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x09\x80\0\0\0\0", 1002),
        (b"\x89\xfe\0\x7e\0\0\0\0", 1002),
        // Close frames: one byte, a code that may not be sent, a reason that is not UTF-8.
        (b"\x88\x81\0\0\0\0\x03", 1002),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007),
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
    ];
    let server = Server::with(|config| config.close_timeout = Duration::from_secs(30)).await;
    for (index, (bytes, code)) in cases.into_iter().enumerate() {
        let mut wire = server.websocket().await;
        wire.send(bytes).await;
        // The client need not answer: the server ends the stream behind its close frame.
        let payload = code.to_be_bytes().to_vec();
        assert_eq!(wire.frame().await, Frame { first: CLOSE, payload });
        wire.assert_ended().await;
        assert_eq!(server.closed(index).await, CloseReason::TransportError, "{bytes:x?}");
    }
    server.finish().await;
}

async fn a_message_may_be_as_long_as_max_payload_and_not_longer() {
    let server = Server::with(|config| config.max_payload = 100).await;
    let fits = format!("4{}", "a".repeat(99));
    let mut wire = server.websocket().await;
    wire.say(&fits).await;
    assert_eq!(wire.text().await, fits);
    wire.send(frame(BINARY, &[7; 100])).await;
    assert_eq!(wire.frame().await, Frame { first: BINARY, payload: vec![7; 100] });
    wire.say(&format!("{fits}a")).await;
    wire.assert_closed(Some(1009)).await;
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    // In fragments, and only declared.
    let fragments: Vec<u8> =
        std::iter::once(frame(0x02, &[0])).chain((0..100).map(|_| frame(0x00, &[0]))).flatten().collect();
    for bytes in [frame(BINARY, &[7; 101]), fragments, b"\x82\xfe\0\x80".to_vec()] {
        let mut wire = server.websocket().await;
        wire.send(bytes).await;
        wire.assert_closed(Some(1009)).await;
    }
    server.finish().await;
}

/// The server's close frame comes after everything that was queued, and is followed by the end even if the client is
/// silent.
async fn a_client_that_does_not_answer_the_close_frame_is_dropped() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    wire.say("9").await;
    assert_eq!(wire.frame().await, Frame { first: CLOSE, payload: vec![] });
    wire.assert_ended().await;
    server.finish().await;
}

// --- the stream ---

async fn frames_behind_the_handshake_in_one_segment_are_not_lost() {
    let server = Server::start().await;
    let mut wire = server.connect().await;
    wire.send([upgrade(TARGET, &[]).as_bytes(), &frame(TEXT, b"4a"), &frame(TEXT, b"4b")[..5]].concat()).await;
    assert_eq!(wire.answer().await.status, 101);
    wire.text().await;
    assert_eq!(wire.text().await, "4a");
    wire.send(&frame(TEXT, b"4b")[5..]).await;
    assert_eq!(wire.text().await, "4b");
    server.finish().await;
}

/// The whole conversation, cut into two segments at each of its bytes: the first is read before the second is sent.
async fn frames_may_be_split_at_every_byte() {
    let server = Server::start().await;
    let conversation = [
        frame(TEXT, "4\u{e9}".as_bytes()),
        frame(PING, b"ping"),
        frame(BINARY, &[9; 130]),
        frame(0x01, b"4a"),
        frame(0x80, b"b"),
    ]
    .concat();
    let mut wire = server.websocket().await;
    for at in 0..=conversation.len() {
        wire.send(&conversation[..at]).await;
        tokio::task::yield_now().await;
        wire.send(&conversation[at..]).await;
        assert_eq!(wire.text().await, "4\u{e9}");
        assert_eq!(wire.frame().await, Frame { first: PONG, payload: b"ping".to_vec() });
        assert_eq!(wire.frame().await, Frame { first: BINARY, payload: vec![9; 130] });
        assert_eq!(wire.text().await, "4ab");
    }
    // Byte by byte.
    for byte in &conversation {
        wire.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.text().await, "4\u{e9}");
    wire.frame().await;
    wire.frame().await;
    assert_eq!(wire.text().await, "4ab");
    server.finish().await;
}

/// More than one vectored write takes, and far more than the kernel takes at once, so that some writes end inside a
/// packet.
async fn what_waits_leaves_in_order_and_whole() {
    let server = Server::with(|config| config.outbox = OutboxLimits::soft(64_000_000)).await;
    let mut wire = server.narrow_websocket().await;
    let connection = server.connection();
    for number in 0..1_000 {
        let text = format!("{number} {}", "x".repeat(number * 77 % 50_000));
        connection.send(&Arc::new(message(&text))).wake();
        if number % 10 == 0 {
            connection.send(&Arc::new(Packet::binary(text.as_bytes()).unwrap())).wake();
        }
    }
    for number in 0..1_000 {
        let text = format!("{number} {}", "x".repeat(number * 77 % 50_000));
        assert_eq!(wire.text().await, format!("4{text}"));
        if number % 10 == 0 {
            assert_eq!(wire.frame().await, Frame { first: BINARY, payload: text.into_bytes() });
        }
    }
    wire.assert_alive("x").await;
    server.finish().await;
}

async fn while_the_handler_takes_no_messages_nothing_is_read() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    wire.assert_alive("a").await;
    server.log.pause();
    // More than the kernel's buffers hold, so that it must stop.
    const FLOOD: usize = 20_000_000;
    assert!(wire.flood(&frame(BINARY, &[0; 500_000]), FLOOD).await < FLOOD, "the flood was swallowed");
    // One read may have been in progress.
    assert!(server.log.events(0).len() <= 2, "{}", server.log.events(0).len());
    server.log.resume();
    drop(wire);
    assert_eq!(server.closed(0).await, CloseReason::TransportClose);
    server.finish().await;
}

// --- hostile handshakes ---

/// Extensions are ignored.
async fn extension_headers_are_ignored() {
    let server = Server::start().await;
    let long = "permessage-deflate;".repeat(700);
    let commas = ",".repeat(15_000);
    for extensions in ["constructor", ",;constructor", "__proto__", "permessage-deflate", "a; b=\"c", &long, &commas] {
        let mut wire = server.connect().await;
        wire.send(upgrade(TARGET, &[("Sec-WebSocket-Extensions", extensions)])).await;
        let answer = wire.answer().await;
        assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
    }
    // Beyond the limit of a request's head, it is refused for its size.
    server.assert_too_large(upgrade(TARGET, &[("Sec-WebSocket-Extensions", &",".repeat(60_000))])).await;
    server.finish().await;
}

/// A subprotocol header full of spaces.
async fn spaces_in_the_subprotocol_header() {
    let server = Server::start().await;
    let mut wire = server.connect().await;
    wire.send(upgrade(TARGET, &[("Sec-WebSocket-Protocol", &format!("a{},b", " ".repeat(15_000)))])).await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol").as_deref()), (101, Some("a")));
    server
        .assert_too_large(upgrade(TARGET, &[("Sec-WebSocket-Protocol", &format!("a{},b", " ".repeat(50_000)))]))
        .await;
    server.finish().await;
}

/// Floods of headers, headers given twice, and a `Connection` header with several tokens.
async fn headers_of_the_handshake() {
    let server = Server::start().await;
    let flood: Vec<_> = (0..2_000).map(|number| (format!("X-{number}"), "x".to_owned())).collect();
    let flood: Vec<(&str, &str)> = flood.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut wire = server.connect().await;
    wire.try_send(upgrade(TARGET, &flood)).await;
    assert_eq!(wire.answer().await.status, 431);
    // Both within the limits of hyper and one header past them.
    for (count, status) in [(90, 101), (101, 431)] {
        let mut wire = server.connect().await;
        wire.try_send(upgrade(TARGET, &flood[..count])).await;
        assert_eq!(wire.answer().await.status, status);
    }
    let twice = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let mut wire = server.connect().await;
    wire.send(request("GET", TARGET, &twice, "")).await;
    wire.answer().await.assert_refused("Invalid Upgrade header");
    for connection in ["keep-alive, Upgrade", "UPGRADE", "upgrade,keep-alive"] {
        let mut wire = server.connect().await;
        wire.send(upgrade(TARGET, &[("Connection", connection)])).await;
        assert_eq!(wire.answer().await.status, 101, "{connection}");
    }
    server.finish().await;
}

over_streams! {
    [serve, serve_tls, awkward, tls, axum]
    {
        current_thread: the_answer_is_101_and_the_open_packet_comes_first,
            hooks_and_cors_reach_the_101_and_the_cookie_does_not, the_first_subprotocol_is_echoed,
            bad_handshakes_are_refused_as_by_ws, refusals_are_bare_text_and_end_the_connection,
            a_list_of_origins_refuses_a_foreign_websocket, an_upgrade_of_a_foreign_path_ends_without_an_answer,
            without_the_websocket_transport_an_upgrade_is_a_plain_request,
            an_upgrade_to_polling_is_accepted_and_closed, another_protocol_is_refused, an_upgrade_by_http_1_0_is_accepted,
            text_and_binary_are_echoed_in_order, binary_is_base64_text_where_the_client_wants_it,
            a_record_separator_means_nothing, fragments_make_one_message, packets_without_a_meaning_are_ignored,
            a_message_that_is_not_a_packet_ends_the_session, a_ping_of_any_length_is_answered_by_the_same_bytes,
            close_codes_and_reasons_are_echoed, a_connection_that_just_ends_is_a_transport_close,
            broken_frames_end_with_the_code_of_the_rule, a_message_may_be_as_long_as_max_payload_and_not_longer,
            a_client_that_does_not_answer_the_close_frame_is_dropped,
            frames_behind_the_handshake_in_one_segment_are_not_lost, frames_may_be_split_at_every_byte,
            what_waits_leaves_in_order_and_whole, while_the_handler_takes_no_messages_nothing_is_read,
            extension_headers_are_ignored, spaces_in_the_subprotocol_header, headers_of_the_handshake;
    }
}
