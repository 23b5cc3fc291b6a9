//! Random numbers from a seed: the only ones in a simulation.

pub use roomcast_adapter::testkit::{Random, mix};

/// A number that depends on a text.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| mix(&[hash, u64::from(byte)]))
}
