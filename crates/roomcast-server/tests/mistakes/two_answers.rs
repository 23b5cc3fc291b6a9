//~ use of moved value: `ack`
//~ takes ownership of the receiver `self`
use roomcast_server::{Ack, SocketIo};

fn main() {
    SocketIo::builder().build().on("ask", |ack: Ack| {
        ack.send(1)?;
        ack.send(2)
    });
}
