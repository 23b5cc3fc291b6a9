//! [`Lately`]: what was logged lately, so that the same line is not logged again and again.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// Names of what was logged lately. Each is new once within a time, and at most so many are.
#[derive(Debug)]
pub(crate) struct Lately<K> {
    most: usize,
    time: Duration,
    /// The names, and since when they are collected.
    names: Mutex<(BTreeSet<K>, Option<Instant>)>,
}

impl<K: Ord> Lately<K> {
    pub(crate) fn new(most: usize, time: Duration) -> Self {
        Self { most, time, names: Mutex::default() }
    }

    /// Whether a line about this name is to be logged now.
    pub(crate) fn is_new(&self, name: K, now: Instant) -> bool {
        let (names, since) = &mut *self.names.lock();
        if since.is_none_or(|since| now.duration_since(since) >= self.time) {
            names.clear();
            *since = Some(now);
        }
        names.len() < self.most && names.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once_in_its_time_and_as_many_are_as_fit() {
        const TIME: Duration = Duration::from_secs(600);
        let lately = Lately::new(64, TIME);
        let now = Instant::now();
        assert!(lately.is_new(0, now));
        assert!(!lately.is_new(0, now));
        for number in 1..64 {
            assert!(lately.is_new(number, now));
        }
        assert!(!lately.is_new(64, now));
        assert!(!lately.is_new(64, now + TIME - Duration::from_nanos(1)));
        assert!(lately.is_new(64, now + TIME));
        assert!(lately.is_new(0, now + TIME));
    }
}
