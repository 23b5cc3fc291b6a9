//! The engine inside axum, and axum inside the engine.

use crate::common::wire::{Answer, BINARY, Frame, TEXT, Wire, frame, head, request, upgrade};
use crate::common::{Log, polling, until};
use axum::Router;
use axum::routing::get;
use roomcast_engine::{CloseReason, Engine, EngineConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

struct Mounted {
    address: SocketAddr,
    engine: Engine,
    log: Arc<Log>,
}

impl Mounted {
    async fn start(mount: fn(Engine) -> Router) -> Self {
        let log = Arc::new(Log::default());
        let mut config = EngineConfig::default();
        if mount as usize == nested as fn(Engine) -> Router as usize {
            "/".clone_into(&mut config.path);
        }
        let engine = crate::common::engine(config, &log);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = mount(engine.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, engine, log }
    }

    async fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut wire = Wire::connect(self.address).await;
        wire.send(bytes).await;
        wire.answer().await
    }

    async fn handshake(&self) -> String {
        self.ask(request("GET", "/engine.io/?EIO=4&transport=polling", &[], "")).await.sid()
    }
}

/// The engine gets what axum has no route for.
fn below(engine: Engine) -> Router {
    Router::new().route("/hello", get(async || "hello")).fallback_service(engine.into_service())
}

/// The engine comes first, and passes the rest to axum.
fn before(engine: Engine) -> Router {
    let others = Router::new().route("/hello", get(async || "hello"));
    Router::new().fallback_service(engine.into_service_with(others))
}

/// axum strips the prefix, so the engine's path is what is left.
fn nested(engine: Engine) -> Router {
    let others = Router::new().route("/hello", get(async || "hello"));
    others.nest_service("/engine.io", engine.into_service())
}

const MOUNTS: [fn(Engine) -> Router; 3] = [below, before, nested];

#[tokio::test]
async fn both_are_reached() {
    for mount in MOUNTS {
        let server = Mounted::start(mount).await;
        let answer = server.ask(request("GET", "/hello", &[], "")).await;
        assert_eq!((answer.status, &*answer.body), (200, "hello"));
        assert_eq!(server.ask(request("GET", "/elsewhere", &[], "")).await.status, 404);
        let answer = server.ask(request("GET", "/engine.io/?EIO=4&transport=foo", &[], "")).await;
        assert_eq!(answer.error(), (400, 0, "Transport unknown".to_owned()));
    }
}

#[tokio::test]
async fn polling_works() {
    for mount in MOUNTS {
        let server = Mounted::start(mount).await;
        let sid = server.handshake().await;
        server.ask(request("POST", &polling(&sid), &[], "4x\u{1e}bAQI=")).await.assert_ok();
        server.ask(request("GET", &polling(&sid), &[], "")).await.assert_payload("4x\u{1e}bAQI=");
        // A held GET that is dropped.
        let mut wire = Wire::connect(server.address).await;
        wire.send(request("GET", &polling(&sid), &[], "")).await;
        drop(wire);
        until("the session is over", || server.log.closed(0) == Some(CloseReason::TransportError)).await;
        assert_eq!(server.engine.sessions(), 0);
    }
}

#[tokio::test]
async fn websockets_work() {
    for mount in MOUNTS {
        let server = Mounted::start(mount).await;
        let mut wire = Wire::connect(server.address).await;
        let target = "/engine.io/?EIO=4&transport=websocket";
        // A frame in the segment of the handshake is not lost here either.
        wire.send([upgrade(target, &[]).as_bytes(), &frame(TEXT, b"4first")].concat()).await;
        assert_eq!(wire.answer().await.status, 101);
        assert!(wire.text().await.starts_with('0'));
        assert_eq!(wire.text().await, "4first");
        wire.send(frame(BINARY, &[1, 2])).await;
        assert_eq!(wire.frame().await, Frame { first: BINARY, payload: vec![1, 2] });
        let large = "x".repeat(300_000);
        wire.assert_alive(&large).await;
        drop(wire);
        until("the session is over", || server.log.closed(0) == Some(CloseReason::TransportClose)).await;

        let sid = server.handshake().await;
        let mut wire = Wire::connect(server.address).await;
        wire.send(upgrade(&format!("{target}&sid={sid}"), &[])).await;
        assert_eq!(wire.answer().await.status, 101);
        wire.say("2probe").await;
        assert_eq!(wire.text().await, "3probe");
        wire.say("5").await;
        wire.assert_alive("x").await;
        server.engine.close();
        wire.assert_closed(None).await;
        assert_eq!(server.log.closed(1), Some(CloseReason::ServerShutdown));
    }
}

/// Where `serve` ends a connection without an answer, another server sends an answer: 400 and `Connection: close`.
#[tokio::test]
async fn what_serve_does_not_answer_is_answered_here() {
    let server = Mounted::start(below).await;
    let begun = tokio::time::Instant::now();
    let mut wire = Wire::connect(server.address).await;
    wire.send(upgrade("/other/?EIO=4&transport=websocket", &[])).await;
    wire.answer().await.assert_refused("");
    wire.assert_ended().await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));

    // The first of two POSTs.
    let sid = server.handshake().await;
    let mut first = Wire::connect(server.address).await;
    first.send(format!("{}Content-Length: 10\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
    let mut second = Wire::connect(server.address).await;
    second.send(format!("{}Content-Length: 10\r\n\r\n4", head("POST", &polling(&sid), &[]))).await;
    // Which of them is the first is up to the server: one gets the empty 400 of an overlap, the other is ended.
    let answers = [first.answer().await, second.answer().await];
    let mut kinds = answers.map(|answer| (answer.status, answer.header("content-type").is_some()));
    kinds.sort_unstable();
    assert_eq!(kinds, [(400, false), (400, true)]);
    until("the session is over", || server.log.closed(0) == Some(CloseReason::TransportError)).await;
}

/// HTTP/1.0 has no upgrade, and only `serve` supports one all the same. Elsewhere it is refused with a text, and never
/// with 101.
#[tokio::test]
async fn an_upgrade_by_http_1_0_is_refused() {
    let server = Mounted::start(below).await;
    let mut wire = Wire::connect(server.address).await;
    let target = "/engine.io/?EIO=4&transport=websocket";
    wire.send(upgrade(target, &[]).replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    let text = String::from_utf8(wire.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.0 505 ") && text.ends_with("\r\n\r\nA WebSocket needs HTTP/1.1"), "{text}");
    assert_eq!(server.log.opened(), 0);
}
