//! Rules about who is in which rooms.

use crate::Action;
use crate::AdapterError;
use crate::Room;
use crate::Target;
use crate::testkit::FakeRecipient;
use crate::testkit::stage::{Outcome, Stage, data, must, rooms, to};
use roomcast_protocol::{Args, SocketId};

pub(super) async fn rooms_of(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x", "y", "z"]).await?;
    b.join(&["y"]).await?;
    for actor in &a.0 {
        actor.adapter.leave(actor.id, "y");
        let all = actor.adapter.rooms_of(actor.id);
        must!(all.contains(&Room::from(actor.id)), "{actor} is not in its own room but in {all:?}");
        must!(all.len() == 3 && actor.joined() == rooms(&["x", "z"]), "{actor} joined x, y, z, left y, is in {all:?}");
    }
    for actor in &b.0 {
        must!(actor.joined() == rooms(&["y"]), "{actor} joined y and is in {:?}", actor.joined());
    }
    Ok(())
}

pub(super) async fn join_again(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x", "x"]).await?;
    a.join(&["x"]).await?;
    stage.emit("in", &Target::room("x"))?;
    stage.settle().await?;
    a.got(&["in"])?;
    for actor in &a.0 {
        actor.adapter.leave(actor.id, "x");
        must!(actor.joined().is_empty(), "{actor} joined x three times, left it once, and is in {:?}", actor.joined());
    }
    stage.emit("out", &Target::room("x"))?;
    stage.settle().await?;
    a.got(&["in"])
}

pub(super) async fn leave(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x", "y"]).await?;
    b.join(&["x", "y"]).await?;
    for actor in &a.0 {
        actor.adapter.leave(actor.id, "x");
        actor.adapter.leave(actor.id, "never joined");
    }
    stage.emit("x", &Target::room("x"))?;
    stage.emit("y", &Target::room("y"))?;
    stage.emit("apart", &to(&[], &["x"]))?;
    stage.settle().await?;
    a.got(&["y", "apart"])?;
    b.got(&["x", "y"])
}

pub(super) async fn own_room_stays(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    for actor in &a.0 {
        actor.adapter.leave(actor.id, actor.id.as_str());
        let own = [Room::from(actor.id)];
        let joined = actor.adapter.join(actor.id, &own);
        must!(joined.is_ok(), "joining the own room again was refused: {joined:?}");
        actor.adapter.leave(actor.id, actor.id.as_str());
        let left = actor.adapter.apply(&Target::room(actor.id).local(), Action::Leave(&own));
        must!(left.is_ok(), "leaving was refused: {left:?}");
        must!(actor.adapter.rooms_of(actor.id) == own, "{actor} is in {:?}", actor.adapter.rooms_of(actor.id));
        stage.emit_from(actor.server, "own", &Target::room(actor.id).local())?;
    }
    a.got(&["own"])
}

pub(super) async fn remove(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    a.join(&["x", "y"]).await?;
    b.join(&["x"]).await?;
    for actor in &a.0 {
        actor.adapter.remove(actor.id);
        let rooms = actor.adapter.rooms_of(actor.id);
        must!(rooms.is_empty(), "{actor} was removed and is in {rooms:?}");
        stage.emit("own", &Target::room(actor.id))?;
    }
    stage.emit("x", &Target::room("x"))?;
    stage.emit("y", &Target::room("y"))?;
    stage.emit("rooms", &to(&["x", "y"], &[]))?;
    stage.emit("all", &Target::everyone())?;
    stage.settle().await?;
    a.got(&[])?;
    b.got(&["x", "rooms", "all"])?;
    // A socket that takes over the place of a removed one inherits nothing.
    let c = stage.part().await?;
    stage.emit("y", &Target::room("y"))?;
    stage.settle().await?;
    c.got(&[])
}

