//! Clients that break a rule: their sockets are disconnected at once, with every transport, with Node's reasons.

use crate::common::{Log, Server, until};
use roomcast_server::{Builder, SocketIo};
use std::time::Duration;

/// A server on which closing sessions may stay for a long time.
async fn start() -> (Server, Log) {
    let log = Log::default();
    let patient = |builder: Builder| builder.engine(|config| config.close_timeout = Duration::from_secs(60));
    let server = Server::with(patient, |io: &SocketIo| log.watch(&io.of("/"))).await;
    (server, log)
}

/// Packets that the client may not send now: a second CONNECT, an event and an acknowledgement for a namespace that it has not joined,
/// and a packet that only servers send.
const OUT_OF_TURN: [&str; 5] = ["40", r#"42/nope,["a"]"#, "43/nope,1[]", "41/nope,", "44"];
/// Input that is not a packet.
const UNDECODABLE: [&str; 3] = ["42[]", "4x", "4"];

async fn by_polling_without_a_get_the_sockets_leave_at_once() {
    let cases = OUT_OF_TURN.map(|body| (body, "forced server close")).into_iter();
    for (body, reason) in cases.chain(UNDECODABLE.map(|body| (body, "forced close"))) {
        let (server, log) = start().await;
        let sid = server.join_by_polling().await;
        assert_eq!(server.post(&sid, body).await.text(), "ok");
        // Without waiting, as there is no poll.
        assert_eq!(log.lines(), ["/ connected", &format!("/ {reason}")], "{body}");
        assert_eq!(server.io.of("/").everyone().count().await.value, 0);
        assert_eq!(server.poll(&sid).await.text(), "6\u{1e}1");
        until("the session is forgotten", || server.io.connections() == 0).await;
        assert_eq!(log.lines().len(), 2);
        server.finish().await;
    }
}

async fn by_polling_with_a_get_the_reason_is_another() {
    for body in OUT_OF_TURN.into_iter().chain(UNDECODABLE) {
        let (server, log) = start().await;
        let sid = server.join_by_polling().await;
        let mut held = server.hold(&sid).await;
        assert_eq!(server.post(&sid, body).await.text(), "ok");
        assert_eq!(log.lines(), ["/ connected", "/ forced close"], "{body}");
        assert_eq!(held.answer("GET").await.text(), "1");
        server.finish().await;
    }
}

async fn by_websocket_with_an_empty_outbox_it_is_as_with_a_held_get() {
    for body in OUT_OF_TURN.into_iter().chain(UNDECODABLE) {
        let (server, log) = start().await;
        let mut wire = server.joined().await;
        wire.say(body).await;
        log.expect(&["/ connected", "/ forced close"]).await;
        wire.assert_closed().await;
        server.finish().await;
    }
}

crate::common::runtime::on_both_runtimes! {
    by_polling_without_a_get_the_sockets_leave_at_once,
    by_polling_with_a_get_the_reason_is_another,
    by_websocket_with_an_empty_outbox_it_is_as_with_a_held_get,
}
