//! What both dialects share: pieces of JSON and MessagePack, and the announcements of roomcast servers.

pub(crate) mod batch;
pub(crate) mod read;
pub(crate) mod servers;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod recorded;
