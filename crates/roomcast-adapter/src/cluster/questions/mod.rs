//! Questions of this server to the others: who is awaited, and what has come.

pub(crate) mod awaited;
pub(crate) mod collected;
pub(crate) mod parts;
pub(crate) mod requests;
