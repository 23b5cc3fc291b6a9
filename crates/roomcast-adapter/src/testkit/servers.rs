//! [`Servers`]: the adapters under test.

use crate::limits::MAX_SERVER_EVENTS;
use crate::{Adapter, AdapterContext, ServerEvent};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The namespace that the adapters under test are for. It is not `/`, so that its name must be in the packets.
pub const NAMESPACE: &str = "/contract";

/// Servers that see each other and nobody else.
#[derive(Debug)]
pub struct Servers {
    pub(crate) servers: Vec<Server>,
}

/// One server's adapter, and the events that it hands to its namespace.
#[derive(Debug)]
pub struct Server {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) events: mpsc::Receiver<ServerEvent>,
}

impl Servers {
    /// A cluster of `servers` adapters. `make` gets the server's number from 0 and what an adapter factory gets. The adapters
    /// need not have found each other yet; the suite waits for that.
    pub fn new<A: Adapter>(servers: usize, mut make: impl FnMut(usize, AdapterContext) -> Arc<A>) -> Self {
        let server = |number| {
            let (server_events, events) = mpsc::channel(MAX_SERVER_EVENTS);
            let context = AdapterContext { namespace: NAMESPACE.into(), server_events };
            Server { adapter: make(number, context), events }
        };
        Self { servers: (0..servers).map(server).collect() }
    }

    /// A cluster of adapters that were made otherwise, for [`NAMESPACE`].
    pub fn of(servers: Vec<Server>) -> Self {
        Self { servers }
    }
}

impl Server {
    /// A server's adapter and the receiving end of the channel that it was given.
    pub fn new(adapter: Arc<dyn Adapter>, events: mpsc::Receiver<ServerEvent>) -> Self {
        Self { adapter, events }
    }
}
