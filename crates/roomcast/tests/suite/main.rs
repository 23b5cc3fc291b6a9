//! The program, and clients by a library. One program, as each one is linked by itself; only `crowd.rs` is another, as it counts
//! the descriptors of the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod allocations;
#[path = "../client/mod.rs"]
mod client;
mod environment;
mod writes;
