//! [`World`]: executes a plan, with servers of the product.

use crate::broker::SimBroker;
use crate::got::Got;
use crate::habits::answers;
use crate::model::{OwnMessage, PlaceId, ProcessId};
use crate::network::Sim;
use crate::plan::{Aim, Change, QuestionKind, StepKind};
use crate::question::Question;
use crate::random::mix;
use crate::recipient::Double;
use roomcast_adapter::cluster::{Body, Cluster, ClusterAdapter, ClusterOptions, Losses, ServerId};
use roomcast_adapter::{Action, Adapter, AdapterContext, Emit, Room, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;

/// The processes of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sim: Arc<Sim>,
    pub(crate) servers: Vec<Option<Server>>,
    ending: Vec<Option<JoinHandle<()>>>,
    pub(crate) foreign: Vec<ProcessId>,
    number: u64,
    /// What each process had lost when it ended properly.
    pub(crate) ended: Arc<parking_lot::Mutex<Vec<(ProcessId, Losses)>>>,
}

/// A process of the product.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: ProcessId,
    pub(crate) cluster: Cluster,
    pub(crate) adapters: BTreeMap<usize, Arc<ClusterAdapter>>,
    asks: Vec<AbortHandle>,
}

/// The name of a namespace.
pub(crate) fn name(n: usize) -> Arc<str> {
    if n == 0 { "/".into() } else { format!("/n{n}").as_str().into() }
}

fn names(rooms: &[u64]) -> Vec<Room> {
    rooms.iter().map(|room| Room::from(format!("r{room}"))).collect()
}

impl World {
    pub(crate) fn new(sim: &Arc<Sim>) -> Self {
        let servers: Vec<Option<Server>> = (0..sim.setup.servers).map(|_| None).collect();
        let ending = servers.iter().map(|_| None).collect();
        let mut world =
            Self { sim: sim.clone(), servers, ending, foreign: Vec::new(), number: 0, ended: Arc::default() };
        for f in 0..sim.setup.foreign {
            let process = sim.process(&format!("f{f}"), sim.setup.servers + f, true);
            world.foreign.push(process);
            for n in 0..sim.setup.namespaces.min(2) {
                sim.open_foreign(&(process, name(n)));
            }
        }
        world
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The namespace on a server and its adapter, if it is open and closing it has not begun.
    pub(crate) fn place(&self, s: usize, n: usize) -> Option<(PlaceId, Arc<ClusterAdapter>)> {
        let server = self.servers.get(s)?.as_ref()?;
        let adapter = server.adapters.get(&n)?.clone();
        let at = (server.process, name(n));
        let open = self.sim.with(|state, _| {
            let place = state.model.place(&at);
            place.present && place.open && !place.closing
        });
        open.then_some((at, adapter))
    }

    fn target(&self, at: Option<&PlaceId>, aim: &Aim, namespace: &str) -> Target {
        let mut target = Target {
            rooms: names(&aim.rooms),
            except: names(&aim.except),
            local: aim.local && at.is_some(),
            one: false,
        };
        if let Some((pick, one)) = aim.socket {
            let id = self.sim.with(|state, _| {
                let sockets: Vec<&str> = state
                    .model
                    .sockets
                    .iter()
                    .filter(|socket| *socket.at.1 == *namespace && socket.left.is_none())
                    .map(|socket| socket.id.as_str())
                    .collect();
                sockets.get(usize::try_from(pick).unwrap_or_default() % sockets.len().max(1)).map(|id| (*id).to_owned())
            });
            target.rooms = vec![Room::from(id.unwrap_or_else(|| "nobody".to_owned()))];
            target.one = one;
        }
        target
    }

    fn pick(&self, at: &PlaceId, pick: u64) -> Option<usize> {
        self.sim.with(|state, _| {
            let sockets: Vec<usize> = state.model.place(at).sockets.iter().copied().collect();
            sockets.get(usize::try_from(pick).unwrap_or_default() % sockets.len().max(1)).copied()
        })
    }

    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        self.sim.with(|state, now| state.log(now, |_| line()));
    }

