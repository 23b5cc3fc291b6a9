//! Questions, and what must hold for their answers.

use crate::habits::answers;
use crate::model::Asked;
use crate::network::Sim;
use crate::place::{PlaceId, ProcessId};
use crate::plan::{QuestionKind, Setup};
use crate::state::State;
use roomcast_adapter::cluster::ClusterAdapter;
use roomcast_adapter::{Adapter, Emit, Missing, Target};
use roomcast_protocol::Args;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a fault may have effects after it has ended.
const AFTERMATH: u64 = 5_000;

/// How long a server that died is known by name (the product's `FORGOTTEN`, and an interval).
const FORGOTTEN: u64 = 11_500;

/// How long it is awaited (the product's `GRACE`).
const GRACE: u64 = 260;

/// A question may be answered before it has reached all servers that were not counted.
const REACH_SLACK: u64 = 1_000;

/// A question that a server is going to ask.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) n: u64,
    pub(crate) at: PlaceId,
    pub(crate) kind: QuestionKind,
    pub(crate) target: Target,
    pub(crate) timeout: u64,
    /// The number of the adapter that is to ask.
    pub(crate) adapters: usize,
}

/// The value of an answer.
#[derive(Debug)]
enum Value {
    Sockets(Vec<String>),
    Number(usize),
    Acks(Vec<usize>, usize),
    Rooms(BTreeSet<String>),
}

/// Asks a question, and checks its answer.
pub(crate) async fn ask(sim: Arc<Sim>, adapter: Arc<ClusterAdapter>, question: Question) {
    let Question { n, at, kind, mut target, timeout, adapters } = question;
    let ready = sim.with(|state, _| {
        let place = state.model.place(&at);
        place.open && !place.closing && place.adapters == adapters
    });
    if !ready {
        return;
    }
    let Ok(data) = Args::event("e", &n) else { return };
    if kind == QuestionKind::Rooms {
        target.local = false;
    }
    let (begin, counted, local, asked) = sim.with(|state, now| {
        *state.asked.entry(at.0).or_default() += 1;
        let found = if kind == QuestionKind::Ack {
            state.model.emit(&at, &target, n, None)
        } else {
            state.model.matching(&at, &target)
        };
        let ids: Vec<String> = found
            .iter()
            .filter_map(|socket| state.model.sockets.get(*socket))
            .map(|socket| socket.id.to_string())
            .collect();
        (now, state.counted(&at.1), ids, found)
    });
    let time = Duration::from_millis(timeout);
    let (value, mut missing) = match kind {
        QuestionKind::Sockets => {
            let answer = adapter.fetch_sockets(&target, time).await;
            let mut ids: Vec<String> = answer.value.into_iter().map(|socket| socket.id).collect();
            ids.sort();
            (Value::Sockets(ids), answer.missing)
        }
        QuestionKind::Count => {
            let answer = adapter.count(&target, time).await;
            (Value::Number(answer.value), answer.missing)
        }
        QuestionKind::Rooms => {
            let answer = adapter.all_rooms(time).await;
            (Value::Rooms(answer.value.iter().map(ToString::to_string).collect()), answer.missing)
        }
        QuestionKind::Ack => match adapter.emit_with_ack(&target, Emit::of(&data), time).await {
            Ok(acked) => {
                let sockets = acked.answers.iter().map(|args| args.items().parse().unwrap_or(usize::MAX)).collect();
                (Value::Acks(sockets, acked.missing_sockets), acked.missing)
            }
            Err(error) => return sim.with(|state, now| state.fail(now, format!("emit with ack: {error}"))),
        },
        QuestionKind::Event => match adapter.server_side_emit_with_ack(&data, time).await {
            Ok(answer) => (Value::Number(answer.value.len()), answer.missing),
            Err(error) => return sim.with(|state, now| state.fail(now, format!("server event: {error}"))),
        },
        QuestionKind::Servers => {
            let answer = adapter.server_count().await;
            (Value::Number(answer.value), answer.missing)
        }
    };
    // They have no order.
    missing.names.sort();
    sim.with(|state, now| {
        state.log(now, |state| {
            format!("{} has its answer to {kind:?} #{n} of {begin}: {value:?}, missing {missing:?}", state.label(at.0))
        });
        // A question that was asked last may outlive this adapter.
        let known =
            Expected { kind, at: &at, timeout, local: &local, asked: &asked, remote: !target.local, setup: &sim.setup };
        let place = state.model.place(&at);
        let stayed = place.open && !place.closing && place.adapters == adapters;
        let result = Asked { n, begin, done: now, counted, stayed }.check(state, &known, &value, &missing);
        state.check(now, result.map_err(|why| format!("{kind:?} #{n} of {} in {:?}: {why}", state.label(at.0), at.1)));
    });
}

