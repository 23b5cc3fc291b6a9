//! Replays `engineio-http.json`: polling.

use super::app::Seen;
use super::{Outcome, answer, comparable, node_log, our_log, replay_all, silence, wanted_log, without_namespace};
use crate::common::wire::request;
use crate::common::{Frozen, Server, until};
use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::{Value, json};
use std::io::Read as _;

/// The query of a handshake.
const OPEN: &str = "EIO=4&transport=polling";
const BIN: &str = "451-[\"bin\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQIDBA==";

#[tokio::test]
async fn recorded_exchanges_over_polling() {
    replay_all(0, "http", async |name, vector, server, seen| {
        let Some(result) = replay(name, server, seen).await else { panic!("{name:?} is not replayed") };
        let (node, log) = (comparable(vector["result"].clone()), node_log(vector));
        let our_log = our_log(seen, without_namespace, &wanted_log(name, &log)).await;
        let result = cut_as(comparable(result), &node);
        [
            Outcome { parts: vec![("result", node), ("log", log)] },
            Outcome { parts: vec![("result", result), ("log", our_log)] },
        ]
    })
    .await;
}

/// Truncates a body like Node's: long bodies were recorded as their beginning and `... (1110 bytes)`.
fn cut_as(mut ours: Value, node: &Value) -> Value {
    // A zlib stream, as it was recorded. Ours was read; other bytes may stand for the same text.
    if node["body"].as_str().is_some_and(|body| body.starts_with("x\u{fffd}"))
        && ours["body"] == format!("42[\"x\",\"{}\"]", "a".repeat(1_100))
    {
        ours["body"] = node["body"].clone();
    }
    let Some((beginning, size)) = node["body"].as_str().and_then(|body| body.split_once("... (")) else { return ours };
    let body = ours["body"].as_str().unwrap();
    if body.starts_with(beginning) && size == format!("{} bytes)", body.len()) {
        ours["body"] = node["body"].clone();
    }
    ours
}

