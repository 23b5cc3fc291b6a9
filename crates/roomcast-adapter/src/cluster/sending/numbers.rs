//! [`Numbers`]: the numbers that a process gives its messages, and what it announces about them.

use crate::cluster::seam::alive::{Alive, SeriesReport};
use crate::cluster::seam::series::MAX_NUMBERED;
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many further announcements a closed namespace is remembered for, once all its messages have gone out. The last
/// ones may have been lost, and a server that missed the announcement about them asks for everything.
const ANNOUNCEMENTS_AFTER_CLOSE: u8 = 3;

/// Bytes of an entry of an announcement without the namespace's name; generous.
const ENTRY_BYTES: usize = 64;

/// The last numbers that a process has given, and which of them were announced.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    serial: u64,
    /// The last announcement that was made, and the last one that is known to have gone out.
    sequence: u64,
    announced: u64,
    /// The number of namespaces opened so far.
    openings: u64,
    /// The namespaces that are open here, or were until recently.
    namespaces: HashMap<Arc<str>, Namespace, RandomState>,
}

/// The two series of a namespace, each from its first message on.
#[derive(Debug, Default)]
struct Namespace {
    main: Option<OwnSeries>,
    rooms: Option<OwnSeries>,
    /// The number of its opening once its messages arrive here, or 0.
    opening: u64,
    /// What other servers were told last about that. `None`: it is not known what reached them.
    announced: Option<u64>,
    /// Set when it is closed: the number of announcements that it is still remembered for.
    closed: Option<u8>,
}

#[derive(Debug)]
struct OwnSeries {
    /// The serial of its first message.
    since: u64,
    last: u64,
    /// The numbers of messages that have not gone out, in rising order.
    waiting: VecDeque<u64>,
    /// The number that was announced last.
    announced: u64,
}

impl OwnSeries {
    /// The last number up to which every message has gone out or was dropped: receivers that lack it have missed it.
    fn settled(&self) -> u64 {
        self.waiting.front().map_or(self.last, |first| first - 1)
    }
}

impl Namespace {
    fn series(&mut self, series: Series) -> &mut Option<OwnSeries> {
        match series {
            Series::Main => &mut self.main,
            Series::Rooms => &mut self.rooms,
        }
    }

    fn both(&self) -> impl Iterator<Item = (Series, &OwnSeries)> {
        [(Series::Main, &self.main), (Series::Rooms, &self.rooms)]
            .into_iter()
            .filter_map(|(series, own)| own.as_ref().map(|own| (series, own)))
    }

    fn is_over(&self) -> bool {
        let settled = |own: &OwnSeries| own.waiting.is_empty() && own.announced == own.last;
        self.closed == Some(0) && self.announced == Some(0) && self.both().all(|(_, own)| settled(own))
    }
}

impl Numbers {
    /// Opens a namespace: messages in it are numbered from now on.
    pub(crate) fn open(&mut self, namespace: &Arc<str>) {
        if let Some(open) = self.namespaces.get_mut(namespace) {
            open.closed = None;
        } else if self.namespaces.len() < MAX_NUMBERED {
            self.namespaces.insert(namespace.clone(), Namespace { announced: Some(0), ..Namespace::default() });
        }
    }

    /// The messages of an open namespace arrive, so this server can be asked. Returns whether that is news.
    pub(crate) fn messages_arrive(&mut self, namespace: &str) -> bool {
        match self.namespaces.get_mut(namespace).filter(|namespace| namespace.closed.is_none()) {
            Some(namespace) if namespace.opening == 0 => {
                self.openings += 1;
                namespace.opening = self.openings;
                true
            }
            _ => false,
        }
    }

    /// The trailer of the next message. It has no number if there is no series, or if the namespace is not open.
    pub(crate) fn next(&mut self, process: u64, namespace: &str, series: Option<Series>) -> Trailer {
        self.serial += 1;
        let number = series.map_or(0, |series| self.number(namespace, series));
        Trailer::new(namespace, process, self.serial, number)
    }

    fn number(&mut self, namespace: &str, series: Series) -> u64 {
        let Some(namespace) = self.namespaces.get_mut(namespace) else { return 0 };
        let new = || OwnSeries { since: self.serial, last: 0, waiting: VecDeque::new(), announced: 0 };
        let own = namespace.series(series).get_or_insert_with(new);
        own.last += 1;
        own.waiting.push_back(own.last);
        own.last
    }

    /// Notes that a message went out, or never will.
    pub(crate) fn settle(&mut self, namespace: &str, series: Series, number: u64) {
        let own = self.namespaces.get_mut(namespace).and_then(|namespace| namespace.series(series).as_mut());
        let Some(own) = own else { return };
        // Only messages in flight can stand before it.
        if let Some(position) = own.waiting.iter().position(|waiting| *waiting == number) {
            own.waiting.remove(position);
        }
    }

