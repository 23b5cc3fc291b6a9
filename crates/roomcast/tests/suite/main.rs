//! The program, and clients by a library. It is one test program, as each program is linked separately; only `crowd.rs`
//! is a program of its own, as it counts the descriptors of the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod allocations;
#[path = "../client/mod.rs"]
mod client;
mod environment;
mod writes;
