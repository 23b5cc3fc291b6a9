//~ this is no handler of events for `Socket`
//~ `Reply(value)` for other serializable values
use roomcast_server::SocketIo;

#[derive(serde::Serialize)]
struct User;

fn main() {
    SocketIo::builder().build().on("me", || async { User });
}
