//! What goes over the wire, tested with vectors, models and attacks. It is one program, as each program is linked
//! separately.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod adversarial;
#[path = "../common/mod.rs"]
mod common;
mod frames;
mod heap;
mod msgpack;
mod packed;
mod properties;
mod sequences;
mod vectors;
