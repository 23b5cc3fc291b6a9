//! [`Directory`]: which roomcast servers are alive, which namespaces they have, and which of their messages arrived, so
//! that messages that did not arrive are counted.
//!
//! A loss shows in two ways: as a gap between the numbers of two messages of a series, or as an announcement of a
//! number that never arrived. Announcements travel on a channel of their own and may overtake messages. A series
//! therefore has [`SETTLE`] to catch up with an announcement, and is judged at the next one.
//!
//! Everything is stored by process, not by name: a server that comes back under its old name is another process, whose
//! numbers start anew.

use crate::cluster::membership::heard_series::InSeries;
use crate::cluster::membership::heard_series::SETTLE;
use crate::cluster::membership::losses::{Lost, UnreportedLosses};
use crate::cluster::membership::process::FORGOTTEN;
use crate::cluster::membership::process::Process;
use crate::cluster::seam::alive::Alive;
use crate::cluster::seam::broker::Hears;
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most processes that are remembered, including emitters. A publisher that keeps making new ids must not fill the
/// memory: each process takes 1 KiB plus its series.
pub(crate) const MAX_PROCESSES: usize = 8_192;

/// Silence after which a server's numbers are removed too. They are kept longer than the server counts as alive, as it
/// may only be cut off: what it publishes meanwhile is lost here, and must be counted.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// What is known about the other roomcast processes.
#[derive(Debug)]
pub(crate) struct Directory {
    processes: HashMap<u64, Process, RandomState>,
    /// The namespaces that are open here, each with the time since which its messages arrive.
    open: HashMap<Arc<str>, Option<Instant>, RandomState>,
    /// How much of [`Series::Main`] and of [`Series::Rooms`] is received here.
    hears: [Hears; 2],
    lost: u64,
    unreported: UnreportedLosses,
    doubles: u64,
    interrupted: Duration,
    /// Whether it was logged that there was no room for a process.
    logged_full: bool,
    /// A server has come, has left or was removed, or has opened or closed a namespace.
    members_changed: watch::Sender<()>,
    /// Since when the other servers' announcements arrive.
    connected: watch::Sender<Option<Instant>>,
}

impl Directory {
    /// `hears`: how much of [`Series::Main`] and of [`Series::Rooms`] is received here.
    pub(crate) fn new(hears: [Hears; 2]) -> Self {
        let (processes, open) = (HashMap::default(), HashMap::default());
        let (members_changed, connected) = (watch::channel(()).0, watch::channel(None).0);
        Self {
            processes,
            open,
            hears,
            lost: 0,
            unreported: UnreportedLosses::default(),
            doubles: 0,
            interrupted: Duration::ZERO,
            logged_full: false,
            members_changed,
            connected,
        }
    }

    /// Opens a namespace: its messages are followed from now on.
    pub(crate) fn open_namespace(&mut self, namespace: &Arc<str>) {
        self.open.entry(namespace.clone()).or_insert(None);
    }

    /// The messages of an open namespace arrive.
    pub(crate) fn connected(&mut self, namespace: &str, now: Instant) {
        if let Some(since) = self.open.get_mut(namespace) {
            since.get_or_insert(now);
        }
    }

    /// Closes a namespace: messages that do not arrive from now on are not losses.
    pub(crate) fn close_namespace(&mut self, namespace: &str) {
        let Some((name, _)) = self.open.remove_entry(namespace) else { return };
        self.processes.values_mut().for_each(|process| process.unfollow(&name));
    }

