//! Options at their extremes, and options that can be set in two places.

use crate::common::wire::{frame, upgrade};
use crate::common::{PATIENCE, Server};
use parking_lot::Mutex;
use roomcast_server::engine::{TrustedProxies, bind};
use roomcast_server::{Builder, Socket, SocketIo};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
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
            io.of("/").on("x", |socket: Socket, ()| async move { socket.emit("heard", 1) });
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

/// One method tells the engine and the listener. What Node calls the address does not change.
#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let seen = Arc::<Mutex<Option<IpAddr>>>::default();
    let proxies = |builder: Builder| {
        let builder = builder.trusted_proxies("127.0.0.1".parse().unwrap());
        builder.serving(|options| assert_eq!(options.trusted_proxies, "127.0.0.1".parse::<TrustedProxies>().unwrap()))
    };
    let server = Server::with(proxies, |io: &SocketIo| {
        let seen = seen.clone();
        io.of("/").on_connection(move |socket: Socket| {
            *seen.lock() = socket.handshake().client_address();
            async {}
        });
    })
    .await;
    let mut wire = server.connect().await;
    let forwarded = [("X-Forwarded-For", "192.0.2.1, 198.51.100.1")];
    wire.send(upgrade(&server.target("EIO=4&transport=websocket"), "13", &forwarded)).await;
    assert_eq!(wire.answer("GET").await.status(), 101);
    wire.text().await;
    server.join(&mut wire, "/").await;
    assert_eq!(*seen.lock(), Some("198.51.100.1".parse().unwrap()));
    let sockets = server.io.of("/").everyone().fetch_sockets().await.value;
    let handshake: Value = serde_json::from_str(sockets[0].handshake_json()).unwrap();
    assert_eq!(handshake["address"], "127.0.0.1");
    server.finish().await;
}

/// Otherwise a program would wait for a server that never began.
#[tokio::test]
async fn options_that_cannot_work_end_serve_at_once() {
    let io = SocketIo::builder().serving(|options| options.proxy_protocol = true).build();
    let listener = bind("127.0.0.1:0").await.unwrap();
    let served = tokio::time::timeout(PATIENCE, io.serve(listener, std::future::pending())).await;
    assert_eq!(served.expect("`serve` returns").unwrap_err().kind(), ErrorKind::InvalidInput);
}
