//! How servers and their adapters start and end.

use crate::broker::SimBroker;
use crate::comeback;
use crate::habits::answers;
use crate::network::Sim;
use crate::place::PlaceId;
use crate::random::mix;
use crate::state::Stage;
use crate::world::{Server, World, name};
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions, ServerId};
use roomcast_adapter::{Adapter, AdapterContext, Room, ServerEvent};
use roomcast_protocol::Args;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

impl World {
    pub(crate) async fn start(&mut self, s: usize) {
        if self.servers.get(s).is_none_or(Option::is_some) {
            return;
        }
        // No two processes have the same name at the same time.
        if let Some(ending) = self.ending.get_mut(s).and_then(Option::take) {
            let _ = ending.await;
        }
        self.sim.with(|state, now| state.turnover = now);
        self.log(|| format!("* Start {{ s: {s} }}"));
        let label = format!("s{s}");
        let process = self.sim.join(&label, s, false);
        let broker = Arc::new(SimBroker::new(self.sim.clone(), process));
        let mut options = ClusterOptions::default();
        options.max_queued_bytes = self.sim.setup.queue.unwrap_or(options.max_queued_bytes);
        let cluster = Cluster::with_id(ServerId::from(&*label), broker, options);
        let space = self.sim.setup.recovery.map(comeback::space);
        let server = Server { process, cluster, adapters: BTreeMap::new(), asks: Vec::new(), space };
        if let Some(place) = self.servers.get_mut(s) {
            *place = Some(server);
        }
        for n in 0..self.sim.setup.namespaces.min(2) {
            self.open(s, n, 0);
        }
    }

    pub(crate) fn open(&mut self, s: usize, n: usize, close: u64) {
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
        let context = AdapterContext::new(at.1.clone(), server_events).with_recovery(server.space.clone());
        let adapter = server.cluster.adapter(context);
        if server.space.is_some() {
            tokio::spawn(sim.clone().sweep(at.clone(), number, Arc::downgrade(&adapter)));
        }
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
            sim.insert(&at, &adapter, &rooms, None);
        }
        if let Some(old) = old {
            tokio::spawn(async move {
                sleep(Duration::from_millis(close)).await;
                end(sim, at, number - 1, old).await;
            });
        }
    }

    pub(crate) fn close(&mut self, s: usize, n: usize, empty: bool) {
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

    pub(crate) fn empty(&self, at: &PlaceId) {
        let sockets: Vec<usize> = self.sim.with(|state, _| state.model.place(at).sockets.iter().copied().collect());
        sockets.into_iter().for_each(|socket| self.remove(socket));
    }

    pub(crate) fn drop(&mut self, s: usize, n: usize) {
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

    pub(crate) fn stop(&mut self, s: usize) {
        let Some(server) = self.servers.get_mut(s).and_then(Option::take) else { return };
        let Server { process, cluster, adapters, .. } = server;
        self.sim.with(|state, now| {
            state.turnover = now;
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
                    if subscription.stage == Stage::Active {
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
    pub(crate) fn forsake(&mut self, s: usize, dead: bool) {
        let Some(server) = self.servers.get_mut(s).and_then(Option::take) else { return };
        server.asks.iter().for_each(AbortHandle::abort);
        let process = server.process;
        let sockets: Vec<usize> = self.sim.with(|state, now| {
            state.turnover = now;
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
        let n = crate::mark::mark_of(&data).unwrap_or(u64::MAX);
        sim.with(|state, _| state.model.place(&at).events_got.push(n));
        if let Some(reply) = reply.filter(|_| answers(sim.setup.seed, n, at.0)) {
            tokio::spawn(async move {
                sleep(Duration::from_millis(mix(&[n, 7]) % 30)).await;
                let _ = reply.send(Args::none());
            });
        }
    }
}
