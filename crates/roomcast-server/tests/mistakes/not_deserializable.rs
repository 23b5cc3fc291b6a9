//~ this is no handler of events for `Socket`
//~ a type of your own that the client sends needs `#[derive(serde::Deserialize)]`
use roomcast_server::SocketIo;

struct Order;

fn main() {
    SocketIo::builder().build().on("order", |_: Order| {});
}
