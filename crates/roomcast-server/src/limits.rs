//! The bounds and deadlines of this crate, each with its reason. Those called "default" are options of the
//! [`Builder`](crate::Builder).

use std::time::Duration;

/// Default time that a client has to join its first namespace, as in Node.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);

/// Default time that an acknowledgement is waited for. Node waits for ever unless told otherwise.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// Default time that other servers have to answer, as in Node.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that the attachments of a packet may take to come.
pub const ATTACHMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Most namespaces of one connection, those being joined among them. Each is a socket with its state; a page needs a few.
pub const NAMESPACES_PER_CONNECTION: usize = 64;

/// Handlers of one connection that may be under way. Beyond it no more is read from the client until one ends; what was read
/// already is still begun: the messages of one read (64 KiB) of a WebSocket, or of one POST.
pub const HANDLERS_PER_CONNECTION: usize = 1_024;
