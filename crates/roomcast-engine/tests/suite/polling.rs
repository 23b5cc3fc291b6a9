//! Long-polling over real sockets.

use crate::common::streams::over_streams;
use crate::common::wire::{head, request};
use crate::common::{Event, Server, message, polling, until};
use roomcast_engine::{CloseReason, Cookie, EngineConfig, Transport};
use roomcast_protocol::limits::MAX_PACKETS_PER_PAYLOAD;
use roomcast_protocol::{Args, Attachment, EngineKind, IdError, Packet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

// --- handshake ---

async fn the_handshake_has_the_options_in_nodes_order() {
    let server = Server::with(|config| {
        config.ping_interval = Duration::from_millis(1_000);
        config.ping_timeout = Duration::from_millis(500);
        config.max_payload = 1_234;
    })
    .await;
    let answer = server.get("EIO=4&transport=polling&t=abc&foo=bar&foo=baz").await;
    let sid = answer.sid();
    assert_eq!(sid.len(), 20);
    answer.assert_payload(&format!(
        r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":1000,"pingTimeout":500,"maxPayload":1234}}"#
    ));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(server.engine.sessions(), 1);
    assert_eq!(server.connection().transport(), Transport::Polling);
    let handshake = server.connection().handshake().clone();
    assert_eq!(handshake.url(), "/engine.io/?EIO=4&transport=polling&t=abc&foo=bar&foo=baz");
    assert_eq!(handshake.header("host"), Some("localhost"));
    assert!(handshake.address().unwrap().ip().is_loopback());
    server.finish().await;
}

async fn upgrades_are_offered_only_where_they_are_enabled() {
    let changes: [fn(&mut EngineConfig); 2] =
        [|config| config.allow_upgrades = false, |config| config.transports = vec![Transport::Polling]];
    for change in changes {
        let server = Server::with(change).await;
        let answer = server.get("EIO=4&transport=polling").await;
        assert!(answer.body.contains(r#""upgrades":[],"#), "{answer:?}");
        server.finish().await;
    }
}

async fn only_paths_below_the_configured_one_are_served() {
    let server = Server::start().await;
    assert_eq!(server.ask("GET", "/engine.io/foo/bar?EIO=4&transport=polling", &[], "").await.status, 200);
    for foreign in ["/engine.io?EIO=4&transport=polling", "/engine.iox/?EIO=4&transport=polling", "/", "/socket.io/"] {
        server.ask("GET", foreign, &[], "").await.assert_empty(404);
    }
    server.finish().await;
}

async fn internet_explorer_is_told_to_leave_scripts_alone() {
    let server = Server::start().await;
    let target = "/engine.io/?EIO=4&transport=polling";
    for agent in ["Mozilla/4.0 (compatible;MSIE 8.0)", "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0)"] {
        let answer = server.ask("GET", target, &[("User-Agent", agent)], "").await;
        assert_eq!(answer.header("x-xss-protection").as_deref(), Some("0"));
    }
    let answer = server.ask("GET", target, &[("User-Agent", "Mozilla/5.0 Firefox")], "").await;
    assert_eq!(answer.header("x-xss-protection"), None);
    server.finish().await;
}

async fn the_cookie_is_set_by_the_handshake_alone() {
    let server = Server::with(|config| config.cookie = Some(Cookie::default())).await;
    let answer = server.get("EIO=4&transport=polling").await;
    let sid = answer.sid();
    assert_eq!(answer.header("set-cookie"), Some(format!("io={sid}; Path=/; HttpOnly; SameSite=Lax")));
    server.post(&sid, "4x").await.assert_ok();
    let poll = server.poll(&sid).await;
    poll.assert_payload("4x");
    assert_eq!(poll.header("set-cookie"), None);
    server.finish().await;

    let server = Server::with(|config| {
        config.cookie = Some(Cookie {
            name: "sess".to_owned(),
            path: "/x".to_owned(),
            domain: Some("example.com".to_owned()),
            max_age: Some(60),
            expires: Some(UNIX_EPOCH + Duration::from_secs(784_111_777)),
            http_only: false,
            secure: true,
            same_site: "Strict",
            partitioned: true,
            priority: Some("High"),
        });
    })
    .await;
    let answer = server.get("EIO=4&transport=polling").await;
    let expected = format!(
        "sess={}; Max-Age=60; Domain=example.com; Path=/x; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Secure; Partitioned; Priority=High; SameSite=Strict",
        answer.sid()
    );
    assert_eq!(answer.header("set-cookie"), Some(expected));
    server.finish().await;
}

/// Dates that a header cannot tell become the nearest one.
async fn a_cookie_ends_at_a_date_that_a_header_can_tell() {
    let day = Duration::from_secs(86_400);
    let ends = [
        (UNIX_EPOCH - day, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (UNIX_EPOCH + day * 365 * 20_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];
    for (end, told) in ends {
        let cookie = Cookie { expires: Some(end), ..Cookie::default() };
        let server = Server::with(|config| config.cookie = Some(cookie)).await;
        let header = server.get("EIO=4&transport=polling").await.header("set-cookie").unwrap();
        assert!(header.contains(&format!("; Path=/; Expires={told}; HttpOnly")), "{header}");
        server.finish().await;
    }
}

/// Node's option `initialPacket`: with the answer to the handshake, before anything else.
async fn the_initial_packet_follows_the_open_packet() {
    let event = Packet::event("/", None, &Args::event("hello", &Attachment::from(vec![1, 2])).unwrap()).unwrap();
    let event = Arc::new(event);
    let server = Server::with(|config| config.initial_packet = Some(event)).await;
    let payload = server.get("EIO=4&transport=polling").await.body;
    let packets: Vec<&str> = payload.split('\u{1e}').collect();
    assert!(packets[0].starts_with("0{\"sid\""), "{payload}");
    assert_eq!(packets[1..], [r#"451-["hello",{"_placeholder":true,"num":0}]"#, "bAQI="]);
    server.finish().await;
    let text = Packet::engine(EngineKind::Message, "first").unwrap();
    let server = Server::with(|config| config.initial_packet = Some(Arc::new(text))).await;
    let mut wire = server.websocket().await;
    assert_eq!(wire.text().await, "4first");
    server.finish().await;
}

async fn the_headers_hook_sees_which_answer_is_the_first() {
    let server = Server::with(|config| {
        config.headers = Some(Arc::new(|request, headers, initial| {
            assert!(request.uri.path().starts_with("/engine.io/"));
            headers.insert("x-every", "1".parse().unwrap());
            if initial {
                headers.insert("x-initial", "1".parse().unwrap());
            }
        }));
    })
    .await;
    let answer = server.get("EIO=4&transport=polling").await;
    let both = |answer: &crate::common::wire::Answer| (answer.header("x-every"), answer.header("x-initial"));
    assert_eq!(both(&answer), (Some("1".to_owned()), Some("1".to_owned())));
    let post = server.post(&answer.sid(), "4x").await;
    assert_eq!(both(&post), (Some("1".to_owned()), None));
    assert_eq!(both(&server.poll(&answer.sid()).await), (Some("1".to_owned()), None));
    server.finish().await;
}

// --- messages ---

async fn a_post_is_answered_and_the_next_get_takes_what_waits() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.post(&sid, "4hello é😀").await.assert_ok();
    server.poll(&sid).await.assert_payload("4hello é😀");
    // Several packets each way, on one connection that is kept alive.
    let mut wire = server.connect().await;
    wire.send(request("POST", &polling(&sid), &[], "4a\u{1e}4\u{1e}4b")).await;
    wire.answer().await.assert_ok();
    wire.send(request("GET", &polling(&sid), &[], "")).await;
    wire.answer().await.assert_payload("4a\u{1e}4\u{1e}4b");
    assert_eq!(server.log.texts(0), ["hello é😀", "a", "", "b"]);
    server.finish().await;
}

async fn a_held_get_is_answered_by_a_later_send() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for text in ["first", "second"] {
        let mut held = server.hold(&sid).await;
        server.say(text);
        held.answer().await.assert_payload(&format!("4{text}"));
    }
    server.finish().await;
}

async fn binary_travels_as_base64_both_ways() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    // Text and binary packets that wait together stay separate. Base64 text that begins with `4` stays binary.
    server.post(&sid, "4x\u{1e}bAQIDBA==\u{1e}b4444\u{1e}4y\u{1e}b").await.assert_ok();
    let sent = [
        Event::Text("x".to_owned()),
        Event::Binary(vec![1, 2, 3, 4]),
        Event::Binary(vec![0xe3, 0x8e, 0x38]),
        Event::Text("y".to_owned()),
        Event::Binary(vec![]),
    ];
    assert_eq!(server.log.events(0), sent);
    server.poll(&sid).await.assert_payload("4x\u{1e}bAQIDBA==\u{1e}b4444\u{1e}4y\u{1e}b");
    // Without padding, and in the URL-safe alphabet.
    server.post(&sid, "b-_8").await.assert_ok();
    server.get(&format!("EIO=4&transport=polling&b64=1&sid={sid}")).await.assert_payload("b+/8=");
    server.finish().await;
}

async fn an_answer_is_not_limited_by_max_payload() {
    let server = Server::with(|config| config.max_payload = 50).await;
    let sid = server.handshake().await;
    let text = "a".repeat(70_000);
    server.say(&text);
    server.say("b");
    server.poll(&sid).await.assert_payload(&format!("4{text}\u{1e}4b"));
    server.finish().await;
}

async fn packets_without_a_meaning_are_ignored() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for packet in ["3", "5", "6", "0", "0{}", "3probe"] {
        server.post(&sid, packet).await.assert_ok();
    }
    server.post(&sid, "4x").await.assert_ok();
    server.poll(&sid).await.assert_payload("4x");
    assert_eq!(server.log.texts(0), ["x"]);
    server.finish().await;
}

// --- the end ---

async fn a_close_packet_ends_the_session() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    server.post(&sid, "1").await.assert_ok();
    held.answer().await.assert_payload("6");
    assert_eq!(server.closed(0).await, CloseReason::TransportClose);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_ping_of_the_client_ends_the_session() {
    for ping in ["2", "2probe"] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        let mut held = server.hold(&sid).await;
        server.post(&sid, ping).await.assert_ok();
        held.answer().await.assert_payload("1");
        assert_eq!(server.closed(0).await, CloseReason::TransportError);
        server.assert_unknown(&sid).await;
        server.finish().await;
    }
}

async fn a_dropped_poll_ends_the_session() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    drop(server.hold(&sid).await);
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_second_get_ends_the_session() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut first = server.hold(&sid).await;
    server.poll(&sid).await.assert_empty(400);
    first.answer().await.assert_payload("1");
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_second_post_ends_the_session_and_the_first_has_no_answer() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let first = server.begin(format!("{}Content-Length: 10\r\n\r\n4abc", head("POST", &polling(&sid), &[]))).await;
    server.post(&sid, "4x").await.assert_empty(400);
    server.assert_unanswered(first).await;
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    assert_eq!(server.log.texts(0), [""; 0]);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_dropped_post_ends_the_session() {
    for body in ["Content-Length: 10\r\n\r\n4abc", "Transfer-Encoding: chunked\r\n\r\n4\r\n4abc\r\n"] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        drop(server.begin(format!("{}{body}", head("POST", &polling(&sid), &[]))).await);
        assert_eq!(server.closed(0).await, CloseReason::TransportError);
        assert_eq!(server.log.texts(0), [""; 0]);
        server.assert_unknown(&sid).await;
        server.finish().await;
    }
}

/// Node answers 400 and ends the connection.
async fn a_chunked_body_that_is_broken_is_answered_400() {
    for body in ["zz\r\n4x\r\n", "2\r\n4xxx\r\n0\r\n\r\n"] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        let mut held = server.hold(&sid).await;
        let mut wire = server.connect().await;
        wire.send(format!("{}Transfer-Encoding: chunked\r\n\r\n{body}", head("POST", &polling(&sid), &[]))).await;
        let answer = wire.answer().await;
        answer.assert_empty(400);
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        wire.assert_ended().await;
        held.answer().await.assert_payload("1");
        assert_eq!(server.closed(0).await, CloseReason::TransportError);
        assert_eq!(server.log.texts(0), [""; 0]);
        server.finish().await;
    }
}

