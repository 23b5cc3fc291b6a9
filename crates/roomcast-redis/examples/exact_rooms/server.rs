//! [`Server`]: a server in a process of its own, and the code of that process.

use crate::tap::{Read, Tap};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterOptions};
use roomcast_adapter::testkit::{CountingRecipient, Random};
use roomcast_adapter::{Adapter, AdapterContext, Room};
use roomcast_protocol::SocketId;
use roomcast_redis::{ClassicBroker, ClassicOptions, ShardedBroker, ShardedOptions};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::sleep;

pub(crate) const ROOMS: u64 = 2_000;

/// Rooms in which a server has a member.
pub(crate) const ROOMS_HERE: usize = 100;

/// A room in which every server has a member.
pub(crate) const END: &str = "end";

/// How long messages may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// How broadcasts are subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pattern,
    Exact,
    Sharded,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Pattern, Self::Exact, Self::Sharded];

    pub(crate) fn broker(self, url: &str) -> Arc<dyn Broker> {
        let url = url.parse().unwrap();
        if self == Self::Sharded {
            return ShardedBroker::new(url, ShardedOptions::default());
        }
        let mut options = ClassicOptions::default();
        options.exact_rooms = self == Self::Exact;
        ClassicBroker::new(url, options)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pattern => "classic, by a pattern",
            Self::Exact => "classic, exact rooms",
            Self::Sharded => "sharded, dynamic",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|mode| mode.to_string() == name).ok_or_else(|| format!("there is no mode {name:?}"))
    }
}

pub(crate) fn room(number: u64) -> String {
    format!("room {number}")
}

/// The rooms in which a server has members, drawn from its number.
pub(crate) fn rooms_of(server: u64) -> BTreeSet<u64> {
    let (mut random, mut rooms) = (Random::new(1_000 + server), BTreeSet::new());
    while rooms.len() < ROOMS_HERE {
        rooms.insert(random.below(ROOMS));
    }
    rooms
}

/// Runs a server until standard input ends. It prints `ready`, and for each line of input the number of packets that
/// its sockets got.
pub(crate) async fn run(mode: Mode, url: &str, number: u64) {
    let cluster =
        Cluster::with_id(format!("server{number}").as_str().into(), mode.broker(url), ClusterOptions::default());
    let (server_events, _events) = mpsc::channel(64);
    let adapter = cluster.adapter(AdapterContext::new("/", server_events));
    let counting = CountingRecipient::new();
    let rooms = rooms_of(number).into_iter().map(room).chain([END.to_owned()]);
    let mut joined = Vec::new();
    for room in rooms {
        let id = SocketId::random().unwrap();
        adapter.insert(id, counting.clone(), &[], None).unwrap();
        joined.push(adapter.join(id, &[Room::from(room)]).unwrap());
    }
    for joined in joined {
        joined.await;
    }
    println!("ready");
    let answering = move || std::io::stdin().lines().for_each(|_| println!("{}", counting.count()));
    tokio::task::spawn_blocking(answering).await.unwrap();
}

/// Such a process, whose connections to Redis go through a tap. It ends on drop.
pub(crate) struct Server {
    tap: Tap,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    pub(crate) async fn start(mode: Mode, redis: u16, number: u64) -> Self {
        let tap = Tap::start(redis).await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["server", &mode.to_string(), &tap.url(), &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(output.next_line().await.unwrap().as_deref(), Some("ready"));
        Self { tap, child, input, output }
    }

    pub(crate) fn read(&self) -> Read {
        self.tap.read()
    }

    /// Processor time of all its threads, as the scheduler accounts it.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id().unwrap())).unwrap();
        let nanoseconds = threads.map(|thread| -> u64 {
            let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Waits until its sockets have got this many packets, and checks that they have not got more.
    pub(crate) async fn must_deliver(&mut self, expected: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.input.write_all(b"\n").await.unwrap();
            let delivered: u64 = self.output.next_line().await.unwrap().unwrap().parse().unwrap();
            if delivered >= expected {
                return assert_eq!(delivered, expected, "messages arrived twice");
            }
            assert!(Instant::now() < until, "{delivered} of {expected} messages have arrived");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
