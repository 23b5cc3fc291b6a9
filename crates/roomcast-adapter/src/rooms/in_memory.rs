//! [`Local`] as an [`Adapter`]: the in-memory adapter of a single server.

use crate::rooms::local::Local;
use crate::seam::adapter::{Acked, Action, Adapter, Emit, Joined, LocalSizes};
use crate::seam::answer::{Answer, Missing};
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, SocketDetails, Wakes};
use crate::seam::recovery::Recovery;
use crate::seam::room::Room;
use crate::seam::target::Target;
use async_trait::async_trait;
use roomcast_protocol::{Args, Packet, SocketId};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl Adapter for Local {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        let mut wakes = Wakes::new();
        {
            let mut state = self.state.lock();
            state.index.insert(id, recipient.clone(), rooms)?;
            if let Some(welcome) = welcome {
                recipient.deliver(welcome, &mut wakes);
            }
        }
        wakes.wake();
        self.feed.tell();
        Ok(())
    }

    fn remove(&self, id: SocketId) {
        let (recipient, wakers) = {
            let mut state = self.state.lock();
            let recipient = state.index.remove(id);
            if let Some(history) = state.history.as_mut().filter(|_| recipient.is_some()) {
                history.ended(id);
            }
            (recipient, state.pending.left(id))
        };
        self.tell_waiting();
        // Outside the lock: dropping either may run foreign code.
        drop(recipient);
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.feed.tell();
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        let before = self.state.lock().index.replace(id, recipient);
        // Outside the lock, as above.
        drop(before);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.state.lock().join(id, rooms)?;
        self.feed.tell();
        Ok(Joined::confirmed())
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.state.lock().leave(id, room);
        self.feed.tell();
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.state.lock().index.rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        match action {
            Action::Emit(emit) => self.emit(target, emit, || {}),
            change => {
                self.change(target, change);
                Ok(())
            }
        }
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        let waker = self.state.lock().pending.answered(from, id, args);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        let mut acks = self.emit_for_acks(target, emit, || {})?;
        let mut answers = Vec::new();
        let collect = async {
            while let Some((_, args)) = acks.next().await {
                answers.push(args);
            }
        };
        // After a timeout, the answers that arrived in time are returned.
        let _ = tokio::time::timeout(timeout, collect).await;
        let missing_sockets = acks.asked() - answers.len();
        Ok(Acked { answers, missing_sockets, missing: Missing::default() })
    }

    async fn fetch_sockets(&self, target: &Target, _timeout: Duration) -> Answer<Vec<SocketDetails>> {
        Answer::complete(self.sockets(target))
    }

    async fn count(&self, target: &Target, _timeout: Duration) -> Answer<usize> {
        Answer::complete(self.count_sockets(target))
    }

    async fn all_rooms(&self, _timeout: Duration) -> Answer<Vec<Room>> {
        Answer::complete(self.rooms())
    }

    async fn server_count(&self) -> Answer<usize> {
        Answer::complete(1)
    }

    fn server_side_emit(&self, _data: &Args) -> Result<(), AdapterError> {
        // There are no other servers.
        Ok(())
    }

    async fn server_side_emit_with_ack(
        &self,
        _data: &Args,
        _timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        Ok(Answer::complete(Vec::new()))
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        let (sockets, rooms, _) = self.sizes();
        LocalSizes { sockets, rooms }
    }

    async fn close(&self) {}

    fn recovery(&self) -> Option<&dyn Recovery> {
        self.recoverer.as_ref().map(|_| self as &dyn Recovery)
    }
}
