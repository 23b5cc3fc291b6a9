//! The engine over real sockets. It is one program, as each program is linked separately; `descriptors.rs` and
//! `refusal_log.rs` are programs of their own, as they look at the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod addresses;
mod axum;
mod client_files;
mod close;
#[path = "../common/mod.rs"]
mod common;
mod compression;
mod cors;
mod heartbeat;
mod keep_alive;
mod limits;
mod origins;
mod outbox;
mod polling;
mod statistics;
mod streams;
mod tls;
mod unjoined;
mod upgrade;
mod websocket;
