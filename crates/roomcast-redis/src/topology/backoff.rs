//! [`Backoff`]: a server that could not be used is left alone for a pause that grows with each failure.

use crate::error::RedisError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

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

/// Tries again until `attempt` succeeds, somebody has to correct its error, or `patience` is over. Fails with the last
/// error.
pub(crate) async fn patiently<A>(patience: Duration, attempt: impl Fn() -> A) -> Result<(), RedisError>
where
    A: Future<Output = Result<(), RedisError>>,
{
    let began = Instant::now();
    let mut failures = 0_u32;
    loop {
        let left = patience.saturating_sub(began.elapsed());
        // The first attempt takes the time that it needs.
        let result = match failures {
            0 => attempt().await,
            _ => timeout(left, attempt()).await.unwrap_or(Err(RedisError::Timeout)),
        };
        failures = failures.saturating_add(1);
        match result {
            Err(error) if !error.is_lasting() && began.elapsed() < patience => {
                sleep(pause(&error, failures).min(patience.saturating_sub(began.elapsed()))).await;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// The errors of the attempts in turn, and then success; the time after which it ends.
    async fn patiently_through(errors: &[RedisError], patience: u64) -> (Result<(), RedisError>, usize, Duration) {
        let (attempts, began) = (Cell::new(0), Instant::now());
        let result = patiently(Duration::from_secs(patience), || {
            let number = attempts.replace(attempts.get() + 1);
            std::future::ready(errors.get(number).map_or(Ok(()), |error| Err(error.clone())))
        });
        let result = result.await;
        (result, attempts.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_go_away_is_waited_for() {
        let (away, wrong) = (RedisError::Timeout, RedisError::Auth("wrong".to_owned()));
        assert_eq!(patiently_through(&[], 0).await, (Ok(()), 1, Duration::ZERO));
        let (result, attempts, _) = patiently_through(&[RedisError::Loading, away.clone(), away.clone()], 10).await;
        assert_eq!((result, attempts), (Ok(()), 4));
        assert_eq!(patiently_through(std::slice::from_ref(&wrong), 10).await, (Err(wrong.clone()), 1, Duration::ZERO));
        let (result, attempts, _) = patiently_through(&[away.clone(), wrong.clone()], 10).await;
        assert_eq!((result, attempts), (Err(wrong), 2));
        let (result, _, after) = patiently_through(&vec![away.clone(); 1_000], 10).await;
        assert_eq!((result, after), (Err(away.clone()), Duration::from_secs(10)));
        assert_eq!(patiently_through(std::slice::from_ref(&away), 0).await, (Err(away), 1, Duration::ZERO));
    }

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
