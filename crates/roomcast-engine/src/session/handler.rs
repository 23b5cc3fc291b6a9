//! [`SessionHandler`]: what a session's messages go to.

use crate::session::close_reason::CloseReason;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The receiving side of a session. Its methods are called one at a time, in the order in which the client sent its
/// messages, on the task that reads; they must not block. To send, or to end the session, use the
/// [`Connection`](crate::Connection).
pub trait SessionHandler: Send + 'static {
    /// A text message.
    fn text(&mut self, text: &str);

    /// A binary message.
    fn binary(&mut self, bytes: &[u8]);

    /// The session, which began by polling, goes on over a WebSocket.
    fn upgraded(&mut self) {}

    /// The session is over. Called exactly once, and last.
    fn closed(&mut self, reason: CloseReason);

    /// While this is pending, no further messages are read, and the transport's own flow control slows the client down.
    /// The heartbeat goes on.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Whether the first message establishes the session. Asked once, at the beginning. A handler that returns `false`
    /// calls [`Connection::establish`](crate::Connection::establish) itself.
    fn is_established_by_a_message(&self) -> bool {
        true
    }

    /// When [`SessionHandler::tick`] is to be called. Asked after each batch of messages and each tick.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed.
    fn tick(&mut self, now: Instant) {
        let _ = now;
    }
}
