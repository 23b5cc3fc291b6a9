//! [`Engine::drain`]: how an engine empties itself before it stops.

use crate::engine::Engine;
use crate::session::close_reason::CloseReason;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time between two groups of sessions that are closed. In a window of 10 s, 5,000 sessions are closed ten at a time.
const STEP: Duration = Duration::from_millis(20);

impl Engine {
    /// Closes all sessions evenly over `window` ("server shutting down"), in random order, and refuses new ones from now on: a
    /// handshake is answered 503 with `Retry-After`. Resolves when all are closed, at once if `window` is zero.
    ///
    /// Clients reconnect as soon as their session is closed. If all were closed at once, all would reconnect at the same time, to
    /// fewer servers.
    ///
    /// Cancel safe: if the future is dropped, the sessions that are left stay open, and new ones are still refused.
    pub async fn drain(&self, window: Duration) {
        let sessions = self.sessions.close();
        let begun = Instant::now();
        let all = sessions.len();
        // The table's order is random: its hasher is seeded.
        let mut left = sessions.into_iter();
        while left.len() > 0 {
            let elapsed = begun.elapsed();
            let due = if elapsed >= window { all } else { due(all, elapsed, window) };
            let closed = all - left.len();
            for connection in left.by_ref().take(due.saturating_sub(closed)) {
                connection.close_for(CloseReason::ServerShutdown);
            }
            if left.len() > 0 {
                sleep_until(Instant::now() + STEP.min(window.saturating_sub(elapsed))).await;
            }
        }
    }
}

/// How many of `all` sessions are to be closed after a part of the window.
fn due(all: usize, elapsed: Duration, window: Duration) -> usize {
    let part = elapsed.as_nanos().saturating_mul(all as u128) / window.as_nanos().max(1);
    usize::try_from(part).unwrap_or(all).min(all)
}

#[cfg(test)]
mod tests {
    use super::due;
    use std::time::Duration;

    #[test]
    fn sessions_are_closed_in_proportion_to_the_time() {
        let window = Duration::from_secs(10);
        let after = |milliseconds| due(5_000, Duration::from_millis(milliseconds), window);
        assert_eq!(
            [after(0), after(1), after(20), after(5_000), after(9_999), after(10_000)],
            [0, 0, 10, 2_500, 4_999, 5_000]
        );
        assert_eq!(due(3, Duration::from_secs(1), Duration::ZERO), 3);
    }
}
