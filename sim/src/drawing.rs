//! Draws plans from seeds: scenes that follow one another, each a few steps that happen close together.

use crate::plan::{Aim, Change, CountFault, Fault, Only, Plan, PublishFault, QuestionKind, Setup, Step, StepKind};
use crate::random::Random;
use crate::session::KEPT;

/// How far apart servers may be when they come back after an outage: what they wait for one another (1.5 s), without
/// the time that it takes to count them.
const LATEST: u64 = 1_400;

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, only: Only) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let setup = Setup {
            seed,
            servers: 2 + if random.chance(85) { random.index(3) } else { random.index(11) },
            foreign: if random.chance(40) { 1 + random.index(2) } else { 0 },
            namespaces: if random.chance(25) { 12 } else { 1 + random.index(4) },
            hop: [0, 1, 5, 15][random.index(4)],
            latency: [0, 1, 5, 10][random.index(4)],
            echo: random.chance(80),
            late_close: random.chance(50),
            together: random.chance(50),
            exact: seed.is_multiple_of(4),
            roads: if seed.is_multiple_of(8) { 3 } else { 1 },
            queue: None,
            recovery: (seed % 3 == 1).then_some(if seed.is_multiple_of(2) { 65_536 } else { 40 }),
            faults: !only.health && random.chance(67),
            restarts: seed % 5 == 2,
        };
        let mut drawing = Drawing { setup, random: random.clone(), steps: Vec::new(), at: 0 };
        drawing.draw();
        let Drawing { mut setup, mut steps, mut random, .. } = drawing;
        if setup.faults && random.chance(30) {
            // Everything that many servers ask one another at the end must fit.
            setup.queue = Some((2_000 * setup.servers * setup.namespaces).max(100_000));
        }
        steps.sort_by_key(|step| step.at);
        Self { setup, steps }
    }
}

struct Drawing {
    setup: Setup,
    random: Random,
    steps: Vec<Step>,
    at: u64,
}

impl Drawing {
    fn draw(&mut self) {
        for s in 0..self.setup.servers {
            let at = self.random.below(300);
            self.push(at, StepKind::Start { s });
        }
        self.at = 400;
        for s in 0..self.setup.servers {
            for _ in 0..self.random.below(4) {
                let (n, rooms) = (self.random.index(self.setup.namespaces.min(2)), self.rooms(3));
                self.push(0, StepKind::Insert { s, n, rooms });
            }
        }
        if self.random.chance(60) {
            self.at += 2_500;
        }
        if self.setup.namespaces == 12 {
            // All of them, on every server, with sockets in them.
            for n in 2..12 {
                for s in 0..self.setup.servers {
                    self.push(0, StepKind::Open { s, n, close: 0 });
                    let rooms = self.rooms(2);
                    self.push(1, StepKind::Insert { s, n, rooms });
                }
            }
            self.at += 2_500;
        }
        let scenes = 5 + self.random.below(40);
        for _ in 0..scenes {
            self.at += match self.random.below(10) {
                0 => 0,
                1..=5 => self.random.below(50),
                6..=8 => self.random.below(400),
                _ => self.random.below(3_000),
            };
            self.scene();
        }
    }

    fn push(&mut self, later: u64, what: StepKind) {
        self.steps.push(Step { at: self.at + later, what });
    }

    fn server(&mut self) -> usize {
        self.random.index(self.setup.servers)
    }

    fn namespace(&mut self) -> usize {
        self.random.index(self.setup.namespaces)
    }

    fn rooms(&mut self, most: u64) -> Vec<u64> {
        (0..self.random.below(most + 1)).map(|_| self.random.below(5)).collect()
    }

    fn aim(&mut self) -> Aim {
        let mut aim = Aim::default();
        match self.random.below(10) {
            0..=2 => {}
            3..=6 => aim.rooms = vec![self.random.below(6)],
            7..=8 => aim.rooms = (0..2 + self.random.below(2)).map(|_| self.random.below(6)).collect(),
            _ => aim.socket = Some((self.random.draw(), self.random.chance(50))),
        }
        if self.random.chance(15) {
            aim.except = vec![self.random.below(6)];
        }
        aim.local = self.random.chance(5);
        aim
    }

