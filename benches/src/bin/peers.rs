//! Measures servers side by side: `peers [--rounds N] [--workload NAME]... [--out FOLDER] [PEER...]`.
//!
//! Each workload runs on each peer in turn, round after round, with the server on core 0 and this program on core 1. The results are medians,
//! their spread, and the ratio to an anchor. They are written after each workload, so that an interrupted run keeps what it has measured.
//! `cargo xtask bench --peers` builds the peers and runs this program.

use roomcast_benches::group::Group;
use roomcast_benches::peer::{NAMES, Peer};
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::report::{self, Row, Table};
use roomcast_benches::server::Server;
use roomcast_benches::workloads::{Beside, Connects, Failure, Rooms, They, beside, connects, echo, rooms};
use std::path::PathBuf;
use std::time::Duration;

/// Connections of the workload `connects`.
const CONNECTIONS: usize = 10_000;

/// How long connections are idle before the memory is read.
const QUIET: Duration = Duration::from_secs(5);

/// A workload: its name, the anchor of its ratio, and what it does.
struct Workload {
    name: &'static str,
    anchor: &'static str,
    what: What,
}

enum What {
    Rooms(Rooms),
    /// Two servers over Redis, with the publishers on one and the subscribers on the other.
    Redis(Rooms),
    /// One worker thread compared with two, for peers whose number of workers can be set.
    Workers(Rooms),
    Echo {
        clients: usize,
        each: usize,
    },
    Connects,
    /// With a handler that blocks, compared with none, for peers whose number of workers can be set.
    Beside(Beside),
}

impl What {
    /// The unit of the figures, and its length in nanoseconds.
    fn unit(&self) -> (&'static str, f64) {
        match self {
            Self::Rooms(_) | Self::Redis(_) | Self::Workers(_) => ("µs of processor time per delivery", 1e3),
            Self::Echo { .. } => ("µs of processor time per round trip", 1e3),
            Self::Connects => ("µs of processor time per connect", 1e3),
            Self::Beside(_) => ("ms from a publish to a delivery, p99", 1e6),
        }
    }
}

const ONE_ROOM: Rooms =
    Rooms { subscribers: 1_000, rooms: 1, publishers: 1, in_flight: 1, paced: None, publishes: 300, program: false };

const MANY_ROOMS: Rooms =
    Rooms { rooms: 200, subscribers: 2_000, publishers: 16, in_flight: 16, publishes: 20_000, ..ONE_ROOM };

const WORKLOADS: [Workload; 14] = [
    Workload { name: "fan-out 1,000", anchor: "floor", what: What::Rooms(ONE_ROOM) },
    Workload {
        name: "fan-out 5,000",
        anchor: "floor",
        what: What::Rooms(Rooms { subscribers: 5_000, publishes: 60, ..ONE_ROOM }),
    },
    Workload {
        name: "fan-out 1,000 at 50/s",
        anchor: "floor",
        what: What::Rooms(Rooms { paced: Some(50), publishes: 150, ..ONE_ROOM }),
    },
    Workload {
        name: "fan-out 1,000, 16 in flight",
        anchor: "coalescing floor",
        what: What::Rooms(Rooms { in_flight: 16, publishes: 2_000, ..ONE_ROOM }),
    },
    Workload { name: "200 rooms of 10, 16 in flight", anchor: "floor", what: What::Rooms(MANY_ROOMS) },
    Workload {
        name: "200 rooms of 10 at 2,000/s",
        anchor: "floor",
        what: What::Rooms(Rooms { paced: Some(2_000), publishes: 8_000, ..MANY_ROOMS }),
    },
    Workload { name: "over Redis, fan-out 1,000", anchor: "floor", what: What::Redis(ONE_ROOM) },
    Workload {
        name: "over Redis, fan-out 1,000 at 50/s",
        anchor: "floor",
        what: What::Redis(Rooms { paced: Some(50), publishes: 150, ..ONE_ROOM }),
    },
    Workload {
        name: "over Redis, fan-out 1,000, 16 in flight",
        anchor: "coalescing floor",
        what: What::Redis(Rooms { in_flight: 16, publishes: 2_000, ..ONE_ROOM }),
    },
    Workload {
        name: "workers, 200 rooms of 10, 16 in flight",
        anchor: "roomcast, one worker",
        what: What::Workers(MANY_ROOMS),
    },
    Workload {
        name: "workers, 200 rooms of 10 at 2,000/s",
        anchor: "roomcast, one worker",
        what: What::Workers(Rooms { paced: Some(2_000), publishes: 8_000, ..MANY_ROOMS }),
    },
    Workload {
        name: "two workers, a room of 5,000 beside a busy handler",
        anchor: "roomcast, in the calm",
        what: What::Beside(Beside {
            others: 5_000,
            they: They::Listen(Duration::from_millis(50)),
            blocks: Duration::from_millis(200),
            rounds: 20,
        }),
    },
    Workload { name: "echo, 200 clients", anchor: "floor", what: What::Echo { clients: 200, each: 200 } },
    Workload { name: "connects", anchor: "floor", what: What::Connects },
];

