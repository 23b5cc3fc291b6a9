//! Rules about questions to the whole cluster.

use crate::Details;
use crate::Room;
use crate::Target;
use crate::testkit::stage::{LONG, Outcome, Part, Stage, must, to, within_timeout};
use std::collections::BTreeSet;

/// Two parts of which the target `x` selects both and `y` the second, and a third part without rooms.
async fn cast(stage: &mut Stage) -> Result<[Part; 3], String> {
    let (a, b, c) = (stage.part().await?, stage.part().await?, stage.part().await?);
    a.join(&["x"]).await?;
    b.join(&["x", "y"]).await?;
    Ok([a, b, c])
}

/// Targets, and which of the parts each of them selects.
fn targets([a, b, c]: &[Part; 3]) -> Vec<(Target, Vec<&Part>)> {
    vec![
        (Target::everyone(), vec![a, b, c]),
        (to(&["x"], &[]), vec![a, b]),
        (to(&["x", "y"], &[]), vec![a, b]),
        (to(&["x"], &["y"]), vec![a]),
        (to(&[], &["x"]), vec![c]),
        (to(&["nobody"], &[]), vec![]),
    ]
}

pub(super) async fn fetch_sockets(stage: &mut Stage) -> Outcome {
    let parts = cast(stage).await?;
    for (number, actor) in parts.iter().flat_map(|part| &part.0).enumerate() {
        actor.recipient.set_details(Details {
            handshake: format!(r#"{{"url":"/socket.io/?number={number}"}}"#),
            data: format!(r#"{{"number":{number}}}"#),
        });
    }
    for (server, adapter) in stage.servers.iter().map(|server| &server.adapter).enumerate() {
        for (target, named) in targets(&parts) {
            let found = within_timeout("fetch_sockets", adapter.fetch_sockets(&target, LONG)).await?;
            must!(found.is_complete(), "on server {server} {:?} are missing", found.missing);
            let actors: Vec<_> = named.iter().flat_map(|part| &part.0).collect();
            let count = found.value.len();
            must!(count == actors.len(), "on server {server}, {target:?} finds {count} sockets, not {}", actors.len());
            for actor in actors {
                let socket = found.value.iter().find(|socket| socket.id == actor.id.as_str());
                let Some(socket) = socket else {
                    return Err(format!("{target:?} does not find {actor}"));
                };
                let rooms: BTreeSet<Room> = socket.rooms.iter().cloned().collect();
                let expected: BTreeSet<Room> = actor.adapter.rooms_of(actor.id).into_iter().collect();
                must!(
                    rooms == expected && rooms.len() == socket.rooms.len(),
                    "{actor} is reported in {:?}",
                    socket.rooms
                );
                let details = crate::Recipient::details(&*actor.recipient);
                must!(socket.details == details, "{actor} is reported with {:?}, not {details:?}", socket.details);
            }
        }
    }
    Ok(())
}

pub(super) async fn count(stage: &mut Stage) -> Outcome {
    let parts = cast(stage).await?;
    let adapter = stage.first();
    for (target, named) in targets(&parts) {
        let expected: usize = named.iter().map(|part| part.0.len()).sum();
        let count = within_timeout("count", adapter.count(&target, LONG)).await?;
        must!(
            count.is_complete() && count.value == expected,
            "{target:?} names {expected} sockets, count says {count:?}"
        );
        let here = within_timeout("count", adapter.count(&target.clone().local(), LONG)).await?;
        must!(here.value == named.len(), "{target:?} names {} sockets of this server, not {here:?}", named.len());
    }
    let gone = &parts[0].0[0];
    gone.adapter.remove(gone.id);
    let count = within_timeout("count", adapter.count(&Target::everyone(), LONG)).await?;
    let expected = 3 * stage.servers.len() - 1;
    must!(count.value == expected, "one of {} sockets was removed, and count says {}", expected + 1, count.value);
    Ok(())
}

pub(super) async fn all_rooms(stage: &mut Stage) -> Outcome {
    let parts = cast(stage).await?;
    for actor in &parts[1].0 {
        actor.adapter.leave(actor.id, "y");
    }
    let gone = &parts[2].0[0];
    gone.adapter.join(gone.id, &[Room::from("z")]).map_err(|error| error.to_string())?;
    gone.adapter.remove(gone.id);
    let own = parts.iter().flat_map(|part| &part.0).map(|actor| actor.id).filter(|id| *id != gone.id);
    let mut expected: Vec<Room> = own.map(Room::from).chain([Room::from("x")]).collect();
    expected.sort();
    for server in &stage.servers {
        let mut all = within_timeout("all_rooms", server.adapter.all_rooms(LONG)).await?;
        all.value.sort();
        must!(
            all.is_complete() && all.value == expected,
            "the rooms {expected:?} have members, all_rooms says {all:?}"
        );
    }
    Ok(())
}
