//! [`settle`]: everything has happened that can happen without time passing.

use std::time::Duration;

/// The shortest time that tokio's timer knows.
const MOMENT: Duration = Duration::from_millis(1);

/// Waits until everything has happened that can happen without time passing: servers and clients have handled what was
/// sent to them, and all tasks wait for the clock, or for the test.
///
/// It is meant for tests under a paused clock (`#[tokio::test(start_paused = true)]`): tokio moves such a clock only when
/// no task can run, so this is a fence. It moves the clock by a millisecond or two. Under a clock that runs, it just
/// sleeps that long, and promises nothing.
///
/// Cancel safe.
pub async fn settle() {
    tokio::time::sleep(MOMENT).await;
}
