//! [`Servers`]: the adapters under test.

use crate::limits::MAX_SERVER_EVENTS;
use crate::{Adapter, AdapterContext, ServerEvent};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The namespace of the adapters under test. It is not `/`, so that packets must contain its name.
pub const NAMESPACE: &str = "/contract";

/// Servers that are connected to each other and to nobody else.
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
    /// A cluster of `servers` adapters. `make` gets the server's number, from 0, and an adapter factory's argument. The
    /// adapters need not have found each other yet; the suite waits for that.
    pub fn new<A: Adapter>(servers: usize, mut make: impl FnMut(usize, AdapterContext) -> Arc<A>) -> Self {
        let server = |number| {
            let (server_events, events) = mpsc::channel(MAX_SERVER_EVENTS);
            let context = AdapterContext::new(NAMESPACE, server_events);
            Server { adapter: make(number, context), events }
        };
        Self { servers: (0..servers).map(server).collect() }
    }

    /// A cluster of adapters for [`NAMESPACE`] that were made in another way.
    pub fn of(servers: Vec<Server>) -> Self {
        Self { servers }
    }
}

impl Server {
    /// A server's adapter, and the receiving end of the channel that the adapter was given.
    pub fn new(adapter: Arc<dyn Adapter>, events: mpsc::Receiver<ServerEvent>) -> Self {
        Self { adapter, events }
    }
}
