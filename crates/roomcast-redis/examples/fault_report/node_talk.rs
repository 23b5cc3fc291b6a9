//! [`NodeTalk`]: two Node servers that talk as those of [`Talk`](crate::fault_stage::Talk) do, each in a process of its own
//! (`e2e/fault-server.mjs`), and what was seen of them.

use crate::fault_stage::fault_log::{Emitted, Heard, Received};
use crate::fault_stage::{COUNTED, PATIENCE, must_become, pass};
use crate::row::Row;
use parking_lot::Mutex;
use serde::Deserialize;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../e2e/fault-server.mjs");

pub(crate) struct NodeTalk {
    servers: Vec<NodeServer>,
}

struct NodeServer {
    name: &'static str,
    words: ChildStdin,
    seen: Arc<Mutex<Seen>>,
    // Killed when it is dropped.
    _process: Child,
}

#[derive(Default)]
struct Seen {
    meets: usize,
    emitted: Emitted,
    heard: Heard,
    ended: bool,
    /// The last that it wrote to the standard error.
    complaints: Vec<String>,
}

/// A line of its output.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Report {
    meets: usize,
    emitted: Vec<(u64, u64)>,
    received: Vec<(String, u64, u64)>,
}

impl NodeTalk {
    /// Two servers that count one another before they talk, and hear one another by now.
    pub(crate) async fn begin(urls: [&str; 2]) -> Self {
        let mut talk = Self { servers: vec![NodeServer::start("a", urls[0]), NodeServer::start("b", urls[1])] };
        for server in &talk.servers {
            let meets = || {
                let seen = server.seen.lock();
                assert!(!seen.ended, "a Node server has ended: {:?}", seen.complaints);
                seen.meets == 2
            };
            must_become("the Node servers count one another", meets).await;
        }
        talk.tell("talk").await;
        let [a, b] = [&talk.servers[0], &talk.servers[1]];
        must_become("the Node servers hear one another", || !a.heard(b).is_empty() && !b.heard(a).is_empty()).await;
        talk
    }

    async fn tell(&mut self, word: &str) {
        for server in &mut self.servers {
            // One that has died needs not be told.
            let _ = server.words.write_all(format!("{word}\n").as_bytes()).await;
        }
    }

    /// The time from `since` until messages that were emitted after it have come both ways.
    pub(crate) async fn resumes(&self, since: Instant) -> Option<Duration> {
        let [a, b] = [&self.servers[0], &self.servers[1]];
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !a.seen.lock().ended && !b.seen.lock().ended {
            if let (Some(one), Some(other)) = (a.heard_since(b, since), b.heard_since(a, since)) {
                return Some(one.max(other) - since);
            }
            pass(Duration::from_millis(50)).await;
        }
        None
    }

    /// Ends the talk. What has not come 3 s later is lost.
    pub(crate) async fn end(mut self, resumed: Option<Duration>) -> [Row; 2] {
        self.tell("hush").await;
        pass(COUNTED).await;
        let [a, b] = [&self.servers[0], &self.servers[1]];
        [row(a, b, resumed), row(b, a, resumed)]
    }
}

/// The way from `publisher` to `receiver`.
fn row(publisher: &NodeServer, receiver: &NodeServer, resumed: Option<Duration>) -> Row {
    let own = publisher.heard(publisher);
    let emitted = publisher.seen.lock().emitted.count();
    assert!(own.iter().copied().eq(1..=emitted), "local delivery has a hole: {emitted} emitted, {} came", own.len());
    let heard = receiver.heard(publisher);
    let mut different = heard.clone();
    different.sort();
    different.dedup();
    let seen = publisher.seen.lock();
    let (local_p99, local_max) = seen.emitted.slowest();
    let oldest = receiver.seen.lock().heard.oldest(publisher.name, &seen.emitted);
    Row {
        emitted,
        lost: emitted - different.len() as u64,
        counted: None,
        doubles: (heard.len() - different.len()) as u64,
        disorder: heard.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64,
        oldest,
        resumed,
        local_p99,
        local_max,
        died: seen.ended.then(|| seen.complaints.join("\n")),
    }
}

impl NodeServer {
    fn start(name: &'static str, url: &str) -> Self {
        let mut command = Command::new("node");
        command.args([PROGRAM, url, name]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let errors = process.stderr.take().unwrap();
        let complaining = seen.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let complaints = &mut complaining.lock().complaints;
                complaints.push(line);
                complaints.drain(..complaints.len().saturating_sub(20));
            }
        });
        tokio::spawn(listen(process.stdout.take().unwrap(), seen.clone()));
        Self { name, words: process.stdin.take().unwrap(), seen, _process: process }
    }

    fn heard(&self, publisher: &Self) -> Vec<u64> {
        self.seen.lock().heard.of(publisher.name)
    }

    fn heard_since(&self, publisher: &Self, since: Instant) -> Option<Instant> {
        // Never two locks of the same: a server is not asked about itself.
        let emitted = publisher.seen.lock();
        self.seen.lock().heard.since(publisher.name, &emitted.emitted, since)
    }
}

async fn listen(output: ChildStdout, seen: Arc<Mutex<Seen>>) {
    let (wall, here) = (SystemTime::now(), Instant::now());
    let micros = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64;
    let instant = |at: u64| here + Duration::from_micros(at.saturating_sub(micros));
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let report: Report = serde_json::from_str(&line).unwrap();
        let mut seen = seen.lock();
        seen.meets = seen.meets.max(report.meets);
        seen.emitted.0.extend(report.emitted.into_iter().map(|(at, took)| (instant(at), Duration::from_micros(took))));
        let received = report.received.into_iter();
        let received = received.map(|(publisher, number, at)| Received { publisher, number, at: instant(at) });
        seen.heard.0.extend(received);
    }
    seen.lock().ended = true;
}
