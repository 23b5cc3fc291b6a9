//! [`Application`]: what makes a handler for each session.

use crate::connections::connection::Connection;
#[cfg(test)]
use crate::session::close_reason::CloseReason;
use crate::session::handler::SessionHandler;
use std::sync::Arc;

/// Makes the [`SessionHandler`] of each new session.
pub trait Application: Send + Sync + 'static {
    /// A session has opened: its handshake was accepted, and its `open` packet is queued.
    fn connect(&self, connection: &Arc<Connection>) -> Box<dyn SessionHandler>;
}

impl<F: Fn(&Arc<Connection>) -> Box<dyn SessionHandler> + Send + Sync + 'static> Application for F {
    fn connect(&self, connection: &Arc<Connection>) -> Box<dyn SessionHandler> {
        self(connection)
    }
}

/// A client that does nothing, for tests.
#[cfg(test)]
pub(crate) struct Nobody;

#[cfg(test)]
impl SessionHandler for Nobody {
    fn text(&mut self, _: &str) {}
    fn binary(&mut self, _: &[u8]) {}
    fn closed(&mut self, _: CloseReason) {}
}

#[cfg(test)]
impl Application for Nobody {
    fn connect(&self, _: &Arc<Connection>) -> Box<dyn SessionHandler> {
        Box::new(Self)
    }
}
