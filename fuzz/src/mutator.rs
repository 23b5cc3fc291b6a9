//! [`Mutator`]: new inputs from known ones, by a seed.

/// Bytes at which decoders change their behaviour: ends of ranges, and the length markers of WebSocket and MessagePack.
const TELLING: [u8; 20] =
    [0, 1, 2, 0x1e, 0x1f, b'"', b'0', b'9', 0x7d, 0x7e, 0x7f, 0x80, 0x88, 0x8a, 0xc1, 0xc7, 0xdd, 0xfd, 0xfe, 0xff];

/// Most bytes that one step inserts or repeats.
const MOST_INSERTED: usize = 64;

/// Sebastiano Vigna's splitmix64: a word of state, and any seed is good.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> Option<&'a T> {
        from.get(self.below(from.len())).copied()
    }
}

/// Makes inputs of at most `longest` bytes.
#[derive(Debug)]
pub(crate) struct Mutator<'a> {
    pub(crate) random: Random,
    pub(crate) dictionary: &'a [&'a [u8]],
    pub(crate) longest: usize,
}

impl Mutator<'_> {
    /// Fills `out` with a changed input of the corpus.
    pub(crate) fn make(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        out.clear();
        // Half of the time it is one of the latest inputs, which have been mutated least.
        let recent = corpus.len().saturating_sub(8);
        let start = if self.random.below(2) == 0 { recent } else { 0 };
        if let Some(base) = corpus.get(start + self.random.below(corpus.len() - start)) {
            out.extend_from_slice(base);
        }
        for _ in 0..1 << self.random.below(4) {
            self.step(corpus, out);
        }
        out.truncate(self.longest);
    }

    fn step(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        let at = self.random.below(out.len());
        let here = out.get(at).copied();
        match (self.random.below(13), here) {
            (0, Some(byte)) => out[at] = byte ^ (1 << self.random.below(8)),
            (1, Some(_)) => out[at] = self.random.next() as u8,
            (2, Some(_)) => out[at] = TELLING[self.random.below(TELLING.len())],
            // A number that is a little off, which matters if it is a length.
            (3, Some(byte)) => out[at] = byte.wrapping_add(self.random.below(9) as u8).wrapping_sub(4),
            (4, Some(_)) => {
                let number = self.number();
                let end = out.len().min(at + number.len());
                out[at..end].copy_from_slice(&number[..end - at]);
            }
            (5, Some(_)) => {
                let end = self.end(at, out);
                out.drain(at..end);
            }
            (6, Some(_)) => {
                let end = self.end(at, out);
                let part = out[at..end].to_vec();
                for _ in 0..=self.random.below(4) {
                    out.splice(at..at, part.iter().copied());
                }
            }
            (7, Some(_)) => {
                let end = self.end(at, out);
                let to = self.random.below(out.len() - (end - at) + 1);
                let part: Vec<u8> = out.drain(at..end).collect();
                out.splice(to..to, part);
            }
            (8, Some(_)) => out.truncate(at),
            (9, _) => {
                let byte = self.random.next() as u8;
                let count = 1 + self.random.below(MOST_INSERTED);
                out.splice(at..at, std::iter::repeat_n(byte, count));
            }
            (10, _) => {
                let other = corpus.get(self.random.below(corpus.len())).map_or(&[][..], Vec::as_slice);
                let from = self.random.below(other.len());
                let end = self.end(from, other);
                out.splice(at..at, other[from..end].iter().copied());
            }
            (11, Some(_)) => {
                let token = self.random.pick(self.dictionary).unwrap_or_default();
                let end = out.len().min(at + token.len());
                out.splice(at..end, token.iter().copied());
            }
            _ => {
                let token = self.random.pick(self.dictionary).unwrap_or_default();
                out.splice(at..at, token.iter().copied());
            }
        }
    }

    /// The end of a part that begins at `at`.
    fn end(&mut self, at: usize, bytes: &[u8]) -> usize {
        bytes.len().min(at + 1 + self.random.below(MOST_INSERTED))
    }

    /// A number as lengths are written: 16, 32 or 64 bits, big-endian.
    fn number(&mut self) -> Vec<u8> {
        let shift = self.random.below(64);
        let number = (self.random.next() >> shift).wrapping_sub(self.random.below(3) as u64);
        let bytes = number.to_be_bytes();
        bytes[[6, 4, 0][self.random.below(3)]..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn inputs(seed: u64) -> Vec<Vec<u8>> {
        let mut mutator = Mutator { random: Random::new(seed), dictionary: &[b"token"], longest: 100 };
        let corpus = [b"hello".to_vec(), Vec::new(), vec![1; 90]];
        (0..2_000)
            .map(|_| {
                let mut out = Vec::new();
                mutator.make(&corpus, &mut out);
                out
            })
            .collect()
    }

    #[test]
    fn a_seed_determines_the_inputs_and_they_differ_and_are_bounded() {
        let made = inputs(1);
        assert_eq!(made, inputs(1));
        assert_ne!(made, inputs(2));
        assert!(made.iter().all(|input| input.len() <= 100));
        assert!(made.iter().collect::<HashSet<_>>().len() > 1_000);
        assert!(made.iter().any(|input| input.windows(5).any(|part| part == b"token")));
    }

    #[test]
    fn an_empty_corpus_is_enough() {
        let mut mutator = Mutator { random: Random::new(3), dictionary: &[], longest: 10 };
        for _ in 0..1_000 {
            let mut out = Vec::new();
            mutator.make(&[], &mut out);
            assert!(out.len() <= 10);
        }
    }
}
