//! [`Node`]: a Redis server that has channels.

use redis::ConnectionInfo;
use std::fmt;
use std::sync::Arc;

pub(super) struct Node {
    /// Host and port, by which it is identified here.
    pub(super) address: Arc<str>,
    pub(super) info: ConnectionInfo,
}

impl Node {
    pub(super) fn new(info: ConnectionInfo) -> Arc<Self> {
        Arc::new(Self { address: info.addr().to_string().into(), info })
    }
}

/// Whether it is the same server, whatever the login.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.address).finish()
    }
}
