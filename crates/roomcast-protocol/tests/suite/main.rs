//! What goes over the wire, held against vectors, models and attackers. One program, as each one is linked by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod adversarial;
#[path = "../common/mod.rs"]
mod common;
mod frames;
mod heap;
mod msgpack;
mod properties;
mod sequences;
mod vectors;
