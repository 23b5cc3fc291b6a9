//! [`Rate`] and [`Bucket`]: a token bucket.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::Instant;

/// How often something may happen: so many times in a period on average, and so many times at once (the burst).
///
/// As text: `20/s`, `100/min`, `1M/s burst 4M`. The period is `ms`, `s`, `min` or `h`; `k` and `M` stand for 1,000 and
/// 1,000,000. Without a burst as many are allowed at once as in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    tokens: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

/// A text that is no [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate: write how many in which period, such as 20/s, 100/min or 1M/s burst 4M")]
pub struct RateError(String);

/// The periods that a text can name.
const PERIODS: [(&str, Duration); 4] = [
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3_600)),
];

impl Rate {
    /// So many in a period, and as many at once. `None` if one of them is zero, or the period is longer than a day.
    pub fn new(tokens: u32, period: Duration) -> Option<Self> {
        const DAY: Duration = Duration::from_secs(86_400);
        let tokens = NonZeroU32::new(tokens)?;
        (!period.is_zero() && period <= DAY).then_some(Self { tokens, period, burst: tokens })
    }

    /// So many in a second, and as many at once. `None` if it is zero.
    pub fn per_second(tokens: u32) -> Option<Self> {
        Self::new(tokens, Duration::from_secs(1))
    }

    /// Allows so many at once; at least one.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), ..self }
    }

    /// The time in which so many tokens come back.
    fn time(&self, tokens: u32) -> Duration {
        let nanoseconds = self.period.as_nanos() * u128::from(tokens) / u128::from(self.tokens.get());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let read = || {
            let (rate, burst) = match text.split_once(" burst ") {
                Some((rate, burst)) => (rate, Some(number(burst)?)),
                None => (text, None),
            };
            let (tokens, period) = rate.split_once('/')?;
            let (_, period) = PERIODS.iter().find(|(name, _)| *name == period.trim())?;
            let rate = Self::new(number(tokens)?, *period)?;
            Some(match burst {
                Some(0) => return None,
                Some(burst) => rate.burst(burst),
                None => rate,
            })
        };
        read().ok_or_else(|| RateError(text.chars().take(64).collect()))
    }
}

fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, factor) = match (text.strip_suffix('k'), text.strip_suffix('M')) {
        (Some(digits), _) => (digits, 1_000),
        (_, Some(digits)) => (digits, 1_000_000),
        _ => (text, 1),
    };
    // `parse` would accept a plus sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u32>().ok()?.checked_mul(factor)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.tokens)?;
        match PERIODS.iter().find(|(_, period)| *period == self.period) {
            Some((name, _)) => f.write_str(name)?,
            None => write!(f, "{:?}", self.period)?,
        }
        if self.burst == self.tokens { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// What has been used of a [`Rate`]. It starts full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// When it is full again; `None` or a past time if it is.
    full: Option<Instant>,
}

impl Bucket {
    /// Takes so many tokens.
    ///
    /// A full bucket gives any number, so that something larger than the burst is possible at all. It then takes the
    /// longer until the bucket has tokens again.
    ///
    /// # Errors
    /// There are too few, and none are taken. The error is the time after which there are enough.
    pub fn take(&mut self, tokens: u32, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let start = self.full.filter(|full| *full > now).unwrap_or(now);
        let debt = start.duration_since(now);
        let full = start + rate.time(tokens);
        let wait = full.duration_since(now).saturating_sub(rate.time(rate.burst.get()));
        if !debt.is_zero() && !wait.is_zero() {
            return Err(wait.min(debt));
        }
        self.full = Some(full);
        Ok(())
    }

    /// Gives back tokens that were taken.
    pub fn give_back(&mut self, tokens: u32, rate: &Rate) {
        self.full = self.full.and_then(|full| full.checked_sub(rate.time(tokens)));
    }