struct Options {
    rounds: usize,
    workloads: Vec<String>,
    out: Option<PathBuf>,
    peers: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self, Failure> {
        let mut options = Self { rounds: 5, workloads: Vec::new(), out: None, peers: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match &*word {
                "--rounds" => options.rounds = value()?.parse()?,
                "--workload" => options.workloads.push(value()?),
                "--out" => options.out = Some(value()?.into()),
                flag if flag.starts_with("--") => return Err(format!("unknown option {flag}").into()),
                _ => options.peers.push(word),
            }
        }
        if options.rounds.is_multiple_of(2) {
            return Err("--rounds must be odd, so that there is a middle one".into());
        }
        if options.peers.is_empty() {
            options.peers = NAMES.map(str::to_owned).into();
        }
        Ok(options)
    }

    fn wants(&self, workload: &Workload) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|part| workload.name.contains(&**part))
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::parse()?;
    allow_descriptors(CONNECTIONS)?;
    pin_this_process(1)?;
    let mut failures = 0;
    let mut peers = Vec::new();
    for name in &options.peers {
        match Peer::named(name) {
            Ok(peer) => peers.push(peer),
            Err(error) => {
                eprintln!("{name} is left out: {error}");
                failures += 1;
            }
        }
    }
    let mut tables = Vec::new();
    for workload in WORKLOADS.iter().filter(|workload| options.wants(workload)) {
        let measured = measure_all(workload, &peers, options.rounds, &mut failures);
        for table in measured {
            print!("{}", table.markdown());
            tables.push(table);
        }
        if let Some(out) = &options.out {
            report::write(out, &tables)?;
        }
    }
    if tables.is_empty() {
        return Err("there is no workload of that name".into());
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} measurements failed; see the errors above").into()) }
}

/// Measures a workload on all peers. Returns a table, or two for a workload with two figures. A measurement that fails is printed and left
/// out.
fn measure_all(workload: &Workload, peers: &[Peer], rounds: usize, failures: &mut usize) -> Vec<Table> {
    let candidates = candidates(workload, peers);
    let (unit, nanoseconds) = workload.what.unit();
    let mut cpu: Vec<Row> = candidates.iter().map(|candidate| Row::new(&candidate.name)).collect();
    let mut memory = cpu.clone();
    for round in 1..=rounds {
        for (number, candidate) in candidates.iter().enumerate() {
            let name = &candidate.name;
            match measure(workload, candidate) {
                Ok((time, bytes)) => {
                    let figure = time / nanoseconds;
                    eprintln!("{}, round {round}: {figure:.2} {unit}, {name} (load {})", workload.name, load());
                    cpu[number].figures.push(figure);
                    memory[number].figures.extend(bytes.map(|bytes| bytes / 1024.0));
                }
                Err(error) => {
                    eprintln!("{}, round {round}: {name} failed: {error}", workload.name);
                    *failures += 1;
                }
            }
        }
    }
    let table = |name: &str, unit: &str, rows: Vec<Row>| Table {
        workload: name.to_owned(),
        unit: unit.to_owned(),
        anchor: match &workload.what {
            // Each peer is compared with itself.
            What::Workers(_) | What::Beside(_) => {
                candidates.first().map(|first| first.name.clone()).unwrap_or_default()
            }
            _ => workload.anchor.to_owned(),
        },
        rows,
    };
    let mut tables = vec![table(workload.name, unit, cpu)];
    if memory.iter().any(|row| !row.figures.is_empty()) {
        tables.push(table("idle connections", "KiB of anonymous memory per connection", memory));
    }
    tables
}

/// A row of a table.
struct Candidate<'a> {
    name: String,
    peer: &'a Peer,
    cores: &'static [usize],
    /// In a workload with a busy handler: the handler does not block.
    calm: bool,
}

fn candidates<'a>(workload: &Workload, peers: &'a [Peer]) -> Vec<Candidate<'a>> {
    let candidate = |peer: &'a Peer, but: &str, cores: &'static [usize], calm: bool| {
        let name = if but.is_empty() { peer.name.clone() } else { format!("{}, {but}", peer.name) };
        Candidate { name, peer, cores, calm }
    };
    let with_workers = || peers.iter().filter(|peer| peer.has_workers());
    match workload.what {
        What::Workers(_) => with_workers()
            .flat_map(|peer| [candidate(peer, "one worker", &[0], true), candidate(peer, "two workers", &[0, 1], true)])
            .collect(),
        What::Beside(_) => with_workers()
            .flat_map(|peer| {
                let beside = |but: &str, calm| candidate(peer, but, &[0, 1], calm);
                [beside("in the calm", true), beside("one handler sleeps 200 ms", false)]
            })
            .collect(),
        _ => peers.iter().map(|peer| candidate(peer, "", &[0], true)).collect(),
    }
}

fn measure(
    workload: &Workload,
    Candidate { peer, cores, calm, .. }: &Candidate<'_>,
) -> Result<(f64, Option<f64>), Failure> {
    let start = || Server::start(peer, cores, None);
    Ok(match workload.what {
        What::Rooms(size) | What::Workers(size) => (rooms(&Group::one(peer, cores)?, size)?, None),
        What::Redis(size) => (rooms(&Group::two_over_redis(peer, cores)?, size)?, None),
        What::Echo { clients, each } => (echo(&start()?, clients, each, false)?, None),
        What::Beside(size) => (beside(&start()?, size, *calm)?.p99.as_nanos() as f64, None),
        What::Connects => {
            let server = start()?;
            let Connects { cpu, memory } = connects(&server, CONNECTIONS, QUIET)?;
            (cpu, Some(memory))
        }
    })
}
