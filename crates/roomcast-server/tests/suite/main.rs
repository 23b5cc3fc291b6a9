//! The server over real sockets. One program, as each one is linked by itself; only `told.rs` is another, as it listens to what
//! the whole process logs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod acks;
mod at_fault;
mod bursts;
mod busy;
#[path = "../common/mod.rs"]
mod common;
mod connect_order;
mod connects;
mod disconnects;
mod ends;
mod handlers;
mod handshakes;
mod namespaces;
mod options;
mod regressions;
mod vectors;