/// The application may keep the connection of a session long after its end.
async fn a_session_that_ends_frees_what_waits() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let packet = Arc::new(message("x"));
    server.connection().send(&packet).wake();
    assert_eq!(Arc::strong_count(&packet), 2);
    server.post(&sid, "1").await.assert_ok();
    assert_eq!(server.closed(0).await, CloseReason::TransportClose);
    assert_eq!(Arc::strong_count(&packet), 1);
    server.finish().await;
}

async fn octet_streams_are_refused() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let answer = server.ask("POST", &polling(&sid), &[("Content-Type", "application/octet-stream")], "4x").await;
    answer.assert_empty(400);
    held.answer().await.assert_payload("1");
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    server.assert_unknown(&sid).await;
    // Any other type is accepted.
    let sid = server.handshake().await;
    for kind in ["application/octet-stream; charset=x", "application/json", "text/plain;charset=UTF-8"] {
        server.ask("POST", &polling(&sid), &[("Content-Type", kind)], "4x").await.assert_ok();
    }
    server.finish().await;
}

async fn malformed_bodies_end_the_session_after_the_good_packets() {
    for (body, good) in [
        ("", [""; 0].as_slice()),
        ("abc", &[]),
        ("4a\u{1e}9\u{1e}4b", &["a"]),
        ("4a\u{1e}", &["a"]),
        ("\u{1e}4a", &[]),
        ("é", &[]),
    ] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        // Messages of the payload are echoed, so the poll is still held at the end only if there are none.
        let mut held = server.hold(&sid).await;
        server.post(&sid, body).await.assert_ok();
        held.answer().await.assert_payload("1");
        assert_eq!(server.log.texts(0), good, "{body:?}");
        assert_eq!(server.closed(0).await, CloseReason::ParseError);
        server.assert_unknown(&sid).await;
        server.finish().await;
    }
}

