//! [`Received`]: a packet from a client, as it was read.

use crate::arguments::args::ArgsRef;
use std::borrow::Cow;

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<'a> {
    /// The client asks to join a namespace.
    Connect {
        /// The namespace's name, its query (if any) included.
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
        /// Set if the client wants an answer.
        id: Option<u64>,
        /// What it emits.
        event: Event<'a>,
    },
    /// The client answers an event.
    Ack {
        /// The namespace's name.
        namespace: &'a str,
        /// The id of the event that is answered; without one the answer is for nobody.
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

/// An event as it was received: nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name; a numeric name in JavaScript's spelling.
    pub name: Cow<'a, str>,
    /// The arguments after the name.
    pub args: ArgsRef<'a>,
}
