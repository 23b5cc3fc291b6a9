//! The first test of the guide. `guide.rs` compares the two.

use roomcast_server::SocketIo;
use roomcast_testkit::Client;

/// The application, as `main` makes it too.
fn app() -> SocketIo {
    let io = SocketIo::builder().build();
    io.on("hello", |name: String| format!("Hello, {name}!"));
    io
}

#[tokio::test(start_paused = true)]
async fn greets() {
    let client = Client::connect(&app()).await.unwrap();
    assert_eq!(client.ask::<String>("hello", "Ann").await, "Hello, Ann!");
}