async fn a_body_that_is_not_utf8_is_refused() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = server.connect().await;
    wire.send(format!("{}Content-Length: 2\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
    wire.send(b"\xff").await;
    wire.answer().await.assert_empty(400);
    assert_eq!(server.closed(0).await, CloseReason::ParseError);
    assert_eq!(server.log.texts(0), [""; 0]);
    server.finish().await;
}

async fn a_character_may_be_split_between_segments() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire =
        server.begin([head("POST", &polling(&sid), &[]).as_bytes(), b"Content-Length: 3\r\n\r\n4\xc3"].concat()).await;
    wire.send(b"\xa9").await;
    wire.answer().await.assert_ok();
    assert_eq!(server.log.texts(0), ["é"]);
    server.finish().await;
}

async fn a_body_has_a_deadline() {
    let server = Server::with(|config| config.body_timeout = Duration::from_millis(100)).await;
    let sid = server.handshake().await;
    let mut slow = server.begin(format!("{}Content-Length: 3\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
    slow.answer().await.assert_empty(408);
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    server.assert_unknown(&sid).await;
    server.finish().await;
}

async fn a_handler_that_takes_no_messages_holds_the_post_back() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.log.pause();
    let mut post = server.begin(request("POST", &polling(&sid), &[], "4x")).await;
    // The first POST is still being served, so a second one is an overlap. Otherwise it would get around the flow
    // control.
    server.post(&sid, "4y").await.assert_empty(400);
    post.answer().await.assert_ok();
    assert_eq!(server.closed(0).await, CloseReason::TransportError);
    assert_eq!(server.log.texts(0), ["x"]);

    server.log.resume();
    let sid = server.handshake().await;
    server.log.pause();
    let mut post = server.begin(request("POST", &polling(&sid), &[], "4x")).await;
    server.log.resume();
    post.answer().await.assert_ok();
    server.post(&sid, "4y").await.assert_ok();
    server.poll(&sid).await.assert_payload("4x\u{1e}4y");
    server.finish().await;
}

// --- limits ---

async fn max_payload_counts_bytes_and_the_session_survives() {
    let server = Server::with(|config| config.max_payload = 100).await;
    let sid = server.handshake().await;
    let fits = format!("4{}a", "é".repeat(49));
    assert_eq!(fits.len(), 100);
    let too_long = format!("4{}", "é".repeat(50));
    assert_eq!((too_long.len(), too_long.chars().count()), (101, 51));
    let chunked = |body: &str| {
        let chunks: String =
            body.chars().map(|character| format!("{:x}\r\n{character}\r\n", character.len_utf8())).collect();
        format!("{}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n", head("POST", &polling(&sid), &[]))
    };
    for _ in 0..2 {
        server.post(&sid, &too_long).await.assert_empty(413);
        server.post(&sid, &fits).await.assert_ok();
        for (body, status) in [(&too_long, 413), (&fits, 200)] {
            let mut wire = server.connect().await;
            wire.send(chunked(body)).await;
            assert_eq!(wire.answer().await.status, status);
        }
        server.poll(&sid).await.assert_payload(&format!("{fits}\u{1e}{fits}"));
    }
    assert_eq!(server.log.closed(0), None);
    server.finish().await;
}

async fn a_megabyte_and_a_byte_is_answered_413_to_the_reader_of_it_all() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.post(&sid, &format!("4!{}", "x".repeat(999_998))).await.assert_ok();
    server.post(&sid, &format!("4!{}", "x".repeat(999_999))).await.assert_empty(413);
    server.post(&sid, "4alive").await.assert_ok();
    server.poll(&sid).await.assert_payload("4alive");
    server.finish().await;
}