    pub(crate) async fn act(&mut self, what: &StepKind) {
        match what {
            StepKind::Emit { s, n, aim, volatile, times, bytes } => self.emit(*s, *n, aim, (*volatile, *times, *bytes)),
            StepKind::Fault(fault) => self.fault(fault),
            StepKind::Start { s } => self.start(*s).await,
            what => {
                self.log(|| format!("* {what:?}"));
                self.small(what);
            }
        }
    }

    fn small(&mut self, what: &StepKind) {
        match what {
            StepKind::Stop { s } => self.stop(*s),
            StepKind::Forsake { s } => self.forsake(*s, false),
            StepKind::Kill { s } => self.forsake(*s, true),
            StepKind::Open { s, n, close } => self.open(*s, *n, *close),
            StepKind::Close { s, n, empty } => self.close(*s, *n, *empty),
            StepKind::Drop { s, n } => self.drop(*s, *n),
            StepKind::Insert { s, n, rooms } => {
                if let Some((at, adapter)) = self.place(*s, *n) {
                    self.insert(&at, &adapter, &names(rooms));
                }
            }
            StepKind::Remove { s, n, pick } => {
                let Some((at, _)) = self.place(*s, *n) else { return };
                if let Some(socket) = self.pick(&at, *pick) {
                    self.remove(socket);
                }
            }
            StepKind::Join { s, n, pick, rooms } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(socket) = self.pick(&at, *pick) else { return };
                let rooms = names(rooms);
                let id = self.sim.with(|state, _| {
                    let socket = state.model.sockets.get_mut(socket)?;
                    socket.rooms.extend(rooms.iter().map(ToString::to_string));
                    Some(socket.id)
                });
                if let Some(id) = id {
                    let _ = adapter.join(id, &rooms);
                }
            }
            StepKind::Leave { s, n, pick, room } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(socket) = self.pick(&at, *pick) else { return };
                let room = format!("r{room}");
                let id = self.sim.with(|state, _| {
                    let socket = state.model.sockets.get_mut(socket)?;
                    socket.rooms.remove(&room);
                    Some(socket.id)
                });
                if let Some(id) = id {
                    adapter.leave(id, &room);
                }
            }
            StepKind::Change { s, n, aim, change, rooms } => self.change(*s, *n, aim, *change, rooms),
            StepKind::Ask { s, n, aim, kind, timeout } => self.ask(*s, *n, aim, *kind, *timeout),
            StepKind::Event { s, n, times } => {
                for _ in 0..*times {
                    let number = self.next();
                    let Some((at, adapter)) = self.place(*s, *n) else { return };
                    let Ok(data) = Args::event("e", &number) else { return };
                    self.goes_out(&at, number);
                    let _ = adapter.server_side_emit(&data);
                }
            }
            StepKind::ForeignEmit { f, n, aim } => {
                let (number, target) = (self.next(), self.target(None, aim, &name(*n)));
                let Ok(data) = Args::event("e", &number) else { return };
                self.foreign_sends(*f, *n, Body::Broadcast { data, target, volatile: false, compress: true });
            }
            StepKind::ForeignChange { f, n, aim, change, rooms } => {
                let (number, mut target) = (self.next(), self.target(None, aim, &name(*n)));
                target.except.push(Room::from(format!("#{number}")));
                let body = body(*change, target, names(rooms));
                self.foreign_sends(*f, *n, body);
            }
            StepKind::ForeignAsk { f, n, kind } => self.foreign_asks(*f, *n, *kind),
            StepKind::Start { .. } | StepKind::Emit { .. } | StepKind::Fault(_) => {}
        }
    }

    async fn start(&mut self, s: usize) {
        if self.servers.get(s).is_none_or(Option::is_some) {
            return;
        }
        // No two processes have the same name at the same time.
        if let Some(ending) = self.ending.get_mut(s).and_then(Option::take) {
            let _ = ending.await;
        }
        self.log(|| format!("* Start {{ s: {s} }}"));
        let label = format!("s{s}");
        let process = self.sim.process(&label, s, false);
        let broker = Arc::new(SimBroker::new(self.sim.clone(), process));
        let mut options = ClusterOptions::default();
        options.max_queued_bytes = self.sim.setup.queue.unwrap_or(options.max_queued_bytes);
        let cluster = Cluster::with_id(ServerId::from(&*label), broker, options);
        let server = Server { process, cluster, adapters: BTreeMap::new(), asks: Vec::new() };
        if let Some(place) = self.servers.get_mut(s) {
            *place = Some(server);
        }
        for n in 0..self.sim.setup.namespaces.min(2) {
            self.open(s, n, 0);
        }
    }

    fn open(&mut self, s: usize, n: usize, close: u64) {
        let sim = self.sim.clone();
        let Some(server) = self.servers.get_mut(s).and_then(Option::as_mut) else { return };
        let at = (server.process, name(n));
        let (server_events, events) = mpsc::channel(1_024);
        // Before the adapter is made: what is handed over from now on is for it.
        let number = sim.with(|state, now| {
            let place = state.model.place(&at);
            place.adapters += 1;
            (place.present, place.closing, place.dropped) = (true, false, false);
            if !std::mem::replace(&mut place.open, true) {
                place.periods.push((now, None));
            }
            state.log(now, |state| format!("{} makes an adapter for {:?}", state.label(at.0), at.1));
            state.model.place(&at).adapters
        });
        let adapter = server.cluster.adapter(AdapterContext { namespace: at.1.clone(), server_events });
        tokio::spawn(hear_events(sim.clone(), at.clone(), events));
        let old = server.adapters.insert(n, adapter.clone());
        let here: Vec<(usize, Vec<Room>)> = sim.with(|state, _| {
            let sockets: Vec<usize> = state.model.place(&at).sockets.iter().copied().collect();
            let rooms = |socket: &usize| {
                state.model.sockets.get(*socket).map(|socket| socket.rooms.iter().map(Room::from).collect())
            };
            sockets.iter().map(|socket| (*socket, rooms(socket).unwrap_or_default())).collect()
        });
        for (socket, rooms) in here {
            self.remove(socket);
            self.insert(&at, &adapter, &rooms);
        }
        if let Some(old) = old {
            tokio::spawn(async move {
                sleep(Duration::from_millis(close)).await;
                end(sim, at, number - 1, old).await;
            });
        }
    }

    fn close(&mut self, s: usize, n: usize, empty: bool) {
        let Some((at, adapter)) = self.place(s, n) else { return };
        if empty {
            self.empty(&at);
        }
        let number = self.sim.with(|state, _| {
            let place = state.model.place(&at);
            place.closing = true;
            place.adapters
        });
        if let Some(server) = self.servers.get_mut(s).and_then(Option::as_mut) {
            server.adapters.remove(&n);
        }
        tokio::spawn(end(self.sim.clone(), at, number, adapter));
    }

    fn empty(&self, at: &PlaceId) {
        let sockets: Vec<usize> = self.sim.with(|state, _| state.model.place(at).sockets.iter().copied().collect());
        sockets.into_iter().for_each(|socket| self.remove(socket));
    }

    fn drop(&mut self, s: usize, n: usize) {
        let Some((at, _)) = self.place(s, n) else { return };
        self.empty(&at);
        self.sim.with(|state, now| {
            // A server that has counted it asks in vain.
            state.faults.push((now, now + 1_000, false));
            let place = state.model.place(&at);
            (place.closing, place.dropped) = (true, true);
        });
        if let Some(server) = self.servers.get_mut(s).and_then(Option::as_mut) {
            server.asks.drain(..).for_each(|ask| ask.abort());
            server.adapters.remove(&n);
        }
    }

    fn stop(&mut self, s: usize) {
        let Some(server) = self.servers.get_mut(s).and_then(Option::take) else { return };
        let Server { process, cluster, adapters, .. } = server;
        self.sim.with(|state, _| {
            let places = state.model.places.iter_mut().filter(|(at, _)| at.0 == process);
            places.for_each(|(_, place)| place.closing = true);
        });
        let (ended, sim) = (self.ended.clone(), self.sim.clone());
        let ending = tokio::spawn(async move {
            cluster.close().await;
            ended.lock().push((process, cluster.losses()));
            sim.with(|state, now| {
                state.log(now, |state| format!("{} has ended", state.label(process)));
                for ((_, namespace), subscription) in state.subscriptions.iter().filter(|(at, _)| at.0 == process) {
                    if subscription.stage == crate::state::Stage::Active {
                        state.failure.get_or_insert(format!(
                            "process {process} has ended and is still subscribed to {namespace:?}"
                        ));
                    }
                }
                if cluster.queued() > 0 {
                    state.fail(now, format!("{} messages wait after the end", cluster.queued()));
                }
                let here = state.model.places.iter_mut().filter(|(at, _)| at.0 == process);
                here.for_each(|(_, place)| place.present = false);
            });
            drop(adapters);
        });
        if let Some(place) = self.ending.get_mut(s) {
            *place = Some(ending);
        }
    }

    /// Drops a server. With `dead` it is gone at once.
    fn forsake(&mut self, s: usize, dead: bool) {
        let Some(server) = self.servers.get_mut(s).and_then(Option::take) else { return };
        server.asks.iter().for_each(AbortHandle::abort);
        let process = server.process;
        let sockets: Vec<usize> = self.sim.with(|state, now| {
            // What it had not answered yet stays unanswered.
            state.faults.push((now, now + 1_000, false));
            let places = state.model.places.iter_mut().filter(|(at, _)| at.0 == process);
            places
                .flat_map(|(_, place)| {
                    (place.closing, place.dropped) = (true, true);
                    place.sockets.iter().copied().collect::<Vec<_>>()
                })
                .collect()
        });
        if dead {
            self.sim.kill(process);
        }
        sockets.into_iter().for_each(|socket| self.remove(socket));
        drop(server);
    }

    fn insert(&self, at: &PlaceId, adapter: &Arc<ClusterAdapter>, rooms: &[Room]) {
        let seed = self.sim.setup.seed;
        let (id, double) = self.sim.with(|state, now| {
            let socket = state.model.sockets.len();
            let id = format!("{:020x}", u128::from(mix(&[seed, socket as u64, 3]) >> 16) << 16 | socket as u128)
                .parse::<SocketId>()
                .ok();
            let got = Arc::<Got>::default();
            let double = Double::new(&self.sim, seed, socket, got.clone());
            let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
            state.log(now, |state| {
                format!("{} takes socket {socket} into {:?} with rooms {rooms:?}", state.label(at.0), at.1)
            });
            if let Some(id) = id {
                state.model.insert(at, id, &rooms, got, Arc::downgrade(adapter), now);
            }
            (id, double)
        });
        let inserted = id.map(|id| adapter.insert(id, double, rooms, None));
        if !matches!(inserted, Some(Ok(()))) {
            self.sim.with(|state, now| state.fail(now, format!("insert: {inserted:?}")));
        }
    }

    fn remove(&self, socket: usize) {
        let left = self.sim.with(|state, now| {
            let result = state.model.compare_socket(socket);
            state.check(now, result);
            state.model.remove(socket, now)
        });
        if let Some((adapter, id)) = left
            && let Some(adapter) = adapter.upgrade()
        {
            adapter.remove(id);
        }
    }

    fn goes_out(&self, at: &PlaceId, n: u64) {
        self.sim.with(|state, _| {
            state.model.own_messages.insert(n, OwnMessage { process: at.0, sent: false });
        });
    }

    pub(crate) fn emit(&mut self, s: usize, n: usize, aim: &Aim, (volatile, times, bytes): (bool, u64, usize)) {
        let Some((at, adapter)) = self.place(s, n) else { return };
        let target = self.target(Some(&at), aim, &at.1);
        self.log(|| {
            format!("* s{s} emits {times} times in {:?}, {bytes} bytes, volatile {volatile}: {target:?}", at.1)
        });
        for _ in 0..times {
            let number = self.next();
            let data =
                if bytes > 0 { Args::event("e", &(number, "x".repeat(bytes))) } else { Args::event("e", &number) };
            let Ok(data) = data else { return };
            if !target.local {
                self.goes_out(&at, number);
            }
            self.sim.with(|state, _| drop(state.model.emit(&at, &target, number)));
            let emitted = adapter.apply(&target, Action::Emit(Emit { data: &data, volatile, compress: true }));
            if let Err(error) = emitted {
                self.sim.with(|state, now| state.fail(now, format!("emit: {error}")));
            }
        }
        self.sim.compare(&at);
    }

    fn change(&mut self, s: usize, n: usize, aim: &Aim, change: Change, rooms: &[u64]) {
        let number = self.next();
        let Some((at, adapter)) = self.place(s, n) else { return };
        let mut target = self.target(Some(&at), aim, &at.1);
        target.except.push(Room::from(format!("#{number}")));
        let rooms = names(rooms);
        let body = body(change, target.clone(), rooms.clone());
        if !target.local {
            self.goes_out(&at, number);
        }
        self.sim.with(|state, _| state.model.change(&at, &body));
        let action = match change {
            Change::Join => Action::Join(&rooms),
            Change::Leave => Action::Leave(&rooms),
            Change::Disconnect => Action::Disconnect { close: false },
        };
        let _ = adapter.apply(&target, action);
        self.sim.compare(&at);
    }

    pub(crate) fn ask(&mut self, s: usize, n: usize, aim: &Aim, kind: QuestionKind, timeout: u64) {
        let number = self.next();
        let Some((at, adapter)) = self.place(s, n) else { return };
        let mut target = self.target(Some(&at), aim, &at.1);
        target.except.push(Room::from(format!("#{number}")));
        let adapters = self.sim.with(|state, _| state.model.place(&at).adapters);
        let question = Question { n: number, at, kind, target, timeout, adapters };
        let asks = tokio::spawn(crate::question::ask(self.sim.clone(), adapter, question)).abort_handle();
        if let Some(server) = self.servers.get_mut(s).and_then(Option::as_mut) {
            server.asks.retain(|ask| !ask.is_finished());
            server.asks.push(asks);
        }
    }
}

