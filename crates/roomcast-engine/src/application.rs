//! [`Application`] and [`SessionHandler`]: what stands above an Engine.IO session.

use crate::connection::Connection;
use crate::session::CloseReason;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

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

/// The receiving side of a session. Its methods are called one at a time, in the order of what the client sent, on the task
/// that reads; they must not block. To send, or to end the session, use the [`Connection`].
pub trait SessionHandler: Send + 'static {
    /// A text message.
    fn text(&mut self, text: &str);

    /// A binary message.
    fn binary(&mut self, bytes: &[u8]);

    /// The session is over. Called exactly once, and last.
    fn closed(&mut self, reason: CloseReason);

    /// While this is pending no further messages are read: the transport's own flow control slows the client down. The
    /// heartbeat goes on.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Whether the first message establishes the session ([`Connection::establish`]); asked once, at the beginning. A client
    /// that says no calls it when it thinks so.
    fn is_established_by_a_message(&self) -> bool {
        true
    }

    /// When [`SessionHandler::tick`] is to be called; asked after each batch of messages and each tick.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed.
    fn tick(&mut self, now: Instant) {
        let _ = now;
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
