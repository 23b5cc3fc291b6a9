//! The channels of the sharded dialect: `PREFIX#NSP#…`, and roomcast's own.

use crate::wire::servers;
use std::sync::Arc;

/// The names of one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Names(pub(crate) Arc<str>);

impl Names {
    /// What every server of a namespace hears.
    pub(crate) fn main(&self, namespace: &str) -> String {
        format!("{}#{namespace}#", self.0)
    }

    /// Broadcasts to one room, or answers for the server of that id: no name is escaped.
    pub(crate) fn room(&self, namespace: &str, room: &str) -> String {
        format!("{}#{namespace}#{room}#", self.0)
    }

    /// What roomcast servers tell one another of themselves.
    pub(crate) fn servers(&self) -> String {
        servers::channel(&self.0)
    }

    /// What they tell one server alone.
    pub(crate) fn server(&self, server: &str) -> String {
        servers::channel_of(&self.0, server)
    }
}
