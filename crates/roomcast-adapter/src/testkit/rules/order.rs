//! Rules about the order of emits.

use crate::Target;
use crate::testkit::stage::{Outcome, Stage, data, must};
use crate::{Action, Adapter};
use std::sync::{Arc, Barrier};

/// Emits of one caller.
const IN_A_ROW: u32 = 300;

/// Concurrent callers, and the emits of each: enough that on two cores they interleave hundreds of times.
const CALLERS: u32 = 4;
const EACH: u32 = 250;

pub(super) async fn one_caller(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x", "y"]).await?;
    // Each channel of a cluster has an order of its own. The targets that share an order are those for everybody and
    // for several rooms, which every dialect carries on the namespace's own channel.
    let targets = [Target::everyone(), Target { rooms: vec!["x".into(), "y".into()], ..Target::default() }];
    for number in 0..IN_A_ROW {
        let target = &targets[number as usize % targets.len()];
        let sent = stage.first().apply(target, Action::emit(&data("n", &number)?));
        must!(sent.is_ok(), "an emit was refused: {sent:?}");
    }
    stage.settle().await?;
    for actor in &a.0 {
        let numbers: Vec<u32> = actor.events().iter().filter_map(|event| event.args.parse().ok()).collect();
        let wrong = numbers.iter().zip(0..).find(|(number, expected)| **number != *expected);
        must!(wrong.is_none(), "{actor} got number {:?} where {:?} was next", wrong.map(|w| w.0), wrong.map(|w| w.1));
        must!(numbers.len() == IN_A_ROW as usize, "{actor} got {} of {IN_A_ROW} events", numbers.len());
    }
    Ok(())
}

pub(super) async fn same_for_all(stage: &mut Stage) -> Outcome {
    let mut parts = Vec::new();
    for _ in 0..8 {
        parts.push(stage.part().await?);
    }
    let (start, adapter) = (Arc::new(Barrier::new(CALLERS as usize)), stage.first());
    let caller = |caller: u32| {
        let (start, adapter) = (start.clone(), adapter.clone());
        tokio::task::spawn_blocking(move || call(caller, &start, &adapter))
    };
    for task in (0..CALLERS).map(caller).collect::<Vec<_>>() {
        task.await.map_err(|error| error.to_string())??;
    }
    stage.settle().await?;
    let mut orders = parts.iter().flat_map(|part| &part.0).map(|actor| {
        let numbers = actor.events().into_iter().filter_map(|event| event.args.parse::<u32>().ok());
        (actor, numbers.collect::<Vec<_>>())
    });
    let Some((_, first)) = orders.next() else { return Ok(()) };
    must!(first.len() == (CALLERS * EACH) as usize, "{} of {} events arrived", first.len(), CALLERS * EACH);
    for caller in 0..CALLERS {
        let own: Vec<u32> = first.iter().copied().filter(|number| number / EACH == caller).collect();
        must!(own.is_sorted(), "one caller's events arrived out of order");
    }
    for (actor, order) in orders {
        let differs = first.iter().zip(&order).position(|(one, other)| one != other);
        must!(differs.is_none(), "from event {differs:?} on, {actor} got another order than the first socket");
        must!(order.len() == first.len(), "{actor} got {} events, the first socket {}", order.len(), first.len());
    }
    Ok(())
}

fn call(caller: u32, start: &Barrier, adapter: &Arc<dyn Adapter>) -> Outcome {
    let events: Result<Vec<_>, _> = (caller * EACH..(caller + 1) * EACH).map(|number| data("n", &number)).collect();
    let events = events?;
    start.wait();
    for event in &events {
        let sent = adapter.apply(&Target::everyone(), Action::emit(event));
        must!(sent.is_ok(), "an emit was refused: {sent:?}");
    }
    Ok(())
}
