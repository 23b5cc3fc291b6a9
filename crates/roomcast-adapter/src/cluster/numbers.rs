//! [`Numbers`]: the trailers that a process gives its messages, and which numbers the others may miss by now.

use super::trailer::{Lane, Trailer};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most series that have numbers, two for each namespace; what is in others is sent all the same, and its losses are not
/// counted. Each announcement lists all of them.
pub(crate) const MAX_SERIES: usize = 16_384;

/// The last numbers of a process.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    serial: u64,
    series: HashMap<(Arc<str>, Lane), Series, RandomState>,
}

/// What an announcement tells of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Which of its series.
    pub lane: Lane,
    /// The last number that the others may miss: it went out, or never will.
    pub number: u64,
    /// The serial of the series' first message. A namespace that was closed and opened again begins a new series.
    pub since: u64,
}

impl Told {
    /// What is told of a series.
    pub fn new(namespace: Arc<str>, lane: Lane, number: u64, since: u64) -> Self {
        Self { namespace, lane, number, since }
    }
}

#[derive(Debug)]
struct Series {
    /// The serial of its first message.
    since: u64,
    last: u64,
    /// Numbers of messages that wait, rising.
    waiting: VecDeque<u64>,
    /// Its namespace is closed, and it is told of so often still.
    closed: Option<u8>,
}

/// How often a series is told of when its namespace is closed and all of it has gone out: its tail may have been lost, and an
/// announcement too.
const LAST_TOLD: u8 = 3;

impl Numbers {
    /// The trailer of the next message; one without a lane is in no series.
    pub(crate) fn next(&mut self, process: u64, namespace: &str, lane: Option<Lane>) -> Trailer {
        self.serial += 1;
        let number = lane.map_or(0, |lane| self.number(namespace, lane));
        Trailer::new(namespace, process, self.serial, number)
    }

    fn number(&mut self, namespace: &str, lane: Lane) -> u64 {
        let key = (Arc::<str>::from(namespace), lane);
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&key) {
            return 0;
        }
        let new = Series { since: self.serial, last: 0, waiting: VecDeque::new(), closed: None };
        let series = self.series.entry(key).or_insert(new);
        series.closed = None;
        series.last += 1;
        series.waiting.push_back(series.last);
        series.last
    }

    /// A message went out, or never will.
    pub(crate) fn settle(&mut self, namespace: &Arc<str>, lane: Lane, number: u64) {
        let key = (namespace.clone(), lane);
        let Some(series) = self.series.get_mut(&key) else { return };
        // It is the first but for those that are with the broker.
        if let Some(position) = series.waiting.iter().position(|waiting| *waiting == number) {
            series.waiting.remove(position);
        }
    }

    /// A namespace is closed. If it is opened again once its numbers are forgotten they begin anew.
    pub(crate) fn close(&mut self, namespace: &str) {
        for lane in [Lane::Main, Lane::Rooms] {
            let key = (Arc::<str>::from(namespace), lane);
            if let Some(series) = self.series.get_mut(&key) {
                series.closed = Some(LAST_TOLD);
            }
        }
    }

    /// What [`Numbers::settled`] gave has gone out.
    pub(crate) fn told(&mut self) {
        self.series.retain(|_, series| match &mut series.closed {
            Some(left) if series.waiting.is_empty() => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            _ => true,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// In each series the last number that went out or was dropped: all that others may miss by now.
    pub(crate) fn settled(&self) -> Vec<Told> {
        let told = |((namespace, lane), series): (&(Arc<str>, Lane), &Series)| {
            let number = series.waiting.front().map_or(series.last, |first| first - 1);
            Told::new(namespace.clone(), *lane, number, series.since)
        };
        self.series.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(numbers: &Numbers) -> Vec<(u64, u64)> {
        let mut told: Vec<_> = numbers.settled().into_iter().map(|told| (told.number, told.since)).collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn what_waits_is_not_told() {
        let (mut numbers, name) = (Numbers::default(), Arc::<str>::from("/"));
        let given: Vec<u64> = (0..3).map(|_| numbers.next(7, "/", Some(Lane::Main)).number).collect();
        assert_eq!((given, told(&numbers)), (vec![1, 2, 3], vec![(0, 1)]));
        numbers.settle(&name, Lane::Main, 2);
        assert_eq!(told(&numbers), [(0, 1)], "1 may be on its way");
        numbers.settle(&name, Lane::Main, 1);
        assert_eq!(told(&numbers), [(2, 1)]);
        numbers.settle(&name, Lane::Main, 3);
        assert_eq!(told(&numbers), [(3, 1)]);
    }

    #[test]
    fn answers_have_serials_and_no_numbers() {
        let mut numbers = Numbers::default();
        let trailers = [None, Some(Lane::Rooms), None].map(|lane| numbers.next(7, "/", lane));
        assert_eq!(trailers.map(|trailer| (trailer.serial, trailer.number)), [(1, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn a_closed_namespace_is_forgotten_when_all_of_it_has_gone_out() {
        let (mut numbers, name) = (Numbers::default(), Arc::<str>::from("/"));
        numbers.next(7, "/", Some(Lane::Main));
        numbers.close("/");
        assert_eq!(told(&numbers), [(0, 1)]);
        (0..9).for_each(|_| numbers.told());
        assert_eq!(told(&numbers), [(0, 1)], "it waits");
        numbers.settle(&name, Lane::Main, 1);
        for _ in 0..LAST_TOLD {
            assert_eq!(told(&numbers), [(1, 1)]);
            numbers.told();
        }
        assert_eq!(told(&numbers), []);
        assert_eq!(numbers.next(7, "/", Some(Lane::Main)).number, 1);
        assert_eq!(told(&numbers), [(0, 2)], "a new series");
        // One that is used again before it was forgotten goes on.
        numbers.close("/");
        assert_eq!(numbers.next(7, "/", Some(Lane::Main)).number, 2);
        numbers.settle(&name, Lane::Main, 1);
        numbers.settle(&name, Lane::Main, 2);
        assert_eq!(told(&numbers), [(2, 2)]);
    }

    #[test]
    fn series_at_the_limit_and_one_past_it() {
        let mut numbers = Numbers::default();
        for number in 0..MAX_SERIES {
            assert_eq!(numbers.next(7, &format!("/{number}"), Some(Lane::Main)).number, 1);
        }
        let past = numbers.next(7, "/past", Some(Lane::Main));
        assert_eq!((past.number, past.serial), (0, MAX_SERIES as u64 + 1));
        assert_eq!(numbers.next(7, "/0", Some(Lane::Main)).number, 2);
        numbers.close("/1");
        let name = Arc::<str>::from("/1");
        numbers.settle(&name, Lane::Main, 1);
        (0..LAST_TOLD).for_each(|_| numbers.told());
        assert_eq!(numbers.next(7, "/past", Some(Lane::Main)).number, 1);
    }
}