struct Expected<'a> {
    kind: QuestionKind,
    at: &'a PlaceId,
    timeout: u64,
    local: &'a [String],
    asked: &'a [usize],
    remote: bool,
    setup: &'a Setup,
}

impl Asked {
    /// Whether it must have reached all servers that were there by now.
    pub(crate) fn must_reach(&self, state: &State, namespace: &str) -> bool {
        self.calm(state, true) && self.stable(state, namespace)
    }

    /// Whether no fault had effects on it. With `counting`, faults in counting do not matter.
    fn calm(&self, state: &State, counting: bool) -> bool {
        self.stayed
            && !state.faults.iter().any(|(from, until, only)| {
                *from <= self.done && *until + AFTERMATH >= self.begin && !(counting && *only)
            })
    }

    /// Whether no server came or went.
    fn stable(&self, state: &State, namespace: &str) -> bool {
        let changes = state.changes.get(namespace).map_or(&[][..], Vec::as_slice);
        !changes.iter().any(|at| *at + 1_500 >= self.begin && *at <= self.done)
    }

    /// How long an answer takes without faults.
    fn limit(&self, setup: &Setup, stable: bool) -> u64 {
        8 * setup.latency + 4 * setup.hop + if stable { 40 } else { 540 }
    }

    fn check(&self, state: &mut State, known: &Expected<'_>, value: &Value, missing: &Missing) -> Result<(), String> {
        let took = self.done - self.begin;
        let Expected { kind, at, timeout, local, remote, setup, .. } = *known;
        let (calm, stable) = (self.calm(state, false), self.stable(state, &at.1));
        let timeout = if kind == QuestionKind::Servers { 1_000 } else { timeout };
        ensure(took <= timeout + 5, || format!("it took {took} ms of {timeout}"))?;
        let own = state.processes.get(at.0).map_or("", |it| it.name.as_str());
        for name in &missing.names {
            let known = state.processes.iter().any(|it| it.name == *name && !it.foreign);
            ensure(known && (name != own || !calm), || format!("{name} is named as missing"))?;
        }
        // A server that died a moment ago is known by name, but no longer counted: it is missing, and not awaited.
        let ghost = |name: &String| {
            let named = || state.processes.iter().filter(|it| it.name == *name);
            let counted = |process: &ProcessId| state.processes.get(*process).is_some_and(|it| it.name == *name);
            !self.counted.iter().any(counted)
                && named().any(|it| it.died.is_some_and(|died| died + FORGOTTEN >= self.begin))
        };
        let complete = missing.is_empty();
        let mut missing = missing.clone();
        let all = missing.names.len();
        missing.names.retain(|name| !ghost(name));
        let grace = if missing.names.len() < all { GRACE } else { 0 };
        let missing = &missing;
        let none = Vec::new();
        let replies = &state.model.answers.get(&self.n).unwrap_or(&none).clone();
        let others: Vec<ProcessId> = self.counted.iter().copied().filter(|process| *process != at.0).collect();
        let ours: Vec<ProcessId> = others
            .iter()
            .copied()
            .filter(|process| state.processes.get(*process).is_some_and(|it| !it.foreign))
            .collect();
        let reached = ours.iter().all(|process| replies.iter().any(|reply| reply.process == *process));
        let marked =
            matches!(kind, QuestionKind::Sockets | QuestionKind::Count | QuestionKind::Ack | QuestionKind::Event)
                && remote;
        if complete && stable && marked {
            ensure(reached, || "it looks complete, and did not reach all".to_owned())?;
            let silent = others
                .iter()
                .copied()
                .find(|process| foreign(state, *process) && !state.foreign_answers.contains(&(self.n, at.0, *process)));
            ensure(silent.is_none(), || format!("it looks complete, and {silent:?} has not answered"))?;
        }
        if marked && stable && timeout >= 3_000 && self.calm(state, true) {
            let later = Self { done: self.done + REACH_SLACK, ..self.clone() };
            state.must_reach.push((self.n, later, at.1.clone(), ours.clone()));
        }
        let sound = calm && timeout >= 3_000;
        let silent = || {
            others
                .iter()
                .filter(|process| !foreign(state, **process) && !answers(setup.seed, self.n, **process))
                .count()
        };
        if sound && kind != QuestionKind::Event && kind != QuestionKind::Servers {
            ensure(missing.is_empty(), || format!("nothing was wrong, and it misses {missing:?}"))?;
        }
        let limit = self.limit(setup, stable) + grace;
        if sound && !matches!(kind, QuestionKind::Ack | QuestionKind::Event) && remote {
            ensure(took <= limit, || format!("nothing was wrong, and it took {took} ms"))?;
        }
        // A server that was there all the time was counted, whoever came or went meanwhile.
        let there = |process: ProcessId| {
            let place = state.model.places.get(&(process, at.1.clone()));
            place.is_some_and(|it| {
                it.periods.iter().any(|(from, to)| *from <= self.begin && to.is_none_or(|to| to > self.done))
            })
        };
        match value {
            Value::Sockets(ids) => {
                let set: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
                ensure(set.len() == ids.len(), || "a socket is named twice".to_owned())?;
                let theirs = || replies.iter().flat_map(|reply| reply.sockets.iter());
                let all: BTreeSet<&str> = local.iter().chain(theirs()).map(String::as_str).collect();
                ensure(set.is_subset(&all), || "a socket is named that nobody has".to_owned())?;
                ensure(local.iter().all(|id| set.contains(id.as_str())), || "sockets of here are missing".to_owned())?;
                if complete && calm {
                    let solid = ours.iter().filter(|process| there(**process));
                    let lacking = solid.copied().find(|process| {
                        let reply = replies.iter().find(|reply| reply.process == *process);
                        reply.is_none_or(|reply| !reply.sockets.iter().all(|id| set.contains(id.as_str()))) && remote
                    });
                    ensure(lacking.is_none(), || format!("it looks complete, and lacks the sockets of {lacking:?}"))?;
                }
                if stable && (complete || (took >= timeout && timeout >= 3_000 && self.calm(state, true))) {
                    ensure(all == set, || format!("of {} sockets {} are named", all.len(), set.len()))?;
                }
            }
            Value::Number(number) => match kind {
                QuestionKind::Count if stable && complete => {
                    let all = local.len() + replies.iter().map(|reply| reply.sockets.len()).sum::<usize>();
                    ensure(*number == all, || format!("{number} of {all} sockets"))?;
                }
                QuestionKind::Servers if stable && calm => {
                    let all = self.counted.len();
                    ensure(complete && *number == all, || format!("{number} of {all} servers, missing {missing:?}"))?;
                }
                QuestionKind::Event if stable && sound => {
                    let silent = silent();
                    let told = missing.names.len() + missing.others;
                    ensure(*number + silent == others.len() && told == silent, || {
                        format!("{number} answers, {silent} silent and {told} reported missing, of {}", others.len())
                    })?;
                    ensure(silent > 0 || took <= limit + 60, || format!("all answered, and it took {took} ms"))?;
                }
                _ => {}
            },
            Value::Acks(sockets, silent) => self.check_acks(state, known, (sockets, *silent), (stable, complete))?,
            Value::Rooms(rooms) => {
                let own = local.iter().all(|id| rooms.contains(id));
                ensure(own, || "rooms of here are missing".to_owned())?;
                if stable && complete {
                    let there = |process: ProcessId, id: &str| rooms.contains(id) || !others.contains(&process);
                    let stays = |left: Option<u64>| left.is_none();
                    let sockets = state.model.sockets.iter().filter(|socket| socket.at.1 == at.1 && stays(socket.left));
                    // Sockets that were there before and still are.
                    let lacking = sockets
                        .filter(|socket| socket.since < self.begin)
                        .find(|socket| !there(socket.at.0, socket.id.as_str()));
                    ensure(lacking.is_none(), || {
                        format!("the room of {:?} is missing", lacking.map(|socket| socket.id))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn check_acks(
        &self,
        state: &State,
        known: &Expected<'_>,
        (sockets, silent): (&[usize], usize),
        (stable, complete): (bool, bool),
    ) -> Result<(), String> {
        let Expected { asked, timeout, remote, setup, .. } = *known;
        let calm = self.calm(state, false);
        let set: BTreeSet<usize> = sockets.iter().copied().collect();
        ensure(set.len() == sockets.len(), || "a client's answer counts twice".to_owned())?;
        let none = (Vec::new(), Vec::new());
        let acks = state.model.acks.get(&self.n).unwrap_or(&none.0);
        let replies = state.model.answers.get(&self.n).unwrap_or(&none.1);
        let all: BTreeSet<usize> = replies.iter().flat_map(|reply| reply.asked.iter()).chain(asked).copied().collect();
        ensure(set.is_subset(&acks.iter().map(|(socket, _)| *socket).collect()), || {
            "an answer that nobody gave".to_owned()
        })?;
        let way = 4 * setup.latency + 2 * setup.hop + 20;
        for (socket, at) in acks.iter().filter(|(socket, _)| all.contains(socket)) {
            let here = asked.contains(socket);
            let counts = if here { at + 1 < self.done } else { calm && at + way < self.done && stable };
            ensure(!counts || set.contains(socket), || format!("the answer of socket {socket} at {at} is missing"))?;
        }
        if !(calm && stable && complete && timeout >= 3_000) {
            return Ok(());
        }
        ensure(silent + sockets.len() == all.len(), || {
            format!("{} answers and {silent} silent of {} asked", sockets.len(), all.len())
        })?;
        // The time by which the last answer had come, or could not come any more.
        let end = self.begin + timeout;
        let settled = |socket: &usize| {
            let acked = acks.iter().find(|(it, _)| it == socket).map(|(_, at)| *at);
            let left = state.model.sockets.get(*socket).and_then(|it| it.left).filter(|_| asked.contains(socket));
            acked.into_iter().chain(left).min().unwrap_or(end)
        };
        let last = all.iter().map(settled).max().unwrap_or(self.begin).max(self.begin);
        let limit = if remote { self.limit(setup, stable) } else { 5 };
        ensure(self.done <= last + limit, || format!("all was settled at {last}, and it took until {}", self.done))?;
        ensure(self.done + 5 >= last.min(end), || {
            format!("it was over at {}, and not settled before {last}", self.done)
        })
    }

    /// Checks a question of other software: it gets an answer from each server that it counted.
    pub(crate) fn check_foreign(&self, state: &mut State, setup: &Setup, expected: usize) {
        let none = Vec::new();
        let answers = state.foreign.get(&self.n).unwrap_or(&none).clone();
        let from: BTreeSet<ProcessId> = answers.iter().map(|(from, _)| *from).collect();
        let limit = self.begin + self.limit(setup, false);
        let in_time = answers.iter().filter(|(_, at)| *at <= limit).count();
        let calm = self.calm(state, false);
        let now = self.done;
        if calm && from.len() != answers.len() {
            state.fail(now, format!("a server answered #{} twice", self.n));
        }
        if calm && in_time < expected {
            state.fail(
                now,
                format!(
                    "other software counted {:?} and asked #{}: {in_time} of {expected} answers in time",
                    self.counted, self.n
                ),
            );
        }
    }
}

fn foreign(state: &State, process: ProcessId) -> bool {
    state.processes.get(process).is_some_and(|it| it.foreign)
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
