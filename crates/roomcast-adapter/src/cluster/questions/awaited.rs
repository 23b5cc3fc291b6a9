//! [`Awaited`]: whose answers to a question are awaited, and when the waiting ends.
//!
//! Roomcast servers are known by name. Servers of other software are known only by their number, where the broker
//! counts servers: they are those that are counted without having a name. A server that nobody knew when the question
//! was asked may answer too: its answer counts, but does not stand for that of another server.

use crate::cluster::seam::ids::ServerId;
use crate::seam::answer::Missing;
use std::collections::{BTreeMap, BTreeSet};

/// How many servers the broker counts, without this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerCount {
    /// The broker does not count: all other servers have names.
    NotCounted,
    /// All of them.
    All(usize),
    /// There may be more.
    AtLeast(usize),
    /// They cannot be counted now.
    Unknown,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Wait for more answers.
    Await,
    /// All seem to have answered: let the broker [count again](Awaited::recounted).
    Recount,
    /// Wait a little longer: as many servers as the broker counts have answered, but others are known by name. These
    /// may have left a moment ago, or have just come.
    Grace,
    /// Stop waiting.
    Over,
}

/// The servers whose answers are awaited.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// The servers that had the namespace when the question was asked.
    named: BTreeSet<ServerId>,
    /// Those of them that have not answered, each with a number that changes if the server reopens the namespace.
    silent: BTreeMap<ServerId, u64>,
    /// Servers that became known by name since: they may have got the question, or have come too late for it. Numbers as
    /// in `silent`.
    late: BTreeMap<ServerId, u64>,
    /// Those of them that have reopened the namespace since. If one got the question, it was probably before that, and it
    /// no longer knows it.
    reopened: BTreeSet<ServerId>,
    /// Servers that have answered.
    answered: BTreeSet<ServerId>,
    /// Those of them that said that they cannot answer.
    refused: BTreeSet<ServerId>,
    /// The number of answers from servers without a name.
    unnamed: usize,
    counted: ServerCount,
    /// The number of servers when the question was asked.
    asked: usize,
    /// Servers without a name do not understand the question.
    roomcast_only: bool,
    /// There are, or may be, servers without a name.
    mixed: bool,
    /// The broker has counted since the last answer and since the members last changed.
    count_is_fresh: bool,
    /// The members have changed since the broker counted.
    members_changed: bool,
    /// An awaited server with a name has left. It may not have been counted, and another server in its place.
    left: bool,
}

impl Awaited {
    /// `silent` are the servers that had the namespace before the broker counted. `roomcast_only`: servers without a
    /// name do not understand the question. `mixed`: there were such servers before.
    pub(crate) fn new(silent: BTreeMap<ServerId, u64>, counted: ServerCount, roomcast_only: bool, mixed: bool) -> Self {
        let (late, reopened) = (BTreeMap::new(), BTreeSet::new());
        let (answered, refused) = (BTreeSet::new(), BTreeSet::new());
        let named = silent.keys().cloned().collect();
        let mut awaited = Self {
            named,
            silent,
            late,
            reopened,
            answered,
            refused,
            unnamed: 0,
            counted,
            asked: 0,
            roomcast_only,
            mixed,
            count_is_fresh: false,
            members_changed: false,
            left: false,
        };
        awaited.asked = awaited.servers();
        awaited.mixed |= awaited.unnamed_count() > 0;
        awaited
    }

    /// Whether there is nobody to ask.
    pub(crate) fn is_nobody(&self) -> bool {
        self.named.is_empty() && matches!(self.counted, ServerCount::NotCounted | ServerCount::All(0))
    }

    /// Whether there are servers without a name, as far as is known.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Whether an answer would be the first of its server.
    pub(crate) fn is_new(&self, sender: Option<&ServerId>) -> bool {
        sender.is_none_or(|sender| !self.answered.contains(sender))
    }

    /// Notes that a server has answered. Returns `false` if it had answered before.
    pub(crate) fn answered(&mut self, sender: Option<&ServerId>) -> bool {
        self.count_is_fresh = false;
        let Some(sender) = sender else {
            self.unnamed += 1;
            self.mixed = true;
            return true;
        };
        self.silent.remove(sender);
        self.answered.insert(sender.clone())
    }

    /// Notes that a server cannot answer: it is missing, and not awaited.
    pub(crate) fn refused(&mut self, sender: Option<&ServerId>) {
        let Some(sender) = sender else { return };
        if self.answered(Some(sender)) {
            self.refused.insert(sender.clone());
        }
    }

