//! What is logged of an origin that is refused. It is a program of its own, as tracing's cache of interest is for all
//! threads.
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
    // Without the usual Host.
    let bytes = upgrade(WEBSOCKET, headers).replacen("Host: localhost\r\n", "", 1);
    let mut wire = server.connect().await;
    wire.send(bytes).await;
    wire.answer().await
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

/// Without this line, neither the user nor the operator sees why a client cannot connect.
#[tokio::test]
async fn a_refusal_is_logged_once_with_origin_host_and_remedy() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = Server::with(|config| config.cors = Some(Cors::origins(["https://app.example"]).unwrap())).await;
    let long = format!("https://{}.example", "x".repeat(1_000));
    for _ in 0..3 {
        let answer = open(&server, &[("Origin", "https://rt.example"), ("Host", "backend")]).await;
        answer.assert_refused("Forbidden");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        open(&server, &[("Origin", &long), ("Host", "backend")]).await.assert_refused("Forbidden");
    }
    // A browser does not let the page read its polls.
    let headers = [("Origin", "https://other.example")];
    let mut wire = server.connect().await;
    wire.send(request("GET", "/engine.io/?EIO=4&transport=polling", &headers, "")).await;
    assert_eq!(wire.answer().await.status, 200);
    let told = warnings.0.lock().clone();
    assert_eq!(told.len(), 3, "{told:#?}");
    for part in
        [r#"origin="https://rt.example""#, r#"host="backend""#, r#"transport="websocket""#, "APP_URL", "Cors::origins"]
    {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    assert!(told[1].len() < 600 && told[1].contains("xxx"), "{}", told[1]);
    assert!(told[2].contains(r#"origin="https://other.example""#) && told[2].contains(r#"transport="polling""#));
    server.finish().await;
}
