//! What the dialects have in common, beneath their own words: pieces of JSON and MessagePack, and what roomcast servers tell one
//! another of themselves.

pub(crate) mod batch;
pub(crate) mod read;
pub(crate) mod servers;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod recorded;
