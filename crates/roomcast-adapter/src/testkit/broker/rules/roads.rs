//! Rules about channels and roads.

use crate::Target;
use crate::cluster::Broker;
use crate::cluster::{Body, Message};
use crate::cluster::{BrokerError, Hears, Outgoing, Route, Series};
use crate::testkit::broker::stage::{BrokerStage, NAMESPACE};
use crate::testkit::stage::{Outcome, eventually, eventually_async, must, rooms, within_timeout};
use futures_util::future::join_all;
use std::collections::HashMap;

const ROOMS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Batches that are published on each road, one after the other.
const BATCHES: u64 = 40;

/// Messages of a batch, before they are sorted by road.
const BATCH: u64 = 48;

/// Every fourth message is for everybody, and another one for two rooms; the others are for one room each.
fn target(number: u64) -> Target {
    let room = |number: u64| ROOMS[usize::try_from(number).unwrap_or_default() % ROOMS.len()];
    match number % 4 {
        0 => Target::everyone(),
        1 => Target { rooms: rooms(&[room(number), room(number + 1)]), ..Target::default() },
        _ => Target::room(room(number / 2)),
    }
}

fn outgoing(number: u64) -> Result<Outgoing, String> {
    Ok(Outgoing { namespace: NAMESPACE.into(), message: BrokerStage::message_to(0, number, target(number))? })
}

/// The room of a broadcast to one room, where order holds within each room only.
fn room(broker: &dyn Broker, body: &Body) -> String {
    let room = body.room().filter(|_| broker.hears(Series::Rooms) == Hears::EachRoom);
    room.map_or_else(String::new, ToString::to_string)
}

pub(super) async fn one_order(stage: &mut BrokerStage) -> Outcome {
    let broker = stage.broker(0);
    let mut routes: HashMap<(Option<Series>, String), Route> = HashMap::new();
    for number in 0..BATCH {
        let outgoing = outgoing(number)?;
        let body = &outgoing.message.body;
        let route = broker.route(&outgoing);
        let first = *routes.entry((Series::of(body), room(&*broker, body))).or_insert(route);
        must!(
            route == first,
            "{body:?} has {route:?}, and another one that must not overtake it has {first:?}, though `hears` says {:?} of its series",
            Series::of(body).map(|series| broker.hears(series))
        );
    }
    Ok(())
}

fn number(message: &Message) -> Option<u64> {
    let Body::Broadcast { data, .. } = &message.body else { return None };
    data.parse::<(String, u64)>().ok().map(|(_, number)| number)
}

pub(super) async fn at_once(stage: &mut BrokerStage) -> Outcome {
    let inbox = stage.open(1, NAMESPACE).await?;
    for room in ROOMS {
        stage.look(1, NAMESPACE, room).await?;
    }
    let broker = stage.broker(0);
    // As the queue does: on one road, one batch goes out after the other, and no road waits for another.
    let mut roads: HashMap<u64, Vec<Vec<Message>>> = HashMap::new();
    let mut channels: HashMap<u64, (u64, Option<Series>)> = HashMap::new();
    for batch in 0..BATCHES {
        let mut sorted: HashMap<u64, Vec<Message>> = HashMap::new();
        for number in batch * BATCH..(batch + 1) * BATCH {
            let outgoing = outgoing(number)?;
            let route = broker.route(&outgoing);
            channels.insert(number, (route.channel, Series::of(&outgoing.message.body)));
            sorted.entry(route.road).or_default().push(outgoing.message);
        }
        for (road, batch) in sorted {
            roads.entry(road).or_default().push(batch);
        }
    }
    let published = roads.values().map(async |batches| {
        for batch in batches {
            stage.publish(0, NAMESPACE, batch).await?;
        }
        Ok(())
    });
    let published: Outcome =
        within_timeout("publishing on all roads", join_all(published)).await?.into_iter().collect();
    published?;
    let all = BATCHES * BATCH;
    let came = || inbox.messages().len() as u64 >= all;
    must!(eventually(came).await, "{} of {all} messages arrived", inbox.messages().len());
    stage.fence(0, NAMESPACE, Target::everyone()).await?;
    let heard: Vec<u64> = inbox.messages().iter().filter_map(number).collect();
    must!(heard.len() as u64 == all, "{} messages arrived of {all}", heard.len());
    let mut last: HashMap<(u64, Option<Series>), u64> = HashMap::new();
    for number in heard {
        let Some(channel) = channels.get(&number) else { return Err(format!("{number} was not published")) };
        if let Some(before) = last.insert(*channel, number) {
            must!(before < number, "{number} after {before}, on one channel");
        }
    }
    Ok(())
}

/// Polls until a road is ready.
async fn ready(broker: &dyn Broker, road: u64) -> Outcome {
    let mut last: Result<(), BrokerError> = Ok(());
    let ready = eventually_async(async || {
        last = broker.ready(road).await;
        last.is_ok()
    });
    must!(ready.await, "a road that nothing bars is not ready: {last:?}");
    Ok(())
}

pub(super) async fn ready_again(stage: &mut BrokerStage) -> Outcome {
    let _ear = stage.open(1, NAMESPACE).await?;
    let broker = stage.broker(0);
    let mut roads: HashMap<u64, Message> = HashMap::new();
    for number in 0..BATCH {
        let outgoing = outgoing(number)?;
        roads.insert(broker.route(&outgoing).road, outgoing.message);
    }
    for road in roads.keys() {
        ready(&*broker, *road).await?;
    }
    if let Some(hook) = &stage.brokers.cut_off {
        hook(0, true).await;
        // Any answer will do, but there must be one.
        for road in roads.keys() {
            let _ready = within_timeout("whether a road is ready", broker.ready(*road)).await?;
        }
        hook(0, false).await;
    }
    for (road, message) in &roads {
        ready(&*broker, *road).await?;
        stage.published_at_last(0, NAMESPACE, message).await?;
    }
    Ok(())
}
