//! [`RateTable`]: a rate for each key, such as each address.

use super::rate::{Bucket, Rate};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// One [`Bucket`] for each key, for a bounded number of keys. When it is full, it forgets the keys that used nothing
/// lately, and if these are too few also those that used least.
pub struct RateTable<K> {
    rate: Rate,
    most: usize,
    buckets: Mutex<HashMap<K, Bucket, RandomState>>,
}

impl<K: Eq + Hash + Clone> RateTable<K> {
    /// A table for at most `most` keys; at least one.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most: most.max(1), buckets: Mutex::default() }
    }

    /// Takes tokens of the key's bucket.
    ///
    /// # Errors
    /// There are too few. The error is the time after which there are enough.
    pub fn take(&self, key: &K, tokens: u32, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get_mut(key) {
            return bucket.take(tokens, &self.rate, now);
        }
        if buckets.len() >= self.most {
            forget(&mut buckets, self.most, now);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(tokens, &self.rate, now);
        buckets.insert(key.clone(), bucket);
        taken
    }

    /// Gives back tokens that were taken of the key's bucket.
    pub fn give_back(&self, key: &K, tokens: u32) {
        if let Some(bucket) = self.buckets.lock().get_mut(key) {
            bucket.give_back(tokens, &self.rate);
        }
    }

    /// The number of keys that are remembered.
    pub fn len(&self) -> usize {
        self.buckets.lock().len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Forgets the keys whose buckets are full, but at least a quarter of all, so that this walk is rare.
fn forget<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket, RandomState>, most: usize, now: Instant) {
    buckets.retain(|_, bucket| !bucket.is_full(now));
    let keep = most - most.div_ceil(4);
    if buckets.len() <= keep {
        return;
    }
    let mut ends: Vec<_> = buckets.values().filter_map(Bucket::full_at).collect();
    let forgotten = ends.len() - keep;
    let (_, last, _) = ends.select_nth_unstable(forgotten - 1);
    let (last, mut left) = (*last, forgotten);
    buckets.retain(|_, bucket| {
        let goes = left > 0 && bucket.full_at().is_none_or(|full| full <= last);
        left -= usize::from(goes);
        !goes
    });
}

impl<K> fmt::Debug for RateTable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateTable").field("rate", &self.rate).field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_own_bucket() {
        let table = RateTable::new(Rate::per_second(1).unwrap(), 10);
        let now = Instant::now();
        assert_eq!(table.take(&"a", 1, now), Ok(()));
        assert_eq!(table.take(&"a", 1, now), Err(Duration::from_secs(1)));
        assert_eq!(table.take(&"b", 1, now), Ok(()));
        table.give_back(&"b", 1);
        table.give_back(&"c", 1);
        assert_eq!(table.take(&"b", 1, now), Ok(()));
        assert_eq!(table.take(&"b", 1, now), Err(Duration::from_secs(1)));
        assert_eq!(table.take(&"a", 1, now + Duration::from_secs(1)), Ok(()));
        assert_eq!(table.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_keys_as_fit_and_one_more() {
        let table = RateTable::new(Rate::per_second(1).unwrap().burst(100), 8);
        let now = Instant::now();
        for key in 0..8 {
            // The higher the key, the more it used.
            assert_eq!(table.take(&key, key + 1, now), Ok(()));
        }
        assert_eq!(table.len(), 8);
        assert_eq!(table.take(&8, 1, now), Ok(()));
        // The two that used least are forgotten; the one that used most is not.
        assert_eq!(table.len(), 7);
        assert!(table.take(&7, 93, now).is_err());
        assert_eq!(table.take(&0, 100, now), Ok(()));
        // After a minute and more all are full again, so one walk forgets them all.
        for key in 20..30 {
            let _ = table.take(&key, 1, now + Duration::from_secs(300));
        }
        assert!(table.len() <= 8);
        let one = RateTable::new(Rate::per_second(1).unwrap(), 0);
        for key in 0..5 {
            assert_eq!(one.take(&key, 1, now), Ok(()));
            assert_eq!(one.len(), 1);
        }
    }
}
