//! [`ServerProcess`]: a server in a process of its own, which reads words from standard input and reports in lines of
//! JSON.

use crate::fault_stage::must_become;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// How many of the last lines of its standard error are kept.
const LAST_WORDS: usize = 20;

/// The sum of a server's reports.
pub(crate) trait Seen: Default + Send + 'static {
    /// One report.
    type Told: DeserializeOwned;

    fn add(&mut self, told: Self::Told);

    /// How many servers it counts, including itself.
    fn meets(&self) -> usize;
}

/// The report of every server. Times are microseconds; moments are those of the wall clock, which all processes of a
/// machine share.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    pub(crate) meets: usize,
    /// When each message was emitted, and how long the call took. The numbers follow from the order.
    pub(crate) emitted: Vec<(u64, u64)>,
    /// Publisher, number, when, and which of the server's sockets.
    pub(crate) received: Vec<(String, u64, u64, usize)>,
}

pub(crate) struct ServerProcess<S> {
    words: ChildStdin,
    state: Arc<Mutex<State<S>>>,
    // Killed when it is dropped.
    _process: Child,
}

#[derive(Default)]
struct State<S> {
    seen: S,
    ended: bool,
    /// The last lines that it wrote to standard error.
    complaints: Vec<String>,
}

impl<S: Seen> ServerProcess<S> {
    pub(crate) fn start(mut command: Command) -> Self {
        command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let state = Arc::<Mutex<State<S>>>::default();
        let (output, errors) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let complaining = state.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let complaints = &mut complaining.lock().complaints;
                complaints.push(line);
                complaints.drain(..complaints.len().saturating_sub(LAST_WORDS));
            }
        });
        let listening = state.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let told = serde_json::from_str(&line).unwrap();
                listening.lock().seen.add(told);
            }
            listening.lock().ended = true;
        });
        Self { words: process.stdin.take().unwrap(), state, _process: process }
    }

    pub(crate) fn seen(&self) -> MappedMutexGuard<'_, S> {
        MutexGuard::map(self.state.lock(), |state| &mut state.seen)
    }

    pub(crate) async fn meets(&self, servers: usize) {
        let meets = || {
            let state = self.state.lock();
            assert!(!state.ended, "a server has ended: {:?}", state.complaints);
            state.seen.meets() >= servers
        };
        must_become("the servers count each other", meets).await;
    }

    /// Sends a word. A process that has ended ignores it.
    pub(crate) async fn tell(&mut self, word: &str) {
        let _ = self.words.write_all(format!("{word}\n").as_bytes()).await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// The last lines that it wrote to standard error.
    pub(crate) fn last_words(&self) -> String {
        self.state.lock().complaints.join("\n")
    }
}
