//! A client that comes back gets what it missed.

use roomcast_server::{RecoveryOptions, Socket, SocketIo};
use roomcast_testkit::{Client, Transport, settle};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_was_missed_comes_before_the_answer() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let io = SocketIo::builder().recovery(RecoveryOptions::default()).build();
        io.of("/").on_connection(|socket: Socket| async move { socket.join("room") });
        let client = Client::builder(&io).transport(transport).connect().await.unwrap();
        let id = client.id();
        assert!(!client.recovered());
        io.to("room").emit("n", 0).unwrap();
        assert_eq!(client.next::<u32>("n").await, 0);

        client.cut();
        settle().await;
        for n in 1..=3 {
            io.to("room").emit("n", n).unwrap();
        }
        client.reconnect().await.unwrap();
        assert!(client.recovered());
        assert_eq!(client.id(), id);
        io.to("room").emit("n", 4).unwrap();
        assert_eq!(client.all::<u32>("n").await, [1, 2, 3, 4]);

        client.cut();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        client.reconnect().await.unwrap();
        assert!(!client.recovered());
        client.expect_silence().await;
    }
}