    fn kind(&mut self) -> QuestionKind {
        let kinds = [
            QuestionKind::Sockets,
            QuestionKind::Sockets,
            QuestionKind::Ack,
            QuestionKind::Ack,
            QuestionKind::Rooms,
            QuestionKind::Event,
            QuestionKind::Count,
            QuestionKind::Servers,
        ];
        kinds[self.random.index(kinds.len())]
    }

    fn ask(&mut self, later: u64, n: usize) {
        let (s, aim, kind) = (self.server(), self.aim(), self.kind());
        let timeout = [300, 3_000, 5_000, 5_000][self.random.index(4)];
        self.push(later, StepKind::Ask { s, n, aim, kind, timeout });
    }

    fn foreign_ask(&mut self, later: u64, n: usize) {
        if self.setup.foreign > 0 {
            let f = self.random.index(self.setup.foreign);
            let kind = [QuestionKind::Sockets, QuestionKind::Rooms, QuestionKind::Ack][self.random.index(3)];
            self.push(later, StepKind::ForeignAsk { f, n, kind });
        }
    }

    fn emit(&mut self, later: u64, s: usize, n: usize, times: u64) {
        let (aim, volatile) = (self.aim(), self.random.chance(10));
        let bytes = if self.random.chance(10) { self.random.index(30_000 / times.max(1) as usize) } else { 0 };
        self.push(later, StepKind::Emit { s, n, aim, volatile, times, bytes });
    }

    fn scene(&mut self) {
        let (s, n) = (self.server(), self.namespace());
        if self.setup.faults && self.random.chance(20) {
            return self.trouble();
        }
        if self.setup.recovery.is_some() && self.random.chance(25) {
            return self.comeback(s, n);
        }
        match self.random.below(100) {
            0..=34 => {
                let times = 1 + self.random.below(3);
                self.emit(0, s, n, times);
            }
            35..=44 => {
                let what = match self.random.below(4) {
                    0 | 1 => {
                        let rooms = self.rooms(3);
                        StepKind::Insert { s, n, rooms }
                    }
                    2 => StepKind::Remove { s, n, pick: self.random.draw() },
                    _ => {
                        let (pick, room) = (self.random.draw(), self.random.below(5));
                        StepKind::Leave { s, n, pick, room }
                    }
                };
                self.push(0, what);
            }
            45..=49 => {
                let (pick, rooms) = (self.random.draw(), self.rooms(3));
                self.push(0, StepKind::Join { s, n, pick, rooms });
            }
            50..=57 => {
                let change = [Change::Join, Change::Join, Change::Leave, Change::Disconnect][self.random.index(4)];
                let (aim, rooms) = (self.aim(), self.rooms(3));
                self.push(0, StepKind::Change { s, n, aim, change, rooms });
                self.emit(1, s, n, 1);
            }
            58..=69 => self.ask(0, n),
            70..=72 => {
                let times = 1 + self.random.below(4);
                self.push(0, StepKind::Event { s, n, times });
            }
            73..=77 => self.foreign_scene(n),
            78..=84 => self.around_a_close(s, n),
            85..=89 => {
                // A second adapter while the first is open, which is closed some time later.
                let close = if self.random.chance(50) { 0 } else { self.random.below(200) };
                self.push(0, StepKind::Open { s, n, close });
                self.emit(60, s, n, 1);
                let other = self.server();
                self.emit(close + 100, other, n, 2);
                self.ask(close + 120, n);
            }
            90..=92 => self.restart(s),
            93..=94 => self.newcomer(s, n),
            95 => {
                let times = 1 + self.random.below(1_500);
                self.emit(0, s, n, times);
            }
            _ => {
                // A burst.
                for _ in 0..3 + self.random.below(6) {
                    let s = self.server();
                    let times = 1 + self.random.below(20);
                    self.emit(0, s, n, times);
                }
                self.ask(0, n);
                self.ask(1, n);
            }
        }
    }

