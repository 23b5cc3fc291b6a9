//! The message that workloads send, how long they wait for an answer, and [`Failure`].

use std::time::Duration;

/// Size of a message's text in bytes.
pub const PAYLOAD: usize = 128;

/// A measurement fails if no packet arrives for this time.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// The error of a measurement.
pub type Failure = Box<dyn std::error::Error>;

pub(super) fn text() -> String {
    "x".repeat(PAYLOAD)
}
