//! Rates: how often something may happen, for one client or for each key of a table.

pub(crate) mod rate;
pub(crate) mod rate_table;