pub(super) async fn join_after_remove(stage: &mut Stage) -> Outcome {
    let (a, b) = (stage.part().await?, stage.part().await?);
    for actor in &a.0 {
        actor.adapter.remove(actor.id);
        let joined = actor.adapter.join(actor.id, &rooms(&["x"]));
        must!(joined.is_ok(), "the join of an unknown id was refused: {joined:?}");
        let rooms = actor.adapter.rooms_of(actor.id);
        must!(rooms.is_empty(), "{actor} joined after it was removed and is in {rooms:?}");
    }
    stage.emit("x", &Target::room("x"))?;
    stage.settle().await?;
    a.got(&[])?;
    b.got(&[])?;
    for server in &stage.servers {
        let all = server.adapter.all_rooms(crate::testkit::CONDITION_TIMEOUT).await;
        must!(!all.value.contains(&Room::from("x")), "a room without members is left: {:?}", all.value);
    }
    Ok(())
}

pub(super) async fn replace(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x", "y"]).await?;
    stage.emit("before", &Target::room("x"))?;
    stage.settle().await?;
    let b = stage.replace(&a);
    for actor in &b.0 {
        must!(actor.joined() == rooms(&["x", "y"]), "{actor} has another recipient, and is in {:?}", actor.joined());
        actor.adapter.leave(actor.id, "y");
    }
    stage.emit("x", &Target::room("x"))?;
    stage.emit("y", &Target::room("y"))?;
    stage.emit("all", &Target::everyone())?;
    stage.settle().await?;
    a.got(&["before"])?;
    b.got(&["x", "all"])
}

pub(super) async fn replace_after_remove(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    for actor in &a.0 {
        actor.adapter.remove(actor.id);
    }
    let b = stage.replace(&a);
    stage.emit("all", &Target::everyone())?;
    stage.settle().await?;
    for actor in &b.0 {
        let rooms = actor.adapter.rooms_of(actor.id);
        must!(rooms.is_empty(), "{actor} was removed, got another recipient, and is in {rooms:?}");
    }
    b.got(&[])
}

pub(super) async fn insert_twice(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x"]).await?;
    let second = FakeRecipient::new();
    for actor in &a.0 {
        let refused = actor.adapter.insert(actor.id, second.clone(), &[], None);
        must!(refused == Err(AdapterError::Duplicate(actor.id)), "inserting {actor} again ended with {refused:?}");
    }
    stage.emit("x", &Target::room("x"))?;
    stage.settle().await?;
    a.got(&["x"])?;
    must!(second.packets().is_empty(), "the refused recipient was sent {} packets", second.packets().len());
    // Once it is removed, the id is free.
    for actor in &a.0 {
        actor.adapter.remove(actor.id);
        let free = actor.adapter.insert(actor.id, second.clone(), &[], None);
        must!(free.is_ok(), "after remove, inserting {actor} ended with {free:?}");
        must!(actor.joined().is_empty(), "{actor} came back into {:?}", actor.joined());
    }
    Ok(())
}

pub(super) async fn unknown_ids(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    a.join(&["x"]).await?;
    let unknown = SocketId::random().map_err(|error| error.to_string())?;
    for server in &stage.servers {
        let adapter = &server.adapter;
        adapter.remove(unknown);
        let joined = adapter.join(unknown, &rooms(&["x", "y"]));
        must!(joined.is_ok(), "the join of an unknown id was refused: {joined:?}");
        adapter.leave(unknown, "x");
        must!(adapter.rooms_of(unknown).is_empty(), "an unknown id is in {:?}", adapter.rooms_of(unknown));
        for ack in [0, 1, u64::MAX] {
            adapter.ack(unknown, ack, Args::none());
        }
    }
    for actor in &a.0 {
        actor.adapter.ack(actor.id, u64::MAX, data("late", &())?);
        must!(actor.joined() == rooms(&["x"]), "{actor} is in {:?}", actor.joined());
    }
    stage.emit("nobody", &Target::room(unknown))?;
    stage.emit("x", &Target { except: vec![unknown.into()], ..Target::room("x") })?;
    stage.settle().await?;
    a.got(&["x"])?;
    let count = stage.first().count(&Target::everyone(), crate::testkit::CONDITION_TIMEOUT).await;
    must!(count.value == a.0.len(), "{} sockets are in the namespace, and count says {count:?}", a.0.len());
    Ok(())
}
