//! The events that clients can send: `join`, `leave` and `publish`, each with an acknowledgement.
//!
//! Any client may join any room and publish to it. Only the private room of another socket, which is named by its id, is closed to others.

use crate::settings::typed::ClientEvent;
use roomcast_adapter::{Room, Target};
use roomcast_server::{Ack, Args, EmitError, Namespace, Socket, SocketId};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

/// How long to wait for other servers when a room's name may be the id of one of their sockets.
const OWNER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a join waits until Redis confirms it, where rooms have channels of their own. While Redis is away it does not.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The most rooms of one `join` or `leave`.
const MAX_ROOMS: usize = 100;

/// Registers the handlers of these events. A client may be in at most `max_rooms` rooms, its own not counted.
pub(crate) fn serve(namespace: &Namespace, events: &[ClientEvent], max_rooms: usize) {
    for event in events {
        match event {
            ClientEvent::Join => namespace.on("join", move |socket: Socket, args: Args, ack: Ack| async move {
                ack.send(join(&socket, &args, max_rooms).await.unwrap_or_else(|error| refusal(&error)))
            }),
            ClientEvent::Leave => namespace.on("leave", |socket: Socket, args: Args, ack: Ack| async move {
                ack.send(leave(&socket, &args).await.unwrap_or_else(|error| refusal(&error)))
            }),
            ClientEvent::Publish => namespace.on("publish", |socket: Socket, args: Args, ack: Ack| async move {
                ack.send(publish(&socket, &args).await.unwrap_or_else(|error| refusal(&error)))
            }),
        };
    }
}

/// `join(room)` or `join([room, …])`.
async fn join(socket: &Socket, args: &Args, max_rooms: usize) -> Result<Value, String> {
    let rooms = Rooms::of(args, "join")?;
    for room in &rooms.names {
        check_room(socket, room).await?;
    }
    // After the last await, as other joins of this client may have gone on meanwhile.
    let joined = socket.rooms();
    let new: HashSet<_> = rooms.names.iter().filter(|room| !joined.contains(room)).collect();
    if joined.len() + new.len() > max_rooms.saturating_add(1) {
        return Err(format!("a client may be in at most {max_rooms} rooms; leave some first"));
    }
    // All or none, and confirmed by the cluster, so that the count that follows includes this socket.
    let joined = socket.join(&rooms.names[..]).map_err(|error| error.to_string())?;
    let confirmed = timeout(JOIN_TIMEOUT, joined).await.is_ok();
    Ok(rooms.members(socket, confirmed).await)
}

/// `leave(room)` or `leave([room, …])`.
async fn leave(socket: &Socket, args: &Args) -> Result<Value, String> {
    let rooms = Rooms::of(args, "leave")?;
    for room in &rooms.names {
        socket.leave(room);
    }
    Ok(rooms.members(socket, true).await)
}

/// `publish(room, event, ...args)`: emits the event with its arguments to the room, including the sender if it is in the room.
async fn publish(socket: &Socket, args: &Args) -> Result<Value, String> {
    let usage = || "publish needs a room, an event's name and its arguments".to_owned();
    let (room, event): (Value, String) = args.parse().map_err(|_| usage())?;
    let room = room_name(&room).ok_or_else(usage)?;
    check_room(socket, &room).await?;
    let emitted = socket.namespace().to(&room).emit(&event, args.skip(2));
    emitted.map(|()| json!({"ok": true})).map_err(|error: EmitError| error.to_string())
}

/// The rooms that a client names.
struct Rooms {
    names: Vec<Room>,
    /// It named one room and not a list.
    single: bool,
}

impl Rooms {
    fn of(args: &Args, event: &str) -> Result<Self, String> {
        let usage = || format!("{event} needs a room, or a list of at most {MAX_ROOMS} rooms");
        let (rooms,): (Value,) = args.parse().map_err(|_| usage())?;
        let names = match &rooms {
            Value::Array(list) if list.len() <= MAX_ROOMS => list.iter().map(room_name).collect(),
            room => room_name(room).map(|room| vec![room]),
        };
        Ok(Self { names: names.ok_or_else(usage)?, single: !rooms.is_array() })
    }

    /// The answer: each room with the number of its members, in the whole cluster. `partial` if servers did not answer, or if not
    /// all is known (`complete` is false).
    async fn members(&self, socket: &Socket, mut complete: bool) -> Value {
        let mut members = Vec::new();
        for room in &self.names {
            let count = socket.namespace().to(room).count().await;
            complete &= count.is_complete();
            members.push(count.value);
        }
        let answer = match (self.single, &self.names[..], &members[..]) {
            (true, [room], [members]) => json!({"ok": true, "room": room, "members": members}),
            _ => json!({"ok": true, "rooms": self.names, "members": members}),
        };
        match answer {
            Value::Object(mut fields) if !complete => {
                fields.insert("partial".to_owned(), true.into());
                fields.into()
            }
            answer => answer,
        }
    }
}

/// A string, or a number, which names the room of its digits, as in Node.
fn room_name(room: &Value) -> Option<Room> {
    match room {
        Value::String(name) if !name.is_empty() => Some(name.into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// Refuses the private room of another socket. A name that could be an id is refused only if a socket has that id, or if that cannot be found
/// out now.
async fn check_room(socket: &Socket, room: &Room) -> Result<(), String> {
    let Ok(id) = room.parse::<SocketId>() else { return Ok(()) };
    if id == socket.id() {
        return Ok(());
    }
    let owners = socket.namespace().adapter().count(&Target::socket(id), OWNER_TIMEOUT).await;
    match (owners.value, owners.is_complete()) {
        (0, true) => Ok(()),
        (0, false) => Err(format!("{room} may be the private room of a socket, and not all servers answer; try again")),
        _ => Err(format!("{room} is the private room of another socket")),
    }
}

fn refusal(error: &str) -> Value {
    json!({"ok": false, "error": error})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_read_as_node_reads_them() {
        let names = |json: &str| {
            let args = Args::event("e", &serde_json::from_str::<Value>(json).unwrap()).unwrap().skip(1);
            Rooms::of(&args, "join")
                .map(|rooms| rooms.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (json, rooms) in [(r#""a""#, "a"), ("42", "42"), ("1.5", "1.5"), (r#"["a",7]"#, "a 7"), ("[]", "")] {
            assert_eq!(names(json).as_deref(), Ok(rooms), "{json}");
        }
        for json in ["null", "true", r#""""#, "{}", r#"[["a"]]"#, r#"["a",null]"#] {
            assert!(names(json).is_err_and(|error| error.starts_with("join needs a room")), "{json}");
        }
        let many = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert!(names(&many(MAX_ROOMS)).is_ok() && names(&many(MAX_ROOMS + 1)).is_err());
        assert!(Rooms::of(&Args::event("e", &()).unwrap().skip(1), "leave").is_err());
    }
}