    /// Takes the members of the namespace as they are now. A server that has left has nothing to answer.
    pub(crate) fn members(&mut self, members: BTreeMap<ServerId, u64>) {
        (self.count_is_fresh, self.members_changed) = (false, true);
        let stays = |(name, opening): (&ServerId, &u64)| members.get(name) == Some(opening);
        let left: Vec<ServerId> =
            self.silent.iter().filter(|silent| !stays(*silent)).map(|(name, _)| name.clone()).collect();
        self.left |= !left.is_empty();
        for name in left {
            self.silent.remove(&name);
            self.asked = self.asked.saturating_sub(1);
            // A server that has come back is a new one.
            if members.contains_key(&name) {
                self.named.remove(&name);
            }
        }
        let late: BTreeMap<ServerId, u64> =
            members.into_iter().filter(|(name, _)| !self.named.contains(name)).collect();
        let again = late.iter().filter(|(name, opening)| self.late.get(*name).is_some_and(|before| before != *opening));
        self.reopened.extend(again.map(|(name, _)| name.clone()));
        self.reopened.retain(|name| late.contains_key(name));
        self.late = late;
    }

    /// Whether only servers without a name are awaited. These leave silently, and others may be counted though they
    /// left.
    pub(crate) fn awaits_only_unnamed(&self) -> bool {
        self.silent.is_empty() && self.next_step() == NextStep::Await
    }

    /// Time has passed, and the count may have changed.
    pub(crate) fn expire_count(&mut self) {
        (self.count_is_fresh, self.members_changed) = (false, true);
    }

    /// What to do now.
    pub(crate) fn next_step(&self) -> NextStep {
        let count = match self.counted {
            ServerCount::NotCounted if self.silent.is_empty() => return NextStep::Over,
            // If nobody knows how many servers there are, wait until the timeout.
            ServerCount::NotCounted | ServerCount::Unknown => return NextStep::Await,
            ServerCount::All(count) | ServerCount::AtLeast(count) => count,
        };
        if !self.silent.is_empty() {
            return if self.answered.len() + self.unnamed >= count { NextStep::Grace } else { NextStep::Await };
        }
        let simple = !self.left && self.late.is_empty() && self.answered.is_subset(&self.named);
        if simple && (self.roomcast_only || (!self.mixed && self.unnamed_count() == 0)) {
            return NextStep::Over;
        }
        if !self.roomcast_only && self.unnamed < self.unnamed_count() && !self.members_changed {
            return NextStep::Await;
        }
        if !self.count_is_fresh {
            NextStep::Recount
        } else if self.late.keys().all(|name| self.answered.contains(name)) {
            NextStep::Over
        } else if self.answered.len() + self.unnamed < self.asked && self.awaited_late().next().is_some() {
            // Some servers that were counted have not answered: these may be among them.
            NextStep::Await
        } else {
            NextStep::Grace
        }
    }

    /// The servers whose names became known too late, and that may have the question and have not answered.
    fn awaited_late(&self) -> impl Iterator<Item = &ServerId> {
        self.late.keys().filter(|name| !self.answered.contains(*name) && !self.reopened.contains(*name))
    }

    /// Takes a new count, made after the last answer. `members` have the namespace by then.
    pub(crate) fn recounted(&mut self, counted: ServerCount, members: BTreeMap<ServerId, u64>) {
        if counted != ServerCount::Unknown {
            self.counted = counted;
            // A server that has left is no longer counted.
            let stays = |name: &ServerId| members.contains_key(name) && members.get(name) == self.silent.get(name);
            self.named.retain(|name| self.answered.contains(name) || stays(name));
        } else if let (ServerCount::All(count), true) = (self.counted, self.left) {
            self.counted = ServerCount::AtLeast(count);
        }
        self.members(members);
        (self.count_is_fresh, self.members_changed, self.left) = (true, false, false);
    }

    /// The number of counted servers without a name.
    fn unnamed_count(&self) -> usize {
        let (ServerCount::All(count) | ServerCount::AtLeast(count)) = self.counted else { return 0 };
        let named = self.named.iter().chain(self.late.keys()).chain(&self.answered);
        count.saturating_sub(named.collect::<BTreeSet<_>>().len())
    }

