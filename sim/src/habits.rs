//! How clients and servers react to questions: drawn from the seed, the question and who is asked.

use crate::random::mix;

/// How a client reacts to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Answers(u64),
    Twice(u64),
    Leaves(u64),
    Silent,
}

impl Client {
    /// Half of all questions are answered soon by every client.
    pub(crate) fn of(seed: u64, n: u64, socket: usize) -> Self {
        let draw = mix(&[seed, n, socket as u64, 1]);
        let soon = (draw >> 32) % 30;
        match draw % 10 {
            _ if mix(&[seed, n, 2]).is_multiple_of(2) => Self::Answers(soon),
            0..=5 => Self::Answers(soon),
            6 => Self::Answers(200 + (draw >> 32) % 1_300),
            7 => Self::Silent,
            8 => Self::Leaves((draw >> 32) % 100),
            _ => Self::Twice(soon),
        }
    }
}

/// Whether a server answers an event.
pub(crate) fn answers(seed: u64, n: u64, process: usize) -> bool {
    !mix(&[seed, n, 8]).is_multiple_of(5) || mix(&[seed, n, process as u64, 9]).is_multiple_of(2)
}
