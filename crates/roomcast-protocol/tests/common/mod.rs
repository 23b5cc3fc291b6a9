//! What the vector and property tests share: JavaScript values, and packets in a form that both sides can be converted
//! to.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test takes its part, and fails by panicking")]

pub(crate) mod js;
pub(crate) mod wire;