    /// A client loses its connection and comes back, in time or too late, perhaps to another server, while others emit.
    fn comeback(&mut self, s: usize, n: usize) {
        let (pick, lost) = (self.random.draw(), [0, 0, 1, 3, 10_000][self.random.index(5)]);
        let after = match self.random.below(3) {
            0 => 0,
            1 => self.random.below(60),
            _ => self.random.below(1_500),
        };
        self.push(0, StepKind::Cut { s, n, pick, lost, after });
        let back = match self.random.below(6) {
            0 => self.random.below(after + 1),
            1 => after + self.random.below(60),
            2 | 3 => after + self.random.below(KEPT),
            4 => after + KEPT - 2 + self.random.below(5),
            _ => after + KEPT + self.random.below(1_000),
        };
        for _ in 0..self.random.below(6) {
            let later = self.random.below(back + 20);
            match self.random.below(8) {
                0 => self.push(later, StepKind::Own { s, n, pick: pick.wrapping_add(later) }),
                1 => {
                    let (aim, rooms) = (self.aim(), self.rooms(3));
                    let change = [Change::Join, Change::Leave][self.random.index(2)];
                    self.push(later, StepKind::Change { s, n, aim, change, rooms });
                }
                _ => {
                    let (from, times) = (self.server(), 1 + self.random.below(3));
                    self.emit(later, from, n, times);
                }
            }
        }
        let times = 1 + self.random.below(3);
        for time in 0..times {
            let s = if self.random.chance(85) { s } else { self.server() };
            let (pick, gives_up) = (self.random.draw(), self.random.chance(15));
            let think = [0, 0, self.random.below(40), self.random.below(3_000)][self.random.index(4)];
            let later = back + time * self.random.below(50);
            self.push(later, StepKind::Back { s, n, pick, think, gives_up });
        }
        for _ in 0..2 {
            let (from, later) = (self.server(), back + self.random.below(60));
            self.emit(later, from, n, 1);
        }
    }

    fn foreign_scene(&mut self, n: usize) {
        if self.setup.foreign == 0 {
            return self.ask(0, n);
        }
        let (f, aim) = (self.random.index(self.setup.foreign), self.aim());
        match self.random.below(3) {
            0 => self.push(0, StepKind::ForeignEmit { f, n, aim }),
            1 => {
                let change = [Change::Join, Change::Leave, Change::Disconnect][self.random.index(3)];
                let rooms = self.rooms(3);
                self.push(0, StepKind::ForeignChange { f, n, aim, change, rooms });
            }
            _ => self.foreign_ask(0, n),
        }
    }

    /// A namespace is closed while questions are asked in it.
    fn around_a_close(&mut self, s: usize, n: usize) {
        let at = 20 + self.random.below(60);
        for _ in 0..1 + self.random.below(3) {
            let later = self.random.below(120);
            if self.random.chance(50) { self.foreign_ask(later, n) } else { self.ask(later, n) }
        }
        let what = match self.random.below(8) {
            0 => StepKind::Drop { s, n },
            1 => StepKind::Close { s, n, empty: false },
            2 => StepKind::Stop { s },
            _ => StepKind::Close { s, n, empty: true },
        };
        let stop = matches!(what, StepKind::Stop { .. });
        self.push(at, what);
        let again = at + if self.random.chance(50) { self.random.below(40) } else { self.random.below(2_000) };
        if stop {
            let again = again + 1_000;
            return self.push(again, StepKind::Start { s });
        }
        if self.random.chance(80) {
            self.push(again, StepKind::Open { s, n, close: 0 });
            let rooms = self.rooms(2);
            self.push(again + self.random.clone().below(2), StepKind::Insert { s, n, rooms });
            for later in [again + 60, again + 2_500] {
                let from = self.server();
                self.emit(later, from, n, 2);
            }
        }
    }

