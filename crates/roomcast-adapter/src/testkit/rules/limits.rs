//! Rules about the limits of rooms.

use crate::AdapterError;
use crate::Room;
use crate::Target;
use crate::limits::{MAX_ROOM_BYTES, MAX_ROOMS_PER_SOCKET};
use crate::testkit::stage::{Outcome, Stage, must, rooms};

pub(super) async fn room_name(stage: &mut Stage) -> Outcome {
    let a = stage.part().await?;
    let longest = "r".repeat(MAX_ROOM_BYTES);
    // The limit is in bytes, not in characters.
    let too_long = [format!("{longest}r"), format!("{}é", &longest[1..])];
    a.join(&[&longest]).await?;
    for actor in &a.0 {
        for name in &too_long {
            let refused = actor.adapter.join(actor.id, &rooms(&["x", name, "y"])).map(|_| ());
            let expected = Err(AdapterError::RoomName(MAX_ROOM_BYTES + 1));
            must!(refused == expected, "a name of {} bytes ended with {refused:?}", name.len());
        }
        must!(actor.joined() == rooms(&[&longest]), "{actor} is in {} rooms, not in one", actor.joined().len());
    }
    stage.emit("long", &Target::room(&longest))?;
    stage.emit("x", &Target::room("x"))?;
    stage.settle().await?;
    a.got(&["long"])
}

pub(super) async fn rooms_per_socket(stage: &mut Stage) -> Outcome {
    let part = stage.part().await?;
    let actor = &part.0[0];
    let join = |rooms: &[Room]| actor.adapter.join(actor.id, rooms).map(|_| ());
    let all: Vec<Room> = (0..MAX_ROOMS_PER_SOCKET).map(|number| Room::from(format!("room {number}"))).collect();
    let last = &all[MAX_ROOMS_PER_SOCKET - 1..];
    let one_short = join(&all[..MAX_ROOMS_PER_SOCKET - 1]);
    must!(one_short.is_ok(), "one room less than the limit ended with {one_short:?}");
    let over = join(&[last[0].clone(), Room::from("one more")]);
    must!(over == Err(AdapterError::TooManyRooms), "a join to one room over the limit ended with {over:?}");
    let count = actor.joined().len();
    must!(count == MAX_ROOMS_PER_SOCKET - 1, "a refused join left the socket in {count} rooms");
    // Its own room, a room that it is in, and a room named twice do not count again.
    let limit = join(&[actor.id.into(), all[0].clone(), last[0].clone(), last[0].clone()]);
    must!(limit.is_ok(), "the last room that is allowed ended with {limit:?}");
    let over = join(&[Room::from("one more")]);
    must!(over == Err(AdapterError::TooManyRooms), "one room over the limit ended with {over:?}");
    let again = join(&all);
    must!(again.is_ok(), "joining again the rooms it is in ended with {again:?}");
    let count = actor.joined().len();
    must!(count == MAX_ROOMS_PER_SOCKET, "the socket is in {count} rooms, not in {MAX_ROOMS_PER_SOCKET}");
    actor.adapter.leave(actor.id, &all[0]);
    let freed = join(&[Room::from("one more")]);
    must!(freed.is_ok(), "after a leave, one room more ended with {freed:?}");
    let count = actor.adapter.rooms_of(actor.id).len();
    must!(count == MAX_ROOMS_PER_SOCKET + 1, "the socket is in {count} rooms, its own among them");
    Ok(())
}
