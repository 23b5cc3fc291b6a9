//! The settings of the program: from `roomcast.toml`, environment variables and flags.

pub(crate) mod checks;
pub(crate) mod file;
pub(crate) mod foreign;
pub(crate) mod key;
pub(crate) mod keys;
pub(crate) mod problem;
pub(crate) mod redis;
pub(crate) mod resolve;
pub(crate) mod show;
pub(crate) mod typed;
pub(crate) mod value;