    /// Notes that a message, or its trailer, has arrived. Returns `false` for a message that arrived before.
    pub(crate) fn message_arrived(
        &mut self,
        trailer: &Trailer,
        namespace: &Arc<str>,
        series: Option<Series>,
        now: Instant,
    ) -> bool {
        let Some(process) = process(&mut self.processes, &mut self.logged_full, trailer.process, now) else {
            return true;
        };
        if !process.window.is_new(trailer.serial, trailer.again) {
            return self.count_double();
        }
        let Some(series) = series.filter(|_| trailer.number > 0) else { return true };
        let hears = receives(&self.hears, series);
        if hears == Hears::EachRoom {
            // Rooms overtake one another, so the order of numbers proves nothing.
            return true;
        }
        let Some(since) = self.open.get(namespace) else { return true };
        match process.message_arrived(trailer, namespace, series, *since) {
            Some(InSeries::Late) => self.count_double(),
            Some(InSeries::Next(missed)) => {
                // Where not everything is received, a gap proves nothing.
                self.count_lost(trailer.process, if hears == Hears::All { missed } else { 0 });
                true
            }
            None => true,
        }
    }

    fn count_double(&mut self) -> bool {
        self.doubles += 1;
        metrics::counter!("roomcast_cluster_doubles_total").increment(1);
        false
    }

    /// Takes a server's announcement. Returns whether something is missing: then the server is asked for everything.
    pub(crate) fn announcement_arrived(
        &mut self,
        sender: &ServerId,
        trailer: &Trailer,
        alive: &Alive,
        now: Instant,
    ) -> bool {
        let Some(process) = process(&mut self.processes, &mut self.logged_full, trailer.process, now) else {
            return false;
        };
        if process.name.as_ref() != Some(sender) {
            process.name = Some(sender.clone());
        }
        let (open, all) = (&self.open, &self.hears);
        let followed =
            |namespace: &str, series| open.get(namespace).copied().filter(|_| receives(all, series) == Hears::All);
        let effect = process.announcement_arrived(alive, trailer.serial, followed, now);
        self.count_lost(trailer.process, effect.missed);
        if effect.members_changed {
            self.members_changed.send_replace(());
        }
        effect.ask
    }

    /// A server asks this one for everything. Returns whether to answer, which limits repeated answers.
    pub(crate) fn asked_for_everything(&mut self, asker: u64, now: Instant) -> bool {
        let process = process(&mut self.processes, &mut self.logged_full, asker, now);
        process.is_some_and(|process| process.may_answer(now))
    }

