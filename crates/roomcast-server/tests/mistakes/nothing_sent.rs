//~ nothing is sent before `emit` or another action
#![deny(unused_must_use)]

fn main() {
    roomcast_server::SocketIo::builder().build().to("lobby").volatile();
}
