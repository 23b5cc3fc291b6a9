//! [`HandlerContext`]: whom a handler is called for, and what happens when it fails.

use crate::error::ExtractError;
use roomcast_protocol::Args;
use std::borrow::Cow;
use std::error::Error;

/// Whom a handler is called for: a [`Socket`](crate::Socket) for events of clients, or a [`Namespace`](crate::Namespace) for events of
/// other servers. It is implemented for these two only.
pub trait HandlerContext: Clone + Send + 'static {
    /// What answers the event.
    type Ack: Send + 'static;

    /// The application's state of this type.
    #[doc(hidden)]
    fn state<S: Clone + Send + Sync + 'static>(&self) -> Option<S>;

    /// Sends the answer, if one was asked for.
    #[doc(hidden)]
    fn answer(&self, event: &str, ack: Self::Ack, args: &Args);

    /// Counts and logs a failure. Returns what it is answered with, if anything.
    #[doc(hidden)]
    fn failed(&self, event: &str, failure: &Failure<'_>) -> Option<Args>;
}

/// Why an event was not handled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The handler returned an error.
    Error(&'a (dyn Error + Send + Sync + 'static)),
    /// The handler was not called: what was sent does not fit its type, or a state is missing.
    Extract(&'a ExtractError),
    /// The handler panicked.
    Panic,
}

/// The name of an event that has a handler. A name that is part of the program's text is not copied for each socket.
pub(crate) type HandlerName = Cow<'static, str>;
