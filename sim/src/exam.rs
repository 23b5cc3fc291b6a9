//! A run: the plan, a time in which everything must recover, the final checks, and the end.

use crate::network::Sim;
use crate::plan::{Aim, Plan, QuestionKind, StepKind};
use crate::state::State;
use crate::world::World;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::ClusterAdapter;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, sleep_until};

/// Everything has recovered this long after the last fault: silent servers are removed after 10 s.
const RECOVERY: u64 = 12_000;

/// Two announcements longer than the last message takes, and longer than other software waits for answers.
const SETTLING: u64 = 6_500;

/// How long an announcement waits for messages that it overtook (the product's `SETTLE`).
const SETTLE: u64 = 500;

/// The result of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// What happened, if it was recorded.
    pub lines: Vec<String>,
    /// Its length in milliseconds of virtual time.
    pub time: u64,
}

/// Runs a plan.
pub fn run(plan: &Plan, record: bool) -> Report {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(play(plan, record)),
        Err(error) => Report { failure: Some(format!("no runtime: {error}")), ..Report::default() },
    }
}

fn failed(sim: &Sim) -> bool {
    sim.with(|state, _| state.failure.is_some())
}

async fn play(plan: &Plan, record: bool) -> Report {
    let sim = Sim::new(plan.setup.clone(), record);
    let delivering = tokio::spawn(sim.clone().deliver());
    let mut world = World::new(&sim);
    for step in &plan.steps {
        sleep_until(sim.begin + Duration::from_millis(step.at)).await;
        if failed(&sim) {
            break;
        }
        world.act(&step.what).await;
    }
    if !failed(&sim) {
        let last = sim.with(|state, now| state.faults.iter().map(|(_, until, _)| *until).max().unwrap_or(0).max(now));
        // A server that was dropped may be kept alive by its last answers for seconds, which counts as a fault, too.
        let recovery =
            if sim.with(|state, _| plan.setup.faults || !state.faults.is_empty()) { RECOVERY } else { 3_000 };
        sleep_until(sim.begin + Duration::from_millis(last + recovery)).await;
        finish(&sim, &mut world).await;
    }
    delivering.abort();
    let report = sim.with(|state, now| Report {
        failure: state.failure.take(),
        lines: state.lines.take().unwrap_or_default(),
        time: now,
    });
    drop(world);
    report
}

async fn finish(sim: &Arc<Sim>, world: &mut World) {
    sim.with(|state, now| {
        state.log(now, |_| "everything must be right".to_owned());
        // Messages that were to be lost and are not sent yet will not be lost.
        state.lose.clear();
        state.lose_alive.clear();
        state.double.clear();
        state.processes.iter_mut().for_each(|process| process.publish.clear());
    });
    check_members(sim, world);
    let places: Vec<(usize, usize)> = (0..world.servers.len())
        .flat_map(|s| (0..sim.setup.namespaces).map(move |n| (s, n)))
        .filter(|(s, n)| world.place(*s, *n).is_some())
        .collect();
    let room = Aim { rooms: vec![0], ..Aim::default() };
    for (s, n) in &places {
        world.emit(*s, *n, &Aim::default(), (false, 1, 0));
        world.emit(*s, *n, &room, (false, 1, 0));
        for kind in [QuestionKind::Sockets, QuestionKind::Ack, QuestionKind::Servers] {
            world.ask(*s, *n, &Aim::default(), kind, 5_000);
        }
    }
    sleep(Duration::from_millis(SETTLING)).await;
    check_members(sim, world);
    check_losses(sim, world);
    check_idle(sim, world, &places);
    for (index, (s, n)) in places.iter().enumerate() {
        if (sim.setup.seed + index as u64).is_multiple_of(3) {
            world.act(&StepKind::Close { s: *s, n: *n, empty: index % 2 == 0 }).await;
        }
    }
    for s in 0..world.servers.len() {
        world.act(&StepKind::Stop { s }).await;
    }
    sleep(Duration::from_secs(10)).await;
    check_end(sim, world);
}

fn fail(sim: &Sim, why: String) {
    sim.with(|state, now| state.fail(now, why));
}

/// Checks that each server knows exactly the others.
fn check_members(sim: &Sim, world: &World) {
    let lives = || world.servers.iter().flatten();
    for server in lives() {
        let mut known: Vec<String> = server.cluster.servers().iter().map(ToString::to_string).collect();
        known.sort();
        let mut others: Vec<String> =
            lives().filter(|it| it.process != server.process).map(|it| it.cluster.id().to_string()).collect();
        others.sort();
        if known != others {
            fail(sim, format!("{} knows {known:?}, and there are {others:?}", server.cluster.id()));
        }
    }
}

/// Checks that exactly what was lost was counted, and what was doubled.
fn check_losses(sim: &Sim, world: &World) {
    let alive: BTreeSet<usize> = world.servers.iter().flatten().map(|server| server.process).collect();
    for server in world.servers.iter().flatten() {
        let losses = server.cluster.losses();
        let process = server.process;
        let (least, most) = sim.with(|state, _| {
            let exact = state.processes.get(process).is_some_and(|it| it.exact);
            state.model.lost((process, exact), SETTLE, |it| alive.contains(&it), |it| dropped_by(state, world, it))
        });
        let label = sim.with(|state, _| state.label(process));
        if losses.lost < least || losses.lost > most {
            fail(sim, format!("{label} counts {} as lost, and it is {least} at least and {most} at most", losses.lost));
        }
        let doubles = sim.with(|state, _| state.model.doubles.get(&process).copied().unwrap_or_default());
        let maybe = sim.with(|state, _| state.model.maybe_doubles.get(&process).copied().unwrap_or_default());
        if !(doubles..=doubles + maybe).contains(&losses.doubles) {
            fail(sim, format!("{label} counts {} doubles of {doubles}, and of {maybe} more", losses.doubles));
        }
        check_dropped(sim, process, losses.dropped);
    }
    for (process, losses) in world.ended.lock().iter() {
        check_dropped(sim, *process, losses.dropped);
    }
}

