//! [`OwnConnections`]: the connections of this server that subscribe, as Redis lists them among its clients. Redis keeps
//! what waits for them, and ends those for which too much waits.

use super::client_entry::ClientEntry;
use super::data_server::DataServer;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub(crate) struct OwnConnections(Arc<Mutex<Vec<ClientEntry>>>);

/// A connection is listed until this is dropped.
#[must_use]
pub(crate) struct Listed {
    all: OwnConnections,
    entry: Option<ClientEntry>,
}

impl OwnConnections {
    /// Lists a connection, unless Redis did not say how it lists it.
    pub(crate) fn list(&self, entry: Option<ClientEntry>) -> Listed {
        self.0.lock().extend(entry.clone());
        Listed { all: self.clone(), entry }
    }

    /// The connections to this server.
    pub(crate) fn at(&self, server: &DataServer) -> Vec<ClientEntry> {
        let is_at = |entry: &&ClientEntry| {
            entry.is_at(&server.address()) || server.other_address.as_ref().is_some_and(|other| entry.is_at(other))
        };
        self.0.lock().iter().filter(is_at).cloned().collect()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let Some(entry) = &self.entry else { return };
        let mut all = self.all.0.lock();
        if let Some(at) = all.iter().position(|other| other.is(entry)) {
            all.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    #[test]
    fn connections_are_listed_by_server_until_they_end() {
        let own = OwnConnections::default();
        let entry = |server: &str, id: &str| ClientEntry {
            server: server.into_connection_info().unwrap(),
            id: id.to_owned(),
            address: "me:1".to_owned(),
        };
        let at = |url: &str, other: Option<&str>| {
            let info = url.into_connection_info().unwrap();
            let entries = own.at(&DataServer { info, other_address: other.map(str::to_owned) });
            entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
        };
        let first = own.list(Some(entry("redis://h:1", "1")));
        let _second = own.list(Some(entry("redis://h:2", "2")));
        let _unknown = own.list(None);
        assert_eq!(at("redis://h:1", None), ["1"]);
        assert_eq!(at("redis://h:3", Some("h:2")), ["2"], "it has two names");
        drop(first);
        assert!(at("redis://h:1", None).is_empty());
        assert_eq!(at("redis://h:2", None), ["2"]);
    }
}
