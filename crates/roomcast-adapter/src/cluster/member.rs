//! [`Member`]: this server as a member of its cluster.

use crate::cluster::membership::directory::Directory;
use crate::cluster::seam::broker::Broker;
use crate::cluster::seam::ids::ServerId;
use crate::cluster::sending::queue::Queue;
use parking_lot::Mutex;
use std::sync::Arc;

/// What all namespaces of this server share: its id, its broker, its queue, and what it knows about the other servers.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: ServerId,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) directory: Arc<Mutex<Directory>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.queue.close();
    }
}
