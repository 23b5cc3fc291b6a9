//! [`Direction`]: the figures from one server to another, and what contradicts the promises.

use super::dialect::Dialect;
use super::plan::{Meant, Plan};
use super::seen::{Received, RoomsSeen};
use roomcast_adapter::cluster::Series;
use std::collections::{BTreeMap, BTreeSet};

/// A message that no socket got may have arrived this much later than any that a socket got, in microseconds.
const LATER: u64 = 200_000;

const NODE: &str = "n";

/// The process of a Node server.
const NO_PROCESS: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct Direction {
    pub(super) publisher: String,
    pub(super) receiver: String,
    pub(super) emitted: u64,
    /// Messages that some socket of the receiver had to get, wherever the moving socket was.
    pub(super) expected: u64,
    /// Those of them that all such sockets got.
    pub(super) got: u64,
    /// Messages that did not arrive, for sockets here or not. If the receiver does not receive every single room, of
    /// those to single rooms only the expected ones.
    pub(super) lost: u64,
    /// Those of them that the receiver cannot count: messages to single rooms if it does not receive all of them, and
    /// all from or to Node.
    pub(super) uncountable: u64,
    pub(super) counted: u64,
    pub(super) passed_over: u64,
    /// Messages that a socket got again.
    pub(super) twice: u64,
    /// Messages that a socket got after a later one; if rooms have channels on different nodes, after a later one to
    /// the same room.
    pub(super) disorder: u64,
    /// In microseconds.
    pub(super) oldest: u64,
    pub(super) resumed: Option<u64>,
    pub(super) strange: Vec<String>,
}

type Server<'a> = (&'a str, &'a RoomsSeen);

impl Direction {
    pub(super) fn of(
        (publisher, published): Server<'_>,
        (receiver, seen): Server<'_>,
        plan: &Plan,
        dialect: Dialect,
        since: u64,
    ) -> Self {
        let received: Vec<&Received> = seen.received.iter().filter(|it| it.publisher == publisher).collect();
        let mut direction = Self {
            publisher: publisher.to_owned(),
            receiver: receiver.to_owned(),
            emitted: published.emitted.len() as u64,
            counted: seen.standing.lost.get(publisher).copied().unwrap_or_default(),
            ..Self::default()
        };
        direction.check_order(&received, plan, dialect);
        let age = |it: &&Received| it.at.saturating_sub(published.emitted[it.number as usize - 1]);
        direction.oldest = received.iter().map(age).max().unwrap_or_default();
        direction.resumed = resumed((publisher, published), seen, since);

        let came = direction.came(published, seen, dialect);
        let mut got: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        for it in &received {
            got.entry(it.number).or_default().insert(it.socket);
        }
        let mut numbers = BTreeMap::from([(Series::Main, 0), (Series::Rooms, 0)]);
        for (number, at) in (1..).zip(&published.emitted) {
            let aim = plan.aim(number);
            let series = aim.series();
            let in_series = numbers.entry(series).or_default();
            *in_series += 1;
            let own = if publisher == NODE { number } else { *in_series };
            let handled = came.get(&(series, own));
            // A message that did not arrive might have been later than any that a socket got.
            let until = handled.copied().unwrap_or(at + direction.oldest + LATER);
            let (must, may) = recipients(plan, seen, number, (*at, until), receiver != NODE);
            let by = got.remove(&number).unwrap_or_default();
            let all = must.is_subset(&by);
            direction.expected += u64::from(!must.is_empty());
            direction.got += u64::from(!must.is_empty() && all);
            if !by.is_subset(&may) || (!all && must.iter().any(|socket| by.contains(socket))) {
                direction.strange.push(format!("{number} must reach {must:?}, may reach {may:?}, and reached {by:?}"));
            }
            let missed = !must.is_empty() && !all;
            if !direction.among_ours() {
                direction.lost += u64::from(missed);
                direction.uncountable += u64::from(missed);
                continue;
            }
            let has_come = handled.is_some();
            if has_come == missed && !must.is_empty() {
                direction
                    .strange
                    .push(format!("{number} has arrived: {has_come}; it must reach {must:?}, and reached {by:?}"));
            }
            if series == Series::Main || dialect.receives_all_rooms() {
                direction.lost += u64::from(!has_come);
            } else {
                direction.lost += u64::from(missed);
                direction.uncountable += u64::from(missed);
            }
        }
        if !got.is_empty() {
            direction.strange.push(format!("messages that were never emitted: {got:?}"));
        }
        direction
    }

