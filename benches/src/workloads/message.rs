//! What every workload sends, how long it waits for an answer, and what it fails with.

use std::time::Duration;

/// Bytes of a message's text.
pub const PAYLOAD: usize = 128;

/// Nothing came for so long: the measurement has failed.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// What a measurement fails with.
pub type Failure = Box<dyn std::error::Error>;

pub(super) fn text() -> String {
    "x".repeat(PAYLOAD)
}
