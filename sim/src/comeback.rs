//! Clients that lose their connections and come back, to the server that has their session or to another one.

use crate::got::Got;
use crate::mark::WELCOME;
use crate::network::Sim;
use crate::place::PlaceId;
use crate::recipient::{Double, welcome};
use crate::session::{Away, KEPT, LOGGED};
use crate::world::World;
use roomcast_adapter::cluster::ClusterAdapter;
use roomcast_adapter::{Adapter, Emit, NotRecovered, RecoveryBounds, RecoverySpace, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a server ends the sessions whose time is over, in milliseconds.
const SWEEP: u64 = 300;

/// Space for the sessions of a server, with at most so many events in the log of a namespace.
pub(crate) fn space(packets: usize) -> Arc<RecoverySpace> {
    let mut bounds = RecoveryBounds::default();
    bounds.max_disconnection = Duration::from_millis(KEPT);
    bounds.age = Duration::from_millis(LOGGED);
    bounds.packets = packets;
    RecoverySpace::new(bounds)
}

fn data(id: SocketId) -> String {
    format!(r#"{{"of":"{id}"}}"#)
}

impl World {
    /// A client's connection breaks; the server notices `after` ms.
    pub(crate) fn cut(&self, s: usize, n: usize, pick: u64, (lost, after): (usize, u64)) {
        let Some((at, _)) = self.place(s, n) else { return };
        let Some(socket) = self.pick(&at, pick) else { return };
        if !self.sim.with(|state, _| state.model.cut(socket, lost)) {
            return;
        }
        self.log(|| format!("  it is socket {socket}"));
        self.sim.clone().lose(socket, after);
    }

    /// A client that is away comes to a server.
    pub(crate) fn come_back(&mut self, s: usize, n: usize, pick: u64, (think, gives_up): (u64, bool)) {
        let Some((at, adapter)) = self.place(s, n) else { return };
        let attempt = self.sim.with(|state, _| {
            let model = &mut state.model;
            let here = |away: &&Away| model.sessions.get(away.session).is_some_and(|session| session.at.1 == at.1);
            let away: Vec<Away> = model.away.iter().filter(here).cloned().collect();
            let away = away.get(usize::try_from(pick).unwrap_or_default() % away.len().max(1)).cloned()?;
            let adapter = model.place(&at).adapters;
            Some((away, adapter))
        });
        let Some((away, number)) = attempt else { return };
        self.log(|| format!("  it is the client of session {}", away.session));
        let attempt = Attempt { at, away, number, think, gives_up };
        let task = tokio::spawn(attempt.run(self.sim.clone(), adapter)).abort_handle();
        if let Some(server) = self.servers.get_mut(s).and_then(Option::as_mut) {
            server.asks.push(task);
        }
    }

    /// A server emits to one of its sockets, which may be away.
    pub(crate) fn emit_own(&mut self, s: usize, n: usize, pick: u64) {
        let number = self.next();
        let Some((at, adapter)) = self.place(s, n) else { return };
        let Some(recovery) = adapter.recovery() else { return };
        let id = self.sim.with(|state, now| {
            let model = &mut state.model;
            let place = model.places.get(&at)?;
            let live = place.sockets.iter().filter_map(|socket| Some(model.sockets.get(*socket)?.id));
            // Sessions of an earlier adapter are lost.
            let kept = place.kept.iter().filter_map(|kept| model.sessions.get(*kept));
            let kept = kept.filter(|session| model.is_there(session)).map(|session| session.id);
            let ids: Vec<SocketId> = live.chain(kept).collect();
            let id = *ids.get(usize::try_from(pick).unwrap_or_default() % ids.len().max(1))?;
            model.emit(&at, &Target::socket(id), number, Some(now));
            Some(id)
        });
        let (Some(id), Ok(data)) = (id, Args::event("e", &number)) else { return };
        let emitted = recovery.emit_to(id, Emit::of(&data));
        if emitted != Ok(true) {
            self.sim.with(|state, now| state.fail(now, format!("emit_to: {emitted:?}")));
        }
        self.sim.compare(&at);
    }
}

impl Sim {
    /// A server notices that it has lost a client's connection, `after` ms.
    pub(crate) fn lose(self: Arc<Self>, socket: usize, after: u64) {
        if after == 0 {
            return self.keep(socket);
        }
        tokio::spawn(async move {
            sleep(Duration::from_millis(after)).await;
            self.keep(socket);
        });
    }

    /// Keeps the session of a socket.
    pub(crate) fn keep(&self, socket: usize) {
        let kept = self.with(|state, now| {
            let result = state.model.compare_socket(socket);
            state.check(now, result);
            let found = state.model.remove(socket, now)?;
            state.model.keep(socket, now);
            state.log(now, |_| format!("the session of socket {socket} is kept"));
            Some(found)
        });
        let Some((adapter, id)) = kept else { return };
        let Some(adapter) = adapter.upgrade() else { return };
        let saved = adapter.recovery().map(|recovery| recovery.save(id, &data(id)));
        if saved != Some(true) {
            self.with(|state, now| state.fail(now, format!("save: {saved:?}")));
        }
    }

    /// Ends the sessions of an adapter whose time is over, as long as it is there.
    pub(crate) async fn sweep(self: Arc<Self>, at: PlaceId, number: usize, adapter: Weak<ClusterAdapter>) {
        loop {
            sleep(Duration::from_millis(SWEEP)).await;
            let Some(adapter) = adapter.upgrade() else { return };
            let Some(recovery) = adapter.recovery() else { return };
            let swept = recovery.sweep(Instant::now());
            let ended: Vec<(SocketId, NotRecovered)> =
                swept.ended.iter().map(|(session, why)| (session.id, *why)).collect();
            self.with(|state, now| {
                let result = state.model.swept((&at, number), &ended, now);
                state.check(now, result);
            });
        }
    }
}

/// A client that comes back.
#[derive(Debug)]
struct Attempt {
    at: PlaceId,
    away: Away,
    /// The number of the adapter that it comes to.
    number: usize,
    /// How long the server looks at the client before it continues the session.
    think: u64,
    /// The server refuses the client then, or its new connection breaks.
    gives_up: bool,
}

/// A claimed session. It is given back if this is dropped, also by the end of the task.
struct Claim<'a>(&'a Sim, Option<usize>);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.1 {
            self.0.with(|state, _| state.model.give_back(session));
        }
    }
}