/// What a process says that it dropped. Of a process that died, only what it was told to send is known.
fn dropped_by(state: &State, world: &World, process: usize) -> u64 {
    let lives =
        world.servers.iter().flatten().find(|server| server.process == process).map(|server| server.cluster.losses());
    let ended = world.ended.lock().iter().find(|(it, _)| *it == process).map(|(_, losses)| *losses);
    // Whether its questions went out is not known.
    let asked = || state.asked.get(&process).copied().unwrap_or_default();
    let unsent =
        || state.model.own_messages.values().filter(|out| out.process == process && !out.sent).count() as u64 + asked();
    lives.or(ended).map_or_else(unsent, |losses| losses.dropped)
}

/// Checks that what did not go out was counted.
fn check_dropped(sim: &Sim, process: usize, dropped: u64) {
    sim.with(|state, now| {
        let unsent = state.model.own_messages.values().filter(|out| out.process == process && !out.sent).count() as u64;
        // Questions may be dropped too, but are not among these.
        let faults = !state.faults.is_empty() || sim.setup.queue.is_some();
        if dropped < unsent || (!faults && dropped > 0) {
            let label = state.label(process);
            state.fail(now, format!("{label} counts {dropped} as dropped, and {unsent} did not go out"));
        }
    });
}

/// Checks that nothing waits.
fn check_idle(sim: &Sim, world: &World, places: &[(usize, usize)]) {
    for (s, server) in world.servers.iter().enumerate() {
        let Some(server) = server else { continue };
        if server.cluster.queued() > 0 {
            fail(sim, format!("{} messages of {} wait", server.cluster.queued(), server.cluster.id()));
        }
        if let Some(kept) = server.space.as_ref().map(|space| space.sessions()).filter(|kept| *kept > 0) {
            fail(sim, format!("{} keeps {kept} sessions", server.cluster.id()));
        }
        let open = 2 * places.iter().filter(|(it, _)| *it == s).count();
        if server.cluster.numbered() > open {
            fail(
                sim,
                format!(
                    "{} has numbers of {} series, and {open} are possible",
                    server.cluster.id(),
                    server.cluster.numbered()
                ),
            );
        }
        for adapter in server.adapters.values() {
            check_rooms(sim, server.process, adapter);
            if adapter.open_requests() > 0 {
                fail(sim, format!("{} questions of {} are open", adapter.open_requests(), server.cluster.id()));
            }
        }
    }
    sim.with(|state, now| {
        let reached = |n: &u64, process: &usize| {
            state.model.answers.get(n).is_some_and(|all| all.iter().any(|it| it.process == *process))
        };
        let lacking = state.must_reach.iter().find(|(n, asked, namespace, all)| {
            asked.must_reach(state, namespace) && !all.iter().all(|process| reached(n, process))
        });
        let lacking = lacking.map(|(n, _, _, all)| format!("question #{n} did not reach all of {all:?}"));
        let wrong = lacking.or_else(|| wrong_events(state));
        if let Some(wrong) = wrong {
            state.fail(now, wrong);
        }
    });
}

/// Checks that where rooms are subscribed one by one, exactly those with members are.
fn check_rooms(sim: &Sim, process: usize, adapter: &ClusterAdapter) {
    let namespace = adapter.local().namespace();
    let wanted: BTreeSet<Room> = adapter.local().rooms().into_iter().collect();
    sim.with(|state, now| {
        let exact = state.processes.get(process).is_some_and(|it| it.exact);
        let Some(subscription) = state.subscriptions.get(&(process, namespace.into())).filter(|_| exact) else {
            return;
        };
        if subscription.rooms != wanted {
            let why = format!(
                "{} is subscribed to the rooms {:?}, and has {wanted:?}",
                state.label(process),
                subscription.rooms
            );
            state.fail(now, why);
        }
    });
}

/// Checks that exactly the expected server events arrived.
fn wrong_events(state: &State) -> Option<String> {
    let places = state.model.places.iter();
    places.filter(|(at, _)| state.processes.get(at.0).is_some_and(|it| !it.dead)).find_map(|(at, place)| {
        let same = place.unsure || place.events == place.events_got;
        (!same).then(|| {
            format!(
                "{} in {:?} must have had the events {:?}, and had {:?}",
                state.label(at.0),
                at.1,
                place.events,
                place.events_got
            )
        })
    })
}

/// The checks after the end of all servers.
fn check_end(sim: &Sim, world: &World) {
    if failed(sim) {
        return;
    }
    for (process, losses) in world.ended.lock().iter() {
        check_dropped(sim, *process, losses.dropped);
    }
    let left = sim.with(|state, _| {
        let ours = state.subscriptions.iter().filter(|(at, it)| {
            !state.processes.get(at.0).is_none_or(|it| it.foreign) && it.stage == crate::state::Stage::Active
        });
        ours.map(|(at, _)| format!("{} in {:?}", state.label(at.0), at.1)).collect::<Vec<_>>()
    });
    if !left.is_empty() {
        fail(sim, format!("still subscribed after the end: {left:?}"));
    }
    // The task that delivers messages.
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 1 {
        fail(sim, format!("{} tasks go on after the end", tasks - 1));
    }
}
