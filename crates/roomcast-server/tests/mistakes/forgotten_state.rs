//~ `State<S>` for a state of the application
use roomcast_server::SocketIo;

#[derive(Clone)]
struct Pool;

fn main() {
    SocketIo::builder().state(Pool).build().on("save", |pool: Pool, text: String| drop((pool, text)));
}
