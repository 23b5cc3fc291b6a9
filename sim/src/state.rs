//! [`State`]: everything that the simulator knows, including the model.

use crate::mark::mark;
use crate::model::{Asked, Model};
use crate::place::{PlaceId, ProcessId};
use crate::plan::{CountFault, PublishFault};
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{Body, Inbox, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// Everything that the simulator knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) processes: Vec<Process>,
    pub(crate) subscriptions: BTreeMap<PlaceId, Subscription>,
    pub(crate) in_flight: BTreeMap<(u64, PlaceId, u64), Parcel>,
    /// Counts everything that needs a number, for order and for draws.
    pub(crate) counter: u64,
    /// The number of draws for each purpose.
    pub(crate) draws: BTreeMap<u64, u64>,
    /// When the last message of a link arrives, by channel; under 0 whatever the channel.
    pub(crate) last: BTreeMap<(ProcessId, PlaceId, u64), u64>,
    pub(crate) model: Model,
    pub(crate) failure: Option<String>,
    pub(crate) lines: Option<Vec<String>>,
    /// By the places of sender and receiver: messages and announcements to lose, messages to double, extra delay.
    pub(crate) lose: BTreeMap<(usize, usize), u32>,
    pub(crate) lose_alive: BTreeMap<(usize, usize), u32>,
    pub(crate) double: BTreeMap<(usize, usize), u32>,
    pub(crate) slow: BTreeMap<(usize, usize), (u64, u64)>,
    /// The times of faults, and whether each was only a fault in counting.
    pub(crate) faults: Vec<(u64, u64, bool)>,
    /// The last restart of the message system.
    pub(crate) restart: Option<Restart>,
    /// When a server last started or began to end.
    pub(crate) turnover: u64,
    /// When subscriptions came and went.
    pub(crate) changes: BTreeMap<Arc<str>, Vec<u64>>,
    /// Questions that must reach these servers, perhaps a little later than they are answered.
    pub(crate) must_reach: Vec<(u64, Asked, Arc<str>, Vec<ProcessId>)>,
    /// The number of questions that each process asked.
    pub(crate) asked: BTreeMap<ProcessId, u64>,
    /// The numbers of questions, and which servers of other software have answered whose questions.
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) foreign_answers: BTreeSet<(u64, ProcessId, ProcessId)>,
    /// Answers to questions of other software.
    pub(crate) foreign: BTreeMap<u64, Vec<(ProcessId, u64)>>,
}

/// A restart of the message system.
#[derive(Debug)]
pub(crate) struct Restart {
    pub(crate) begin: u64,
    /// The servers that were there.
    pub(crate) servers: BTreeSet<ProcessId>,
    /// Those of them that do not receive anything yet.
    pub(crate) away: BTreeSet<ProcessId>,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// Its place: one process may replace another there.
    pub(crate) place: usize,
    /// It subscribes to rooms one by one.
    pub(crate) exact: bool,
    pub(crate) foreign: bool,
    pub(crate) dead: bool,
    /// When it died.
    pub(crate) died: Option<u64>,
    pub(crate) deaf: bool,
    pub(crate) mute: bool,
    /// Nothing of it goes out on this road.
    pub(crate) mute_road: Option<u64>,
    /// Roads on which its connections broke: the next batch shows it.
    pub(crate) broken_roads: BTreeSet<u64>,
    pub(crate) publish: VecDeque<PublishFault>,
    pub(crate) count: Option<CountFault>,
}

/// A namespace to which a process is subscribed.
pub(crate) struct Subscription {
    pub(crate) epoch: u64,
    pub(crate) stage: Stage,
    /// If it was opened again after a close: until when questions to the closed one may arrive.
    pub(crate) lingers: u64,
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    /// The rooms that were looked at.
    pub(crate) looked: BTreeSet<Room>,
    /// The rooms that are subscribed, where rooms are subscribed one by one.
    pub(crate) rooms: BTreeSet<Room>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("stage", &self.stage).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending,
    Active,
    /// It was closed. Questions may arrive until this time.
    Lingering(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) at: PlaceId,
    pub(crate) epoch: u64,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Active,
    Connected,
    /// A room may be wanted, or no longer.
    Look(Room),
    Message(ProcessId, Box<Message>),
}

impl State {
    pub(crate) fn log(&mut self, now: u64, line: impl FnOnce(&Self) -> String) {
        if self.lines.is_some() {
            let line = line(self);
            if let Some(lines) = &mut self.lines {
                lines.push(format!("{:>3}.{:03} {line}", now / 1_000, now % 1_000));
            }
        }
    }

