//! [`Flags`]: how an event is to be sent.

use roomcast_adapter::Emit;
use roomcast_protocol::Args;
use std::time::Duration;

/// How an event is to be sent, as Node's flags of a socket or an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) volatile: bool,
    pub(crate) compress: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Default for Flags {
    fn default() -> Self {
        Self { volatile: false, compress: true, timeout: None }
    }
}

impl Flags {
    pub(crate) fn emit(self, data: &Args) -> Emit<'_> {
        Emit { data, volatile: self.volatile, compress: self.compress }
    }
}
