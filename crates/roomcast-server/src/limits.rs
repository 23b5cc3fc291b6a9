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

/// Namespaces that the server took a client out of, of which a connection knows that packets may still be on their way. A
/// client is in a few, and what is forgotten is taken for a fault, as before.
pub const LEFT_NAMESPACES: usize = 16;

/// Default for the namespaces made by patterns that have sockets at the same time. Each costs some 2 KB, a task, and in a
/// cluster a subscription that every publish is compared with.
pub const PATTERN_NAMESPACES: usize = 10_000;

/// Default time that a namespace made by a pattern waits for another socket, so that a client which comes and goes costs no
/// subscription each time.
pub const NAMESPACE_LINGER: Duration = Duration::from_secs(5);

/// Namespaces that wait so; what empties beyond it goes at once. Names are the clients' choice, and are kept for nothing.
pub const IDLE_NAMESPACES: usize = 1_024;

/// Names of events per namespace or pattern of which a log line says "once per event"; clients may have chosen the names.
pub const TOLD_EVENTS: usize = 256;

/// Time that handlers of sockets' ends have when the server is closed. With the next two, and nothing else, it makes 8.5 s:
/// less than the 10 s after which Docker kills.
pub const DISCONNECT_HANDLERS_TIMEOUT: Duration = Duration::from_secs(3);

/// Time that adapters then have to leave their namespaces: over Redis it takes up to 3.05 s.
pub const CLOSE_ADAPTERS_TIMEOUT: Duration = Duration::from_millis(3_500);

/// Time that messages on their way to other servers then have to go out.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