    /// Whether nothing of it is in use.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full.is_none_or(|full| full <= now)
    }

    /// When it is full, for those that are not.
    pub(crate) fn full_at(&self) -> Option<Instant> {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.to_string());
        for (text, shown) in [
            ("20/s", "20/s"),
            (" 5 / min ", "5/min"),
            ("1k/h", "1000/h"),
            ("1M/s burst 4M", "1000000/s burst 4000000"),
            ("20/s burst 20", "20/s"),
            ("1/ms", "1/ms"),
        ] {
            assert_eq!(rate(text).as_deref(), Ok(shown), "{text}");
        }
        for text in [
            "",
            "20",
            "0/s",
            "20/d",
            "-1/s",
            "+1/s",
            "1.5/s",
            "20/s burst 0",
            "20/s burst",
            "5G/s",
            "9999M/s",
            "/s",
            "k/s",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(Rate::new(1, Duration::from_secs(86_401)), None);
        assert_eq!(Rate::new(1, Duration::ZERO), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_and_one_past_it() {
        let rate = Rate::per_second(10).unwrap().burst(3);
        let (mut bucket, now) = (Bucket::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(1, &rate, now), Ok(()));
        }
        assert_eq!(bucket.take(1, &rate, now), Err(Duration::from_millis(100)));
        // What was refused was not taken.
        assert_eq!(bucket.take(1, &rate, now), Err(Duration::from_millis(100)));
        let later = now + Duration::from_millis(100);
        assert_eq!(bucket.take(1, &rate, later), Ok(()));
        assert_eq!(bucket.take(2, &rate, later), Err(Duration::from_millis(200)));
        assert!(!bucket.is_full(later) && bucket.is_full(later + Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again() {
        let rate = Rate::per_second(10).unwrap().burst(3);
        // A clock that began just now, so that an early time may not exist.
        let (mut bucket, now) = (Bucket::default(), Instant::now());
        bucket.give_back(u32::MAX, &rate);
        assert!(bucket.is_full(now));
        // As many as it has, some of them, and more than it can hold.
        for (taken, left) in [(3, 0), (2, 1), (9, 0)] {
            let mut bucket = Bucket::default();
            assert_eq!(bucket.take(taken, &rate, now), Ok(()));
            assert!(bucket.take(left + 1, &rate, now).is_err());
            bucket.give_back(1, &rate);
            assert_eq!(bucket.take(left + 1, &rate, now).is_ok(), taken <= 3, "{taken}");
            bucket.give_back(u32::MAX, &rate);
            assert!(bucket.is_full(now), "never more than full");
            assert_eq!(bucket.take(3, &rate, now), Ok(()));
            assert_eq!(bucket.take(1, &rate, now), Err(Duration::from_millis(100)));
        }
    }

    /// Beside a plain model: tokens as a fraction that grows with time.
    #[tokio::test(start_paused = true)]
    async fn random_uses_are_allowed_as_a_plain_model_says() {
        let mut state = 1_u64;
        let mut draw = move |most: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as u32) % most
        };
        for _ in 0..2_000 {
            let (tokens, burst) = (1 + draw(50), 1 + draw(20));
            let rate = Rate::per_second(tokens).unwrap().burst(burst);
            let mut bucket = Bucket::default();
            let mut now = Instant::now();
            let mut model = f64::from(burst);
            for _ in 0..100 {
                let passed = Duration::from_millis(u64::from(draw(200)));
                now += passed;
                model = (model + passed.as_secs_f64() * f64::from(tokens)).min(f64::from(burst));
                let wanted = 1 + draw(5);
                let distance = model - f64::from(wanted);
                let allowed = bucket.take(wanted, &rate, now).is_ok();
                let full = model > f64::from(burst) - 1e-6;
                // At the edge, rounding decides.
                if distance.abs() > 1e-6 && !full {
                    assert_eq!(allowed, distance > 0.0, "{rate} {wanted} of {model}");
                }
                if allowed {
                    model -= f64::from(wanted);
                }
            }
        }
    }
}
