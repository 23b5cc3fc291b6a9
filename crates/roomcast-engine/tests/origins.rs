//! Which origins may open a WebSocket, and what the operator is told of the others.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::Server;
use common::wire::{Answer, request, upgrade};
use parking_lot::Mutex;
use roomcast_engine::Cors;
use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

async fn open(server: &Server, headers: &[(&str, &str)]) -> Answer {
    // The usual Host goes.
    let bytes = upgrade(WEBSOCKET, headers).replacen("Host: localhost\r\n", "", 1);
    let mut wire = server.connect().await;
    wire.send(bytes).await;
    wire.answer().await
}

/// B17 and P09, P11, P16 of the reports: spellings of an origin, and what is none of ours.
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

/// Keeps the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().push(text.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Neither of the two sees why a client cannot connect, but for this line.
#[tokio::test]
async fn the_operator_is_told_of_a_refusal_once_with_origin_host_and_remedy() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = Server::with(|config| config.cors = Some(Cors::origins(["https://app.example"]).unwrap())).await;
    let long = format!("https://{}.example", "x".repeat(1_000));
    for _ in 0..3 {
        open(&server, &[("Origin", "https://rt.example"), ("Host", "backend")]).await.assert_refused("Forbidden");
        open(&server, &[("Origin", &long), ("Host", "backend")]).await.assert_refused("Forbidden");
    }
    // A page's polls are kept from it by its browser.
    let headers = [("Origin", "https://other.example")];
    let mut wire = server.connect().await;
    wire.send(request("GET", "/engine.io/?EIO=4&transport=polling", &headers, "")).await;
    assert_eq!(wire.answer().await.header("access-control-allow-origin"), None);
    let told = warnings.0.lock().clone();
    assert_eq!(told.len(), 3, "{told:#?}");
    for part in [r#"origin="https://rt.example""#, r#"host="backend""#, r#"transport="websocket""#, "APP_URL", "Cors::origins"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    assert!(told[1].len() < 600 && told[1].contains("xxx"), "{}", told[1]);
    assert!(told[2].contains(r#"origin="https://other.example""#) && told[2].contains(r#"transport="polling""#));
    server.finish().await;
}
