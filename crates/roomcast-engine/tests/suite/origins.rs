//! Which origins may open a WebSocket.

use crate::common::Server;
use crate::common::wire::{Answer, upgrade};
use roomcast_engine::Cors;

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

async fn open(server: &Server, headers: &[(&str, &str)]) -> Answer {
    // Without the usual Host.
    let bytes = upgrade(WEBSOCKET, headers).replacen("Host: localhost\r\n", "", 1);
    let mut wire = server.connect().await;
    wire.send(bytes).await;
    wire.answer().await
}

/// Spellings of an allowed origin, and origins that are not allowed.
#[tokio::test]
async fn an_origin_is_compared_by_scheme_host_and_port() {
    let list = ["HTTPS://App.Example:443/", "https://*.tenants.example", "capacitor://localhost"];
    let server = Server::with(|config| config.cors = Some(Cors::origins(list).unwrap())).await;
    for (origin, host) in [
        ("https://app.example", "rt.example"),
        ("https://app.example:443", "rt.example"),
        ("wss://app.example", "rt.example"),
        ("https://a.b.tenants.example", "rt.example"),
        ("capacitor://localhost", "rt.example"),
        ("wss://rt.example", "rt.example:443"),
        ("ws://rt.example", "rt.example:80"),
        ("https://rt.example:443", "rt.example"),
    ] {
        assert_eq!(open(&server, &[("Origin", origin), ("Host", host)]).await.status, 101, "{origin}");
    }
    for (origin, host) in [
        ("http://app.example", "app.example"),
        ("http://evil.example:3000", "evil.example:3000"),
        ("https://rt.example", "rt.example"),
        ("https://tenants.example", "rt.example"),
        ("https://app.example.evil", "rt.example"),
        ("capacitor://evil", "rt.example"),
        ("null", "rt.example"),
    ] {
        let answer = open(&server, &[("Origin", origin), ("Host", host)]).await;
        answer.assert_refused("Forbidden");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_predicate_decides_on_the_request() {
    let cors = Cors::matching(|origin, request| {
        origin == "https://app.example" && request.uri.query().is_some_and(|query| query.contains("tenant=1"))
    });
    let server = Server::with(|config| config.cors = Some(cors.credentials(true))).await;
    let ask = async |query: &str| {
        let mut wire = server.connect().await;
        wire.send(upgrade(&format!("{WEBSOCKET}{query}"), &[("Origin", "https://app.example")])).await;
        wire.answer().await
    };
    let answer = ask("&tenant=1").await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("access-control-allow-origin").as_deref(), Some("https://app.example"));
    ask("&tenant=2").await.assert_refused("Forbidden");
    server.finish().await;
}
