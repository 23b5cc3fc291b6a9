//! [`Random`]: random numbers from a seed, so that a seed means the same run everywhere.

/// A SplitMix64 generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(&[seed]))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        finish(self.0)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    /// An index into something with that many parts.
    pub fn index(&mut self, parts: usize) -> usize {
        usize::try_from(self.below(parts as u64)).unwrap_or_default()
    }

    /// `true` in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn finish(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A number that depends on these parts only: leaving something else out of a run does not change it.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| finish(state.wrapping_add(STEP) ^ finish(part.wrapping_add(STEP))))
}
