//! What is kept for clients that come back: the log of what was emitted, and the sessions.

pub(crate) mod log;
pub(crate) mod offset;
pub(crate) mod recoverer;
pub(crate) mod sessions;
