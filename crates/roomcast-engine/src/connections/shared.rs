//! [`Shared`]: the part of a connection that several tasks touch, under its lock.

use crate::session::bounds::Bounds;
use crate::session::outbox::Full;
use crate::session::state::Session;
use crate::session::transport::Transport;
use crate::session::turn_id::TurnId;
use crate::transport::outlet::{Offered, Outlet};
use crate::transport::writer::Writer;
use roomcast_protocol::Packet;
use std::sync::Arc;
use std::task::Waker;

/// See the module. The order of the fields matters, as in `Connection`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) outlet: Outlet<Writer>,
    pub(crate) session: Session,
    /// Only while the session is polling.
    pub(crate) polling: Option<Box<Polling>>,
}

/// The tasks of a session that is polling, beside the held GET, while they sleep.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    /// Keeps the session's time.
    pub(crate) keeper: Option<Waker>,
    /// Reads the body of a POST, or holds its answer back.
    pub(crate) post: Option<Waker>,
}

/// Tasks to wake once the lock is free again.
#[derive(Debug, Default)]
#[must_use = "the tasks sleep until `wake`"]
pub(crate) struct Wakers {
    tasks: [Option<Waker>; 3],
    ready: Vec<Waker>,
}

impl Wakers {
    /// Only the task that takes packets out of the outbox.
    pub(crate) fn of_task(task: Option<Waker>) -> Self {
        Self { tasks: [task, None, None], ready: Vec::new() }
    }

    pub(crate) fn wake(self) {
        self.tasks.into_iter().flatten().chain(self.ready).for_each(Waker::wake);
    }
}

impl Shared {
    /// Takes the wakers of all the session's tasks; if the session is not open any more, also of those that wait to
    /// send.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        let Polling { keeper, post } = self.polling.take().map(|polling| *polling).unwrap_or_default();
        let ready = if self.session.is_open() { Vec::new() } else { self.outlet.pacer.take_all() };
        Wakers { tasks: [self.outlet.task.take(), keeper, post], ready }
    }

    pub(crate) fn polling(&mut self) -> &mut Polling {
        self.polling.get_or_insert_default()
    }

    /// Whether a packet would leave at once.
    pub(crate) fn is_writable(&self) -> bool {
        let free = match self.session.transport() {
            Transport::Polling => self.session.poll_is_writable(),
            Transport::WebSocket => true,
        };
        free && self.outlet.outbox.is_empty()
    }

    /// Puts a packet into the outbox, and returns what is to be done for it outside the lock.
    pub(crate) fn offer(&mut self, packet: &Arc<Packet>, bounds: &Bounds) -> Result<Offered, Full> {
        match self.session.transport() {
            Transport::WebSocket => self.outlet.offer(packet, TurnId::current(), bounds),
            Transport::Polling => {
                let held = self.session.poll_is_writable();
                let offered = self.outlet.offer_to_poll(packet, held, bounds)?;
                // The keeper checks the pace of a polling session.
                let mut keeper = || self.polling.as_mut().and_then(|polling| polling.keeper.take());
                Ok(match offered {
                    Offered::CheckPace => keeper().map_or(Offered::Nothing, Offered::Wake),
                    offered => offered,
                })
            }
        }
    }
}
