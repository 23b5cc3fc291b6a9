//! Sessions that are not established make room for others, and sessions by polling have a bound of their own.

use crate::common::wire::upgrade;
use crate::common::{Server, until};
use roomcast_engine::{CloseReason, Transport};

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

/// A session by polling that has sent a message.
async fn working(server: &Server) -> String {
    let sid = server.handshake().await;
    server.post(&sid, "4!").await.assert_ok();
    sid
}

async fn assert_works(server: &Server, sid: &str) {
    server.post(sid, "4x").await.assert_ok();
    server.poll(sid).await.assert_payload("4x");
}

#[tokio::test]
async fn unjoined_sessions_at_the_limit_and_one_past_it() {
    let server = Server::with(|config| config.max_unjoined_sessions = 3).await;
    let first = working(&server).await;
    let second = server.handshake().await;
    let mut held = server.hold(&second).await;
    let mut third = server.websocket().await;
    let fourth = server.handshake().await;
    let moving = server.connection();
    // At the limit no session has to make room.
    assert_eq!(server.engine.sessions(), 4);
    // One past it, the oldest that is not established is closed.
    let fifth = server.handshake().await;
    held.answer().await.assert_payload("1");
    assert_eq!(server.closed(1).await, CloseReason::ForcedClose);
    server.assert_unknown(&second).await;
    // By WebSocket as well.
    let sixth = server.handshake().await;
    third.assert_ended().await;
    assert_eq!(server.closed(2).await, CloseReason::ForcedClose);
    // A session that has moved to a WebSocket keeps its age, and one that is established does not have to make room.
    let mut probing = server.probing(&fourth).await;
    probing.say("5").await;
    until("it has moved", || moving.transport() == Transport::WebSocket).await;
    server.post(&fifth, "4!").await.assert_ok();
    for _ in 0..2 {
        server.handshake().await;
    }
    probing.assert_ended().await;
    assert_eq!(server.closed(3).await, CloseReason::ForcedClose);
    assert_works(&server, &fifth).await;
    assert_works(&server, &first).await;
    server.post(&sixth, "4!").await.assert_ok();
    assert_eq!(server.engine.sessions(), 5);
    server.finish().await;
}

/// A flood of handshakes at the limit of all sessions: established sessions go on, and more may be opened.
#[tokio::test]
async fn a_flood_of_handshakes_shuts_nobody_out() {
    let server = Server::with(|config| config.max_sessions = 10).await;
    let mut sids = Vec::new();
    for round in 0..10 {
        for _ in 0..30 {
            server.handshake().await;
        }
        sids.push(working(&server).await);
        for sid in &sids {
            assert_works(&server, sid).await;
        }
        assert!(server.engine.sessions() <= 10, "round {round}");
    }
    // Ten are established: now the server is full.
    let answer = server.get("EIO=4&transport=polling").await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(server.refused(WEBSOCKET, &[]).await.status, 503);
    for sid in &sids {
        assert_works(&server, sid).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn polling_sessions_at_the_limit_and_one_past_it() {
    let server = Server::with(|config| config.max_polling_sessions = 2).await;
    let first = working(&server).await;
    let _websocket = server.websocket().await;
    let second = working(&server).await;
    let answer = server.get("EIO=4&transport=polling").await;
    assert_eq!((answer.status, answer.header("retry-after").as_deref()), (503, Some("5")));
    // There is room for WebSockets, and a session that moves makes room for polling.
    let mut wire = server.connect().await;
    wire.send(upgrade(WEBSOCKET, &[])).await;
    assert_eq!(wire.answer().await.status, 101);
    let mut probing = server.probing(&first).await;
    probing.say("5").await;
    probing.assert_alive("x").await;
    let third = server.handshake().await;
    assert_works(&server, &second).await;
    // A polling session that is not established makes room. A WebSocket that is not established would make none, and
    // stays.
    let fourth = working(&server).await;
    server.assert_unknown(&third).await;
    assert_eq!(server.log.closed(1), None);
    assert_eq!(server.get("EIO=4&transport=polling").await.status, 503);
    server.post(&second, "1").await.assert_ok();
    assert_works(&server, &fourth).await;
    server.handshake().await;
    server.finish().await;
}