    /// A server has left. Its numbers are kept for a while, so that late messages do not bring it back.
    pub(crate) fn left(&mut self, process: u64, now: Instant) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.left = true;
            process.last_arrival = now;
        }
        self.members_changed.send_replace(());
    }

    /// Counts the announced messages of silent servers that never arrived, and removes long silent servers.
    pub(crate) fn age(&mut self, now: Instant) {
        let (mut all, mut silent) = (Vec::new(), false);
        for (id, process) in &mut self.processes {
            let mut missed = process.remove_closed(now);
            let alive_now = process.is_alive(now);
            if !alive_now && now.duration_since(process.last_arrival) >= SETTLE {
                missed += process.settle(now);
            }
            // Once for each silence: this ends questions that await the server.
            silent |= !std::mem::replace(&mut process.silent, !alive_now) && !alive_now;
            all.extend((missed > 0).then_some((*id, missed)));
        }
        all.into_iter().for_each(|(process, missed)| self.count_lost(process, missed));
        self.processes.retain(|_, process| {
            now.duration_since(process.last_arrival) < if process.left { FORGOTTEN } else { REMEMBERED }
        });
        if silent {
            self.members_changed.send_replace(());
        }
    }

    /// About how many roomcast servers are alive. A server that has just come back may count twice.
    pub(crate) fn approximate_size(&self, now: Instant) -> usize {
        self.processes.values().filter(|process| process.name.is_some() && process.is_alive(now)).count()
    }

    /// The roomcast servers that are alive, each once.
    pub(crate) fn servers(&self, now: Instant) -> impl Iterator<Item = &ServerId> {
        names(self.processes.values().filter(move |process| process.is_alive(now)))
    }

    /// The roomcast servers that have a namespace, each with a number that changes if the server reopens the namespace.
    pub(crate) fn members(&self, namespace: &str, now: Instant) -> BTreeMap<ServerId, u64> {
        let alive_now = self.processes.iter().filter(|(_, process)| process.is_alive(now));
        let open = alive_now.filter_map(|(id, process)| {
            Some((process.last_arrival, process.name.clone()?, id.wrapping_add(process.opening_of(namespace)?)))
        });
        // If two processes have the same name, the one heard from last counts; the other has gone.
        let mut open: Vec<_> = open.collect();
        open.sort_unstable();
        open.into_iter().map(|(_, name, opening)| (name, opening)).collect()
    }

    /// The other servers' announcements arrive from now on.
    pub(crate) fn servers_connected(&self, now: Instant) {
        self.connected.send_if_modified(|since| since.is_none() && since.replace(now).is_none());
    }

    /// Since when the other servers' announcements have arrived, counted from the first time.
    pub(crate) fn connected_since(&self) -> watch::Receiver<Option<Instant>> {
        self.connected.subscribe()
    }

    /// Notifies when the members of namespaces may have changed.
    pub(crate) fn members_changed(&self) -> watch::Receiver<()> {
        self.members_changed.subscribe()
    }

    /// The numbers of messages of other roomcast processes that never arrived, and that arrived twice.
    pub(crate) fn losses(&self) -> (u64, u64) {
        (self.lost, self.doubles)
    }

    /// A namespace's messages arrive again, after an interruption of `time`.
    pub(crate) fn was_interrupted(&mut self, time: Duration) {
        self.interrupted = self.interrupted.saturating_add(time);
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        metrics::counter!("roomcast_cluster_interrupted_milliseconds_total").increment(milliseconds);
    }

    /// The total time of interruptions.
    pub(crate) fn interrupted(&self) -> Duration {
        self.interrupted
    }

    /// The losses since the last call.
    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        self.unreported.take()
    }

    fn count_lost(&mut self, process: u64, missed: u64) {
        if missed > 0 {
            self.lost = self.lost.saturating_add(missed);
            self.unreported.add(self.processes.get(&process).and_then(|process| process.name.as_ref()), missed);
            metrics::counter!("roomcast_cluster_lost_total").increment(missed);
        }
    }
}

fn receives(all: &[Hears; 2], series: Series) -> Hears {
    let [main, rooms] = *all;
    match series {
        Series::Main => main,
        Series::Rooms => rooms,
    }
}

/// The names of processes, each once: a server that has just come back may be two processes for some seconds.
fn names<'a>(processes: impl Iterator<Item = &'a Process>) -> impl Iterator<Item = &'a ServerId> {
    let names: HashSet<&ServerId, RandomState> = processes.filter_map(|process| process.name.as_ref()).collect();
    names.into_iter()
}

/// The process with this id, from which something has arrived. A new process is added if there is room.
fn process<'a>(
    processes: &'a mut HashMap<u64, Process, RandomState>,
    logged_full: &mut bool,
    id: u64,
    now: Instant,
) -> Option<&'a mut Process> {
    if !processes.contains_key(&id) {
        if processes.len() >= MAX_PROCESSES {
            // The process that has been silent for longest makes room, unless it is alive.
            let silent = processes.iter().filter(|(_, process)| !process.is_alive(now));
            let Some(oldest) = silent.min_by_key(|(_, process)| process.last_arrival).map(|(id, _)| *id) else {
                metrics::counter!("roomcast_cluster_unknown_total").increment(1);
                if !std::mem::replace(logged_full, true) {
                    tracing::warn!(
                        "messages arrive from more than {MAX_PROCESSES} servers and emitters; those of the rest are delivered, but their losses are not counted"
                    );
                }
                return None;
            };
            processes.remove(&oldest);
        }
        processes.insert(id, Process::new(now));
    }
    let process = processes.get_mut(&id)?;
    if !process.left {
        process.last_arrival = now;
    }
    Some(process)
}

#[cfg(test)]
mod tests;