    pub(crate) fn fail(&mut self, now: u64, why: String) {
        self.log(now, |_| format!("FAILS: {why}"));
        self.failure.get_or_insert(why);
    }

    pub(crate) fn check(&mut self, now: u64, result: Result<(), String>) {
        if let Err(why) = result {
            self.fail(now, why);
        }
    }

    pub(crate) fn label(&self, process: ProcessId) -> String {
        self.processes.get(process).map_or_else(String::new, |it| format!("{}/{process}", it.name))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn is_counted(&self, at: &PlaceId) -> bool {
        let process = self.processes.get(at.0);
        let hears = process.is_some_and(|process| !process.dead && !process.deaf);
        hears && self.subscriptions.get(at).is_some_and(|it| it.stage == Stage::Active)
    }

    /// The processes that are counted in a namespace.
    pub(crate) fn counted(&self, namespace: &str) -> Vec<ProcessId> {
        let all = self.subscriptions.keys().filter(|at| *at.1 == *namespace && self.is_counted(at));
        all.map(|at| at.0).collect()
    }

    /// After a restart nothing may go out before all servers receive again, as long as they knew one another and nothing
    /// else happens. Returns one that would miss it.
    pub(crate) fn missed_by(&self, from: ProcessId, namespace: &str, now: u64) -> Option<ProcessId> {
        /// The time until servers know one another.
        const ACQUAINTED: u64 = 4_000;
        /// The time until they do again after another fault.
        const CALM: u64 = 15_000;
        let restart = self.restart.as_ref().filter(|it| it.servers.contains(&from))?;
        let begin = restart.begin;
        let disturbs =
            |(since, until, _): &&(u64, u64, bool)| *since != begin && *since <= now && until + CALM >= begin;
        if self.turnover + ACQUAINTED >= begin || self.faults.iter().any(|fault| disturbs(&fault)) {
            return None;
        }
        let misses = |process: &&ProcessId| self.subscriptions.contains_key(&(**process, namespace.into()));
        restart.away.iter().filter(|process| **process != from).find(misses).copied()
    }

    pub(crate) fn changed(&mut self, namespace: &Arc<str>, now: u64) {
        self.changes.entry(namespace.clone()).or_default().push(now);
    }
}

pub(crate) fn take(table: &mut BTreeMap<(usize, usize), u32>, key: (usize, usize)) -> bool {
    let Some(left) = table.get_mut(&key).filter(|left| **left > 0) else { return false };
    *left -= 1;
    true
}

/// Describes a message in a few words.
pub(crate) fn tell(message: &Message) -> String {
    let mark = mark(&message.body).map_or_else(String::new, |n| format!(" #{n}"));
    let what = match &message.body {
        Body::Broadcast { target, .. } => format!("emit to {:?}", target.rooms),
        Body::BroadcastWithAck { target, .. } => format!("emit with ack to {:?}", target.rooms),
        Body::AskedClients { count, .. } => format!("asked {count}"),
        Body::ClientAck { .. } => "client's ack".to_owned(),
        Body::Join { target, rooms, .. } => format!("join {rooms:?} of {:?}", target.rooms),
        Body::Leave { target, rooms, .. } => format!("leave {rooms:?} of {:?}", target.rooms),
        Body::Disconnect { target, .. } => format!("disconnect {:?}", target.rooms),
        Body::FetchSockets { .. } => "fetch sockets".to_owned(),
        Body::Count { .. } => "count".to_owned(),
        Body::Sockets { sockets, .. } => format!("{} sockets", sockets.len()),
        Body::FetchRooms { .. } => "fetch rooms".to_owned(),
        Body::Rooms { rooms, .. } => format!("{} rooms", rooms.len()),
        Body::ServerSideEmit { .. } => "server event".to_owned(),
        Body::ServerAnswer { .. } => "server's answer".to_owned(),
        Body::Alive(alive) => {
            let list = |names: &[Arc<str>]| names.join(" ");
            let opened: Vec<_> = alive.opened.iter().map(|(name, _)| name.clone()).collect();
            format!(
                "alive {}, opened {:?} closed {:?}, {} series",
                alive.sequence,
                list(&opened),
                list(&alive.closed),
                alive.numbers.len()
            )
        }
        Body::Hello => "hello".to_owned(),
        Body::Goodbye => "goodbye".to_owned(),
        _ => "something else".to_owned(),
    };
    let again = if message.trailer.is_some_and(|it| it.again) { " again" } else { "" };
    let numbers =
        message.trailer.map_or_else(String::new, |it| format!(" serial {} number {}{again}", it.serial, it.number));
    format!("{what}{mark}{numbers}")
}
