//! [`World`]: does what a plan says, with servers of the product.

use crate::broker::SimBroker;
use crate::got::Got;
use crate::habits::answers;
use crate::model::{At, Node, Out};
use crate::network::Sim;
use crate::plan::{Aim, Change, Kind, What};
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

/// The processes that there are.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sim: Arc<Sim>,
    pub(crate) servers: Vec<Option<Server>>,
    ending: Vec<Option<JoinHandle<()>>>,
    pub(crate) foreign: Vec<Node>,
    number: u64,
    /// What they had lost when they ended well.
    pub(crate) ended: Arc<parking_lot::Mutex<Vec<(Node, Losses)>>>,
}

/// A process of the product.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) node: Node,
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
            let node = sim.node(&format!("f{f}"), sim.setup.servers + f, true);
            world.foreign.push(node);
            for n in 0..sim.setup.namespaces.min(2) {
                sim.open_foreign(&(node, name(n)));
            }
        }
        world
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Whether the namespace is open on the server, and its end was not asked for.
    pub(crate) fn place(&self, s: usize, n: usize) -> Option<(At, Arc<ClusterAdapter>)> {
        let server = self.servers.get(s)?.as_ref()?;
        let adapter = server.adapters.get(&n)?.clone();
        let at = (server.node, name(n));
        let open = self.sim.with(|state, _| {
            let place = state.model.place(&at);
            place.present && place.open && !place.closing
        });
        open.then_some((at, adapter))
    }

    fn target(&self, at: Option<&At>, aim: &Aim, namespace: &str) -> Target {
        let mut target = Target {
            rooms: names(&aim.rooms),
            except: names(&aim.except),
            local: aim.local && at.is_some(),
            one: false,
        };
        if let Some((pick, one)) = aim.socket {
            let id = self.sim.with(|state, _| {
                let socks: Vec<&str> = state
                    .model
                    .socks
                    .iter()
                    .filter(|sock| *sock.at.1 == *namespace && sock.left.is_none())
                    .map(|sock| sock.id.as_str())
                    .collect();
                socks.get(usize::try_from(pick).unwrap_or_default() % socks.len().max(1)).map(|id| (*id).to_owned())
            });
            target.rooms = vec![Room::from(id.unwrap_or_else(|| "nobody".to_owned()))];
            target.one = one;
        }
        target
    }

    fn pick(&self, at: &At, pick: u64) -> Option<usize> {
        self.sim.with(|state, _| {
            let socks: Vec<usize> = state.model.place(at).socks.iter().copied().collect();
            socks.get(usize::try_from(pick).unwrap_or_default() % socks.len().max(1)).copied()
        })
    }

    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        self.sim.with(|state, now| state.log(now, |_| line()));
    }

    pub(crate) async fn act(&mut self, what: &What) {
        match what {
            What::Emit { s, n, aim, volatile, times, bytes } => self.emit(*s, *n, aim, (*volatile, *times, *bytes)),
            What::Fault(fault) => self.fault(fault),
            What::Start { s } => self.start(*s).await,
            what => {
                self.log(|| format!("* {what:?}"));
                self.small(what);
            }
        }
    }

    fn small(&mut self, what: &What) {
        match what {
            What::Stop { s } => self.stop(*s),
            What::Forsake { s } => self.forsake(*s, false),
            What::Kill { s } => self.forsake(*s, true),
            What::Open { s, n, close } => self.open(*s, *n, *close),
            What::Close { s, n, empty } => self.close(*s, *n, *empty),
            What::Drop { s, n } => self.drop(*s, *n),
            What::Insert { s, n, rooms } => {
                if let Some((at, adapter)) = self.place(*s, *n) {
                    self.insert(&at, &adapter, &names(rooms));
                }
            }
            What::Remove { s, n, pick } => {
                let Some((at, _)) = self.place(*s, *n) else { return };
                if let Some(sock) = self.pick(&at, *pick) {
                    self.remove(sock);
                }
            }
            What::Join { s, n, pick, rooms } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(sock) = self.pick(&at, *pick) else { return };
                let rooms = names(rooms);
                let id = self.sim.with(|state, _| {
                    let sock = state.model.socks.get_mut(sock)?;
                    sock.rooms.extend(rooms.iter().map(ToString::to_string));
                    Some(sock.id)
                });
                if let Some(id) = id {
                    let _ = adapter.join(id, &rooms);
                }
            }
            What::Leave { s, n, pick, room } => {
                let Some((at, adapter)) = self.place(*s, *n) else { return };
                let Some(sock) = self.pick(&at, *pick) else { return };
                let room = format!("r{room}");
                let id = self.sim.with(|state, _| {
                    let sock = state.model.socks.get_mut(sock)?;
                    sock.rooms.remove(&room);
                    Some(sock.id)
                });
                if let Some(id) = id {
                    adapter.leave(id, &room);
                }
            }
            What::Change { s, n, aim, change, rooms } => self.change(*s, *n, aim, *change, rooms),
            What::Ask { s, n, aim, kind, timeout } => self.ask(*s, *n, aim, *kind, *timeout),
            What::Event { s, n, times } => {
                for _ in 0..*times {
                    let number = self.next();
                    let Some((at, adapter)) = self.place(*s, *n) else { return };
                    let Ok(data) = Args::event("e", &number) else { return };
                    self.goes_out(&at, number);
                    let _ = adapter.server_side_emit(&data);
                }
            }
            What::ForeignEmit { f, n, aim } => {
                let (number, target) = (self.next(), self.target(None, aim, &name(*n)));
                let Ok(data) = Args::event("e", &number) else { return };
                self.foreign_sends(*f, *n, Body::Broadcast { data, target, volatile: false, compress: true });
            }
            What::ForeignChange { f, n, aim, change, rooms } => {
                let (number, mut target) = (self.next(), self.target(None, aim, &name(*n)));
                target.except.push(Room::from(format!("#{number}")));
                let body = body(*change, target, names(rooms));
                self.foreign_sends(*f, *n, body);
            }
            What::ForeignAsk { f, n, kind } => self.foreign_asks(*f, *n, *kind),
            What::Start { .. } | What::Emit { .. } | What::Fault(_) => {}
        }
    }

    async fn start(&mut self, s: usize) {
        if self.servers.get(s).is_none_or(Option::is_some) {
            return;
        }
        // Two processes never have one name at the same time.
        if let Some(ending) = self.ending.get_mut(s).and_then(Option::take) {
            let _ = ending.await;
        }
        self.log(|| format!("* Start {{ s: {s} }}"));
        let label = format!("s{s}");
        let node = self.sim.node(&label, s, false);
        let broker = Arc::new(SimBroker::new(self.sim.clone(), node));
        let mut options = ClusterOptions::default();
        options.max_queued_bytes = self.sim.setup.queue.unwrap_or(options.max_queued_bytes);
        let cluster = Cluster::with_id(ServerId::from(&*label), broker, options);
        let server = Server { node, cluster, adapters: BTreeMap::new(), asks: Vec::new() };
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
        let at = (server.node, name(n));
        let (server_events, events) = mpsc::channel(1_024);
        // Before: what is handed over from now on is for it.
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
            let socks: Vec<usize> = state.model.place(&at).socks.iter().copied().collect();
            let rooms =
                |sock: &usize| state.model.socks.get(*sock).map(|sock| sock.rooms.iter().map(Room::from).collect());
            socks.iter().map(|sock| (*sock, rooms(sock).unwrap_or_default())).collect()
        });
        for (sock, rooms) in here {
            self.remove(sock);
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

    fn empty(&self, at: &At) {
        let socks: Vec<usize> = self.sim.with(|state, _| state.model.place(at).socks.iter().copied().collect());
        socks.into_iter().for_each(|sock| self.remove(sock));
    }

    fn drop(&mut self, s: usize, n: usize) {
        let Some((at, _)) = self.place(s, n) else { return };
        self.empty(&at);
        self.sim.with(|state, now| {
            // Who counted it asks in vain.
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
        let Server { node, cluster, adapters, .. } = server;
        self.sim.with(|state, _| {
            let places = state.model.places.iter_mut().filter(|(at, _)| at.0 == node);
            places.for_each(|(_, place)| place.closing = true);
        });
        let (ended, sim) = (self.ended.clone(), self.sim.clone());
        let ending = tokio::spawn(async move {
            cluster.close().await;
            ended.lock().push((node, cluster.losses()));
            sim.with(|state, now| {
                state.log(now, |state| format!("{} has ended", state.label(node)));
                for ((_, namespace), subscription) in state.subscriptions.iter().filter(|(at, _)| at.0 == node) {
                    if subscription.stage == crate::state::Stage::Active {
                        state.failure.get_or_insert(format!("node {node} has ended and hears {namespace:?} still"));
                    }
                }
                if cluster.queued() > 0 {
                    state.fail(now, format!("{} messages wait after the end", cluster.queued()));
                }
                let here = state.model.places.iter_mut().filter(|(at, _)| at.0 == node);
                here.for_each(|(_, place)| place.present = false);
            });
            drop(adapters);
        });
        if let Some(place) = self.ending.get_mut(s) {
            *place = Some(ending);
        }
    }

    /// Drops a server; `dead`: it is gone at once.
    fn forsake(&mut self, s: usize, dead: bool) {
        let Some(server) = self.servers.get_mut(s).and_then(Option::take) else { return };
        server.asks.iter().for_each(AbortHandle::abort);
        let node = server.node;
        let socks: Vec<usize> = self.sim.with(|state, now| {
            // What it had not answered yet it does not.
            state.faults.push((now, now + 1_000, false));
            let places = state.model.places.iter_mut().filter(|(at, _)| at.0 == node);
            places
                .flat_map(|(_, place)| {
                    (place.closing, place.dropped) = (true, true);
                    place.socks.iter().copied().collect::<Vec<_>>()
                })
                .collect()
        });
        if dead {
            self.sim.kill(node);
        }
        socks.into_iter().for_each(|sock| self.remove(sock));
        drop(server);
    }

    fn insert(&self, at: &At, adapter: &Arc<ClusterAdapter>, rooms: &[Room]) {
        let seed = self.sim.setup.seed;
        let (id, double) = self.sim.with(|state, now| {
            let sock = state.model.socks.len();
            let id = format!("{:020x}", u128::from(mix(&[seed, sock as u64, 3]) >> 16) << 16 | sock as u128)
                .parse::<SocketId>()
                .ok();
            let got = Arc::<Got>::default();
            let double = Double::new(&self.sim, seed, sock, got.clone());
            let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
            state.log(now, |state| {
                format!("{} takes socket {sock} into {:?} with rooms {rooms:?}", state.label(at.0), at.1)
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

    fn remove(&self, sock: usize) {
        let left = self.sim.with(|state, now| {
            let result = state.model.compare_socket(sock);
            state.check(now, result);
            state.model.remove(sock, now)
        });
        if let Some((adapter, id)) = left
            && let Some(adapter) = adapter.upgrade()
        {
            adapter.remove(id);
        }
    }

    fn goes_out(&self, at: &At, n: u64) {
        self.sim.with(|state, _| {
            state.model.outs.insert(n, Out { node: at.0, sent: false });
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

    pub(crate) fn ask(&mut self, s: usize, n: usize, aim: &Aim, kind: Kind, timeout: u64) {
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

/// An adapter is closed, and kept for a while as servers do.
async fn end(sim: Arc<Sim>, at: At, number: usize, adapter: Arc<ClusterAdapter>) {
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
async fn hear_events(sim: Arc<Sim>, at: At, mut events: mpsc::Receiver<ServerEvent>) {
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
