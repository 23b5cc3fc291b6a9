//! A roomcast server of the report, in a process of its own. It does the same as `e2e/fault-server.mjs`, and also
//! reports the losses that it has counted and the messages that it has handled.

use super::dialect::Dialect;
use super::plan::{MOVING, Plan};
use super::tap::{Notes, Tap, UNKNOWN};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, Series};
use roomcast_adapter::{Action, Adapter, AdapterContext, Details, Recipient, Room, Target, Wakes};
use roomcast_protocol::{Args, Packet, SocketId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

/// Between two messages.
const TICK: Duration = Duration::from_millis(10);

/// Between two reports.
const REPORT: Duration = Duration::from_millis(100);

/// How long the last socket stays in the room that it joins and leaves, and how long out of it.
const STAYS: Duration = Duration::from_millis(1_500);
const STAYS_AWAY: Duration = Duration::from_millis(700);

/// The report of a server; a Node server leaves out some fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) meets: usize,
    pub(super) emitted: Vec<(u64, u64)>,
    pub(super) received: Vec<(String, u64, u64, usize)>,
    /// Messages that arrived: process, whether it is in the series of single rooms, its number there, whether it was
    /// skipped, and when it was handled.
    pub(super) came: Vec<(u64, bool, u64, bool, u64)>,
    /// Each stay in the moving room: the moments at which the socket may be in it, surely is, surely still is, and may
    /// still be.
    pub(super) stays: Vec<[u64; 4]>,
    pub(super) process: u64,
    pub(super) standing: Standing,
}

/// The counts of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) queued: usize,
    /// By publisher.
    pub(super) lost: BTreeMap<String, u64>,
    /// Of all publishers.
    pub(super) all_lost: u64,
    pub(super) doubles: u64,
    pub(super) dropped: u64,
}

type Received = Arc<Mutex<Vec<(String, u64, u64, usize)>>>;

#[derive(Debug)]
struct Recorder {
    socket: usize,
    received: Received,
}

impl Recipient for Recorder {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        let at = now();
        // `42["name",number,padding]`
        let event = packet.text().and_then(|text| serde_json::from_str(&text[text.find('[')?..]).ok());
        let (publisher, number, _): (String, u64, String) = event.unwrap();
        self.received.lock().push((publisher, number, at, self.socket));
    }

    fn disconnect(&self, _: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Runs until standard input ends.
pub(super) async fn run(url: &str, name: &str, dialect: Dialect, plan: &Plan) {
    let (broker, notes) = Tap::new(dialect.broker(url.parse().unwrap()));
    let cluster = Cluster::with_id(name.into(), broker, ClusterOptions::default());
    let lost = Arc::<Mutex<BTreeMap<String, u64>>>::default();
    let losing = lost.clone();
    cluster.on_lost(move |lost| {
        let sender = lost.sender.as_ref().map(ToString::to_string).unwrap_or_default();
        *losing.lock().entry(sender).or_default() += lost.messages;
    });
    let (server_events, _events) = mpsc::channel(64);
    let adapter = cluster.adapter(AdapterContext::new("/", server_events));
    let received = Received::default();
    let mut last = None;
    for (socket, rooms) in plan.sockets.iter().enumerate() {
        let id = SocketId::random().unwrap();
        let rooms: Vec<Room> = rooms.iter().map(Room::from).collect();
        adapter.insert(id, Arc::new(Recorder { socket, received: received.clone() }), &rooms, None).unwrap();
        last = Some(id);
    }
    let stays = Arc::<Mutex<Vec<[u64; 4]>>>::default();
    tokio::spawn(come_and_go(adapter.clone(), last.unwrap(), stays.clone()));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (mut ticks, mut reports) = (interval(TICK), interval(REPORT));
    let (mut talks, mut met, mut emitted, mut number) = (false, false, Vec::new(), 0);
    let padding = "x".repeat(plan.padding);
    loop {
        tokio::select! {
            line = lines.next_line() => match line.ok().flatten().as_deref() {
                None => return,
                Some(word) => {
                    talks = word == "talk";
                    ticks.reset_immediately();
                }
            },
            _ = ticks.tick(), if talks => {
                number += 1;
                let aim = plan.aim(number);
                let rooms = |names: &[String]| names.iter().map(Room::from).collect();
                let target = Target { rooms: rooms(&aim.rooms), except: rooms(&aim.except), ..Target::default() };
                let data = Args::event(name, &(number, &padding)).unwrap();
                let (at, began) = (now(), Instant::now());
                adapter.apply(&target, Action::emit(&data)).unwrap();
                emitted.push((at, began.elapsed().as_micros() as u64));
            }
            _ = reports.tick() => {
                let mut report = new_report(&notes, &received, &stays, &cluster, &lost);
                report.emitted = std::mem::take(&mut emitted);
                // All other roomcast servers are known by name, so that counting has begun, and the broker counts the
                // Node server too.
                if !met && cluster.members("/").len() + 2 == plan.servers {
                    met = adapter.server_count().await.value == plan.servers;
                    report.meets = if met { plan.servers } else { 0 };
                }
                let line = serde_json::to_string(&report).unwrap();
                println!("{line}");
            }
        }
    }
}

fn new_report(
    notes: &Notes,
    received: &Received,
    stays: &Mutex<Vec<[u64; 4]>>,
    cluster: &Cluster,
    lost: &Mutex<BTreeMap<String, u64>>,
) -> Report {
    let came = std::mem::take(&mut *notes.came.lock()).into_iter();
    let losses = cluster.losses();
    Report {
        received: std::mem::take(&mut *received.lock()),
        came: came.map(|it| (it.process, it.series == Series::Rooms, it.number, it.passed_over, it.at)).collect(),
        stays: std::mem::take(&mut *stays.lock()),
        process: Some(notes.process.load(Ordering::Relaxed)).filter(|it| *it != UNKNOWN).unwrap_or_default(),
        standing: Standing {
            queued: cluster.queued(),
            lost: lost.lock().clone(),
            all_lost: losses.lost,
            doubles: losses.doubles,
            dropped: losses.dropped,
        },
        ..Report::default()
    }
}

/// The last socket joins and leaves the moving room, so that no server always has a member of it.
async fn come_and_go(adapter: Arc<dyn Adapter>, id: SocketId, stays: Arc<Mutex<Vec<[u64; 4]>>>) {
    loop {
        let begins = now();
        adapter.join(id, &[MOVING.into()]).unwrap().await;
        let surely_in = now();
        sleep(STAYS).await;
        let leaves = now();
        adapter.leave(id, MOVING);
        stays.lock().push([begins, surely_in, leaves, now()]);
        sleep(STAYS_AWAY).await;
    }
}
