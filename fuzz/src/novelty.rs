//! What the targets have seen so far on this thread: a simple substitute for coverage, which the stable compiler does
//! not count.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bits of the map. Behaviours that share a bit count as the same, so an input may not be kept.
const BITS: usize = 1 << 16;

struct Map {
    bits: Vec<u64>,
    new: bool,
}

thread_local! {
    static MAP: RefCell<Map> = RefCell::new(Map { bits: vec![0; BITS / 64], new: false });
}

/// Notes that the target does what `what` names. An input for which a target notes something for the first time is kept
/// and mutated further.
pub(crate) fn seen(what: impl Hash) {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let bit = hasher.finish() as usize % BITS;
    MAP.with_borrow_mut(|map| {
        let word = &mut map.bits[bit / 64];
        let before = *word;
        *word |= 1 << (bit % 64);
        map.new |= *word != before;
    });
}

/// The magnitude of a size, as finer distinctions are not worth an input.
pub(crate) fn size(number: usize) -> u32 {
    number.checked_ilog2().map_or(0, |log| log + 1)
}

/// Whether anything new was seen since the last call.
pub(crate) fn take_new() -> bool {
    MAP.with_borrow_mut(|map| std::mem::take(&mut map.new))
}

/// Forgets everything, for the next target.
pub(crate) fn forget() {
    MAP.with_borrow_mut(|map| {
        map.bits.fill(0);
        map.new = false;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_time_is_new() {
        forget();
        seen(("a", 1));
        assert!(take_new());
        assert!(!take_new());
        seen(("a", 1));
        assert!(!take_new());
        seen(("a", 2));
        assert!(take_new());
        forget();
        seen(("a", 1));
        assert!(take_new());
        assert_eq!([0, 1, 2, 3, 4, 1 << 20].map(size), [0, 1, 2, 2, 3, 21]);
    }
}
