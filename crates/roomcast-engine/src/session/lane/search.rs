//! Tries the lane in every order: two emitters outside turns, one whose turn may stay open for ever, the connection's task, a
//! stream that refuses, breaks or ends, at every point between two locked sections.
//!
//! A step of the search is one locked section of `outlet::drain`, `Outlet::offer` or the task, or one write. What is looked
//! for are states in which nobody has anything to do and yet a packet waits that somebody owes.

use super::*;
use std::collections::HashSet;

/// Packets that wait, by who sent them: the first bit for an emitter in a turn that may stay open, the second for all others.
type Queue = Vec<Origin>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    OpenTurn,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    lane: Lane<()>,
    queue: Queue,
    /// The task's waker is in its place.
    registered: bool,
    task: Task,
    stream: Stream,
    /// The first has the turn that may stay open; the last is the task itself.
    emitters: [Emitter; 3],
    /// How often the stream may still refuse, and whether it may still break.
    refusals: u8,
    may_break: bool,
    may_end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stream {
    refuses: bool,
    /// It has the task's waker.
    wakes: bool,
    broken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Task {
    /// Somebody woke it, or it has never run.
    woken: bool,
    at: TaskAt,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TaskAt {
    Asleep,
    /// Its turn is open: its client's handler runs.
    Reading,
    /// Its turn has gathered the connection itself.
    TurnEnds,
    Draining(Drain),
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Emitter {
    turn: u32,
    packets: u8,
    /// Drains that it owes at the end of its turn, or at once if it has none.
    owes: u8,
    drain: Option<Drain>,
    /// Its turn has ended, if it has one.
    ended: bool,
}

/// Where somebody is in `outlet::drain`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Drain {
    Begins,
    /// It holds the writer and these packets.
    Writes {
        load: Queue,
        writes: u8,
    },
    /// The stream refused; the task's waker was looked for, and may have been there.
    Registers {
        load: Queue,
        waker: bool,
        writes: u8,
    },
    /// The write is over.
    PutsBack {
        load: Queue,
        stop: Option<Drained>,
        writes: u8,
    },
}

/// As `WRITES_PER_DRAIN`.
const WRITES: u8 = 2;

/// What may be left out, to show that the search finds it.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// Whoever finds a turn scheduled relies on it.
    rely_on_turns: bool,
    /// Whoever puts the writer back forgets the task that wanted it.
    forget_awaited: bool,
    /// A task that finds the writer taken does not register.
    unregistered: bool,
    /// What is left after the last write of a drain is nobody's.
    unfinished_is_all: bool,
    /// A wake that was promised is dropped.
    drop_wake: bool,
}

impl World {
    /// Emitters with so many packets.
    fn start(packets: [u8; 3]) -> Self {
        let mut lane = Lane::Detached;
        lane.attach(());
        let emitter = |turn, packets| Emitter { turn, packets, owes: 0, drain: None, ended: false };
        Self {
            lane,
            // The `open` packet waits from the start.
            queue: vec![Origin::Other],
            registered: false,
            task: Task { woken: true, at: TaskAt::Asleep },
            stream: Stream { refuses: false, wakes: false, broken: false },
            emitters: [emitter(1, packets[0]), emitter(2, packets[1]), emitter(3, packets[2])],
            refusals: 2,
            may_break: true,
            may_end: true,
        }
    }

    fn wake_task(&mut self) {
        if std::mem::replace(&mut self.registered, false) {
            self.task.woken = true;
        }
    }

    /// All worlds that one step leads to.
    fn steps(&self, faults: Faults) -> Vec<Self> {
        let mut next = Vec::new();
        for number in 0..2 {
            self.emitter_steps(number, faults, &mut next);
        }
        self.task_steps(faults, &mut next);
        // The stream takes more again.
        if self.stream.refuses {
            let mut world = self.clone();
            world.stream.refuses = false;
            if std::mem::replace(&mut world.stream.wakes, false) {
                world.task.woken = true;
            }
            next.push(world);
        }
        next
    }

    fn emitter_steps(&self, number: usize, faults: Faults, next: &mut Vec<Self>) {
        let emitter = &self.emitters[number];
        if let Some(drain) = &emitter.drain {
            for (mut world, drain) in self.drain_steps(drain, false, faults) {
                world.emitters[number].drain = drain;
                next.push(world);
            }
            return;
        }
        let in_turn = number == 0 && !emitter.ended;
        if emitter.packets > 0 {
            for crowded in [false, true] {
                let mut world = self.clone();
                world.emitters[number].packets -= 1;
                let origin = if number == 0 { Origin::OpenTurn } else { Origin::Other };
                world.emit(number, origin, crowded, faults);
                next.push(world);
            }
        }
        if emitter.owes > 0 && !in_turn {
            let mut world = self.clone();
            world.emitters[number].owes -= 1;
            world.emitters[number].drain = Some(Drain::Begins);
            next.push(world);
        }
        if number == 0 && !emitter.ended && emitter.packets == 0 {
            let mut world = self.clone();
            world.emitters[number].ended = true;
            next.push(world);
        }
    }

    fn emit(&mut self, number: usize, origin: Origin, crowded: bool, faults: Faults) {
        if matches!(self.lane, Lane::Detached) {
            return;
        }
        self.queue.push(origin);
        if faults.rely_on_turns && matches!(self.lane, Lane::Ready((), Waiting::Scheduled(_))) {
            return;
        }
        let emitter = &mut self.emitters[number];
        match self.lane.offer(TurnId(emitter.turn), crowded) {
            Duty::Nothing => {}
            Duty::Write if faults.drop_wake => {}
            Duty::Write => emitter.owes += 1,
            Duty::WriteNow => emitter.drain = Some(Drain::Begins),
        }
    }

    fn task_steps(&self, faults: Faults, next: &mut Vec<Self>) {
        match &self.task.at {
            TaskAt::Asleep if self.task.woken => {
                let mut world = self.clone();
                world.task = Task { woken: false, at: TaskAt::Reading };
                world.registered = false;
                world.lane.claim(TurnId(3));
                next.push(world);
            }
            TaskAt::Asleep | TaskAt::Over => {}
            TaskAt::Reading => {
                let own = &self.emitters[2];
                if own.drain.is_some() {
                    // A handler that sends much writes at once.
                    self.own_drain(faults, next);
                    return;
                }
                if own.packets > 0 {
                    for crowded in [false, true] {
                        let mut world = self.clone();
                        world.emitters[2].packets -= 1;
                        world.emit(2, Origin::Other, crowded, faults);
                        next.push(world);
                    }
                }
                let mut world = self.clone();
                world.task.at = TaskAt::TurnEnds;
                next.push(world);
            }
            TaskAt::TurnEnds => {
                let own = &self.emitters[2];
                if own.drain.is_some() {
                    self.own_drain(faults, next);
                    return;
                }
                let mut world = self.clone();
                if own.owes > 0 {
                    world.emitters[2].owes -= 1;
                    world.emitters[2].drain = Some(Drain::Begins);
                } else {
                    world.task.at = TaskAt::Draining(Drain::Begins);
                }
                next.push(world);
                if self.may_end {
                    let mut world = self.clone();
                    world.end();
                    next.push(world);
                }
            }
            TaskAt::Draining(drain) => {
                for (mut world, drain) in self.drain_steps(drain, true, faults) {
                    match drain {
                        Some(drain) => world.task.at = TaskAt::Draining(drain),
                        // An error ends the connection.
                        None if world.stream.broken => world.end(),
                        None => world.task.at = TaskAt::Asleep,
                    }
                    next.push(world);
                }
            }
        }
    }

    fn own_drain(&self, faults: Faults, next: &mut Vec<Self>) {
        let Some(drain) = &self.emitters[2].drain else { return };
        for (mut world, drain) in self.drain_steps(drain, false, faults) {
            world.emitters[2].drain = drain;
            next.push(world);
        }
    }

    fn end(&mut self) {
        self.lane.detach();
        self.queue.clear();
        self.task.at = TaskAt::Over;
        self.registered = false;
        self.may_end = false;
    }

    /// Each step of `outlet::drain`, as it stands there.
    fn drain_steps(&self, drain: &Drain, by_task: bool, faults: Faults) -> Vec<(Self, Option<Drain>)> {
        let mut world = self.clone();
        match drain.clone() {
            Drain::Begins => {
                if world.lane.take(by_task).is_none() {
                    world.registered |= by_task && !faults.unregistered;
                    return vec![(world, None)];
                }
                let load = std::mem::take(&mut world.queue);
                if load.is_empty() {
                    world.put_back(Drained::All, by_task, faults);
                    return vec![(world, None)];
                }
                vec![(world, Some(Drain::Writes { load, writes: 1 }))]
            }
            Drain::Writes { load, writes } => {
                let mut next = Vec::new();
                if world.stream.broken {
                    return vec![(world, Some(Drain::PutsBack { load, stop: Some(Drained::Unfinished), writes }))];
                }
                if world.may_break {
                    let mut broken = world.clone();
                    broken.stream.broken = true;
                    broken.may_break = false;
                    next.push((
                        broken,
                        Some(Drain::PutsBack { load: load.clone(), stop: Some(Drained::Unfinished), writes }),
                    ));
                }
                if world.stream.refuses || world.refusals > 0 {
                    let mut refusing = world.clone();
                    if !refusing.stream.refuses {
                        refusing.refusals -= 1;
                        refusing.stream.refuses = true;
                    }
                    if by_task {
                        refusing.stream.wakes = true;
                        next.push((
                            refusing,
                            Some(Drain::PutsBack { load: load.clone(), stop: Some(Drained::Blocked), writes }),
                        ));
                    } else {
                        let waker = refusing.registered;
                        next.push((refusing, Some(Drain::Registers { load: load.clone(), waker, writes })));
                    }
                }
                if !world.stream.refuses {
                    // All of it leaves, or one packet.
                    next.push((world.clone(), Some(Drain::PutsBack { load: Vec::new(), stop: None, writes })));
                    next.push((world, Some(Drain::PutsBack { load: load[1..].to_vec(), stop: None, writes })));
                }
                next
            }
            Drain::Registers { load, waker, writes } => {
                if world.stream.refuses {
                    world.stream.wakes |= waker;
                    return vec![(world, Some(Drain::PutsBack { load, stop: Some(Drained::Blocked), writes }))];
                }
                vec![(world, Some(Drain::Writes { load, writes }))]
            }
            Drain::PutsBack { mut load, stop, writes } => {
                if matches!(world.lane, Lane::Detached) {
                    return vec![(world, None)];
                }
                load.append(&mut world.queue);
                let drained = match stop {
                    Some(stop) => stop,
                    None if writes < WRITES && !load.is_empty() => {
                        return vec![(world, Some(Drain::Writes { load, writes: writes + 1 }))];
                    }
                    None if load.is_empty() || faults.unfinished_is_all => Drained::All,
                    None => Drained::Unfinished,
                };
                world.queue = load;
                world.put_back(drained, by_task, faults);
                vec![(world, None)]
            }
        }
    }

    fn put_back(&mut self, drained: Drained, by_task: bool, faults: Faults) {
        let PutBack { over, wake } = self.lane.put_back((), drained);
        if over.is_some() {
            return;
        }
        if by_task {
            self.registered = true;
            self.task.woken |= drained == Drained::Unfinished;
        } else if wake && (!faults.forget_awaited || drained == Drained::Unfinished) {
            self.wake_task();
        }
    }

    /// What nobody may rest in.
    fn is_wrong(&self) -> bool {
        let over = matches!(self.lane, Lane::Detached);
        let kept = |owed: &Origin| match owed {
            // Its own turn has not ended.
            Origin::OpenTurn => !self.emitters[0].ended,
            Origin::Other => false,
        };
        !over && !self.queue.iter().all(kept)
    }
}

struct Found {
    states: usize,
    wrong: Option<World>,
}

fn search(packets: [u8; 3], faults: Faults) -> Found {
    let start = World::start(packets);
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        let steps = world.steps(faults);
        // The turn may stay open for ever: whoever is in it takes no step. What others owe must not depend on it.
        let frozen = |next: &World| next.emitters[0].ended != world.emitters[0].ended;
        if steps.iter().all(frozen) && world.emitters[0].drain.is_none() && world.is_wrong() {
            return Found { states: seen.len(), wrong: Some(world) };
        }
        for next in steps {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Found { states: seen.len(), wrong: None }
}

#[test]
fn in_every_order_nobody_waits_for_a_write_that_nobody_owes() {
    // `cargo xtask long` sets it: some ten times as many states.
    let packets = if std::env::var_os("ROOMCAST_LONG").is_some() { [2, 2, 1] } else { [2, 1, 1] };
    let found = search(packets, Faults::default());
    println!("states of the lane that were searched: {}", found.states);
    assert!(found.states > 100_000);
    assert_eq!(found.wrong, None);
}

#[test]
fn the_search_finds_what_is_left_out() {
    let none = Faults::default();
    for faults in [
        Faults { rely_on_turns: true, ..none },
        Faults { forget_awaited: true, ..none },
        Faults { unregistered: true, ..none },
        Faults { unfinished_is_all: true, ..none },
        Faults { drop_wake: true, ..none },
    ] {
        let found = search([2, 1, 1], faults);
        println!("{faults:?}: found after {} states", found.states);
        assert!(found.wrong.is_some(), "{faults:?}");
    }
}
