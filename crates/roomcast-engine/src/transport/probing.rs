//! [`Probing`]: a WebSocket that is to take over a polling session.

use crate::transport::outlet::{Locked, Outlet};
use crate::transport::sink::Wrote;
use crate::transport::writer::Writer;
use roomcast_protocol::deflate::Deflate;
use std::cell::RefCell;

/// A WebSocket that is to take over a polling session. Until it does, it has an outlet of its own, which only its task
/// touches.
pub(crate) struct Probing {
    pub(crate) outlet: RefCell<Outlet<Writer>>,
    /// The session's upgrade is still the one of this WebSocket.
    pub(crate) active: bool,
}

impl Probing {
    pub(crate) fn new(writer: Writer) -> Self {
        let mut outlet = Outlet::default();
        outlet.lane.attach(writer);
        Self { outlet: RefCell::new(outlet), active: true }
    }
}

impl Locked<Writer> for Probing {
    /// What goes out here is never compressed, so a packet that has left in part has the same form once the session has
    /// moved.
    fn deflate(&self) -> Option<&Deflate> {
        None
    }

    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<Writer>) -> R) -> R {
        use_it(&mut self.outlet.borrow_mut())
    }

    /// What goes out before the session has moved is the answer to the probe, six bytes.
    fn count(&self, _: &Wrote) {}
}
