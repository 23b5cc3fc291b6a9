//! Several attempts at one connection, one beside the other.

use futures_util::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio::time::sleep;

/// An attempt that has not come through for so long has another one beside it: where packets were swallowed when it began it never
/// will, and where the way is long it does soon.
const HEAD_START: Duration = Duration::from_secs(1);

/// Attempts at once.
const MOST: usize = 5;

/// The first attempt that comes through, or fails.
pub(crate) async fn first<T, E, A>(attempt: impl Fn() -> A) -> Result<T, E>
where
    A: Future<Output = Result<T, E>>,
{
    let mut attempts = FuturesUnordered::new();
    attempts.push(attempt());
    loop {
        tokio::select! {
            // There is always one.
            Some(ended) = attempts.next() => return ended,
            () = sleep(HEAD_START), if attempts.len() < MOST => attempts.push(attempt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::time::Instant;

    /// Each attempt takes the seconds that are told, the next the next ones; what came when, and how many were begun.
    async fn check(seconds: &[f64], expected: (Result<u64, u64>, f64, u64)) {
        let (began, count) = (Instant::now(), AtomicU64::new(0));
        let attempt = || async {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let takes: f64 = seconds.get(number as usize).copied().unwrap_or(1_000.0);
            sleep(Duration::from_secs_f64(takes.abs())).await;
            if takes < 0.0 { Err(number) } else { Ok(number) }
        };
        let came = first(attempt).await;
        assert_eq!(
            (came, began.elapsed().as_secs_f64().round(), count.load(Ordering::Relaxed)),
            expected,
            "{seconds:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_comes_through() {
        check(&[0.4], (Ok(0), 0.0, 1)).await;
        check(&[-0.4], (Err(0), 0.0, 1)).await;
        check(&[1.6, 1.6], (Ok(0), 2.0, 2)).await;
        // Swallowed; at the third second the way is free.
        check(&[1_000.0, 1_000.0, 1_000.0, 0.1], (Ok(3), 3.0, 4)).await;
        check(&[1_000.0, -0.1], (Err(1), 1.0, 2)).await;
        // No more than so many.
        check(&[20.0], (Ok(0), 20.0, MOST as u64)).await;
    }
}
