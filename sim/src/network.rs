//! [`Sim`]: the network and everything the simulator knows, under one lock that is never held during product calls.

use crate::model::Model;
use crate::place::{PlaceId, ProcessId};
use crate::plan::Setup;
use crate::random::{hash, mix};
use crate::state::{Content, Parcel, Process, Stage, State, Subscription, take, tell};
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{Body, Inbox, Outgoing, Route, ServerId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The simulation.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) begin: Instant,
    pub(crate) setup: Setup,
    state: Mutex<State>,
    pub(crate) filled: Notify,
}

/// Whether a message is worth logging. Most announcements are not.
fn says_something(body: &Body) -> bool {
    match body {
        Body::Alive(alive) => alive.whole || !alive.opened.is_empty() || !alive.closed.is_empty(),
        _ => true,
    }
}

impl Sim {
    pub(crate) fn new(setup: Setup, record: bool) -> Arc<Self> {
        let model = Model {
            each_room: setup.roads > 1,
            recovers: setup.recovery.is_some(),
            log_events: setup.recovery.unwrap_or_default(),
            ..Model::default()
        };
        let state = State { lines: record.then(Vec::new), model, ..State::default() };
        Arc::new(Self { begin: Instant::now(), setup, state: Mutex::new(state), filled: Notify::new() })
    }

