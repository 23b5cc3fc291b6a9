//! [`NodeTalk`]: two Node servers that talk like those of [`Talk`](crate::fault_stage::Talk), each in a process of its
//! own (`e2e/fault-server.mjs`), and what they reported.

use crate::fault_stage::fault_log::{Emitted, Receipt, Receipts};
use crate::fault_stage::{COUNTED, PATIENCE, must_become, pass};
use crate::row::Row;
use crate::server_process::{Seen, ServerProcess, Told};
use std::time::{Duration, SystemTime};
use tokio::process::Command;
use tokio::time::Instant;

pub(crate) const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/fault-server.mjs");

pub(crate) struct NodeTalk {
    servers: Vec<NodeServer>,
}

struct NodeServer {
    name: &'static str,
    process: ServerProcess<Log>,
}

struct Log {
    /// The same moment on both clocks.
    clocks: (SystemTime, Instant),
    meets: usize,
    emitted: Emitted,
    received: Receipts,
}

impl Default for Log {
    fn default() -> Self {
        let clocks = (SystemTime::now(), Instant::now());
        Self { clocks, meets: 0, emitted: Emitted::default(), received: Receipts::default() }
    }
}

impl Seen for Log {
    type Told = Told;

    fn add(&mut self, told: Told) {
        let (wall, here) = self.clocks;
        let micros = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
        let instant = |at: u64| here + Duration::from_micros(at.saturating_sub(micros));
        self.meets = self.meets.max(told.meets);
        self.emitted.0.extend(told.emitted.into_iter().map(|(at, took)| (instant(at), Duration::from_micros(took))));
        let received = told.received.into_iter();
        self.received.0.extend(received.map(|(publisher, number, at, _)| Receipt {
            publisher,
            number,
            at: instant(at),
        }));
    }

    fn meets(&self) -> usize {
        self.meets
    }
}

impl NodeTalk {
    /// Two servers that count each other before they talk, and whose messages arrive.
    pub(crate) async fn begin(urls: [&str; 2]) -> Self {
        let mut talk = Self { servers: vec![NodeServer::start("a", urls[0]), NodeServer::start("b", urls[1])] };
        for server in &talk.servers {
            server.process.meets(2).await;
        }
        talk.tell("talk").await;
        let [a, b] = [&talk.servers[0], &talk.servers[1]];
        must_become("messages arrive at both Node servers", || !a.received(b).is_empty() && !b.received(a).is_empty())
            .await;
        talk
    }

    async fn tell(&mut self, word: &str) {
        for server in &mut self.servers {
            server.process.tell(word).await;
        }
    }

    /// The time from `since` until messages that were emitted after it have arrived in both directions.
    pub(crate) async fn resumes(&self, since: Instant) -> Option<Duration> {
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !a.process.has_ended() && !b.process.has_ended() {
            if let (Some(one), Some(other)) = (a.received_since(b, since), b.received_since(a, since)) {
                return Some(one.max(other) - since);
            }
            pass(Duration::from_millis(50)).await;
        }
        None
    }

    /// Ends the talk. Messages that have not arrived 3 s later are lost.
    pub(crate) async fn end(mut self, resumed: Option<Duration>) -> [Row; 2] {
        self.tell("hush").await;
        pass(COUNTED).await;
        let [a, b] = [&self.servers[0], &self.servers[1]];
        [row(a, b, resumed), row(b, a, resumed)]
    }
}

/// The figures from `publisher` to `receiver`.
fn row(publisher: &NodeServer, receiver: &NodeServer, resumed: Option<Duration>) -> Row {
    let own = publisher.received(publisher);
    let emitted = publisher.process.seen().emitted.count();
    assert!(own.iter().copied().eq(1..=emitted), "local delivery has a gap: {emitted} emitted, {} arrived", own.len());
    let numbers = receiver.received(publisher);
    let mut different = numbers.clone();
    different.sort();
    different.dedup();
    let seen = publisher.process.seen();
    let (local_p99, local_max) = seen.emitted.slowest();
    let oldest = receiver.process.seen().received.oldest(publisher.name, &seen.emitted);
    drop(seen);
    Row {
        emitted,
        lost: emitted - different.len() as u64,
        counted: None,
        doubles: (numbers.len() - different.len()) as u64,
        disorder: numbers.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64,
        oldest,
        resumed,
        local_p99,
        local_max,
        died: publisher.process.has_ended().then(|| publisher.process.last_words()),
    }
}

impl NodeServer {
    fn start(name: &'static str, url: &str) -> Self {
        let mut command = Command::new("node");
        command.args([PROGRAM, url, name]);
        Self { name, process: ServerProcess::start(command) }
    }

    fn received(&self, publisher: &Self) -> Vec<u64> {
        self.process.seen().received.of(publisher.name)
    }

    fn received_since(&self, publisher: &Self, since: Instant) -> Option<Instant> {
        // These are two different locks: a server is not asked about itself.
        let publisher_seen = publisher.process.seen();
        self.process.seen().received.since(publisher.name, &publisher_seen.emitted, since)
    }
}
