//~ this is no handler of events for `Namespace`
//~ or `ServerAck` (of another server)
use roomcast_server::{Ack, SocketIo};

fn main() {
    SocketIo::builder().build().on_server_event("load", |ack: Ack| ack.send(1));
}
