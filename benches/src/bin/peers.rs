//! Servers side by side: `peers [--rounds N] [--workload NAME]... [--out FOLDER] [PEER...]`.
//!
//! Each workload runs on each peer in turn, round after round: the server on core 0, this program on core 1. What is told are
//! medians, their spread, and the ratio to an anchor. `cargo xtask bench --peers` builds the peers and runs this.

use roomcast_benches::peer::{NAMES, Peer};
use roomcast_benches::process::{Server, allow_descriptors, load, pin_this_process};
use roomcast_benches::report::{self, Row, Table};
use roomcast_benches::workloads::{Connects, Failure, Rooms, connects, echo, rooms};
use std::path::PathBuf;
use std::time::Duration;

/// Connections of the workload `connects`.
const CONNECTIONS: usize = 10_000;

/// Quiet after the last of them, before memory is read.
const QUIET: Duration = Duration::from_secs(5);

/// A workload: its name, the anchor of its ratio, and what it does.
struct Workload {
    name: &'static str,
    anchor: &'static str,
    what: What,
}

enum What {
    Rooms(Rooms),
    Echo { clients: usize, each: usize },
    Connects,
}

const ONE_ROOM: Rooms =
    Rooms { subscribers: 1_000, rooms: 1, publishers: 1, in_flight: 1, paced: None, publishes: 300 };

const MANY_ROOMS: Rooms =
    Rooms { subscribers: 2_000, rooms: 200, publishers: 16, in_flight: 16, paced: None, publishes: 20_000 };

const WORKLOADS: [Workload; 8] = [
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
    }
    if tables.is_empty() {
        return Err("no workload of that name".into());
    }
    if let Some(out) = &options.out {
        report::write(out, &tables)?;
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} measurements failed; why is told above").into()) }
}

/// One workload on all peers: a table, or two for what has two figures. A peer that fails is left out, and why is told.
fn measure_all(workload: &Workload, peers: &[Peer], rounds: usize, failures: &mut usize) -> Vec<Table> {
    let mut cpu: Vec<Row> = peers.iter().map(|peer| Row::new(&peer.name)).collect();
    let mut memory = cpu.clone();
    for round in 1..=rounds {
        for (number, peer) in peers.iter().enumerate() {
            match measure(workload, peer) {
                Ok((time, bytes)) => {
                    eprintln!(
                        "{}, round {round}: {:.2} µs, {} (load {})",
                        workload.name,
                        time / 1e3,
                        peer.name,
                        load()
                    );
                    cpu[number].figures.push(time / 1e3);
                    memory[number].figures.extend(bytes.map(|bytes| bytes / 1024.0));
                }
                Err(error) => {
                    eprintln!("{}, round {round}: {} failed: {error}", workload.name, peer.name);
                    *failures += 1;
                }
            }
        }
    }
    let unit = match workload.what {
        What::Rooms(_) => "µs of processor time per delivery",
        What::Echo { .. } => "µs of processor time per round trip",
        What::Connects => "µs of processor time per connect",
    };
    let table = |name: &str, unit: &str, rows: Vec<Row>| Table {
        workload: name.to_owned(),
        unit: unit.to_owned(),
        anchor: workload.anchor.to_owned(),
        rows,
    };
    let mut tables = vec![table(workload.name, unit, cpu)];
    if memory.iter().any(|row| !row.figures.is_empty()) {
        tables.push(table("idle connections", "KiB of anonymous memory per connection", memory));
    }
    tables
}

fn measure(workload: &Workload, peer: &Peer) -> Result<(f64, Option<f64>), Failure> {
    let server = Server::start(peer, &[0])?;
    Ok(match workload.what {
        What::Rooms(size) => (rooms(&server, size)?, None),
        What::Echo { clients, each } => (echo(&server, clients, each)?, None),
        What::Connects => {
            let Connects { cpu, memory } = connects(&server, CONNECTIONS, QUIET)?;
            (cpu, Some(memory))
        }
    })
}
