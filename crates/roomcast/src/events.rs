//! What clients of the program can do: `join`, `leave` and `publish`, each with an acknowledgement.

use roomcast_server::{Ack, Args, EmitError, Namespace, Socket};
use serde_json::{Value, json};

/// Rooms whose names have the length of a socket's id are private: a client cannot join the room of another.
const ID_LENGTH: usize = 20;

/// Serves the program's events.
pub(crate) fn serve(namespace: &Namespace) {
    namespace
        .on("join", |socket: Socket, room: String, ack: Ack| async move {
            let joined = match check_room(&room) {
                Ok(()) => socket.join(&room).map_err(|error| error.to_string()),
                Err(error) => Err(error),
            };
            let answer = match joined {
                Ok(joined) => {
                    joined.await;
                    members(&socket, &room).await
                }
                Err(error) => refusal(&error),
            };
            ack.send(&answer)
        })
        .on("leave", |socket: Socket, room: String, ack: Ack| async move {
            socket.leave(&room);
            ack.send(&members(&socket, &room).await)
        })
        .on("publish", |socket: Socket, args: Args, ack: Ack| async move {
            let answer = match publish(&socket, &args) {
                Ok(()) => json!({"ok": true}),
                Err(error) => refusal(&error),
            };
            ack.send(&answer)
        });
}

/// `publish(room, event, ...args)`: emits the event with the arguments to the room, including the sender if it is in
/// it.
fn publish(socket: &Socket, args: &Args) -> Result<(), String> {
    let (room, event): (String, String) =
        args.parse().map_err(|_| "publish takes a room, an event and its arguments".to_owned())?;
    check_room(&room)?;
    socket.namespace().to(room).emit(&event, &args.skip(2)).map_err(|error: EmitError| error.to_string())
}

fn check_room(room: &str) -> Result<(), String> {
    match room.len() {
        0 => Err("a room needs a name".to_owned()),
        ID_LENGTH if room.parse::<roomcast_server::SocketId>().is_ok() => {
            Err("names of 20 letters, digits, - and _ are the private rooms of sockets".to_owned())
        }
        _ => Ok(()),
    }
}

async fn members(socket: &Socket, room: &str) -> Value {
    let count = socket.namespace().to(room).count().await;
    json!({"ok": true, "room": room, "members": count.value})
}

fn refusal(error: &str) -> Value {
    json!({"ok": false, "error": error})
}
