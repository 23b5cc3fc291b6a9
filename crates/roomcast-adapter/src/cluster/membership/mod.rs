//! Which roomcast servers are alive, which namespaces they have, and which of their messages did not arrive.

pub(crate) mod directory;
pub(crate) mod heard_series;
pub(crate) mod losses;
pub(crate) mod process;
