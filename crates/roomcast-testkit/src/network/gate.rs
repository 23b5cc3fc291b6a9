//! [`Gate`]: hands messages to a server's inbox when the faults let them arrive.

use crate::network::faults::Faults;
use roomcast_adapter::cluster::{Arrival, Inbox};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// An inbox behind the faults of its server's connection. Messages keep their order.
pub(crate) struct Gate {
    inbox: Arc<dyn Inbox>,
    faults: Arc<Faults>,
    /// What has arrived, each with the time at which it may be handed over.
    arrived: mpsc::UnboundedSender<(Instant, Vec<Arrival>)>,
    /// It ends with the gate, so what waits then does not arrive.
    handing: AbortHandle,
}

impl Gate {
    pub(crate) fn new(inbox: Arc<dyn Inbox>, faults: &Arc<Faults>) -> Self {
        let (arrived, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<Arrival>)>();
        let (to, gate) = (inbox.clone(), faults.clone());
        let handing = tokio::spawn(async move {
            while let Some((at, arrivals)) = waiting.recv().await {
                if at > Instant::now() {
                    sleep_until(at).await;
                }
                gate.thawed().await;
                to.receive(arrivals);
            }
        });
        Self { inbox, faults: faults.clone(), arrived, handing: handing.abort_handle() }
    }

    /// Hands nothing over any more.
    pub(crate) fn close(&self) {
        self.handing.abort();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inbox for Gate {
    fn wants(&self, room: &str) -> bool {
        self.inbox.wants(room)
    }

    fn awaits(&self, request: &str) -> bool {
        self.inbox.awaits(request)
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        // An error says that the gate is closed, and so is its namespace.
        drop(self.arrived.send((Instant::now() + self.faults.delay(), arrivals)));
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}
