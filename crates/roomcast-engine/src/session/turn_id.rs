//! [`TurnId`]: which turn of which thread a write is scheduled for.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A turn of a thread: the time in which it gathers what it has to write. Numbers repeat only after four billion turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct TurnId(pub(crate) u32);

/// Numbers that a thread reserves at a time.
const RESERVED: u32 = 1_024;

/// The next numbers that no thread has reserved. 0 stands for no turn.
static NUMBERS: AtomicU32 = AtomicU32::new(RESERVED);

thread_local! {
    /// The number of the open turn, or of the next one if none is open; 0 before the first.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

impl TurnId {
    /// The turn that is open on this thread, or the next one if none is open.
    pub(crate) fn current() -> Self {
        // A thread that is ending has no storage any more. The turn made up for it is never open, so no write depends
        // on it.
        Self(CURRENT.try_with(Cell::get).ok().filter(|turn| *turn != 0).unwrap_or_else(|| advance(0)))
    }

    /// Ends this thread's turn. A write that was scheduled for it and has not happened is no longer expected of it.
    pub(crate) fn end_current() {
        advance(CURRENT.try_with(Cell::get).unwrap_or(0));
    }
}

fn advance(turn: u32) -> u32 {
    let next = turn.wrapping_add(1);
    let next = if next % RESERVED <= 1 { NUMBERS.fetch_add(RESERVED, Ordering::Relaxed) | 1 } else { next };
    let _ = CURRENT.try_with(|turn| turn.set(next));
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_a_number_of_its_own_and_each_thread_its_own_numbers() {
        let first = TurnId::current();
        assert_eq!(TurnId::current(), first);
        advance(first.0);
        let second = TurnId::current();
        assert_ne!(second, first);
        let other = std::thread::spawn(TurnId::current).join().unwrap();
        assert!(other != first && other != second);
        assert_eq!(advance(RESERVED * 7 - 1) % RESERVED, 1, "a thread whose numbers are used up reserves new ones");
    }
}
