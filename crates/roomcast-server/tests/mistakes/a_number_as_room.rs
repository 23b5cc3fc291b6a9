//~ does not name rooms
//~ a room is named by text
use roomcast_server::{Socket, SocketIo};

fn main() {
    SocketIo::builder().build().on("join", |socket: Socket| drop(socket.join(7)));
}
