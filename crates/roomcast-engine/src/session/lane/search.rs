//! Tries the lane in every order of steps: of emitters, one of which has a turn that may stay open forever, of the
//! connection's task, and of a stream that refuses, breaks or ends, at every point between two locked sections.
//!
//! A step of the search is one locked section of `outlet::drain`, `Outlet::offer` or the task, or one write. The search
//! looks for states in which no step is left and yet a packet waits that should have been written.

use super::*;
use std::collections::HashSet;

/// The senders of the packets that wait.
type Queue = Vec<Origin>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    /// The emitter with a turn that may stay open.
    OpenTurn,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    lane: Lane<()>,
    queue: Queue,
    /// The outlet has the task's waker.
    registered: bool,
    task: Task,
    stream: Stream,
    /// The first has the turn that may stay open. The last is the task itself.
    emitters: [Emitter; 3],
    /// How often the stream may still refuse; then whether it may still break, and whether the connection may still
    /// end.
    refusals: u8,
    may_break: bool,
    may_end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stream {
    refuses: bool,
    /// The stream has the task's waker.
    wakes: bool,
    broken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Task {
    /// It was woken, or it has never run.
    woken: bool,
    at: TaskAt,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum TaskAt {
    Asleep,
    /// Its turn is open: the handler runs.
    Reading,
    /// Its turn has ended, and may have gathered the connection itself.
    TurnEnds,
    Draining(Drain),
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Emitter {
    turn: u32,
    packets: u8,
    /// Drains that it has to do at the end of its turn, or at once without a turn.
    owes: u8,
    drain: Option<Drain>,
    /// Its turn has ended, if it has one.
    ended: bool,
}

/// A point in `outlet::drain`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Drain {
    Begins,
    /// The writer and these packets are taken out.
    Writes {
        load: Queue,
        writes: u8,
    },
    /// The stream refused. The task's waker was looked up; `waker`: it was there.
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

/// Faults that the search must find.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// A sender that finds a turn scheduled relies on it.
    rely_on_turns: bool,
    /// A writer that is put back does not wake the task that wanted it.
    forget_awaited: bool,
    /// A task that finds the writer taken does not register.
    unregistered: bool,
    /// What is left after the last write of a drain counts as written.
    unfinished_is_all: bool,
    /// A sender does not wake the writer.
    drop_wake: bool,
}

impl World {
    /// A world whose emitters send this many packets each.
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
                    // A handler that sends much is written to at once.
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

    /// The steps of `outlet::drain`, each as in its code.
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
                    // All packets leave, or one does.
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

    /// Whether a packet waits that no open turn accounts for.
    fn is_wrong(&self) -> bool {
        let over = matches!(self.lane, Lane::Detached);
        let kept = |owed: &Origin| match owed {
            // The turn that will write it is still open.
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
        // The turn may stay open forever, and takes no step then. Packets of other senders must not depend on it.
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
fn in_every_order_a_waiting_packet_has_a_writer() {
    // `cargo xtask long` sets the variable: some ten times as many states.
    let packets = if std::env::var_os("ROOMCAST_LONG").is_some() { [2, 2, 1] } else { [2, 1, 1] };
    let found = search(packets, Faults::default());
    println!("states of the lane that were searched: {}", found.states);
    assert!(found.states > 100_000);
    assert_eq!(found.wrong, None);
}

#[test]
fn the_search_finds_each_fault() {
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
