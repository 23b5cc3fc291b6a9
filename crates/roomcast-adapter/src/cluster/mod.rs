//! Several servers as one cluster: namespaces that reach the other servers over a [`Broker`].

mod emitter;
mod handle;
mod member;
mod membership;
mod memory_broker;
mod namespace;
mod options;
mod questions;
mod seam;
mod sending;
mod servers_inbox;
mod state;

pub use emitter::{Emitter, EmitterError};
pub use handle::Cluster;
pub use membership::losses::{Losses, Lost};
pub use memory_broker::{MemoryBroker, MemoryNetwork};
pub use namespace::adapter::ClusterAdapter;
pub use options::ClusterOptions;
pub use seam::alive::{Alive, SeriesReport};
pub use seam::broker::{Broker, BrokerError, Count, Hears, Looked, Outcome, Outgoing, Route, SERVERS, Speaks};
pub use seam::codec;
pub use seam::ids::{RequestId, ServerId};
pub use seam::inbox::{Arrival, Inbox};
pub use seam::message::{Body, Message};
pub use seam::series::Series;
pub use seam::trailer::Trailer;
pub use seam::window::WINDOW;
pub use state::{ClusterState, Queued};