    /// A server comes between the count and the question, and may answer before those that were counted.
    fn newcomer(&mut self, s: usize, n: usize) {
        for other in 0..self.setup.servers {
            self.push(0, StepKind::Insert { s: other, n, rooms: Vec::new() });
        }
        self.push(1, StepKind::Close { s, n, empty: true });
        self.push(700, StepKind::Open { s, n, close: 0 });
        for _ in 0..4 {
            let (s, later) = (self.server(), 670 + self.random.below(40));
            let (aim, kind, timeout) = (Aim::default(), QuestionKind::Sockets, 5_000);
            self.push(later, StepKind::Ask { s, n, aim, kind, timeout });
        }
    }

    /// A server leaves, or in a run with faults dies, and comes back.
    fn restart(&mut self, s: usize) {
        let what = match self.random.below(4) {
            0 => StepKind::Forsake { s },
            1 if self.setup.faults => StepKind::Kill { s },
            _ => StepKind::Stop { s },
        };
        self.emit(0, s, 0, 2);
        let n = self.namespace();
        self.ask(0, n);
        self.foreign_ask(5, n);
        self.push(10, what);
        self.ask(12, n);
        let again =
            1_200 + if self.random.chance(70) { self.random.below(3_000) } else { 9_000 + self.random.below(6_000) };
        if self.random.chance(90) {
            self.push(again, StepKind::Start { s });
            let rooms = self.rooms(2);
            self.push(again + 50, StepKind::Insert { s, n: 0, rooms });
            self.emit(again + 100, s, 0, 3);
            self.emit(again + 3_000, s, 0, 3);
        }
    }

    /// The message system goes away and comes back, while servers emit.
    fn outage(&mut self) {
        let down = [0, 20, self.random.below(3_000)][self.random.index(3)];
        let late = [self.random.below(50), self.random.below(LATEST + 1)][self.random.index(2)];
        // Only on the road of announcements a server knows that it needs long to subscribe.
        let slow = if self.setup.roads == 1 && self.random.chance(50) { self.random.below(1_000) } else { 0 };
        self.push(0, StepKind::Fault(Fault::Restart { down, late, slow }));
        for _ in 0..1 + self.random.below(8) {
            let (s, n, later) = (self.server(), self.namespace(), self.random.below(down + late + slow + 200));
            let times = 1 + self.random.below(3);
            self.emit(later, s, n, times);
        }
    }

    fn trouble(&mut self) {
        if self.setup.restarts {
            return self.outage();
        }
        let (from, to) = (self.server(), self.server());
        let times = 1 + u32::try_from(self.random.below(3)).unwrap_or_default();
        let time = 50 + if self.random.chance(70) { self.random.below(2_000) } else { self.random.below(9_000) };
        let out = self.random.chance(50);
        let fault = match self.random.below(14) {
            0..=2 => Fault::Lose { from, to, times, alive: false },
            3 => Fault::Lose { from, to, times, alive: true },
            4 => Fault::Double { from, to, times },
            5 => Fault::Slow { from, to, more: self.random.below(300), time },
            6 => Fault::Deaf { s: from, time },
            7 => Fault::Mute { s: from, time },
            8 | 9 => {
                let how = match self.random.below(5) {
                    0 => PublishFault::Hangs { out },
                    1 => PublishFault::Again { out },
                    2 => PublishFault::Every2nd { out },
                    3 => PublishFault::Never,
                    _ => PublishFault::Half,
                };
                Fault::Publish { s: from, how, times }
            }
            10 | 11 => return self.outage(),
            _ => {
                let how = match self.random.below(4) {
                    0 => CountFault::Fails,
                    1 => CountFault::Slow(self.random.below(1_500)),
                    2 => CountFault::Hole,
                    _ => CountFault::Ghost,
                };
                Fault::Count { s: from, how, time }
            }
        };
        let counting = matches!(fault, Fault::Count { .. });
        self.push(0, StepKind::Fault(fault));
        let n = self.namespace();
        for _ in 0..1 + self.random.below(3) {
            let later = 1 + self.random.below(30);
            let times = 1 + self.random.below(5);
            self.emit(later, from, n, times);
        }
        if counting || self.random.chance(30) {
            let (aim, kind) = (self.aim(), self.kind());
            self.push(10, StepKind::Ask { s: from, n, aim, kind, timeout: 3_000 });
        }
    }
}
