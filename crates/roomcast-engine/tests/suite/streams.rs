//! Over a stream that holds back what it is given, everything leaves without waiting for the next packet.

use crate::common::over::Over;
use crate::common::over::stream::Plan;
use crate::common::{Server, until};
use roomcast_engine::{CloseReason, EngineConfig, Transport, bind};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// No ping for as long as a test takes: it would flush what is in the stream.
fn without_pings(config: &mut EngineConfig) {
    config.ping_interval = Duration::from_secs(3_600);
}

/// A listener whose connections have small buffers in the kernel.
fn narrow_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    // Accepted connections inherit it.
    socket.set_send_buffer_size(4_096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(16).unwrap()
}

/// A stream that keeps as much as tokio's `BufStream` does: 8 KiB.
const KEEPING: Plan = Plan::only_keeps(8 * 1024);

/// rustls keeps up to 64 KiB for a socket that takes no more, and reports them as written. The sizes are around that
/// bound and its multiples, so that the client's pause begins everywhere between the packet's first byte and its last.
#[tokio::test]
async fn messages_of_every_size_arrive_over_tls_although_the_client_pauses() {
    let server = Server::over(Over::Tls, narrow_listener(), without_pings, |_| {}).await;
    for size in (48_000..=240_000).step_by(4_000) {
        let mut wire = server.narrow_websocket().await;
        let text = "x".repeat(size);
        server.say(&text);
        // The server writes until nothing more is taken. Meanwhile the client does not read.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.text().await, format!("4{text}"), "{size} bytes");
        wire.assert_alive("x").await;
    }
    server.finish().await;
}

/// Two messages, of which the second finds the stream full.
#[tokio::test]
async fn what_a_full_stream_holds_leaves_before_the_next_message() {
    for over in [Over::Tls, Over::Awkward(KEEPING), Over::AxumAwkward(KEEPING)] {
        let server = Server::over(over, narrow_listener(), without_pings, |_| {}).await;
        let mut wire = server.narrow_websocket().await;
        let text = "x".repeat(100_000);
        for number in 0..9 {
            server.say(&format!("{number} {text}"));
            tokio::task::yield_now().await;
        }
        for number in 0..9 {
            assert_eq!(wire.text().await, format!("4{number} {text}"), "{over:?}");
        }
        drop(wire);
        assert_eq!(server.closed(0).await, CloseReason::TransportClose);
        server.finish().await;
    }
}

/// Small packets fill no buffer. Without a flush none of them would leave.
#[tokio::test]
async fn small_packets_leave_a_stream_that_keeps_them() {
    for over in [Over::Awkward(KEEPING), Over::AxumAwkward(KEEPING)] {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let server = Server::over(over, listener, without_pings, |_| {}).await;
        // The `open` packet, an unsolicited message, and an answer.
        let mut wire = server.websocket().await;
        server.say("first");
        assert_eq!(wire.text().await, "4first");
        wire.assert_alive("second").await;
        // From a thread that has no runtime.
        let connection = server.connection();
        std::thread::spawn(move || crate::common::say(&connection, "third")).join().unwrap();
        assert_eq!(wire.text().await, "4third");
        // The answer to a probe, and what waited for the switch.
        let sid = server.handshake().await;
        let mut probing = server.probing(&sid).await;
        probing.say("2probe").await;
        assert_eq!(probing.text().await, "3probe");
        server.say("waits");
        probing.say("5").await;
        assert_eq!(probing.text().await, "4waits");
        until("it has moved", || server.connection().transport() == Transport::WebSocket).await;
        // The close frame of a server that ends.
        server.engine.close();
        wire.assert_closed(None).await;
        probing.assert_closed(None).await;
        server.finish().await;
    }
}
