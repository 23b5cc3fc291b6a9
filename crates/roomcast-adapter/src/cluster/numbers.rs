//! [`Numbers`]: the trailers that a process gives its messages, and which numbers the others may miss by now.

use super::alive::Told;
use super::trailer::{Lane, Trailer};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most namespaces that have numbers, each in two series; what is in others is sent all the same, and its losses are not counted.
/// Each announcement lists all of them.
pub(crate) const MAX_NUMBERED: usize = 8_192;

/// The last numbers of a process.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    serial: u64,
    /// The namespaces that are open here, or were a moment ago.
    namespaces: HashMap<Arc<str>, Namespace, RandomState>,
}

/// The two series of a namespace, each from its first message on.
#[derive(Debug, Default)]
struct Namespace {
    main: Option<Series>,
    rooms: Option<Series>,
    /// It is closed, and is told of so often still.
    closed: Option<u8>,
}

impl Namespace {
    fn series(&mut self, lane: Lane) -> &mut Option<Series> {
        match lane {
            Lane::Main => &mut self.main,
            Lane::Rooms => &mut self.rooms,
        }
    }

    fn both(&self) -> impl Iterator<Item = (Lane, &Series)> {
        [(Lane::Main, &self.main), (Lane::Rooms, &self.rooms)]
            .into_iter()
            .filter_map(|(lane, series)| series.as_ref().map(|series| (lane, series)))
    }

    fn waits(&self) -> bool {
        self.both().any(|(_, series)| !series.waiting.is_empty())
    }
}

#[derive(Debug)]
struct Series {
    /// The serial of its first message.
    since: u64,
    last: u64,
    /// Numbers of messages that wait, rising.
    waiting: VecDeque<u64>,
}

/// How often a namespace is told of when it is closed and all of it has gone out: its tail may have been lost, and an announcement
/// too.
const LAST_TOLD: u8 = 3;

impl Numbers {
    /// A namespace is open from now on.
    pub(crate) fn open(&mut self, namespace: &Arc<str>) {
        if let Some(open) = self.namespaces.get_mut(namespace) {
            open.closed = None;
        } else if self.namespaces.len() < MAX_NUMBERED {
            self.namespaces.insert(namespace.clone(), Namespace::default());
        }
    }

    /// The trailer of the next message. One without a lane is in no series, nor is one of a namespace that is not open.
    pub(crate) fn next(&mut self, process: u64, namespace: &str, lane: Option<Lane>) -> Trailer {
        self.serial += 1;
        let number = lane.map_or(0, |lane| self.number(namespace, lane));
        Trailer::new(namespace, process, self.serial, number)
    }

    fn number(&mut self, namespace: &str, lane: Lane) -> u64 {
        let Some(namespace) = self.namespaces.get_mut(namespace) else { return 0 };
        let new = || Series { since: self.serial, last: 0, waiting: VecDeque::new() };
        let series = namespace.series(lane).get_or_insert_with(new);
        series.last += 1;
        series.waiting.push_back(series.last);
        series.last
    }

    /// A message went out, or never will.
    pub(crate) fn settle(&mut self, namespace: &str, lane: Lane, number: u64) {
        let series = self.namespaces.get_mut(namespace).and_then(|namespace| namespace.series(lane).as_mut());
        let Some(series) = series else { return };
        // It is the first but for those that are with the broker.
        if let Some(position) = series.waiting.iter().position(|waiting| *waiting == number) {
            series.waiting.remove(position);
        }
    }

    /// A namespace is closed. If it is opened again once its numbers are forgotten they begin anew.
    pub(crate) fn close(&mut self, namespace: &str) {
        if let Some(closed) = self.namespaces.get_mut(namespace) {
            closed.closed = Some(LAST_TOLD);
        }
    }

    /// What [`Numbers::settled`] gave has gone out.
    pub(crate) fn told(&mut self) {
        self.namespaces.retain(|_, namespace| {
            let waits = namespace.waits();
            match &mut namespace.closed {
                Some(left) if !waits => {
                    *left = left.saturating_sub(1);
                    *left > 0
                }
                _ => true,
            }
        });
    }

    /// Series that were published in.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.both().count()).sum()
    }

    /// In each series the last number that went out or was dropped: all that others may miss by now.
    pub(crate) fn settled(&self) -> Vec<Told> {
        let told = |(name, namespace): (&Arc<str>, &Namespace)| -> Vec<Told> {
            let told = |(lane, series): (Lane, &Series)| {
                let number = series.waiting.front().map_or(series.last, |first| first - 1);
                Told::new(name.clone(), lane, number, series.since)
            };
            namespace.both().map(told).collect()
        };
        self.namespaces.iter().flat_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> (Numbers, Arc<str>) {
        let (mut numbers, name) = (Numbers::default(), Arc::<str>::from("/"));
        numbers.open(&name);
        (numbers, name)
    }

    fn told(numbers: &Numbers) -> Vec<(u64, u64)> {
        let mut told: Vec<_> = numbers.settled().into_iter().map(|told| (told.number, told.since)).collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn what_waits_is_not_told() {
        let (mut numbers, name) = numbers();
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
        let (mut numbers, _) = numbers();
        let trailers = [None, Some(Lane::Rooms), None].map(|lane| numbers.next(7, "/", lane));
        assert_eq!(trailers.map(|trailer| (trailer.serial, trailer.number)), [(1, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn a_closed_namespace_is_forgotten_when_all_of_it_has_gone_out() {
        let (mut numbers, name) = numbers();
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
        assert_eq!(numbers.next(7, "/", Some(Lane::Main)).number, 0, "it is closed");
        assert_eq!(numbers.len(), 0);
        numbers.open(&name);
        assert_eq!(numbers.next(7, "/", Some(Lane::Main)).number, 1);
        assert_eq!(told(&numbers), [(0, 3)], "a new series");
        // One that is used again before it was forgotten goes on.
        numbers.close("/");
        numbers.open(&name);
        assert_eq!(numbers.next(7, "/", Some(Lane::Main)).number, 2);
        numbers.settle(&name, Lane::Main, 1);
        numbers.settle(&name, Lane::Main, 2);
        assert_eq!(told(&numbers), [(2, 3)]);
    }

    #[test]
    fn namespaces_at_the_limit_and_one_past_it() {
        let mut numbers = Numbers::default();
        let name = |number: usize| Arc::<str>::from(format!("/{number}"));
        for number in 0..MAX_NUMBERED {
            numbers.open(&name(number));
            assert_eq!(numbers.next(7, &name(number), Some(Lane::Main)).number, 1);
        }
        let past = name(MAX_NUMBERED);
        numbers.open(&past);
        let trailer = numbers.next(7, &past, Some(Lane::Main));
        assert_eq!((trailer.number, trailer.serial), (0, MAX_NUMBERED as u64 + 1));
        assert_eq!(numbers.next(7, "/0", Some(Lane::Main)).number, 2);
        numbers.close("/1");
        numbers.settle("/1", Lane::Main, 1);
        (0..LAST_TOLD).for_each(|_| numbers.told());
        numbers.open(&past);
        assert_eq!(numbers.next(7, &past, Some(Lane::Main)).number, 1);
    }
}
