//! [`RedisWatchOptions`].

use crate::limits::{
    WATCH_BUFFER_PERCENT, WATCH_CLIENTS_PERCENT, WATCH_INTERVAL, WATCH_INTERVAL_LEAST, WATCH_MEMORY_PERCENT,
    WATCH_REPEAT, WATCH_TIMEOUT,
};
use std::time::Duration;

/// How Redis is watched, and when there is a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisWatchOptions {
    /// How often each Redis server is asked, within a tenth, so that many roomcast servers do not ask at the same
    /// moment. At least 1 s. Defaults to 15 s.
    pub interval: Duration,
    /// For all answers of a Redis server together. Defaults to 5 s.
    pub timeout: Duration,
    /// How often a warning is repeated while its cause lasts. Defaults to 10 min.
    pub repeat: Duration,
    /// Warns when so many percent of `maxmemory` are used, or of the machine's memory if there is no `maxmemory`.
    /// Defaults to 80.
    pub memory_percent: u64,
    /// Warns when so many percent of `maxclients` are connected. Defaults to 80.
    pub clients_percent: u64,
    /// Warns when so many percent of the hard limit of `client-output-buffer-limit pubsub` wait in Redis for one of
    /// this server's own connections, or as much as the soft limit. Defaults to 50.
    pub buffer_percent: u64,
}

impl Default for RedisWatchOptions {
    fn default() -> Self {
        Self {
            interval: WATCH_INTERVAL,
            timeout: WATCH_TIMEOUT,
            repeat: WATCH_REPEAT,
            memory_percent: WATCH_MEMORY_PERCENT,
            clients_percent: WATCH_CLIENTS_PERCENT,
            buffer_percent: WATCH_BUFFER_PERCENT,
        }
    }
}

impl RedisWatchOptions {
    /// The pause before the next question. `chance`: from 0 to 1.
    pub(super) fn pause(&self, chance: f64) -> Duration {
        // An interval of centuries would overflow when it is added to the time.
        let longest = Duration::from_secs(30 * 24 * 3_600);
        self.interval.clamp(WATCH_INTERVAL_LEAST, longest).mul_f64(0.9 + chance.clamp(0.0, 1.0) / 5.0)
    }

    /// The pause before the first question: short, so that the state is known soon, but not the same for all servers.
    pub(super) fn first_pause(&self, chance: f64) -> Duration {
        self.pause(0.5).min(WATCH_INTERVAL_LEAST).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_interval_and_one_below_it() {
        let pause = |interval| RedisWatchOptions { interval, ..RedisWatchOptions::default() }.pause(0.5);
        assert_eq!(pause(WATCH_INTERVAL_LEAST), WATCH_INTERVAL_LEAST);
        assert_eq!(pause(Duration::ZERO), WATCH_INTERVAL_LEAST);
        assert_eq!(pause(Duration::from_secs(2)), Duration::from_secs(2));
        assert!(pause(Duration::MAX) < Duration::MAX);
    }

    #[test]
    fn pauses_differ_by_a_tenth() {
        let options = RedisWatchOptions::default();
        assert_eq!(options.pause(0.0), Duration::from_millis(13_500));
        assert_eq!(options.pause(1.0), Duration::from_millis(16_500));
        assert_eq!(options.first_pause(0.0), Duration::ZERO);
        assert_eq!(options.first_pause(1.0), Duration::from_secs(1));
    }
}