/// Packets per payload, at the limit and one past it, and a payload of separators.
async fn packets_per_payload_are_limited() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.post(&sid, &vec!["4!"; MAX_PACKETS_PER_PAYLOAD].join("\u{1e}")).await.assert_ok();
    assert_eq!(server.log.texts(0).len(), MAX_PACKETS_PER_PAYLOAD);
    assert_eq!(server.log.closed(0), None);
    server.post(&sid, &vec!["4!"; MAX_PACKETS_PER_PAYLOAD + 1].join("\u{1e}")).await.assert_ok();
    assert_eq!(server.log.texts(0).len(), 2 * MAX_PACKETS_PER_PAYLOAD);
    assert_eq!(server.closed(0).await, CloseReason::ParseError);

    let sid = server.handshake().await;
    server.post(&sid, &"\u{1e}".repeat(1_000_000)).await.assert_ok();
    assert_eq!(server.closed(1).await, CloseReason::ParseError);
    server.finish().await;
}

/// A client that asks before it sends a body is told to continue, or is refused without having sent it.
async fn a_client_may_ask_before_it_sends_its_body() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let ask = |length: &str| head("POST", &polling(&sid), &[("Expect", "100-continue"), ("Content-Length", length)]);
    let mut wire = server.connect().await;
    wire.send(format!("{}\r\n", ask("2"))).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.send("4x").await;
    wire.answer().await.assert_ok();
    let mut wire = server.connect().await;
    wire.send(format!("{}\r\n", ask("1000001"))).await;
    wire.answer().await.assert_empty(413);
    server.finish().await;
}

