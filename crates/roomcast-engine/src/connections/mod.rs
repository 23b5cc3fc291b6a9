//! The open sessions of a server: each as a [`Connection`](connection::Connection), all in one table.

pub(crate) mod connection;
pub(crate) mod delivery;
pub(crate) mod flush;
pub(crate) mod inbox_hold;
pub(crate) mod relief;
pub(crate) mod sessions;
pub(crate) mod shared;
pub(crate) mod table;
pub(crate) mod traffic;
