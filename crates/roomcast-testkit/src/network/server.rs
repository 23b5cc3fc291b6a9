//! [`Server`]: one server of a network.

use crate::network::broker::FaultyBroker;
use roomcast_adapter::cluster::Cluster;
use roomcast_server::SocketIo;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// One server of a [`Network`](crate::Network). It dereferences to its [`SocketIo`], so that it is used as one. Cloning
/// it is cheap.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) io: SocketIo,
    pub(crate) cluster: Cluster,
    pub(crate) broker: Arc<FaultyBroker>,
}

impl Server {
    /// Its view of the cluster: the servers that it knows, what it lost, what waits to be sent.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }
}

impl Deref for Server {
    type Target = SocketIo;

    fn deref(&self) -> &SocketIo {
        &self.0.io
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("id", self.0.cluster.id()).finish_non_exhaustive()
    }
}