// --- refusals ---

async fn other_methods_are_answered_500_and_do_no_harm() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        server.ask(method, &polling(&sid), &[], "4x").await.assert_empty(500);
    }
    server.post(&sid, "4x").await.assert_ok();
    server.poll(&sid).await.assert_payload("4x");
    assert_eq!(server.log.texts(0), ["x"]);
    server.finish().await;
}

async fn every_refusal_has_its_code() {
    let refusing = |config: &mut EngineConfig| {
        config.allow_request = Some(Arc::new(|request| {
            let refuse = request.headers.contains_key("x-refuse");
            Box::pin(async move { if refuse { Err("no thanks".to_owned()) } else { Ok(()) } })
        }));
    };
    let server = Server::with(refusing).await;
    let sid = server.handshake().await;
    let error = async |method: &str, query: &str, headers: &[(&str, &str)]| {
        server.ask(method, &format!("/engine.io/?{query}"), headers, "").await.error()
    };
    let unknown_transport = (400, 0, "Transport unknown".to_owned());
    for query in ["EIO=4", "EIO=4&transport=", "EIO=4&transport=foo", "EIO=4&transport=webtransport"] {
        assert_eq!(error("GET", query, &[]).await, unknown_transport, "{query}");
    }
    // The transport is checked first.
    assert_eq!(error("POST", &format!("transport=foo&sid={sid}"), &[("X-Refuse", "1")]).await, unknown_transport);
    for unknown in ["nope", "__proto__", "AAAAAAAAAAAAAAAAAAAA"] {
        for method in ["GET", "POST"] {
            let query = format!("EIO=4&transport=polling&sid={unknown}");
            assert_eq!(error(method, &query, &[]).await, (400, 1, "Session ID unknown".to_owned()));
        }
    }
    for method in ["POST", "PUT", "OPTIONS", "PATCH", "DELETE"] {
        let handshake = error(method, "EIO=4&transport=polling", &[]).await;
        assert_eq!(handshake, (400, 2, "Bad handshake method".to_owned()));
    }
    let head = server.ask("HEAD", "/engine.io/?EIO=4&transport=polling", &[], "").await;
    assert_eq!(head.status, 400);
    let bad_request = (400, 3, "Bad request".to_owned());
    assert_eq!(error("GET", "EIO=4&transport=websocket", &[]).await, bad_request);
    assert_eq!(error("GET", &format!("EIO=3&transport=polling&sid={sid}"), &[]).await, bad_request);
    assert_eq!(error("GET", &format!("EIO=4&transport=websocket&sid={sid}"), &[]).await, bad_request);
    let forbidden = (403, 4, "no thanks".to_owned());
    assert_eq!(error("GET", "EIO=4&transport=polling", &[("X-Refuse", "1")]).await, forbidden);
    for query in ["EIO=3&transport=polling", "EIO=5&transport=polling", "transport=polling"] {
        assert_eq!(error("GET", query, &[]).await, (400, 5, "Unsupported protocol version".to_owned()), "{query}");
    }
    // `allow_request` is called only for the handshake.
    server.ask("POST", &polling(&sid), &[("X-Refuse", "1")], "4x").await.assert_ok();
    // Of a repeated parameter the last counts.
    assert_eq!(server.get("EIO=4&transport=foo&transport=polling").await.status, 200);
    assert_eq!(server.engine.sessions(), 2);
    server.finish().await;
}

