//! The suites again, over tokio-rustls.
#![allow(clippy::duplicate_mod, reason = "each suite is a test binary of its own, with helpers of its own")]

#[path = "close.rs"]
mod close;
#[path = "heartbeat.rs"]
mod heartbeat;
#[path = "limits.rs"]
mod limits;
#[path = "polling.rs"]
mod polling;
#[path = "upgrade.rs"]
mod upgrade;
#[path = "websocket.rs"]
mod websocket;
