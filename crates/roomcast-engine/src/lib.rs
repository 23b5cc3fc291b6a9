//! Engine.IO v4 server: sessions over long-polling and WebSocket, upgrade, heartbeat, and a bounded outbox per client.
//!
//! This crate knows nothing of namespaces, rooms or events: it carries messages between a client and a [`SessionHandler`] object, and
//! never waits for a client that does not read. Deciding is apart from doing: the session is a state machine that takes
//! packets and the time; the tasks around it only move bytes.
//!
//! ```no_run
//! use roomcast_engine::{SessionHandler, CloseReason, Connection, Engine, EngineConfig, ServeOptions, bind, serve};
//! use roomcast_protocol::{EngineKind, Packet};
//! use std::sync::Arc;
//!
//! struct Echo(Arc<Connection>);
//!
//! impl SessionHandler for Echo {
//!     fn text(&mut self, text: &str) {
//!         if let Ok(packet) = Packet::engine(EngineKind::Message, text) {
//!             self.0.send(&Arc::new(packet)).wake();
//!         }
//!     }
//!     fn binary(&mut self, _bytes: &[u8]) {}
//!     fn closed(&mut self, reason: CloseReason) {
//!         println!("gone: {reason}");
//!     }
//! }
//!
//! # async fn run() -> std::io::Result<()> {
//! let engine = Engine::new(EngineConfig::default(), |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
//!     Box::new(Echo(connection.clone()))
//! });
//! let listener = bind("127.0.0.1:3000").await?;
//! serve(listener, engine.into_service(), ServeOptions::default(), std::future::pending()).await
//! # }
//! ```

// Beyond the lints of the workspace: what can panic in library code is looked at, place by place. Tests may.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod application;
mod body;
mod budget;
mod config;
mod connection;
mod cors;
mod deadlines;
mod engine;
mod error;
mod handshake;
mod lane;
pub mod limits;
mod memory;
mod origin;
mod outbox;
mod outlet;
mod pace;
mod polling;
mod serve;
mod server_stream;
mod service;
mod session;
mod table;
mod turn;
mod watch;
mod websocket;
mod writer;

pub use application::{Application, SessionHandler};
pub use body::Body;
pub use config::{AllowRequest, Cookie, EngineConfig, GenerateId, Headers, OutboxLimits, cut_time};
pub use connection::{Connection, Delivery, Outstanding, Sent};
pub use cors::{Cors, CorsError};
pub use engine::Engine;
pub use error::RequestError;
pub use handshake::{Handshake, PeerAddr, Secure};
pub use serve::{ServeOptions, bind, serve};
pub use service::{EndWithoutAnswer, EngineService, NotFound};
pub use session::{CloseReason, Transport};
pub use turn::Turn;
pub use writer::prepare;
