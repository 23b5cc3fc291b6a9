//! [`first`]: several attempts at one connection, side by side.

use futures_util::stream::{FuturesUnordered, StreamExt};
use std::time::Duration;
use tokio::time::sleep;

/// When an attempt has taken this long, another one starts beside it. If its packets were swallowed when it began, it
/// never finishes; if the server is merely far away, it soon does.
const HEAD_START: Duration = Duration::from_secs(1);

const MOST: usize = 5;

/// The result of the first attempt that ends, be it a failure.
pub(crate) async fn first<T, E, A>(attempt: impl Fn() -> A) -> Result<T, E>
where
    A: Future<Output = Result<T, E>>,
{
    let mut attempts = FuturesUnordered::new();
    attempts.push(attempt());
    loop {
        tokio::select! {
            // There is always an attempt.
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

    /// The attempts take these seconds in turn, and fail if they are negative. `expected`: the result, when it came,
    /// and how many attempts were started.
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
    async fn the_first_attempt_that_ends_decides() {
        check(&[0.4], (Ok(0), 0.0, 1)).await;
        check(&[-0.4], (Err(0), 0.0, 1)).await;
        check(&[1.6, 1.6], (Ok(0), 2.0, 2)).await;
        // Packets are swallowed until the third second.
        check(&[1_000.0, 1_000.0, 1_000.0, 0.1], (Ok(3), 3.0, 4)).await;
        check(&[1_000.0, -0.1], (Err(1), 1.0, 2)).await;
        // Not more than the limit.
        check(&[20.0], (Ok(0), 20.0, MOST as u64)).await;
    }
}
