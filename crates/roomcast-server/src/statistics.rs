//! [`Statistics`]: a server in numbers, for metrics.

use crate::io::SocketIo;
use roomcast_adapter::LocalSizes;
use roomcast_engine::{EngineStatistics, Outboxes};
use std::collections::BTreeMap;

/// A server in numbers. The roomcast program exports them to Prometheus at each scrape; so can an application, beside
/// what is counted through the [`metrics`](https://docs.rs/metrics) facade.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Sessions, and what they have sent and received.
    pub engine: EngineStatistics,
    /// By name. The first 64 namespaces that the application makes stand under their own names. All others, and those
    /// whose names clients choose ([`SocketIo::of_matching`]), stand together under `other`.
    pub namespaces: BTreeMap<String, NamespaceStatistics>,
    /// What is kept for clients that come back.
    pub recovery: RecoveryStatistics,
}

/// What is kept for clients that come back ([`Builder::recovery`](crate::Builder::recovery)), in all namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryStatistics {
    /// Sessions whose clients are away.
    pub sessions: usize,
    /// Their bytes.
    pub session_bytes: usize,
    /// Bytes of the events in the logs.
    pub log_bytes: usize,
}

/// A namespace in numbers, or several of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceStatistics {
    /// How many namespaces it is.
    pub namespaces: usize,
    /// Sockets of this server.
    pub sockets: usize,
    /// Rooms with members on this server, without those named after socket ids.
    pub rooms: usize,
    /// Events that clients have sent since the start.
    pub events_received: u64,
}

impl SocketIo {
    /// The server in numbers.
    pub fn statistics(&self) -> Statistics {
        let mut namespaces: BTreeMap<String, NamespaceStatistics> = BTreeMap::new();
        let existing: Vec<_> = {
            let names = self.inner.names.lock();
            for counted in names.labels.all() {
                let entry = namespaces.entry(counted.name().to_owned()).or_default();
                entry.events_received = counted.events();
            }
            names.all().cloned().collect()
        };
        for namespace in existing {
            let LocalSizes { sockets, rooms } = namespace.adapter().local_sizes();
            let name = namespace.0.counted.name();
            let sum = match namespaces.get_mut(name) {
                Some(sum) => sum,
                None => namespaces.entry(name.to_owned()).or_default(),
            };
            sum.namespaces += 1;
            sum.sockets += sockets;
            sum.rooms += rooms;
        }
        let recovery = self.inner.recovery.as_ref().map(|space| RecoveryStatistics {
            sessions: space.sessions(),
            session_bytes: space.session_bytes(),
            log_bytes: space.log_bytes(),
        });
        Statistics { engine: self.engine.statistics(), namespaces, recovery: recovery.unwrap_or_default() }
    }

    /// What waits in the outboxes of all clients. It looks at every client, in steps, so ask for it no more often than a
    /// scrape does.
    pub async fn outboxes(&self) -> Outboxes {
        self.engine.outboxes().await
    }
}
