//! The engine over real sockets. One program, as each one is linked by itself; `descriptors.rs` and `refusal_log.rs` are two
//! others, as they look at the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod axum;
mod close;
#[path = "../common/mod.rs"]
mod common;
mod cors;
mod heartbeat;
mod keep_alive;
mod limits;
mod origins;
mod outbox;
mod polling;
mod streams;
mod unjoined;
mod upgrade;
mod websocket;
