//! Engine.IO v4 server: sessions over long-polling and WebSocket, upgrade, heartbeat, and a bounded outbox per client.
//!
//! This crate knows nothing of namespaces, rooms or events: it carries messages between a client and a
//! [`SessionHandler`], and never waits for a client that does not read. Deciding is separate from doing: the session is
//! a state machine that takes packets and the time, and the tasks around it only move bytes.
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
//!         println!("closed: {reason}");
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

// In addition to the workspace's lints, library code must justify each place that can panic. Tests may panic.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod application;
mod config;
mod connections;
mod drain;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
mod http;
pub mod limits;
mod rates;
mod session;
mod statistics;
mod transport;

pub use application::Application;
pub use config::{AllowRequest, Cookie, EngineConfig, GenerateId, Headers, OnRefused, OutboxLimits, cut_time};
pub use connections::connection::{Connection, Outstanding};
pub use connections::delivery::{Delivery, Sent};
pub use connections::inbox_hold::InboxHold;
pub use engine::Engine;
pub use http::body::Body;
pub use http::client_files::ClientFiles;
pub use http::cors::{Cors, CorsError};
pub use http::error::{EndWithoutAnswer, RequestError};
pub use http::handshake::{Handshake, PeerAddr, Secure};
pub use http::serve::{ServeOptions, bind, serve};
pub use http::service::{EngineService, NotFound};
#[cfg(feature = "tls")]
pub use http::tls::{TlsError, TlsFiles};
pub use http::trusted_proxies::{NetworkError, TrustedProxies, rate_key};
pub use rates::rate::{Bucket, Rate, RateError};
pub use rates::rate_table::RateTable;
pub use roomcast_protocol::deflate::Deflate;
pub use session::close_reason::CloseReason;
pub use session::handler::SessionHandler;
pub use session::transport::Transport;
pub use statistics::{EngineStatistics, Outboxes, TransportStatistics};
pub use transport::turn::Turn;
pub use transport::writer::prepare;

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
