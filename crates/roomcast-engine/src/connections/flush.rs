//! How a [`Connection`] writes what waits, and keeps account of it.

use crate::connections::connection::Connection;
use crate::connections::sessions::Sessions;
use crate::session::close_reason::CloseReason;
use crate::session::pace::Pacing;
use crate::session::transport::Transport;
use crate::transport::outlet::{By, Locked, Outlet, drain};
use crate::transport::sink::Wrote;
use crate::transport::writer::Writer;
use roomcast_protocol::deflate::Deflate;
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

impl Connection {
    /// Writes what waits to the WebSocket, for its task. Ready: everything has left. Pending: the task is woken to go
    /// on.
    pub(crate) fn flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        drain(self, By::Task(cx), &self.sessions().bounds)
    }

    /// Writes what waits, on this thread. If that fails, the connection's task is woken to deal with it.
    pub(crate) fn write_now(&self) {
        if drain(self, By::Other, &self.sessions().bounds).is_ready() {
            return;
        }
        // A session that polls has no stream: the held GET takes what waits.
        let poll = {
            let mut shared = self.shared();
            if shared.session.transport() == Transport::Polling { shared.outlet.task.take() } else { None }
        };
        if let Some(poll) = poll {
            poll.wake();
        }
        if self.sessions().budget.is_over() {
            self.sessions().relieve();
        }
    }

    /// Leaves it to the connection's task to write what waits.
    pub(crate) fn hand_to_task(&self) {
        let task = self.shared().outlet.task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// An answer to a poll has been written, or never will be.
    pub(crate) fn answered(&self, packets: usize, cost: usize) {
        let ready = {
            let mut shared = self.shared();
            shared.outlet.outbox.written(packets, cost, std::iter::empty());
            shared.outlet.pacer.note_taken(0, cost);
            shared.outlet.take_ready(&self.sessions().bounds)
        };
        ready.into_iter().for_each(Waker::wake);
    }

    /// Checks whether the transport keeps the pace, and closes the session if it does not. Otherwise returns when to
    /// check again, if at all.
    pub(crate) fn keep_pace(&self, now: Instant) -> Option<Instant> {
        let Sessions { bounds, budget, config, .. } = &**self.sessions();
        let mut shared = self.shared();
        if !shared.session.is_open() {
            return None;
        }
        match shared.outlet.check_pace(now, budget.grace(config.ping_timeout), bounds) {
            Pacing::Fine => None,
            Pacing::CheckAt(at) => Some(at),
            Pacing::TooSlow => {
                shared.session.close(CloseReason::SlowConsumer);
                drop(shared);
                self.drop_outbox_of_slow("it did not take an eighth of what waits in the time that it had");
                None
            }
        }
    }
}

impl Locked<Writer> for Connection {
    fn deflate(&self) -> Option<&Deflate> {
        self.sessions().config.per_message_deflate.as_ref()
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<Writer>) -> R) -> R {
        use_it(&mut self.shared().outlet)
    }

    fn count(&self, wrote: &Wrote) {
        self.sessions().traffic.sent(Transport::WebSocket, wrote.packets, wrote.bytes);
    }
}
