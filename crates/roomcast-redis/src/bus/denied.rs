//! [`Denied`]: what the log tells of names that Redis forbids to subscribe.

use super::routes::{Listener, Name};
use crate::config::RedisConfig;
use crate::error::RedisError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon the log tells of a further subscription that is forbidden. Clients may make them, with namespaces by pattern.
const NEW_INTERVAL: Duration = Duration::from_secs(10);

/// How often the log says that it is still so.
const INTERVAL: Duration = Duration::from_secs(60);

/// A name that Redis forbids.
pub(crate) struct Forbidden {
    pub(crate) name: Name,
    pub(crate) error: RedisError,
    /// Whose subscription it is, if it was not forbidden before.
    pub(crate) newly: Option<Arc<dyn Listener>>,
}

#[derive(Default)]
pub(crate) struct Denied {
    told: Option<Instant>,
    /// One was not told of yet.
    is_new: bool,
}

impl Denied {
    /// Tells of names, if it is time: of what is new soon, of what stays so every now and then. `count`: subscriptions of the kind.
    pub(crate) fn tell(&mut self, redis: &RedisConfig, count: usize, forbidden: Vec<Forbidden>) {
        let (mut told, mut is_new) = (None, false);
        for Forbidden { name, error, newly } in forbidden {
            match newly {
                Some(listener) if listener.denied() => {
                    metrics::counter!("roomcast_redis_subscriptions_denied_total").increment(1);
                    is_new = true;
                    told = Some((name, error));
                }
                Some(_) => tracing::debug!(name = %name.text, %error, "Redis forbids what is not needed"),
                None => told = told.or(Some((name, error))),
            }
        }
        if let Some((name, error)) = told
            && self.is_due(is_new, Instant::now())
        {
            tracing::error!(
                %redis, count, name = %name.text, %error,
                "Redis forbids subscriptions: their namespaces do not hear the other servers; they are tried again every 10 s"
            );
        }
    }

    fn is_due(&mut self, is_new: bool, now: Instant) -> bool {
        self.is_new |= is_new;
        let interval = if self.is_new { NEW_INTERVAL } else { INTERVAL };
        let is_due = self.told.is_none_or(|told| now - told >= interval);
        if is_due {
            *self = Self { told: Some(now), is_new: false };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_is_told_soon_and_then_rarely() {
        let (mut denied, begin) = (Denied::default(), Instant::now());
        let mut due = |is_new, seconds| denied.is_due(is_new, begin + Duration::from_secs(seconds));
        assert!(due(true, 0));
        assert!(!due(false, 10) && !due(false, 59) && due(false, 60));
        // Clients can make new ones as often as they like.
        assert!(!due(true, 69) && due(false, 70), "what was new is told late, not never");
        assert!(!due(false, 129) && due(true, 129));
    }
}
