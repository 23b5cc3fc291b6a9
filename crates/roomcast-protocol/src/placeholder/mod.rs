//! Placeholders: the objects in JSON text that stand for attachments.

pub(crate) mod finder;
pub(crate) mod search;
pub(crate) mod write;
