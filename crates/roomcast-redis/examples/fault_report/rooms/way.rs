//! [`Way`]: what was seen of the way from one server to another, and what of it is not as it must be.

use super::dialect::Dialect;
use super::plan::{Meant, Plan};
use super::seen::{Received, RoomsSeen};
use roomcast_adapter::cluster::Series;
use std::collections::{BTreeMap, BTreeSet};

/// How much later than those that some socket got a message may have come that none did, in microseconds.
const LATER: u64 = 200_000;

/// The Node server.
const NODE: &str = "n";

/// What a Node server has for that of ours.
const NO_PROCESS: u64 = 0;

#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) publisher: String,
    pub(super) receiver: String,
    pub(super) emitted: u64,
    /// Messages that some socket of the receiver had to get, whatever moved; and those that all such sockets got.
    pub(super) expected: u64,
    pub(super) got: u64,
    /// Messages that did not come, wanted or not; where not all is heard, of single rooms only those that were expected.
    pub(super) lost: u64,
    /// Those of them that the receiver cannot count: of single rooms where not all of these is heard, and all of Node.
    pub(super) uncountable: u64,
    pub(super) counted: u64,
    pub(super) passed_over: u64,
    /// Messages that a socket got again.
    pub(super) twice: u64,
    /// Messages that a socket got after a later one; where rooms have channels on different nodes, of the same room.
    pub(super) disorder: u64,
    /// In microseconds.
    pub(super) oldest: u64,
    pub(super) resumed: Option<u64>,
    /// What contradicts itself.
    pub(super) strange: Vec<String>,
}

type Server<'a> = (&'a str, &'a RoomsSeen);

impl Way {
    pub(super) fn of(
        (publisher, published): Server<'_>,
        (receiver, seen): Server<'_>,
        plan: &Plan,
        dialect: Dialect,
        since: u64,
    ) -> Self {
        let received: Vec<&Received> = seen.received.iter().filter(|it| it.publisher == publisher).collect();
        let mut way = Self {
            publisher: publisher.to_owned(),
            receiver: receiver.to_owned(),
            emitted: published.emitted.len() as u64,
            counted: seen.standing.lost.get(publisher).copied().unwrap_or_default(),
            ..Self::default()
        };
        way.look_at_order(&received, plan, dialect);
        let age = |it: &&Received| it.at.saturating_sub(published.emitted[it.number as usize - 1]);
        way.oldest = received.iter().map(age).max().unwrap_or_default();
        way.resumed = resumed((publisher, published), seen, since);

        let came = way.came(published, seen, dialect);
        let mut got: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
        for it in &received {
            got.entry(it.number).or_default().insert(it.socket);
        }
        let mut numbers = BTreeMap::from([(Series::Main, 0), (Series::Rooms, 0)]);
        for (number, at) in (1..).zip(&published.emitted) {
            let aim = plan.aim(number);
            let lane = aim.lane();
            let in_series = numbers.entry(lane).or_default();
            *in_series += 1;
            let own = if publisher == NODE { number } else { *in_series };
            let handled = came.get(&(lane, own));
            // One that did not come might have been later than any that a socket got.
            let until = handled.copied().unwrap_or(at + way.oldest + LATER);
            let (must, may) = recipients(plan, seen, number, (*at, until), receiver != NODE);
            let by = got.remove(&number).unwrap_or_default();
            let all = must.is_subset(&by);
            way.expected += u64::from(!must.is_empty());
            way.got += u64::from(!must.is_empty() && all);
            if !by.is_subset(&may) || (!all && must.iter().any(|socket| by.contains(socket))) {
                way.strange.push(format!("{number} is for {must:?}, {may:?} at most, and {by:?} got it"));
            }
            let missed = !must.is_empty() && !all;
            if !way.among_ours() {
                way.lost += u64::from(missed);
                way.uncountable += u64::from(missed);
                continue;
            }
            let has_come = handled.is_some();
            if has_come == missed && !must.is_empty() {
                way.strange.push(format!("{number} has come: {has_come}, {must:?} must get it, {by:?} did"));
            }
            if lane == Series::Main || dialect.hears_all_rooms() {
                way.lost += u64::from(!has_come);
            } else {
                way.lost += u64::from(missed);
                way.uncountable += u64::from(missed);
            }
        }
        if !got.is_empty() {
            way.strange.push(format!("what nobody emitted: {got:?}"));
        }
        way
    }

    /// Of each series the numbers that came, and when they were handled; but for those that came again or, where a series has an
    /// order, after a later one: they are kept back. A Node server does not tell it.
    fn came(&mut self, published: &RoomsSeen, seen: &RoomsSeen, dialect: Dialect) -> BTreeMap<(Series, u64), u64> {
        let (mut came, mut last) = (BTreeMap::new(), BTreeMap::new());
        for it in seen.came.iter().filter(|it| it.process == published.process) {
            let last = last.entry(it.lane).or_insert(0);
            let orderly = it.process != NO_PROCESS && (it.lane == Series::Main || dialect != Dialect::Dynamic);
            if it.number > *last || !orderly {
                *last = it.number.max(*last);
                came.entry((it.lane, it.number)).or_insert(it.at);
                self.passed_over += u64::from(it.passed_over);
            }
        }
        came
    }

    fn look_at_order(&mut self, received: &[&Received], plan: &Plan, dialect: Dialect) {
        let mut seen = BTreeSet::new();
        let mut last = BTreeMap::new();
        for it in received {
            let aim = plan.aim(it.number);
            let channel =
                if dialect == Dialect::Dynamic && aim.lane() == Series::Rooms { aim.rooms.first() } else { None };
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

/// How long after that moment the first message came that was emitted after it.
pub(super) fn resumed((publisher, published): Server<'_>, seen: &RoomsSeen, since: u64) -> Option<u64> {
    let later = |it: &&Received| published.emitted.get(it.number as usize - 1).is_some_and(|at| *at >= since);
    let received = seen.received.iter().filter(|it| it.publisher == publisher);
    received.filter(later).map(|it| it.at - since).min()
}

/// The sockets that must get a message that was emitted then and comes until then, and those that may.
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
                if seen.stays.iter().any(|[_, heard, leaves, _]| (*heard..*leaves).contains(&at) && until < *leaves) {
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

/// A roomcast server's own sockets get all of its messages at once, in order. (Node's sharded adapter delivers to its own when Redis
/// has answered.)
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
        .then(|| format!("of its own messages the sockets of {name} miss {missing}, and {late} came in another order"))
}
