//! Fuzz targets for everything in roomcast that reads a peer's bytes.
//!
//! A target is a function of bytes that panics when something is wrong. [`campaign`] runs targets with a stable
//! compiler: it replays seeds and the committed corpus, mutates them, and keeps inputs that cause new behaviour. With a
//! nightly compiler, the package in `fuzz/libfuzzer` runs the same functions under libFuzzer. `README.md` says how.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target fails by panicking")]

pub mod campaign;
mod corpus;
mod heap;
mod input;
mod machine;
mod mutator;
mod novelty;
mod seeds;
mod shrink;
pub mod targets;
pub mod watch;

pub use corpus::{folder, load, save};
pub use targets::Target;
