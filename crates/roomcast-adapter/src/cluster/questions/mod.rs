//! Questions of this server to the others: who is awaited, and what has been answered.

pub(crate) mod awaited;
pub(crate) mod collected;
pub(crate) mod parts;
pub(crate) mod requests;
