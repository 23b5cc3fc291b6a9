//! [`Received`]: a packet from a client.

use crate::arguments::args::ArgsRef;
use std::borrow::Cow;

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<'a> {
    /// The client asks to join a namespace.
    Connect {
        /// The namespace's name, including its query, if any.
        namespace: &'a str,
        /// The auth payload: a JSON object, or nothing.
        auth: Option<&'a str>,
    },
    /// The client leaves a namespace.
    Disconnect {
        /// The namespace's name.
        namespace: &'a str,
    },
    /// The client emits an event.
    Event {
        /// The namespace's name.
        namespace: &'a str,
        /// Set if the client asks for an answer.
        id: Option<u64>,
        /// What it emits.
        event: Event<'a>,
    },
    /// The client answers an event.
    Ack {
        /// The namespace's name.
        namespace: &'a str,
        /// The id of the event that is answered. Without it the answer is ignored.
        id: Option<u64>,
        /// The answer.
        args: ArgsRef<'a>,
    },
    /// Only a server may send this.
    ConnectError {
        /// The namespace's name.
        namespace: &'a str,
    },
}

/// An event as it was received, without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name. A number is spelled as in JavaScript.
    pub name: Cow<'a, str>,
    /// The arguments after the name.
    pub args: ArgsRef<'a>,
}
