//! [`Backoff`]: a server that could not be used is left alone for a pause that grows with each failure.

use crate::error::RedisError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause. Twice this is the longest after a transient error (a restart, a failover, loading).
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after any other error. A wrong password or a missing right is not fixed sooner, and is retried
/// some 16 times a minute.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// Without it every message and every question would try again.
#[derive(Debug)]
pub(crate) struct Backoff {
    error: RedisError,
    until: Instant,
    failures: u32,
}

impl Backoff {
    /// Begins a pause. `previous`: the backoff after the failure before this one, if nothing has succeeded since.
    pub(crate) fn after(error: &RedisError, previous: Option<&Self>) -> Self {
        let failures = previous.map_or(1, |previous| previous.failures.saturating_add(1));
        Self { error: error.clone(), until: Instant::now() + pause(error, failures), failures }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Fails with the last error while a pause lasts.
    pub(crate) fn check(backoff: Option<&Self>) -> Result<(), RedisError> {
        match backoff {
            Some(backoff) if !backoff.is_over() => Err(backoff.error.clone()),
            _ => Ok(()),
        }
    }
}

/// The pause after so many failures in a row. It grows with each, times a random factor of 0.75 to 1.75, so that the
/// servers of a cluster do not come back all at once.
pub(crate) fn pause(error: &RedisError, failures: u32) -> Duration {
    let longest = if error.is_transient() { SHORT_PAUSE * 2 } else { LONG_PAUSE };
    (SHORT_PAUSE * 2u32.saturating_pow(failures.clamp(1, 8) - 1)).min(longest).mul_f64(0.75 + chance())
}

/// A random number from 0 to 1, in steps of 1/256.
pub(crate) fn chance() -> f64 {
    // The hasher's keys are random; nothing is hashed.
    let [random, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    f64::from(random) / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_do_not_come_back_all_at_once() {
        let pauses: Vec<Duration> = (0..1_000).map(|_| pause(&RedisError::Timeout, 1)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        // The chance that none of a thousand is in a given tenth is one in 10^45.
        assert!(
            (75..85).contains(&least.as_millis()) && (165..175).contains(&most.as_millis()),
            "{least:?} to {most:?}"
        );
    }
}
