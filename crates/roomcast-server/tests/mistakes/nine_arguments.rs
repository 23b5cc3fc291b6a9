//~ this is no handler of events for `Socket`
//~ write a closure with up to eight arguments
use roomcast_server::SocketIo;

fn main() {
    SocketIo::builder().build().on("many", |_: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8, _: u8| {});
}
