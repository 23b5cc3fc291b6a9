//! Options at their extremes, and options that can be set in two places.

use crate::common::Server;
use crate::common::wire::frame;
use roomcast_server::{Builder, Socket, SocketIo};
use std::time::Duration;

/// Applications write "never" as the largest duration.
#[tokio::test]
async fn the_longest_times_are_cut_and_all_works() {
    let never = |builder: Builder| {
        let builder = builder.connect_timeout(Duration::MAX).ping_interval(Duration::MAX).ping_timeout(Duration::MAX);
        builder.upgrade_timeout(Duration::MAX).engine(|config| config.close_timeout = Duration::MAX)
    };
    let server = Server::with(never, |_: &SocketIo| {}).await;
    let mut wire = server.joined().await;
    assert!(wire.sync().await.is_empty());
    drop(wire);
    server.finish().await;
}

/// The limit of a message is also that of its attachments together, however it was set.
#[tokio::test]
async fn one_payload_limit_for_engine_and_decoder() {
    for (change, ends) in [
        ((|builder: Builder| builder.max_payload(100)) as fn(Builder) -> Builder, true),
        (|builder| builder.engine(|config| config.max_payload = 100), true),
        (|builder| builder.max_payload(10).engine(|config| config.max_payload = 200), false),
    ] {
        let server = Server::with(change, |io: &SocketIo| {
            io.of("/").on("x", |socket: Socket, ()| async move { socket.emit("heard", &1) });
        })
        .await;
        let mut wire = server.joined().await;
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        wire.say(&format!(r#"452-["x",{placeholder}]"#)).await;
        for _ in 0..2 {
            wire.send(frame(2, &[0; 60])).await;
        }
        if ends {
            wire.assert_closed().await;
        } else {
            assert!(wire.text().await.starts_with("42[\"heard\""));
        }
        server.finish().await;
    }
}
