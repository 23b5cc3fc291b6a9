//! [`HandlerContext`]: whom a handler is called for, and what happens when it fails.

use crate::error::ExtractError;
use roomcast_protocol::{Args, SocketId};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// Whom a handler is called for: a [`Socket`](crate::Socket) for events of clients, or a [`Namespace`](crate::Namespace) for events of
/// other servers. It is implemented for these two only.
pub trait HandlerContext: Clone + Send + 'static {
    /// What answers the event.
    type Ack: Send + 'static;

    /// The application's state of this type.
    #[doc(hidden)]
    fn state<S: Clone + Send + Sync + 'static>(&self) -> Option<S>;

    /// The value of this type that the socket or its request has.
    #[doc(hidden)]
    fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T>;

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

impl fmt::Display for Failure<'_> {
    /// The error's own text, without its causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "{error}"),
            Self::Extract(error) => write!(f, "{error}"),
            Self::Panic => f.write_str("the handler panicked"),
        }
    }
}

/// A failure of a handler, and whose it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failed<'a> {
    /// What went wrong.
    pub failure: &'a Failure<'a>,
    /// The event's name, or `connection` or `disconnect`. A client may have chosen it.
    pub event: &'a str,
    /// The namespace's name.
    pub namespace: &'a str,
    /// The socket; `None` for an event of another server.
    pub socket: Option<SocketId>,
}

/// The name of an event that has a handler. A name that is part of the program's text is not copied for each socket.
pub(crate) type HandlerName = Cow<'static, str>;
