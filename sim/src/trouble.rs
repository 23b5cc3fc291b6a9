//! What happens to the servers from outside: messages of other software, and faults.

use crate::model::Asked;
use crate::network::Sim;
use crate::place::ProcessId;
use crate::plan::{Fault, QuestionKind};
use crate::random::mix;
use crate::state::{Process, Restart};
use crate::world::{World, name};
use roomcast_adapter::Room;
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Body, Message, Outgoing, RequestId, ServerId};
use roomcast_protocol::Args;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

/// How long a broker remembers that its connections were broken, once it receives again.
const OTHERS_TIME: Duration = Duration::from_secs(2);

impl World {
    pub(crate) fn foreign_sends(&self, f: usize, n: usize, body: Body) {
        let Some(process) = self.foreign.get(f).copied() else { return };
        let sender = self.sim.with(|state, _| state.processes.get(process).map(|it| ServerId::from(&*it.name)));
        let message = Message { sender, to: None, trailer: None, body };
        self.sim.with(|state, now| self.sim.send(state, process, &Outgoing { namespace: name(n), message }, now));
    }

    /// A server of other software counts, asks, and awaits as many answers for five seconds.
    pub(crate) fn foreign_asks(&mut self, f: usize, n: usize, kind: QuestionKind) {
        let number = self.next();
        let Some(process) = self.foreign.get(f).copied() else { return };
        let (sim, at) = (self.sim.clone(), (process, name(n)));
        if n >= sim.setup.namespaces.min(2) {
            return;
        }
        tokio::spawn(async move {
            let asked_at = sim.now();
            let counted = sim.with(|state, _| state.counted(&at.1));
            sleep(Duration::from_millis(sim.setup.latency)).await;
            let request = RequestId(format!("foreign-{process}-{number}").as_str().into());
            let mut target = Target::everyone();
            target.except.push(Room::from(format!("#{number}")));
            let Ok(data) = Args::event("e", &number) else { return };
            let body = match kind {
                QuestionKind::Rooms => Body::FetchRooms { request },
                QuestionKind::Ack => {
                    Body::BroadcastWithAck { request, data, target, timeout: Some(Duration::from_secs(5)) }
                }
                _ => Body::FetchSockets { request, target },
            };
            let message = Message { sender: Some("foreign".into()), to: None, trailer: None, body };
            sim.with(|state, now| sim.send(state, at.0, &Outgoing { namespace: at.1.clone(), message }, now));
            sleep(Duration::from_secs(5)).await;
            sim.with(|state, now| {
                let expected = counted.iter().filter(|it| **it != at.0).count();
                let asked = Asked { n: number, begin: asked_at, done: now, counted, stayed: true };
                asked.check_foreign(state, &sim.setup, expected);
            });
        });
    }

    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.log(|| format!("! {fault:?}"));
        let counting = matches!(fault, Fault::Count { .. });
        let time = fault.time();
        self.sim.with(|state, now| state.faults.push((now, now + time, counting)));
        let process = |s: usize| self.servers.get(s).and_then(Option::as_ref).map(|server| server.process);
        let sim = self.sim.clone();
        let after = Duration::from_millis(time);
        match *fault {
            Fault::Lose { from, to, times, alive } => self.sim.with(|state, _| {
                let table = if alive { &mut state.lose_alive } else { &mut state.lose };
                *table.entry((from, to)).or_default() += times;
            }),
            Fault::Double { from, to, times } => {
                self.sim.with(|state, _| *state.double.entry((from, to)).or_default() += times);
            }
            Fault::Slow { from, to, more, time } => self.sim.with(|state, now| {
                state.slow.insert((from, to), (more, now + time));
            }),
            Fault::Deaf { s, .. } => {
                let Some(process) = process(s) else { return };
                if sim.with(|state, _| state.processes.get(process).is_none_or(|it| it.deaf)) {
                    return;
                }
                sim.deafen(process, true);
                tokio::spawn(async move {
                    sleep(after).await;
                    sim.deafen(process, false);
                });
            }
            Fault::Mute { s, time } => {
                let Some(process) = process(s) else { return };
                // On one road, or on all roads.
                let roads = sim.setup.roads;
                let road = Some(time % (roads + 1)).filter(|road| roads > 1 && *road < roads);
                let mute = move |sim: &Sim, mute: bool| {
                    sim.with(|state, _| {
                        let Some(it) = state.processes.get_mut(process) else { return };
                        if road.is_some() {
                            it.mute_road = road.filter(|_| mute);
                        } else {
                            it.mute = mute;
                        }
                    });
                };
                mute(&sim, true);
                tokio::spawn(async move {
                    sleep(after).await;
                    mute(&sim, false);
                });
            }
            Fault::Restart { down, late, slow } => self.restart(down, late, slow),
            Fault::Publish { s, how, times } => {
                let Some(process) = process(s) else { return };
                // One such fault at a time: each batch may take seconds, and all must be over when the fault ends.
                let add = |it: &mut Process| it.publish = std::iter::repeat_n(how, times as usize).collect();
                sim.with(|state, _| state.processes.get_mut(process).into_iter().for_each(add));
            }
            Fault::Count { s, how, .. } => {
                let Some(process) = process(s) else { return };
                let set = move |sim: &Sim, how| {
                    sim.with(|state, _| state.processes.get_mut(process).into_iter().for_each(|it| it.count = how));
                };
                set(&sim, Some(how));
                tokio::spawn(async move {
                    sleep(after).await;
                    set(&sim, None);
                });
            }
        }
    }
    /// Every server loses its connections, and gets them back at times of its own.
    fn restart(&self, down: u64, late: u64, slow: u64) {
        let servers: BTreeSet<ProcessId> = self.servers.iter().flatten().map(|server| server.process).collect();
        let begun = self.sim.with(|state, now| {
            let troubled = |it: &Process| it.deaf || it.mute || it.mute_road.is_some();
            if servers.iter().filter_map(|process| state.processes.get(*process)).any(troubled) {
                return None;
            }
            for process in &servers {
                if let Some(process) = state.processes.get_mut(*process) {
                    (process.mute, process.broken_roads) = (true, (0..self.sim.setup.roads).collect());
                }
            }
            state.restart = Some(Restart { begin: now, servers: servers.clone(), away: servers.clone() });
            Some(now)
        });
        let Some(begun) = begun else { return };
        for process in servers {
            self.sim.deafen(process, true);
            let drawn = |purpose: u64| {
                let draw = mix(&[self.sim.setup.seed, begun, process as u64, purpose]);
                Duration::from_millis(down + draw % (late + 1))
            };
            let (publishes, receives) = (drawn(1), drawn(2) + Duration::from_millis(slow));
            let sim = self.sim.clone();
            tokio::spawn(async move {
                sleep(publishes).await;
                sim.with(|state, _| state.processes.get_mut(process).into_iter().for_each(|it| it.mute = false));
            });
            let sim = self.sim.clone();
            tokio::spawn(async move {
                sleep(receives).await;
                sim.with(|state, _| {
                    if let Some(restart) = &mut state.restart {
                        restart.away.remove(&process);
                    }
                });
                sim.deafen(process, false);
                sleep(OTHERS_TIME).await;
                sim.with(|state, _| {
                    state.processes.get_mut(process).into_iter().for_each(|it| it.broken_roads.clear());
                });
            });
        }
    }
}
