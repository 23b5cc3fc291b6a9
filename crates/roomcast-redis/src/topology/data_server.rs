//! [`DataServer`]: a server that carries messages.

use redis::ConnectionInfo;

#[derive(Debug)]
pub(crate) struct DataServer {
    pub(crate) info: ConnectionInfo,
    /// The address by which its Cluster knows it, where that is not the one in use.
    pub(crate) other_address: Option<String>,
}

impl DataServer {
    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.info.addr().to_string()
    }
}