    /// The numbers that arrived in each series, and when they were handled. Duplicates are left out, and if a series
    /// has an order, also numbers after a later one, as these are dropped. A Node server does not report this.
    fn came(&mut self, published: &RoomsSeen, seen: &RoomsSeen, dialect: Dialect) -> BTreeMap<(Series, u64), u64> {
        let (mut came, mut last) = (BTreeMap::new(), BTreeMap::new());
        for it in seen.came.iter().filter(|it| it.process == published.process) {
            let last = last.entry(it.series).or_insert(0);
            let orderly = it.process != NO_PROCESS && (it.series == Series::Main || dialect != Dialect::Dynamic);
            if it.number > *last || !orderly {
                *last = it.number.max(*last);
                came.entry((it.series, it.number)).or_insert(it.at);
                self.passed_over += u64::from(it.passed_over);
            }
        }
        came
    }

    fn check_order(&mut self, received: &[&Received], plan: &Plan, dialect: Dialect) {
        let mut seen = BTreeSet::new();
        let mut last = BTreeMap::new();
        for it in received {
            let aim = plan.aim(it.number);
            let channel =
                if dialect == Dialect::Dynamic && aim.series() == Series::Rooms { aim.rooms.first() } else { None };
            let last = last.entry((it.socket, channel)).or_insert(0);
            if !seen.insert((it.socket, it.number)) {
                self.twice += 1;
            } else if it.number < *last {
                self.disorder += 1;
            }
            *last = it.number.max(*last);
        }
    }

    /// Whether the receiver's count is what it must be.
    pub(super) fn is_counted(&self) -> bool {
        self.counted == self.lost - self.uncountable
    }

    pub(super) fn among_ours(&self) -> bool {
        self.publisher != NODE && self.receiver != NODE
    }
}

/// The time from `since` until the first message arrived that was emitted after it.
pub(super) fn resumed((publisher, published): Server<'_>, seen: &RoomsSeen, since: u64) -> Option<u64> {
    let later = |it: &&Received| published.emitted.get(it.number as usize - 1).is_some_and(|at| *at >= since);
    let received = seen.received.iter().filter(|it| it.publisher == publisher);
    received.filter(later).map(|it| it.at - since).min()
}

/// The sockets that must get a message that was emitted at `at` and arrives by `until`, and those that may.
fn recipients(
    plan: &Plan,
    seen: &RoomsSeen,
    number: u64,
    (at, until): (u64, u64),
    moves: bool,
) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
    for socket in 0..plan.sockets.len() {
        match plan.meant(plan.aim(number), socket, moves) {
            Meant::Yes => {
                must.insert(socket);
                may.insert(socket);
            }
            Meant::No => {}
            Meant::Sometimes => {
                let known = seen.stays.last().map_or(0, |stay| stay[3]);
                if seen
                    .stays
                    .iter()
                    .any(|[_, surely_in, leaves, _]| (*surely_in..*leaves).contains(&at) && until < *leaves)
                {
                    must.insert(socket);
                }
                if until > known || seen.stays.iter().any(|[begins, _, _, left]| at <= *left && until >= *begins) {
                    may.insert(socket);
                }
            }
        }
    }
    (must, may)
}

/// A contradiction if a roomcast server's own sockets did not get all of its messages, in order. (Node's sharded
/// adapter delivers to its own sockets only when Redis has answered.)
pub(super) fn own_are_complete(name: &str, seen: &RoomsSeen, plan: &Plan) -> Option<String> {
    let (mut missing, mut late) = (0, 0);
    for socket in 0..plan.sockets.len() - 1 {
        let own = seen.received.iter().filter(|it| it.publisher == name && it.socket == socket);
        let own: Vec<u64> = own.map(|it| it.number).collect();
        let meant =
            (1..=seen.emitted.len() as u64).filter(|number| plan.meant(plan.aim(*number), socket, true) == Meant::Yes);
        missing += meant.filter(|number| !own.contains(number)).count();
        late += own.windows(2).filter(|two| two[0] >= two[1]).count();
    }
    (missing + late > 0)
        .then(|| format!("the sockets of {name} miss {missing} of its own messages, and got {late} out of order"))
}