/// An answer to JSONP would have to be a script. A client of version 1 or 2 shows the text.
async fn jsonp_is_refused_with_a_text() {
    let server = Server::start().await;
    for j in ["0", "1", "", "x"] {
        let answer = server.get(&format!("EIO=4&transport=polling&j={j}")).await;
        assert_eq!(answer.error(), (400, 3, "JSONP is not supported".to_owned()));
    }
    assert_eq!(server.log.opened(), 0);
    server.finish().await;
}

/// curl and Java also offer HTTP/2. An offer that is not accepted is ignored (RFC 9110, 7.8).
async fn an_offer_of_another_protocol_is_ignored() {
    let server = Server::start().await;
    let offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQ")];
    let answer = server.ask("GET", "/engine.io/?EIO=4&transport=polling", &offer, "").await;
    let sid = answer.sid();
    server.ask("POST", &polling(&sid), &offer, "4x").await.assert_ok();
    server.ask("GET", &polling(&sid), &offer, "").await.assert_payload("4x");
    server.ask("GET", "/elsewhere", &offer, "").await.assert_empty(404);
    server.finish().await;
}

async fn ids_that_cannot_be_made_refuse_the_handshake() {
    let server = Server::with(|config| {
        config.generate_id = Some(Arc::new(|_| {
            Err::<roomcast_protocol::Sid, IdError>("short".parse::<roomcast_protocol::Sid>().unwrap_err())
        }));
    })
    .await;
    assert_eq!(server.get("EIO=4&transport=polling").await.error(), (400, 3, "Bad request".to_owned()));
    assert_eq!(server.engine.sessions(), 0);
    server.finish().await;
}