    /// Closes a namespace. If it is opened again after its numbers were removed, they start anew.
    pub(crate) fn close(&mut self, namespace: &str) {
        if let Some(namespace) = self.namespaces.get_mut(namespace) {
            (namespace.opening, namespace.closed) = (0, Some(ANNOUNCEMENTS_AFTER_CLOSE));
        }
    }

    /// The next announcement: what has changed since the last one that went out, up to `most` bytes; and whether there
    /// is more.
    pub(crate) fn announcement(&mut self, interval: u64, most: usize) -> (Alive, bool) {
        // A failed announcement may have reached some servers, so its number is not used for other content.
        self.sequence += 1;
        let mut alive = Alive { sequence: self.sequence, follows: self.announced, interval, ..Alive::default() };
        let mut left = most;
        let mut fits = |name: &str| {
            let size = name.len() + ENTRY_BYTES;
            // The first entry always fits, however long its name is.
            let fits = size <= left || left == most;
            left = left.saturating_sub(size);
            fits
        };
        for (name, namespace) in &self.namespaces {
            if namespace.announced != Some(namespace.opening) {
                if !fits(name) {
                    return (alive, true);
                }
                match namespace.opening {
                    0 => alive.closed.push(name.clone()),
                    opening => alive.opened.push((name.clone(), opening)),
                }
            }
            for (series, own) in namespace.both().filter(|(_, own)| own.settled() != own.announced) {
                if !fits(name) {
                    return (alive, true);
                }
                alive.numbers.push(SeriesReport::new(name.clone(), series, own.settled(), own.since));
            }
        }
        // The map has no order, but repeated runs must be the same.
        sort(&mut alive);
        (alive, false)
    }

    /// Notes that an announcement may not have gone out. Its content is announced again, as it is by then.
    pub(crate) fn not_announced(&mut self, alive: &Alive) {
        let names = alive.opened.iter().map(|(name, _)| name).chain(&alive.closed);
        self.set_announced(names.map(|name| (name, None)));
    }

    fn set_announced<'a>(&mut self, announced: impl Iterator<Item = (&'a Arc<str>, Option<u64>)>) {
        for (name, opening) in announced {
            if let Some(namespace) = self.namespaces.get_mut(name) {
                namespace.announced = opening;
            }
        }
    }

    /// Notes that an announcement has gone out. With `last`, nothing is left to announce.
    pub(crate) fn announced(&mut self, alive: &Alive, last: bool) {
        self.announced = alive.sequence;
        self.set_announced(alive.opened.iter().map(|(name, opening)| (name, Some(*opening))));
        self.set_announced(alive.closed.iter().map(|name| (name, Some(0))));
        for report in &alive.numbers {
            let namespace = self.namespaces.get_mut(&report.namespace);
            let own = namespace.and_then(|namespace| namespace.series(report.series).as_mut());
            if let Some(own) = own.filter(|own| own.since == report.since) {
                own.announced = report.number;
            }
        }
        if last {
            self.namespaces.retain(|_, namespace| {
                if let Some(left) = &mut namespace.closed {
                    *left = left.saturating_sub(1);
                }
                !namespace.is_over()
            });
        }
    }

    /// Everything there is to announce, for a server that knows nothing about this one, in parts of at most `most`
    /// bytes. The first part voids everything known before. What was not announced yet will be in the next
    /// announcement, too.
    pub(crate) fn whole(&self, interval: u64, most: usize) -> Vec<Alive> {
        let part = || Alive { sequence: self.sequence, interval, ..Alive::default() };
        let mut parts = vec![Alive { whole: true, ..part() }];
        let mut left = most;
        for (name, namespace) in &self.namespaces {
            let reports: Vec<SeriesReport> = namespace
                .both()
                .filter(|(_, own)| own.settled() > 0)
                .map(|(series, own)| SeriesReport::new(name.clone(), series, own.settled(), own.since))
                .collect();
            let size = (name.len() + ENTRY_BYTES) * (reports.len() + usize::from(namespace.opening > 0));
            if size > left {
                parts.push(part());
                left = most;
            }
            left = left.saturating_sub(size);
            let Some(part) = parts.last_mut() else { continue };
            part.numbers.extend(reports);
            part.opened.extend((namespace.opening > 0).then(|| (name.clone(), namespace.opening)));
        }
        let last = parts.len() - 1;
        parts.iter_mut().take(last).for_each(|part| part.more = true);
        parts.iter_mut().for_each(sort);
        parts
    }

    /// The number of series in which messages were published.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.both().count()).sum()
    }
}

fn sort(alive: &mut Alive) {
    alive.opened.sort_unstable();
    alive.closed.sort_unstable();
    alive.numbers.sort_unstable_by(|a, b| (&a.namespace, a.series).cmp(&(&b.namespace, b.series)));
}

#[cfg(test)]
mod tests;
