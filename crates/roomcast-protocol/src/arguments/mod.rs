//! The arguments of events and acknowledgements: raw JSON text with attachments, and values into it and out of it.

pub(crate) mod args;
pub(crate) mod attachment;
pub(crate) mod byte_str;
pub(crate) mod from_args;
pub(crate) mod number;
pub(crate) mod to_args;
pub(crate) mod tuple;
