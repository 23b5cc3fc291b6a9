//! [`ClusterAdapter`] as [`Recovery`]: a client is recovered by the server that had it. What other servers emitted meanwhile is in
//! that server's log, because it heard it, though nobody was there. Nothing more is published than without recovery: offsets
//! are added where an event is delivered.

use crate::cluster::namespace::adapter::ClusterAdapter;
use crate::seam::adapter::{Adapter, Emit};
use crate::seam::error::AdapterError;
use crate::seam::recipient::Recipient;
use crate::seam::recovery::{Found, NotRecovered, Recovery, Swept};
use crate::seam::room::Room;
use async_trait::async_trait;
use roomcast_protocol::{Packet, Pid, SocketId};
use std::sync::Arc;
use tokio::time::Instant;

#[async_trait]
impl Recovery for ClusterAdapter {
    fn begin(
        &self,
        pid: Pid,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        self.local().begin(pid, id, recipient, rooms, welcome)?;
        drop(self.place.look(|| rooms.iter().cloned().chain([Room::from(id)])));
        Ok(())
    }

    fn emit_to(&self, id: SocketId, emit: Emit<'_>) -> Result<bool, AdapterError> {
        self.local().emit_to(id, emit)
    }

    fn save(&self, id: SocketId, data: &str) -> bool {
        let rooms = if self.place.looks() { self.local().rooms_of(id) } else { Vec::new() };
        let saved = self.local().save(id, data);
        if !saved {
            drop(self.place.look(|| rooms));
        }
        saved
    }

    async fn find(&self, pid: Pid, offset: Option<&str>) -> Result<Found, NotRecovered> {
        self.local().find(pid, offset).await
    }

    async fn enter(
        &self,
        found: Found,
        recipient: Arc<dyn Recipient>,
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), NotRecovered> {
        // The rooms were heard all the time.
        self.local().enter(found, recipient, welcome).await
    }

    fn sweep(&self, now: Instant) -> Swept {
        let swept = self.local().sweep(now);
        drop(self.place.look(|| swept.ended.iter().flat_map(|(session, _)| session.rooms.clone()).collect::<Vec<_>>()));
        swept
    }
}
