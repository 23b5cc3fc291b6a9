//! The bounds of the test kit.

use std::time::Duration;

/// Default for how long a client waits for an event, an answer, or the end of its connection. Under a paused clock it
/// takes no time. Applications that answer later than this are rare, and a test that waits in vain should end soon.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that are in flight between a client and its server, in each direction. It stands for the buffers of the two
/// kernels: what a client does not read beyond it waits in the server's outbox.
pub const PIPE_BYTES: usize = 64 * 1024;

/// Unread events that the text of a failure lists. The rest are counted.
pub const SHOWN_EVENTS: usize = 10;

/// Characters that it shows of an event's arguments.
pub const SHOWN_CHARS: usize = 80;
