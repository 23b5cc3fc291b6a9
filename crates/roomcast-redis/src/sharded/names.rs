//! [`Names`]: the channels of the sharded dialect, `PREFIX#NSP#…`, and roomcast's own.

use crate::wire::servers;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Names(pub(crate) Arc<str>);

impl Names {
    /// The channel for every server of a namespace.
    pub(crate) fn main(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.0)
    }

    /// The channel for broadcasts to one room, or for answers to the server with that id: names are not escaped.
    pub(crate) fn room(&self, namespace: &str, room: &str) -> String {
        format!("{}#{namespace}#{room}#", self.0)
    }

    pub(crate) fn servers(&self) -> String {
        servers::channel(&self.0)
    }

    pub(crate) fn server(&self, server: &str) -> String {
        servers::channel_of(&self.0, server)
    }
}