fn body(change: Change, target: Target, rooms: Vec<Room>) -> Body {
    match change {
        Change::Join => Body::Join { target, rooms, request: None },
        Change::Leave => Body::Leave { target, rooms, request: None },
        Change::Disconnect => Body::Disconnect { target, close: false, request: None },
    }
}

/// Closes an adapter, and keeps it for a while as servers do.
async fn end(sim: Arc<Sim>, at: PlaceId, number: usize, adapter: Arc<ClusterAdapter>) {
    adapter.close().await;
    if adapter.open_requests() > 0 {
        sleep(Duration::from_secs(6)).await;
        if adapter.open_requests() > 0 {
            sim.with(|state, now| state.fail(now, "a closed adapter has open questions".to_owned()));
        }
    }
    sleep(Duration::from_secs(1)).await;
    sim.with(|state, _| {
        let place = state.model.place(&at);
        if place.adapters == number {
            place.present = false;
        }
    });
    drop(adapter);
}

/// The namespace's handlers of server events.
async fn hear_events(sim: Arc<Sim>, at: PlaceId, mut events: mpsc::Receiver<ServerEvent>) {
    while let Some(ServerEvent { data, reply }) = events.recv().await {
        let n = crate::model::mark_of(&data).unwrap_or(u64::MAX);
        sim.with(|state, _| state.model.place(&at).events_got.push(n));
        if let Some(reply) = reply.filter(|_| answers(sim.setup.seed, n, at.0)) {
            tokio::spawn(async move {
                sleep(Duration::from_millis(mix(&[n, 7]) % 30)).await;
                let _ = reply.send(Args::none());
            });
        }
    }
}
