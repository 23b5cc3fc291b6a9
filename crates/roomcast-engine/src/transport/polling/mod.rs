//! Long-polling: a GET fetches packets, a POST brings them, and a keeper task keeps the session's time.

pub(crate) mod keeper;
pub(crate) mod poll;
pub(crate) mod post;
