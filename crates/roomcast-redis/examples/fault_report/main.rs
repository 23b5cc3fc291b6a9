//! Measures what `tests/suite/faults.rs` and `tests/suite/failovers.rs` only check, for our servers and for Node's:
//! `cargo run --release -p roomcast-redis --example fault_report -- [runs] [--only PATTERN] [--roomcast | --node]
//! [--long]` prints two rows for each fault, of roomcast and of Node. It needs `redis-server`, and for Node what `npm
//! ci` installs in `e2e/`. A run takes about five minutes; `--long` adds faults that last half a minute or longer.
//!
//! `fault_report rooms` is the second part, with rooms and servers of both kinds in one cluster: see `rooms/mod.rs`.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test whose result is figures.

#[path = "../../tests/common/fault_proxy.rs"]
#[allow(dead_code)]
mod fault_proxy;
#[path = "../../tests/common/fault_stage.rs"]
#[allow(dead_code)]
mod fault_stage;
mod faults;
mod node_talk;
#[path = "../../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;
mod rooms;
mod row;
mod server_process;

use fault_stage::{Talk, pass};
use faults::{Site, SubscribedBy};
use node_talk::NodeTalk;
use row::Row;
use std::time::Duration;
use tokio::time::Instant;

const FAULTS: [&str; 10] = [
    "none, 5 s",
    "kill -9, restart after 1 s",
    "SIGSTOP 5 s",
    "TCP cut of one server",
    "half-open subscriber",
    "half-open publisher",
    "Sentinel: primary killed",
    "Sentinel: primary frozen",
    "Cluster: none, 5 s",
    "Cluster: node in use killed",
];

/// Further faults with `--long`.
const LONG_FAULTS: [&str; 2] = ["kill -9, restart after 90 s", "SIGSTOP 30 s"];

/// Two servers of one kind that talk.
enum Stage {
    Roomcast(Talk),
    Node(NodeTalk),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Roomcast,
    Node,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Roomcast => "roomcast",
            Self::Node => "Node",
        }
    }
}

impl Stage {
    async fn begin(kind: Kind, urls: [&str; 2]) -> Self {
        let stage = match kind {
            Kind::Roomcast => Self::Roomcast(Talk::begin(urls).await),
            Kind::Node => Self::Node(NodeTalk::begin(urls).await),
        };
        pass(seconds(1.0)).await;
        stage
    }

    /// One row for each direction. Traffic has resumed when messages arrive that were emitted after `since`.
    async fn end(self, since: Instant) -> [Row; 2] {
        match self {
            Self::Roomcast(talk) => {
                let resumed = talk.resumes(since).await;
                pass(seconds(1.0)).await;
                talk.end(resumed).await.map(Row::from)
            }
            Self::Node(talk) => {
                let resumed = talk.resumes(since).await;
                pass(seconds(1.0)).await;
                talk.end(resumed).await
            }
        }
    }
}

fn seconds(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

async fn measure(kind: Kind, fault: &str) -> [Row; 2] {
    let mut site = Site::start(fault).await;
    let [one, other] = site.urls();
    let stage = Stage::begin(kind, [&one, &other]).await;
    let since = site.strike(SubscribedBy::Pattern).await;
    stage.end(since).await
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut runs = 1;
    let (mut only, mut kinds, mut faults) = (String::new(), vec![Kind::Roomcast, Kind::Node], FAULTS.to_vec());
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == rooms::REPORT).is_some() {
        return rooms::report(arguments).await;
    }
    if arguments.next_if(|first| first == rooms::SERVER).is_some() {
        return rooms::serve(arguments).await;
    }
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next().unwrap(),
            "--roomcast" => kinds = vec![Kind::Roomcast],
            "--node" => kinds = vec![Kind::Node],
            "--long" => faults.extend(LONG_FAULTS),
            number => runs = number.parse().unwrap(),
        }
    }
    println!("{}", row::HEAD);
    for fault in faults.into_iter().filter(|fault| fault.contains(&only)) {
        for kind in &kinds {
            let mut all = Vec::new();
            for _ in 0..runs {
                all.extend(measure(*kind, fault).await);
            }
            println!("| {fault} | {} {}", kind.name(), row::summed_up(&all));
            all.iter().filter_map(|it| it.died.as_ref()).for_each(|words| eprintln!("A process died:\n{words}"));
        }
    }
}
