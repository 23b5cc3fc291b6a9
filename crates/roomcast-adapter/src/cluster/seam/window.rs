//! [`Window`]: the latest serials of a process, by which a message that arrives twice is recognized.

/// How many of the latest serials are remembered. Doubles come from a batch that is sent again, and at most two batches
/// are in flight at once.
pub const WINDOW: u64 = 8_192;

/// The latest serials of a process: 1 KiB once a message has arrived.
#[derive(Debug, Default)]
pub(crate) struct Window {
    highest: u64,
    /// One bit for each of the last [`WINDOW`] serials, at its remainder.
    seen: Vec<u64>,
}

impl Window {
    /// Whether a message with this serial is new. One that is too old to tell counts as new, unless it was sent
    /// `again`.
    pub(crate) fn is_new(&mut self, serial: u64, again: bool) -> bool {
        if serial.saturating_add(WINDOW) <= self.highest {
            return !again;
        }
        self.seen.resize((WINDOW / 64) as usize, 0);
        if serial > self.highest {
            // The serials in between have not arrived. Their bits are reused from serials that are now too old.
            let from = (self.highest + 1).max(serial.saturating_sub(WINDOW - 1));
            for between in from..serial {
                self.bit(between, false);
            }
            self.highest = serial;
            self.bit(serial, true);
            return true;
        }
        !self.bit(serial, true)
    }

    /// Sets a serial's bit and returns the bit before.
    fn bit(&mut self, serial: u64, seen: bool) -> bool {
        let place = serial % WINDOW;
        let Some(word) = self.seen.get_mut((place / 64) as usize) else { return false };
        let mask = 1 << (place % 64);
        let before = *word & mask != 0;
        *word = if seen { *word | mask } else { *word & !mask };
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_window_at_its_edge_and_one_past_it() {
        let mut window = Window::default();
        assert!(window.is_new(1, false) && window.is_new(WINDOW, false));
        assert!(!window.is_new(1, false), "the oldest within the window");
        assert!(window.is_new(WINDOW + 1, false));
        assert!(window.is_new(1, false), "one past it nobody knows");
        assert!(!window.is_new(1, true), "but it says that it was sent before");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Compares it with a model that remembers everything.
        #[test]
        fn the_window_tells_doubles(steps in prop::collection::vec((0..3_000_u64, any::<bool>(), any::<bool>()), 1..300)) {
            let (mut window, mut all, mut highest) = (Window::default(), HashSet::new(), 0_u64);
            for (step, back, again) in steps {
                let serial = if back { highest.saturating_sub(step * 4).max(1) } else { highest + step + 1 };
                let known = serial + WINDOW > highest;
                let expected = if known { !all.contains(&serial) } else { !again };
                prop_assert_eq!(window.is_new(serial, again), expected);
                if known {
                    all.insert(serial);
                }
                highest = highest.max(serial);
            }
        }
    }
}
