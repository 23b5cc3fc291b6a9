//! The second part of the report: rooms, with three roomcast servers and one Node server in one cluster, each in a
//! process of its own. `cargo run --release -p roomcast-redis --example fault_report -- rooms [runs] [--only PATTERN]
//! [--dialect PATTERN]` prints a row for each fault and dialect, and on standard error the losses of each direction in
//! each run. It needs `redis-server`, and what `npm ci` installs in `e2e/`. One run of everything takes a quarter of an
//! hour.
//!
//! Each server emits a message every 10 ms, in turn to everybody, to one room, to several, and to a room or everybody
//! except the members of another. Rooms have members on one server, on some, on all or on none, and each roomcast
//! server has a socket that joins and leaves a room all the time. Faults of one server's connections affect `b`.

mod dialect;
mod direction;
mod plan;
mod seen;
mod server;
mod table;
mod tap;

use crate::fault_stage::{COUNTED, PATIENCE, pass};
use crate::faults::Site;
use crate::node_talk::PROGRAM;
use crate::server_process::ServerProcess;
use dialect::Dialect;
use plan::{Plan, SERVERS};
use seen::RoomsSeen;
use std::time::Duration;
use table::Run;
use tokio::process::Command;
use tokio::time::Instant;

/// The first argument for the report's second part, and for one of its servers.
pub(crate) const REPORT: &str = "rooms";
pub(crate) const SERVER: &str = "rooms-server";

const FAULTS: [&str; 10] = [
    "none, 5 s",
    "kill -9, restart after 1 s",
    "SIGSTOP 5 s",
    "TCP cut of one server",
    "half-open subscriber",
    "subscriber stopped for 10 s",
    "slow subscriber, pubsub 1mb",
    "Sentinel: primary killed",
    "Cluster: none, 5 s",
    "Cluster: node in use killed",
];

/// How long the servers talk before the fault: a connection that ends sooner (5 s in the sharded dialect) is not made
/// again at once.
const BEFORE: Duration = Duration::from_secs(6);

/// Bytes of a message if Redis must buffer much for a slow subscriber.
const LARGE: usize = 8_000;

/// Everything has settled when nothing changes for this long: more than two announcements.
const STAYS: Duration = Duration::from_millis(2_500);

pub(crate) async fn report(arguments: impl Iterator<Item = String>) {
    let (mut runs, mut only, mut dialects) = (1, String::new(), String::new());
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next().unwrap(),
            "--dialect" => dialects = arguments.next().unwrap(),
            number => runs = number.parse().unwrap(),
        }
    }
    println!("{}", table::HEAD);
    for fault in FAULTS.into_iter().filter(|fault| fault.contains(&only)) {
        for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.name().contains(&dialects)) {
            let mut all = Vec::new();
            for _ in 0..runs {
                let run = measure(fault, dialect).await;
                eprintln!("{fault}; {}; {run}", dialect.name());
                all.push(run);
            }
            println!("| {fault} | {} {}", dialect.name(), table::summed_up(&all));
        }
    }
}

/// Runs one of its roomcast servers.
pub(crate) async fn serve(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().unwrap();
    let (url, name, dialect, plan) = (next(), next(), next(), next());
    let dialect = Dialect::ALL.into_iter().find(|known| known.name() == dialect).unwrap();
    server::run(&url, &name, dialect, &serde_json::from_str(&plan).unwrap()).await;
}

async fn measure(fault: &str, dialect: Dialect) -> Run {
    let mut site = Site::start(fault).await;
    let padding = if fault.contains("pubsub 1mb") { LARGE } else { 0 };
    let [most, one] = site.urls();
    let mut stage = Vec::new();
    for name in SERVERS {
        let url = if name == "b" { &one } else { &most };
        stage.push(start(name, url, dialect, &Plan::of(name, padding)));
    }
    for server in &stage {
        server.meets(SERVERS.len()).await;
    }
    tell(&mut stage, "talk").await;
    pass(BEFORE).await;
    let since = site.strike(dialect.subscribed_by()).await;
    // The same moment on the clock that all share.
    let since = server::now() - since.elapsed().as_micros() as u64;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !have_resumed(&stage, since) {
        pass(Duration::from_millis(200)).await;
    }
    pass(Duration::from_secs(1)).await;
    tell(&mut stage, "hush").await;
    settle(&stage).await;
    run(&stage, dialect, padding, since)
}

fn start(name: &str, url: &str, dialect: Dialect, plan: &Plan) -> ServerProcess<RoomsSeen> {
    let plan = serde_json::to_string(plan).unwrap();
    let mut command = if name == "n" {
        let mut command = Command::new("node");
        command.envs(dialect.environment()).args([PROGRAM, url, name, &plan]);
        command
    } else {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([SERVER, url, name, dialect.name(), &plan]);
        command
    };
    command.env_remove("RUST_LOG");
    ServerProcess::start(command)
}

async fn tell(stage: &mut [ServerProcess<RoomsSeen>], word: &str) {
    for server in stage {
        server.tell(word).await;
    }
}

/// Waits until no more messages arrive, none is queued, and no count changes.
async fn settle(stage: &[ServerProcess<RoomsSeen>]) {
    pass(COUNTED).await;
    let until = Instant::now() + PATIENCE;
    let state = || stage.iter().map(|server| server.seen().standing()).collect::<Vec<_>>();
    let (mut before, mut since) = (state(), Instant::now());
    while since.elapsed() < STAYS {
        assert!(Instant::now() < until, "after {PATIENCE:?} counts still change: {:?}", state());
        pass(Duration::from_millis(100)).await;
        let now = state();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    assert!(before.iter().all(|(_, standing)| standing.queued == 0), "messages are still queued: {before:?}");
}

fn all_seen(stage: &[ServerProcess<RoomsSeen>]) -> Vec<(&'static str, RoomsSeen)> {
    SERVERS.iter().zip(stage).map(|(name, server)| (*name, server.seen().clone())).collect()
}

fn have_resumed(stage: &[ServerProcess<RoomsSeen>], since: u64) -> bool {
    let seen = all_seen(stage);
    let others = |name| seen.iter().filter(move |(other, _)| *other != name);
    seen.iter().all(|(name, published)| {
        others(*name).all(|(_, received)| direction::resumed((name, published), received, since).is_some())
    })
}

fn run(stage: &[ServerProcess<RoomsSeen>], dialect: Dialect, padding: usize, since: u64) -> Run {
    let seen = all_seen(stage);
    let mut directions = Vec::new();
    for (publisher, published) in &seen {
        for (receiver, received) in seen.iter().filter(|(name, _)| name != publisher) {
            let plan = Plan::of(receiver, padding);
            directions.push(direction::Direction::of(
                (publisher, published),
                (receiver, received),
                &plan,
                dialect,
                since,
            ));
        }
    }
    let doubles = seen.iter().map(|(_, seen)| seen.doubles()).sum();
    let own = seen.iter().flat_map(|(name, seen)| direction::own_are_complete(name, seen, &Plan::of(name, padding)));
    let died: Vec<String> = stage.iter().filter(|server| server.has_ended()).map(ServerProcess::last_words).collect();
    Run { directions, doubles, strange: own.chain(died).collect() }
}