    /// The servers that have not answered. `twice`: the question may have gone out twice, and been answered twice.
    pub(crate) fn missing(&self, twice: bool) -> Missing {
        let mut names: Vec<String> = self.silent.keys().chain(&self.refused).map(ToString::to_string).collect();
        let unnamed = if self.roomcast_only { 0 } else { self.unnamed };
        let mut others = self.unnamed_count().saturating_sub(unnamed);
        // Of the servers whose names became known too late, some were counted and did not answer.
        let late: Vec<String> = self.awaited_late().map(ToString::to_string).collect();
        let places = self.asked.saturating_sub(self.answered.len() + self.unnamed + self.silent.len());
        if places >= late.len() {
            names.extend(late);
        } else {
            others = others.max(places);
        }
        let doubtful = match self.counted {
            ServerCount::Unknown | ServerCount::AtLeast(_) => names.is_empty(),
            ServerCount::All(_) => twice && unnamed > 0,
            ServerCount::NotCounted => false,
        };
        Missing { names, others: others.max(usize::from(doubtful)) }
    }

    /// The number of other servers: those that were counted, or else those with a name.
    pub(crate) fn servers(&self) -> usize {
        match self.counted {
            ServerCount::All(count) | ServerCount::AtLeast(count) => count,
            ServerCount::NotCounted | ServerCount::Unknown => self.named.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeMap<ServerId, u64> {
        names.iter().map(|name| (ServerId::from(*name), 1)).collect()
    }

    fn answer(awaited: &mut Awaited, from: &[&str]) {
        for name in from {
            let sender = ServerId::from(*name);
            awaited.answered((*name != "node").then_some(&sender));
        }
    }

    fn missing(awaited: &Awaited) -> (Vec<String>, usize) {
        let missing = awaited.missing(false);
        (missing.names, missing.others)
    }

    #[test]
    fn servers_with_a_name_are_awaited_by_name() {
        let mut awaited = Awaited::new(names(&["a", "b"]), ServerCount::All(2), false, false);
        assert_eq!(awaited.next_step(), NextStep::Await);
        answer(&mut awaited, &["a", "a"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec!["b".to_owned()], 0)));
        answer(&mut awaited, &["b"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
        // The same without counts.
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::NotCounted, false, false);
        answer(&mut awaited, &["new"]);
        assert_eq!(awaited.next_step(), NextStep::Await);
        answer(&mut awaited, &["a"]);
        assert_eq!(awaited.next_step(), NextStep::Over);
        assert!(Awaited::new(names(&[]), ServerCount::NotCounted, false, false).is_nobody());
        assert!(Awaited::new(names(&[]), ServerCount::All(0), false, true).is_nobody());
    }

    #[test]
    fn servers_without_a_name_are_counted_again() {
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::All(2), false, false);
        assert!(awaited.is_mixed());
        // The answer of a server that came after the count does not stand for that of another server.
        answer(&mut awaited, &["new", "a"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Recount, (vec![], 0)));
        awaited.recounted(ServerCount::All(3), names(&["a", "new"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec![], 1)));
        answer(&mut awaited, &["node"]);
        assert_eq!(awaited.next_step(), NextStep::Recount);
        awaited.recounted(ServerCount::All(3), names(&["a", "new"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
        assert_eq!(awaited.missing(true).others, 1, "the one answer may be of two");
    }

    #[test]
    fn a_server_whose_name_becomes_known_late_is_awaited_if_it_may_have_been_counted() {
        // This server is new, and knows nobody.
        let mut awaited = Awaited::new(names(&[]), ServerCount::All(2), false, false);
        answer(&mut awaited, &["a"]);
        awaited.members(names(&["a", "b"]));
        awaited.recounted(ServerCount::All(2), names(&["a", "b"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec!["b".to_owned()], 0)));
        answer(&mut awaited, &["b"]);
        awaited.recounted(ServerCount::All(2), names(&["a", "b"]));
        assert_eq!(awaited.next_step(), NextStep::Over);
        // The server that was counted has answered; another one has come since.
        let mut awaited = Awaited::new(names(&[]), ServerCount::All(1), false, false);
        answer(&mut awaited, &["node"]);
        awaited.recounted(ServerCount::All(2), names(&[]));
        assert_eq!(awaited.next_step(), NextStep::Await);
        awaited.members(names(&["new"]));
        assert_eq!(awaited.next_step(), NextStep::Recount);
        awaited.recounted(ServerCount::All(2), names(&["new"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Grace, (vec![], 0)));
        // It leaves again.
        awaited.members(names(&[]));
        assert_eq!(awaited.next_step(), NextStep::Recount);
        awaited.recounted(ServerCount::All(1), names(&[]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
    }

    #[test]
    fn a_server_that_left_is_not_awaited() {
        let mut awaited = Awaited::new(names(&["a", "b"]), ServerCount::All(2), false, false);
        answer(&mut awaited, &["a"]);
        awaited.members(names(&["a"]));
        awaited.recounted(ServerCount::All(1), names(&["a"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
    }

    /// It was still known by name when the broker counted, but another server was counted in its place.
    #[test]
    fn a_server_that_left_may_not_have_been_counted() {
        let asked = || {
            let mut awaited = Awaited::new(names(&["a"]), ServerCount::All(1), false, false);
            awaited.members(names(&[]));
            assert_eq!(awaited.next_step(), NextStep::Recount);
            awaited
        };
        let mut awaited = asked();
        awaited.recounted(ServerCount::All(0), names(&[]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
        let mut awaited = asked();
        awaited.recounted(ServerCount::All(1), names(&[]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec![], 1)));
        answer(&mut awaited, &["new"]);
        awaited.recounted(ServerCount::All(1), names(&["new"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
        let mut awaited = asked();
        awaited.recounted(ServerCount::Unknown, names(&[]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 1)), "nobody knows");
    }

    #[test]
    fn a_server_that_leaves_silently_is_not_awaited_for_ever() {
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::All(3), false, false);
        answer(&mut awaited, &["node", "a"]);
        assert!(awaited.awaits_only_unnamed());
        awaited.expire_count();
        assert_eq!(awaited.next_step(), NextStep::Recount);
        awaited.recounted(ServerCount::All(3), names(&["a"]));
        assert!(awaited.awaits_only_unnamed());
        awaited.expire_count();
        awaited.recounted(ServerCount::All(2), names(&["a"]));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
    }

    #[test]
    fn a_server_that_reopened_the_namespace_does_not_know_the_question() {
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::All(2), false, false);
        answer(&mut awaited, &["node"]);
        let again = || BTreeMap::from([(ServerId::from("a"), 2)]);
        awaited.members(again());
        assert_eq!(awaited.next_step(), NextStep::Recount);
        awaited.recounted(ServerCount::All(2), again());
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Grace, (vec![], 0)));
    }

    #[test]
    fn a_server_that_became_known_too_late_and_reopened_the_namespace_does_not_know_the_question() {
        let opened = |opening| BTreeMap::from([(ServerId::from("a"), opening)]);
        let asked = |opening| {
            let mut awaited = Awaited::new(names(&[]), ServerCount::All(1), false, false);
            awaited.members(opened(1));
            awaited.recounted(ServerCount::All(1), opened(1));
            assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec!["a".to_owned()], 0)));
            awaited.members(opened(opening));
            assert_eq!(awaited.next_step(), NextStep::Recount);
            awaited.recounted(ServerCount::All(1), opened(opening));
            awaited
        };
        assert_eq!(asked(1).next_step(), NextStep::Await);
        let mut awaited = asked(2);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Grace, (vec![], 0)));
        // It has got the question after all.
        answer(&mut awaited, &["a"]);
        awaited.recounted(ServerCount::All(1), opened(2));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 0)));
        // Another server that was counted is still awaited.
        let mut awaited = Awaited::new(names(&[]), ServerCount::All(2), false, false);
        let both = |opening| BTreeMap::from([(ServerId::from("a"), opening), (ServerId::from("b"), 1)]);
        awaited.members(both(1));
        awaited.recounted(ServerCount::All(2), both(2));
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec!["b".to_owned()], 0)));
    }

    #[test]
    fn a_server_that_is_known_but_not_counted_is_missing_by_name() {
        let mut awaited = Awaited::new(names(&["a", "dead"]), ServerCount::All(1), false, false);
        assert_eq!(awaited.next_step(), NextStep::Await);
        answer(&mut awaited, &["a"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Grace, (vec!["dead".to_owned()], 0)));
    }

    #[test]
    fn an_unknown_number_of_servers_is_reported_as_missing() {
        let mut awaited = Awaited::new(names(&[]), ServerCount::Unknown, false, false);
        answer(&mut awaited, &["a", "node"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Await, (vec![], 1)));
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::AtLeast(1), false, false);
        answer(&mut awaited, &["a"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 1)));
        // A question that other servers do not understand: they are missing at once.
        let mut awaited = Awaited::new(names(&["a"]), ServerCount::All(3), true, false);
        answer(&mut awaited, &["a"]);
        assert_eq!((awaited.next_step(), missing(&awaited)), (NextStep::Over, (vec![], 2)));
    }
}
