//~ `Position` cannot be emitted
//~ implement `serde::Serialize` for it
use roomcast_server::SocketIo;

struct Position;

fn main() {
    drop(SocketIo::builder().build().emit("moved", Position));
}
