//! [`DeniedLog`]: subscriptions that Redis forbids are tried again, and logged without flooding the log.

use super::listener::Listener;
use crate::config::RedisConfig;
use crate::error::RedisError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// After this, a name that Redis forbids is tried again.
pub(crate) const DENIED_PAUSE: Duration = Duration::from_secs(10);

/// Least time between log lines when a subscription is newly forbidden. Clients can cause them, with namespaces by
/// pattern.
const NEW_INTERVAL: Duration = Duration::from_secs(10);

/// Least time between log lines when nothing is new.
const INTERVAL: Duration = Duration::from_secs(60);

/// A refusal by Redis to subscribe a name.
pub(crate) struct Forbidden {
    pub(crate) name: Arc<str>,
    pub(crate) error: RedisError,
    /// The subscription's listener, if the subscription was not forbidden before.
    pub(crate) newly: Option<Arc<dyn Listener>>,
}

#[derive(Default)]
pub(crate) struct DeniedLog {
    logged: Option<Instant>,
    /// A new refusal has not been logged yet.
    is_new: bool,
}

impl DeniedLog {
    /// Counts new refusals, and logs one name of them when a line is due. `count`: how many subscriptions are forbidden
    /// now.
    pub(crate) fn report(&mut self, redis: &RedisConfig, count: usize, forbidden: Vec<Forbidden>) {
        let (mut example, mut is_new) = (None, false);
        for Forbidden { name, error, newly } in forbidden {
            match newly {
                Some(listener) if listener.denied() => {
                    metrics::counter!("roomcast_redis_subscriptions_denied_total").increment(1);
                    is_new = true;
                    example = Some((name, error));
                }
                Some(_) => tracing::debug!(%name, %error, "Redis forbids a subscription that is not essential"),
                None => example = example.or(Some((name, error))),
            }
        }
        if let Some((name, error)) = example
            && self.is_due(is_new, Instant::now())
        {
            tracing::error!(
                %redis, count, %name, %error,
                "Redis forbids subscriptions: messages of the other servers are missed on these channels; give the user the right to them (retrying every 10 s)"
            );
        }
    }

    fn is_due(&mut self, is_new: bool, now: Instant) -> bool {
        self.is_new |= is_new;
        let interval = if self.is_new { NEW_INTERVAL } else { INTERVAL };
        let is_due = self.logged.is_none_or(|logged| now - logged >= interval);
        if is_due {
            *self = Self { logged: Some(now), is_new: false };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_refusal_is_logged_soon_and_an_old_one_rarely() {
        let (mut denied, begin) = (DeniedLog::default(), Instant::now());
        let mut due = |is_new, seconds| denied.is_due(is_new, begin + Duration::from_secs(seconds));
        assert!(due(true, 0));
        assert!(!due(false, 10) && !due(false, 59) && due(false, 60));
        // Clients can cause new ones as often as they like.
        assert!(!due(true, 69) && due(false, 70), "a new one is logged late, not never");
        assert!(!due(false, 129) && due(true, 129));
    }
}
