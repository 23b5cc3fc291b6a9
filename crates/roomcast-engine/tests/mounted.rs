//! The suites again, under `axum::serve`, but for `limits.rs`: axum has neither `serve`'s bounds nor its deadlines.
#![allow(clippy::duplicate_mod, reason = "each suite is a test binary of its own, with helpers of its own")]

#[path = "close.rs"]
mod close;
#[path = "heartbeat.rs"]
mod heartbeat;
#[path = "polling.rs"]
mod polling;
#[path = "upgrade.rs"]
mod upgrade;
#[path = "websocket.rs"]
mod websocket;