/// Sends the requests of a vector, and returns the result in the form of the vector. `None` if the vector is unknown.
async fn replay(name: &str, server: &Server, seen: &Seen) -> Option<Value> {
    let get = async |query: &str| answer(&server.get(query).await);
    let plain = async |method: &str, query: &str, headers: &[(&str, &str)]| {
        answer(&server.ask(method, &server.target(query), headers, "").await)
    };
    let origin = async |query: &str, origin: &str| plain("GET", query, &[("Origin", origin)]).await;
    let poll = async |sid: &str| answer(&server.poll(sid).await);
    let post = async |sid: &str, body: &str| answer(&server.post(sid, body).await);
    let result = match name {
        "handshake with an Origin header, no cors option" => origin(OPEN, "http://a.example").await,
        "handshake, custom intervals and maxHttpBufferSize"
        | "handshake, allowUpgrades false"
        | "handshake, transports [\"polling\"]"
        | "addTrailingSlash false"
        | "allowRequest refuses with a message"
        | "generateId throws"
        | "cookie: true"
        | "cookie with options"
        | "custom headers through initial_headers/headers events" => get(OPEN).await,
        "handshake with t (cache busting) and unknown query parameters" => {
            get(&format!("{OPEN}&t=abc123&foo=bar&foo=baz")).await
        }
        "handshake with User-Agent of MSIE" => {
            plain("GET", OPEN, &[("User-Agent", "Mozilla/4.0 (compatible;MSIE 8.0; Windows NT 6.1)")]).await
        }
        "path without trailing slash" => answer(&server.ask("GET", &format!("/socket.io?{OPEN}"), &[], "").await),
        "path with a suffix" => answer(&server.ask("GET", &format!("/socket.io/foo/bar?{OPEN}"), &[], "").await),
        "unknown transport" => get("EIO=4&transport=foo").await,
        "transport=webtransport over HTTP" => get("EIO=4&transport=webtransport").await,
        "transport=websocket without upgrade" => get("EIO=4&transport=websocket").await,
        "transport given twice (the last one counts)" => get("EIO=4&transport=foo&transport=polling").await,
        "unknown sid" => get(&format!("{OPEN}&sid=nope")).await,
        "sid=__proto__" => get(&format!("{OPEN}&sid=__proto__")).await,
        "unknown sid, POST" => post("nope", "40").await,
        "handshake with POST" => plain("POST", OPEN, &[]).await,
        "handshake with PUT" => plain("PUT", OPEN, &[]).await,
        "handshake with OPTIONS" => plain("OPTIONS", OPEN, &[]).await,
        "handshake with HEAD" => plain("HEAD", OPEN, &[]).await,
        "handshake with PATCH" => plain("PATCH", OPEN, &[]).await,
        "EIO=3" => get("EIO=3&transport=polling").await,
        "EIO=5" => get("EIO=5&transport=polling").await,
        "allowRequest is not asked for requests with a sid" => {
            let sid = server.handshake().await;
            abandoned(server, &sid).await
        }
        "Origin with a control character" => origin(OPEN, "http://a\u{1}.example").await,
        "EIO of a later request differs from the handshake" => {
            let sid = server.handshake().await;
            get(&format!("EIO=3&transport=polling&sid={sid}")).await
        }
        "POST a message and poll" => {
            let sid = server.handshake().await;
            json!({"post": post(&sid, "40").await, "get": poll(&sid).await})
        }
        "two packets in one POST, two in one GET" => {
            let sid = server.handshake().await;
            post(&sid, "40\u{1e}40/nope,").await;
            poll(&sid).await
        }
        "binary event by POST and binary answer" => {
            let sid = server.join_by_polling().await;
            post(&sid, BIN).await;
            json!({"first": poll(&sid).await, "second": abandoned(server, &sid).await})
        }
        "binary poll with b64=1 in the query (EIO=4: no difference)" => {
            let sid = server.join_by_polling().await;
            let target = format!("{}&b64=1", server.polling(&sid));
            let mut held = server.begin(&request("GET", &target, &[], "")).await;
            server.io.emit("back", bytes::Bytes::from_static(&[1, 2])).unwrap();
            answer(&held.answer("GET").await)
        }
        "second concurrent GET" => {
            let sid = server.handshake().await;
            let mut first = server.hold(&sid).await;
            let second = poll(&sid).await;
            json!({"first": answer(&first.answer("GET").await), "second": second, "after": poll(&sid).await})
        }
        "second concurrent POST" => {
            let sid = server.handshake().await;
            let whole = request("POST", &server.polling(&sid), &[], "40/nope,");
            let mut first = server.begin(&whole[..whole.len() - 3]).await;
            let second = post(&sid, "40").await;
            assert_eq!(first.rest().await, b"");
            json!({"first": silence(true), "second": second, "after": poll(&sid).await})
        }
        "POST with Content-Type application/octet-stream" => {
            let sid = server.handshake().await;
            let headers = [("Content-Type", "application/octet-stream")];
            let refused = answer(&server.ask("POST", &server.polling(&sid), &headers, "40").await);
            json!({"post": refused, "after": poll(&sid).await})
        }
        "POST with an empty body" => {
            let sid = server.handshake().await;
            json!({"post": post(&sid, "").await, "after": poll(&sid).await})
        }
        "POST with a bad packet after a good one, GET pending" => {
            let sid = server.handshake().await;
            pending(server, &sid, "40\u{1e}9").await
        }
        "POST of maxHttpBufferSize bytes" => {
            let sid = server.handshake().await;
            post(&sid, "40").await;
            let body = format!("42[\"{}\"]", "a".repeat(94));
            assert_eq!(body.len(), 100);
            post(&sid, &body).await
        }
        "POST of maxHttpBufferSize + 1 bytes" => {
            let sid = server.handshake().await;
            post(&sid, "40").await;
            let refused = post(&sid, &format!("42[\"{}\"]", "a".repeat(95))).await;
            json!({"post": refused, "after_get": poll(&sid).await, "after_post": post(&sid, "42[\"ok\"]").await})
        }
        "POST over maxHttpBufferSize counted in bytes, not characters" => {
            let sid = server.handshake().await;
            let body = format!("42[\"{}\"]", "é".repeat(10));
            assert!(body.chars().count() <= 20 && body.len() > 20);
            post(&sid, &body).await
        }
        "answer to a poll is not limited by maxHttpBufferSize" => {
            let sid = server.handshake().await;
            post(&sid, "40").await;
            server.io.emit("x", "a".repeat(300)).unwrap();
            poll(&sid).await
        }
        "PUT with a sid" | "DELETE with a sid" | "OPTIONS with a sid" => {
            let sid = server.handshake().await;
            let method = name.split(' ').next().unwrap();
            answer(&server.ask(method, &server.polling(&sid), &[], "").await)
        }
        "POST \"1\" (close), GET pending" => {
            let sid = server.join_by_polling().await;
            pending(server, &sid, "1").await
        }
        "POST \"2\" (ping from the client), GET pending" => {
            let sid = server.handshake().await;
            pending(server, &sid, "2").await
        }
        "POST \"3\" (pong without a ping), \"5\", \"6\", \"0\"" => {
            let sid = server.handshake().await;
            let mut posts = Vec::new();
            for body in ["3", "5", "6", "0"] {
                let answer = server.post(&sid, body).await;
                posts.push(format!("{} {}", answer.status_line, answer.text()));
            }
            json!({"posts": posts, "after": abandoned(server, &sid).await})
        }
        "heartbeat: GET pending gets the ping, no pong is sent" => {
            let sid = server.handshake().await;
            json!({"first_get": poll(&sid).await, "second_get": poll(&sid).await, "after": poll(&sid).await})
        }
        HEARTBEAT => heartbeat(server, seen).await,
        "socket.disconnect(true) with GET pending" => {
            let sid = server.join_by_polling().await;
            let mut held = server.hold(&sid).await;
            server.io.of("/").everyone().disconnect_sockets(true).unwrap();
            json!({"pending_get": answer(&held.answer("GET").await), "after": poll(&sid).await})
        }
        "socket.disconnect(true) without a pending GET: close waits for the next poll (up to 30 s)" => {
            let sid = server.join_by_polling().await;
            server.io.of("/").everyone().disconnect_sockets(true).unwrap();
            json!({"next_get": poll(&sid).await, "after": poll(&sid).await})
        }
        "client closes the connection of its pending GET" => {
            let sid = server.handshake().await;
            drop(server.hold(&sid).await);
            until("the session is closed", || server.io.connections() == 0).await;
            json!({"after": poll(&sid).await})
        }
        "connectTimeout: no CONNECT packet" => {
            let sid = server.handshake().await;
            json!({"pending_get": poll(&sid).await, "after": poll(&sid).await})
        }
        "cookie only on the first answer" => {
            let sid = server.handshake().await;
            post(&sid, "40").await;
            poll(&sid).await
        }
        "cors one origin and credentials" | "cors list, matching" | "cors origin true" => {
            origin(OPEN, "http://b.example").await
        }
        "cors list, not matching" => origin(OPEN, "http://c.example").await,
        "cors preflight, defaults" => {
            let headers = [
                ("Origin", "http://a.example"),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "x-b"),
            ];
            plain("OPTIONS", OPEN, &headers).await
        }
        "cors headers on an error answer" => origin("EIO=4&transport=foo", "http://a.example").await,
        "compression: httpCompression false" | "compression: emit with compress(false)" => {
            let sid = server.join_by_polling().await;
            let everyone = server.io.of("/").everyone().compress(!name.ends_with("compress(false)"));
            everyone.emit("x", "a".repeat(1_100)).unwrap();
            answer(&server.ask("GET", &server.polling(&sid), &[("Accept-Encoding", "gzip, deflate")], "").await)
        }
        "compression: gzip accepted, over 1024 bytes" | "compression: deflate only" => {
            let sid = server.join_by_polling().await;
            server.io.of("/").everyone().emit("x", "a".repeat(1_100)).unwrap();
            let accepts = if name.ends_with("deflate only") { "deflate" } else { "gzip, deflate" };
            let mut answered = server.ask("GET", &server.polling(&sid), &[("Accept-Encoding", accepts)], "").await;
            let (bytes, mut body) = (std::mem::take(&mut answered.body), Vec::new());
            match answered.header("content-encoding") {
                Some("gzip") => drop(GzDecoder::new(&bytes[..]).read_to_end(&mut body).unwrap()),
                _ => drop(ZlibDecoder::new(&bytes[..]).read_to_end(&mut body).unwrap()),
            }
            answered.body = body;
            answer(&answered)
        }
        "static client file" => answer(&server.ask("GET", "/socket.io/socket.io.js", &[], "").await),
        "static client file, If-None-Match" => {
            let tag = server.ask("GET", "/socket.io/socket.io.js", &[], "").await.header("etag").unwrap().to_owned();
            let known = format!("W/{tag}");
            answer(&server.ask("GET", "/socket.io/socket.io.js", &[("If-None-Match", &known)], "").await)
        }
        _ => return None,
    };
    Some(result)
}

