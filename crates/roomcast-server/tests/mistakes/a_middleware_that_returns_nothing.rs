//~ expected `Result<(), ConnectError>`
use roomcast_server::{Socket, SocketIo};

fn main() {
    SocketIo::builder().build().middleware(|socket: Socket| async move { drop(socket.join("all")) });
}
