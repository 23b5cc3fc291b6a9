//! Tests of the program, and of servers with the clients of a library. They are one program, because each program is linked separately.
//! Only `crowd.rs` is a program of its own, because it counts the descriptors of its process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod allocations;
#[path = "../client/mod.rs"]
mod client;
mod deploy;
mod environment;
mod events;
mod health;
mod metrics;
mod program;
mod settings;
mod writes;