    /// The channel and road of a message. Channels change their roads now and then.
    pub(crate) fn route(&self, outgoing: &Outgoing, now: u64) -> Route {
        if self.setup.roads == 1 {
            return Route::default();
        }
        let room = outgoing.message.body.room().map_or("", |room| room);
        let channel = 1 + hash(&format!("{}#{room}", outgoing.namespace)) % 1_000;
        let moved = if outgoing.namespace.is_empty() { 0 } else { now / 7_000 };
        let mut route = Route::default();
        (route.channel, route.road) = (channel, (channel + moved) % self.setup.roads);
        route
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State, u64) -> T) -> T {
        look(&mut self.state.lock(), self.now())
    }

    /// Adds a process to the network.
    pub(crate) fn join(&self, name: &str, place: usize, foreign: bool) -> ProcessId {
        self.with(|state, _| {
            let (publish, name) = (VecDeque::new(), name.to_owned());
            let (dead, deaf, mute, count) = (false, false, false, None);
            let exact = self.setup.exact && !foreign && (place % 2 == 1 || self.setup.roads > 1);
            let (died, mute_road, broken_roads) = (None, None, BTreeSet::new());
            state.processes.push(Process {
                name,
                place,
                exact,
                foreign,
                dead,
                died,
                deaf,
                mute,
                mute_road,
                broken_roads,
                publish,
                count,
            });
            state.processes.len() - 1
        })
    }

    /// A number up to `most`: the next one of this namespace of this process, whatever the order of namespaces.
    pub(crate) fn drawn(&self, state: &mut State, (process, namespace): (ProcessId, &str), most: u64) -> u64 {
        let key = mix(&[process as u64, hash(namespace)]);
        let next = state.draws.entry(key).or_default();
        *next += 1;
        mix(&[self.setup.seed, key, *next]) % (most + 1)
    }

    /// The time to the broker, or back.
    pub(crate) async fn latency(&self, process: ProcessId, namespace: &str) {
        let time = self.with(|state, _| self.drawn(state, (process, namespace), self.setup.latency));
        if time > 0 {
            sleep(Duration::from_millis(time)).await;
        }
    }

    fn put(&self, state: &mut State, when: u64, parcel: Parcel) {
        let next = state.next();
        state.in_flight.insert((when, parcel.at.clone(), next), parcel);
        self.filled.notify_one();
    }

    pub(crate) fn open(&self, at: &PlaceId, inbox: Option<Arc<dyn Inbox>>) {
        self.with(|state, now| {
            let known = state.subscriptions.get(at).map(|it| it.stage);
            state.log(now, |state| format!("{} opens {:?}", state.label(at.0), at.1));
            if matches!(known, Some(Stage::Pending | Stage::Active)) {
                return;
            }
            // Questions in flight to a namespace that was closed arrive here.
            let closed = state.subscriptions.get(at).map(|it| (it.epoch, it.stage));
            let (epoch, lingers) = match closed {
                Some((epoch, Stage::Lingering(until))) if until >= now => (epoch, until),
                _ => (state.next(), 0),
            };
            let stage = Stage::Pending;
            state.subscriptions.insert(
                at.clone(),
                Subscription { epoch, stage, lingers, inbox, looked: BTreeSet::new(), rooms: BTreeSet::new() },
            );
            let active = now + self.drawn(state, (at.0, &at.1), self.setup.latency);
            let told = active + self.drawn(state, (at.0, &at.1), self.setup.latency);
            for (when, content) in [(active, Content::Active), (told, Content::Connected)] {
                self.put(state, when, Parcel { at: at.clone(), epoch, content });
            }
            for process in 0..state.processes.len() {
                let last = state.last.entry((process, at.clone(), 0)).or_default();
                *last = (*last).max(told);
            }
        });
    }

    /// Notes that a room of a server may be wanted, or no longer. Returns when the broker knows.
    pub(crate) fn look(&self, at: &PlaceId, room: &Room) -> Option<u64> {
        self.with(|state, now| {
            let subscription = state.subscriptions.get_mut(at)?;
            subscription.looked.insert(room.clone());
            let epoch = subscription.epoch;
            let when = now + self.drawn(state, (at.0, &at.1), self.setup.latency);
            self.put(state, when, Parcel { at: at.clone(), epoch, content: Content::Look(room.clone()) });
            Some(when)
        })
    }

    /// Opens a namespace on a server of other software.
    pub(crate) fn open_foreign(&self, at: &PlaceId) {
        self.open(at, None);
    }

    /// Ends what a server receives, or lets it receive again.
    pub(crate) fn deafen(&self, process: ProcessId, deaf: bool) {
        let inboxes: Vec<Arc<dyn Inbox>> = self.with(|state, now| {
            let Some(it) = state.processes.get_mut(process) else { return Vec::new() };
            it.deaf = deaf;
            state.log(now, |state| {
                format!("{} {}", state.label(process), if deaf { "hears nothing" } else { "hears again" })
            });
            let epoch = state.next();
            let mut inboxes = Vec::new();
            let (mut changed, mut looked, mut told) = (Vec::new(), Vec::new(), Vec::new());
            for (at, subscription) in state.subscriptions.iter_mut().filter(|(at, _)| at.0 == process) {
                changed.push(at.1.clone());
                // What is in flight does not arrive any more.
                if subscription.stage == Stage::Active {
                    subscription.epoch = epoch;
                    looked.extend(subscription.looked.iter().map(|room| (at.clone(), room.clone())));
                    if deaf {
                        inboxes.extend(subscription.inbox.clone());
                    } else {
                        told.push(at.clone());
                    }
                }
            }
            changed.iter().for_each(|namespace| state.changed(namespace, now));
            // A new connection subscribes to everything that is wanted.
            for (at, room) in looked {
                self.put(state, now, Parcel { at, epoch, content: Content::Look(room) });
            }
            // It is counted a moment before it is told.
            for at in told {
                let when = now + self.drawn(state, (at.0, &at.1), 10 * self.setup.latency);
                for process in 0..state.processes.len() {
                    let last = state.last.entry((process, at.clone(), 0)).or_default();
                    *last = (*last).max(when);
                }
                self.put(state, when, Parcel { at, epoch, content: Content::Connected });
            }
            inboxes
        });
        inboxes.iter().for_each(|inbox| inbox.lost());
    }

    /// Ends a process at once.
    pub(crate) fn kill(&self, process: ProcessId) {
        self.with(|state, now| {
            state.log(now, |state| format!("{} dies", state.label(process)));
            if let Some(it) = state.processes.get_mut(process) {
                (it.dead, it.died) = (true, Some(now));
            }
            let gone: Vec<PlaceId> = state.subscriptions.keys().filter(|at| at.0 == process).cloned().collect();
            for at in gone {
                state.subscriptions.remove(&at);
                state.changed(&at.1, now);
            }
        });
    }

    /// Sends a message to everybody who is subscribed to the namespace.
    pub(crate) fn send(&self, state: &mut State, from: ProcessId, outgoing: &Outgoing, now: u64) {
        let Outgoing { namespace, message } = outgoing;
        if says_something(&message.body) {
            state.log(now, |state| format!("{} publishes in {namespace:?}: {}", state.label(from), tell(message)));
        }
        if !namespace.is_empty()
            && let Some(missing) = state.missed_by(from, namespace, now)
        {
            let (sender, missing, what) = (state.label(from), state.label(missing), tell(message));
            state.fail(now, format!("{sender} publishes after a restart, and {missing} is not back: {what}"));
        }
        let heard = |it: &&PlaceId| it.1 == *namespace;
        let room = message.body.room();
        let channel = self.route(outgoing, now).channel;
        let is_exact = |process: ProcessId| state.processes.get(process).is_some_and(|it| it.exact);
        let hears =
            |at: &PlaceId, it: &Subscription| room.is_none_or(|room| !is_exact(at.0) || it.rooms.contains(room));
        let to: Vec<(PlaceId, u64)> = state
            .subscriptions
            .iter()
            .filter(|(at, it)| heard(at) && hears(at, it) && (it.stage != Stage::Pending || now <= it.lingers))
            .map(|(at, it)| (at.clone(), it.epoch))
            .collect();
        let place = |state: &State, process: ProcessId| state.processes.get(process).map_or(usize::MAX, |it| it.place);
        for (at, epoch) in to {
            if at.0 == from && !self.setup.echo {
                continue;
            }
            if state.processes.get(at.0).is_none_or(|it| it.dead || it.deaf) {
                continue;
            }
            let other = |to: &ServerId| state.processes.get(at.0).is_some_and(|it| *it.name != *to.as_str());
            if namespace.is_empty() && message.to.as_ref().is_some_and(other) {
                continue;
            }
            let key = (place(state, from), place(state, at.0));
            let mut when = now + self.drawn(state, (at.0, &at.1), self.setup.hop);
            if let Some((more, _)) = state.slow.get(&key).filter(|(_, until)| now < *until) {
                when += more;
            }
            let base = state.last.get(&(from, at.clone(), 0)).copied().unwrap_or_default();
            let last = state.last.entry((from, at.clone(), channel)).or_default();
            *last = (*last).max(base).max(when);
            when = *last;
            let parcel = Parcel { at: at.clone(), epoch, content: Content::Message(from, Box::new(message.clone())) };
            let trailed = message.trailer.is_some() && at.0 != from;
            if trailed && namespace.is_empty() && take(&mut state.lose_alive, key) {
                continue;
            }
            if trailed && !namespace.is_empty() {
                if take(&mut state.lose, key) {
                    state.log(now, |state| format!("  it is lost on its way to {}", state.label(at.0)));
                    continue;
                }
                if take(&mut state.double, key) {
                    let later = when + self.drawn(state, (at.0, &at.1), 40);
                    self.put(state, later, parcel.clone());
                }
            }
            self.put(state, when, parcel);
        }
    }
}
