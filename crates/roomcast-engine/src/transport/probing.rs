//! [`Probing`]: a WebSocket that is to take over a polling session.

use crate::transport::outlet::{Locked, Outlet};
use crate::transport::writer::Writer;
use std::cell::RefCell;

/// A WebSocket that has not taken its session over yet has an outlet of its own, which nobody else touches.
pub(crate) struct Probing {
    pub(crate) outlet: RefCell<Outlet<Writer>>,
    /// The upgrade is this WebSocket's, and not given up.
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
    fn with<R>(&self, use_it: impl FnOnce(&mut Outlet<Writer>) -> R) -> R {
        use_it(&mut self.outlet.borrow_mut())
    }
}
