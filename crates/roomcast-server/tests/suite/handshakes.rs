//! What `fetch_sockets` tells about a socket's handshake, as in Node.

use crate::common::wire::upgrade;
use crate::common::{Server, until};
use roomcast_server::SocketIo;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

async fn handshake(server: &Server, namespace: &str) -> Value {
    let sockets = server.io.of(namespace).everyone().fetch_sockets().await.value;
    serde_json::from_str(sockets[0].handshake_json()).unwrap()
}

/// The time is that of the socket's own CONNECT. Of a header that may stand only once, the first counts.
#[tokio::test]
async fn each_socket_has_the_time_of_its_connect() {
    let server = Server::start(|io: &SocketIo| drop(io.of("/late"))).await;
    let mut wire = server.connect().await;
    let twice = [("User-Agent", "a"), ("User-Agent", "b"), ("X-A", "1"), ("X-A", "2")];
    wire.send(upgrade(&server.target("EIO=4&transport=websocket"), "13", &twice)).await;
    assert_eq!(wire.answer("GET").await.status(), 101);
    wire.text().await;
    server.join(&mut wire, "/").await;
    let joined = Instant::now();
    until("time passes", || joined.elapsed() > Duration::from_millis(20)).await;
    server.join(&mut wire, "/late").await;
    let (first, late) = (handshake(&server, "/").await, handshake(&server, "/late").await);
    let issued = |handshake: &Value| handshake["issued"].as_u64().unwrap();
    assert!(issued(&late) >= issued(&first) + 20, "{first} {late}");
    assert_eq!((&first["headers"]["user-agent"], &first["headers"]["x-a"]), (&json!("a"), &json!("1, 2")));
    assert_eq!(first["secure"], json!(false));
    server.finish().await;
}

/// A session with a socket in a namespace is not closed to make room for new sessions, however long its middleware took.
#[tokio::test]
async fn a_session_is_established_when_it_has_joined() {
    let lets_in = Arc::<Notify>::default();
    let few = |builder: roomcast_server::Builder| builder.engine(|config| config.max_unjoined_sessions = 2);
    let server = Server::with(few, |io: &SocketIo| {
        let (slow, lets_in) = (io.of("/slow"), lets_in.clone());
        slow.middleware(move |_| {
            let lets_in = lets_in.clone();
            async move {
                lets_in.notified().await;
                Ok::<(), roomcast_server::ConnectError>(())
            }
        });
    })
    .await;
    let sid = server.handshake().await;
    server.post(&sid, "40/slow,").await;
    lets_in.notify_one();
    assert!(server.poll(&sid).await.text().starts_with("40/slow,{"));
    // A message alone is not enough: this client was refused.
    let refused = server.handshake().await;
    server.post(&refused, "40/nowhere,").await;
    for _ in 0..3 {
        server.handshake().await;
    }
    server.post(&sid, "41/slow,").await;
    assert_eq!(server.post(&sid, "40").await.text(), "ok");
    assert!(server.poll(&sid).await.text().starts_with("40{"));
    assert_eq!(server.poll(&refused).await.status(), 400);
    server.finish().await;
}