/// Posts `body` while a GET is pending.
async fn pending(server: &Server, sid: &str, body: &str) -> Value {
    let mut held = server.hold(sid).await;
    let post = answer(&server.post(sid, body).await);
    json!({
        "pending_get": answer(&held.answer("GET").await),
        "post": post,
        "after": answer(&server.poll(sid).await),
    })
}

/// Checks that a GET is not answered, and closes its connection. The check causes an answer to the GET, which must contain nothing else.
pub(crate) async fn abandoned(server: &Server, sid: &str) -> Value {
    let mut held = server.hold(sid).await;
    assert_eq!(server.post(sid, "40/nobody,").await.text(), "ok");
    assert_eq!(held.answer("GET").await.text(), "44/nobody,{\"message\":\"Invalid namespace\"}");
    drop(server.hold(sid).await);
    until("the session is closed", || server.io.connections() == 0).await;
    silence(false)
}

const HEARTBEAT: &str = "heartbeat: pingInterval 200, pingTimeout 300; a message at about 350 ms (while the pong is awaited) \
                         refreshes the timeout, a second one at 550 ms does not";

/// The times of the vector, on a clock that the test advances: the session is open at 648 ms, and closed at 651 ms at the latest, because
/// timers end at whole milliseconds.
async fn heartbeat(server: &Server, seen: &Seen) -> Value {
    let clock = Frozen::new();
    let sid = server.handshake().await;
    // The first ping comes up to 50 ms early, at random, and a timer ends at the next whole millisecond.
    clock.advance(201).await;
    assert_eq!(server.poll(&sid).await.text(), "2");
    clock.advance(149).await;
    assert_eq!(server.post(&sid, "40").await.text(), "ok");
    clock.advance(200).await;
    assert_eq!(server.post(&sid, "42[\"x\"]").await.text(), "ok");
    clock.advance(98).await;
    assert_eq!(server.post(&sid, "6").await.text(), "ok");
    clock.advance(3).await;
    until("the session is closed", || server.io.connections() == 0).await;
    let end = seen.log().pop().unwrap();
    json!({"closed_reason_and_ms": [end[3], 650]})
}