impl Attempt {
    async fn run(self, sim: Arc<Sim>, adapter: Arc<ClusterAdapter>) {
        let Self { at, away, number, think, gives_up } = &self;
        let Some(recovery) = adapter.recovery() else { return };
        let (begin, session) = sim
            .with(|state, now| (now, state.model.sessions.get(away.session).map(|session| (session.pid, session.id))));
        let Some((pid, id)) = session else { return };
        let found = recovery.find(pid, away.knows.offset.as_deref()).await;
        let counts = sim.with(|state, now| {
            let what = found.as_ref().map(drop).map_err(|why| *why);
            state.log(now, |_| format!("looking for session {} gives {what:?}", away.session));
            let result = state.model.found((away, at, *number), what, (begin, now));
            let counts = *result.as_ref().unwrap_or(&false);
            state.check(now, result.map(drop));
            counts
        });
        if !counts || !self.is_there(&sim) {
            return;
        }
        let Ok(found) = found else { return self.begin_anew(&sim, &adapter) };
        if found.id() != id || found.data() != data(id) {
            sim.with(|state, now| state.fail(now, format!("found the wrong session: {found:?}, {}", found.data())));
        }
        let mut claim = Claim(&sim, Some(away.session));
        sleep(Duration::from_millis(*think)).await;
        if *gives_up || !self.is_there(&sim) {
            return;
        }
        let (socket, got) = (sim.with(|state, _| state.model.sockets.len()), Arc::<Got>::default());
        let double = Double::new(&sim, sim.setup.seed, socket, got.clone());
        // From here on nothing else runs until the model knows.
        let entered = recovery.enter(found, double, welcome(&at.1).as_ref()).await;
        claim.1 = None;
        let again = sim.with(|state, now| match entered {
            Ok(()) => {
                state.model.insert(at, id, &[], got, Arc::downgrade(&adapter), now);
                let missed = state.model.continued(away);
                state.log(now, |_| {
                    format!("socket {socket} continues session {}, which has missed {missed:?}", away.session)
                });
                if let Some(socket) = state.model.sockets.last_mut() {
                    socket.expected = missed;
                    socket.expected.push(WELCOME);
                }
                let result = state.model.compare_socket(socket);
                state.check(now, result);
                false
            }
            Err(why) => {
                let may_be = why == NotRecovered::Gone && state.model.may_end_as_gone(away, now);
                if !may_be {
                    state.fail(now, format!("session {} was found and is not continued: {why:?}", away.session));
                }
                state.model.end(away.session, why);
                true
            }
        });
        if again {
            self.begin_anew(&sim, &adapter);
        }
    }

    /// Whether the adapter is still the one that counts.
    fn is_there(&self, sim: &Sim) -> bool {
        sim.with(|state, _| {
            let place = state.model.place(&self.at);
            place.present && place.open && !place.closing && place.adapters == self.number
        })
    }

    /// The client gets a new session, and keeps the last offset of the one before.
    fn begin_anew(&self, sim: &Arc<Sim>, adapter: &Arc<ClusterAdapter>) {
        let still_away = sim.with(|state, _| {
            let away = state.model.away.iter().any(|away| away.session == self.away.session);
            state.model.back(self.away.session);
            away
        });
        if still_away {
            sim.insert(&self.at, adapter, &[], self.away.knows.offset.clone());
        }
    }
}
