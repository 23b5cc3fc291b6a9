//! Several servers in one process, and the faults of the network between them.

mod broker;
mod faults;
mod gate;
mod server;
mod switch;

pub use server::Server;
pub use switch::Network;
