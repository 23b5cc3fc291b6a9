//! [`World`]: executes a plan, with servers of the product.

use crate::got::Got;
use crate::model::OwnMessage;
use crate::network::Sim;
use crate::place::{PlaceId, ProcessId};
use crate::plan::{Aim, Change, QuestionKind};
use crate::question::Question;
use crate::random::mix;
use crate::recipient::{Double, welcome};
use roomcast_adapter::cluster::{Body, Cluster, ClusterAdapter, Losses};
use roomcast_adapter::{Action, Adapter, Emit, RecoverySpace, Room, Target};
use roomcast_protocol::{Args, Pid, SocketId};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinHandle};

/// The processes of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sim: Arc<Sim>,
    pub(crate) servers: Vec<Option<Server>>,
    pub(crate) ending: Vec<Option<JoinHandle<()>>>,
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
    pub(crate) asks: Vec<AbortHandle>,
    /// If clients that come back continue their sessions.
    pub(crate) space: Option<Arc<RecoverySpace>>,
}

/// The name of a namespace.
pub(crate) fn name(n: usize) -> Arc<str> {
    if n == 0 { "/".into() } else { format!("/n{n}").as_str().into() }
}

pub(crate) fn names(rooms: &[u64]) -> Vec<Room> {
    rooms.iter().map(|room| Room::from(format!("r{room}"))).collect()
}

impl World {
    pub(crate) fn new(sim: &Arc<Sim>) -> Self {
        let servers: Vec<Option<Server>> = (0..sim.setup.servers).map(|_| None).collect();
        let ending = servers.iter().map(|_| None).collect();
        let mut world =
            Self { sim: sim.clone(), servers, ending, foreign: Vec::new(), number: 0, ended: Arc::default() };
        for f in 0..sim.setup.foreign {
            let process = sim.join(&format!("f{f}"), sim.setup.servers + f, true);
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

    pub(crate) fn target(&self, at: Option<&PlaceId>, aim: &Aim, namespace: &str) -> Target {
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
                let kept =
                    state.model.sessions.iter().filter(|session| *session.at.1 == *namespace && session.is_kept());
                let sockets: Vec<&str> = sockets.into_iter().chain(kept.map(|session| session.id.as_str())).collect();
                sockets.get(usize::try_from(pick).unwrap_or_default() % sockets.len().max(1)).map(|id| (*id).to_owned())
            });
            target.rooms = vec![Room::from(id.unwrap_or_else(|| "nobody".to_owned()))];
            target.one = one;
        }
        target
    }

    pub(crate) fn pick(&self, at: &PlaceId, pick: u64) -> Option<usize> {
        self.sim.with(|state, _| {
            let sockets: Vec<usize> = state.model.place(at).sockets.iter().copied().collect();
            sockets.get(usize::try_from(pick).unwrap_or_default() % sockets.len().max(1)).copied()
        })
    }

    pub(crate) fn log(&self, line: impl FnOnce() -> String) {
        self.sim.with(|state, now| state.log(now, |_| line()));
    }

    pub(crate) fn remove(&self, socket: usize) {
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

    pub(crate) fn goes_out(&self, at: &PlaceId, n: u64) {
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
            self.sim.with(|state, now| drop(state.model.emit(&at, &target, number, (!volatile).then_some(now))));
            let emitted = adapter.apply(&target, Action::Emit(Emit { data: &data, volatile, compress: true }));
            if let Err(error) = emitted {
                self.sim.with(|state, now| state.fail(now, format!("emit: {error}")));
            }
        }
        self.sim.compare(&at);
    }

    pub(crate) fn change(&mut self, s: usize, n: usize, aim: &Aim, change: Change, rooms: &[u64]) {
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

impl Sim {
    /// A socket enters a namespace. `offset`: the last one that its client has received, of an earlier session.
    pub(crate) fn insert(
        self: &Arc<Self>,
        at: &PlaceId,
        adapter: &Arc<ClusterAdapter>,
        rooms: &[Room],
        offset: Option<String>,
    ) {
        let seed = self.setup.seed;
        let pid = Pid::random().ok().filter(|_| self.setup.recovery.is_some());
        let (id, double) = self.with(|state, now| {
            let socket = state.model.sockets.len();
            let id = format!("{:020x}", u128::from(mix(&[seed, socket as u64, 3]) >> 16) << 16 | socket as u128)
                .parse::<SocketId>()
                .ok();
            let got = Arc::<Got>::default();
            let double = Double::new(self, seed, socket, got.clone());
            let rooms: Vec<String> = rooms.iter().map(ToString::to_string).collect();
            state.log(now, |state| {
                format!("{} takes socket {socket} into {:?} with rooms {rooms:?}", state.label(at.0), at.1)
            });
            if let Some(id) = id {
                state.model.insert(at, id, &rooms, got, Arc::downgrade(adapter), now);
                if let Some(pid) = pid {
                    state.model.begin_session(pid, offset);
                }
            }
            (id, double)
        });
        let inserted = id.map(|id| match pid.zip(adapter.recovery()) {
            Some((pid, recovery)) => recovery.begin(pid, id, double, rooms, welcome(&at.1).as_ref()),
            None => adapter.insert(id, double, rooms, None),
        });
        if !matches!(inserted, Some(Ok(()))) {
            self.with(|state, now| state.fail(now, format!("insert: {inserted:?}")));
        }
    }
}

pub(crate) fn body(change: Change, target: Target, rooms: Vec<Room>) -> Body {
    match change {
        Change::Join => Body::Join { target, rooms, request: None },
        Change::Leave => Body::Leave { target, rooms, request: None },
        Change::Disconnect => Body::Disconnect { target, close: false, request: None },
    }
}
