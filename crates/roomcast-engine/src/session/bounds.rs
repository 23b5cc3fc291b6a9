//! [`Bounds`]: how much may wait for one client.

use roomcast_protocol::Meter;
use std::sync::Arc;

/// The bounds of an outbox in bytes ([`OutboxLimits`](crate::OutboxLimits)), and the meter that counts for all
/// outboxes.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) soft: usize,
    pub(crate) hard: usize,
    /// When this much waits, it is written before the end of the turn.
    pub(crate) crowded: usize,
    pub(crate) meter: Arc<Meter>,
}