async fn an_id_that_is_taken_refuses_the_handshake() {
    let server = Server::with(|config| {
        config.generate_id = Some(Arc::new(|_| "AAAAAAAAAAAAAAAAAAAA".parse()));
    })
    .await;
    assert_eq!(server.handshake().await, "AAAAAAAAAAAAAAAAAAAA");
    assert_eq!(server.get("EIO=4&transport=polling").await.error(), (400, 3, "Bad request".to_owned()));
    assert_eq!(server.engine.sessions(), 1);
    server.finish().await;
}

// --- pressure ---

async fn volatile_packets_are_dropped_without_a_held_get() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let volatile = |text: &str| Arc::new(message(text).with_volatile(true));
    server.connection().send(&volatile("lost")).wake();
    let mut held = server.hold(&sid).await;
    server.connection().send(&volatile("seen")).wake();
    // Something waits now, so the transport is not writable.
    server.connection().send(&volatile("lost too")).wake();
    held.answer().await.assert_payload("4seen");
    until("the poll is over", || {
        server.connection().send(&volatile("lost")).wake() != roomcast_engine::Delivery::Queued
    })
    .await;
    server.say("end");
    server.poll(&sid).await.assert_payload("4end");
    server.finish().await;
}

over_streams! {
    [serve, serve_tls, awkward, tls, axum]
    {
        current_thread: the_handshake_has_the_options_in_nodes_order, upgrades_are_offered_only_where_they_are_enabled,
            only_paths_below_the_configured_one_are_served, internet_explorer_is_told_to_leave_scripts_alone,
            the_cookie_is_set_by_the_handshake_alone, a_cookie_ends_at_a_date_that_a_header_can_tell,
            the_initial_packet_follows_the_open_packet, the_headers_hook_sees_which_answer_is_the_first,
            a_post_is_answered_and_the_next_get_takes_what_waits, a_held_get_is_answered_by_a_later_send,
            binary_travels_as_base64_both_ways, an_answer_is_not_limited_by_max_payload,
            packets_without_a_meaning_are_ignored, a_close_packet_ends_the_session,
            a_ping_of_the_client_ends_the_session, a_dropped_poll_ends_the_session, a_second_get_ends_the_session,
            a_second_post_ends_the_session_and_the_first_has_no_answer, a_dropped_post_ends_the_session,
            a_chunked_body_that_is_broken_is_answered_400, a_session_that_ends_frees_what_waits,
            octet_streams_are_refused, malformed_bodies_end_the_session_after_the_good_packets,
            a_body_that_is_not_utf8_is_refused, a_character_may_be_split_between_segments, a_body_has_a_deadline,
            a_handler_that_takes_no_messages_holds_the_post_back, max_payload_counts_bytes_and_the_session_survives,
            a_megabyte_and_a_byte_is_answered_413_to_the_reader_of_it_all, packets_per_payload_are_limited,
            a_client_may_ask_before_it_sends_its_body, other_methods_are_answered_500_and_do_no_harm,
            every_refusal_has_its_code, jsonp_is_refused_with_a_text, an_offer_of_another_protocol_is_ignored,
            ids_that_cannot_be_made_refuse_the_handshake, an_id_that_is_taken_refuses_the_handshake,
            volatile_packets_are_dropped_without_a_held_get;
    }
}
