//! Which roomcast servers live, which namespaces they have, and which of their messages did not come.

pub(crate) mod directory;
pub(crate) mod heard_series;
pub(crate) mod losses;
pub(crate) mod process;
