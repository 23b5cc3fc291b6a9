//! What is decided for a session, without I/O: its state machine, its outbox and the bounds on it.

pub(crate) mod bounds;
pub(crate) mod budget;
pub(crate) mod close_reason;
pub(crate) mod handler;
pub(crate) mod inbox_budget;
pub(crate) mod lane;
pub(crate) mod memory;
pub(crate) mod outbox;
pub(crate) mod pace;
pub(crate) mod state;
pub(crate) mod transport;
pub(crate) mod turn_id;
