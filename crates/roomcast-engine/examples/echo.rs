//! An Engine.IO server that sends every message back: what the Engine.IO conformance suites are run against.
//!
//! Environment: `HOST`, `PORT`, `PING_INTERVAL_MS`, `PING_TIMEOUT_MS`.

use roomcast_engine::{CloseReason, Connection, Cors, Engine, EngineConfig, ServeOptions, SessionHandler, bind, serve};
use roomcast_protocol::{EngineKind, Packet};
use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

struct Echo(Arc<Connection>);

impl SessionHandler for Echo {
    fn text(&mut self, text: &str) {
        if let Ok(packet) = Packet::engine(EngineKind::Message, text) {
            self.0.send(&Arc::new(packet)).wake();
        }
    }

    fn binary(&mut self, bytes: &[u8]) {
        if let Ok(packet) = Packet::binary(bytes) {
            self.0.send(&Arc::new(packet)).wake();
        }
    }

    fn closed(&mut self, _reason: CloseReason) {}
}

fn milliseconds(name: &str, default: Duration) -> Result<Duration, Box<dyn Error>> {
    Ok(var(name).map_or(Ok(default), |text| text.parse().map(Duration::from_millis))?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = EngineConfig::default();
    config.ping_interval = milliseconds("PING_INTERVAL_MS", config.ping_interval)?;
    config.ping_timeout = milliseconds("PING_TIMEOUT_MS", config.ping_timeout)?;
    config.cors = Some(Cors::any());
    let engine = Engine::new(config, |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
        Box::new(Echo(connection.clone()))
    });
    let host = var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = bind(format!("{host}:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, engine.into_service(), ServeOptions::default(), std::future::pending()).await?;
    Ok(())
}
