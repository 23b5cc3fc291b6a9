//! Draining before a stop: not ready, then no new sessions, then the open ones are closed one after another.

use crate::common::wire::{Wire, request};
use crate::common::{Frozen, Log, until};
use roomcast_server::SocketIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const CLIENTS: usize = 50;

struct Server {
    io: SocketIo,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve(io: SocketIo) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = io.clone();
    let task = tokio::spawn(async move { server.serve(listener, async { drop(stopped.await) }).await });
    Server { io, address, stop, task }
}

async fn handshake(address: SocketAddr) -> crate::common::wire::Answer {
    let mut wire = Wire::connect(address).await;
    wire.send(request("GET", "/socket.io/?EIO=4&transport=polling", &[], "")).await;
    wire.answer("GET").await
}

async fn joined(server: &Server) -> Wire {
    let mut wire = Wire::connect(server.address).await;
    wire.send(crate::common::wire::upgrade("/socket.io/?EIO=4&transport=websocket", "13", &[])).await;
    assert_eq!(wire.answer("GET").await.status(), 101);
    assert!(wire.text().await.starts_with('0'));
    wire.say("40").await;
    assert!(wire.text().await.starts_with("40{"));
    wire
}

#[tokio::test]
async fn sessions_are_closed_evenly_over_the_window() {
    let builder = SocketIo::builder().drain(Duration::from_secs(2), Duration::from_secs(10));
    let (server, log) = (serve(builder.build()).await, Log::default());
    log.watch(&server.io.of("/"));
    let mut wires = Vec::new();
    for _ in 0..CLIENTS {
        wires.push(joined(&server).await);
    }
    let frozen = Frozen::new();
    server.stop.send(()).unwrap();
    until("the server is not ready", || !server.io.health().is_ready()).await;
    assert_eq!(server.io.health().server.reason, "draining: its clients are moved to other servers");
    frozen.advance(1_990).await;
    assert_eq!(server.io.connections(), CLIENTS, "in the grace everything goes on");

    frozen.advance(20).await;
    let refused = crate::common::patient("a handshake after the grace is refused", handshake(server.address)).await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("5")));
    for second in 1..=10 {
        frozen.advance(1_000).await;
        let left = CLIENTS - CLIENTS * second / 10;
        until("a tenth of the sessions is closed each second", || server.io.connections() <= left).await;
        assert_eq!(server.io.connections(), left);
    }
    until("all sockets have their reason", || {
        log.lines().iter().filter(|line| line.contains("shutting")).count() == CLIENTS
    })
    .await;
    assert!(
        log.lines().iter().filter(|line| !line.ends_with("connected")).all(|line| line == "/ server shutting down")
    );
    drop(frozen);
    for mut wire in wires {
        // A close frame without a DISCONNECT packet before it: so the client reconnects by itself.
        wire.assert_closed().await;
    }
    server.task.await.unwrap().unwrap();
}

/// A close by the application does not wait for the grace, in which new clients are still accepted.
#[tokio::test]
async fn a_close_ends_the_drain() {
    let builder = SocketIo::builder().drain(Duration::from_secs(3_600), Duration::from_secs(10));
    let server = serve(builder.build()).await;
    let mut wire = joined(&server).await;
    server.stop.send(()).unwrap();
    until("the server is not ready", || !server.io.health().is_ready()).await;
    assert_eq!(handshake(server.address).await.status(), 200);
    server.io.close().await;
    wire.assert_closed().await;
    crate::common::patient("the server stops", server.task).await.unwrap().unwrap();
}

/// Without options a stop is a close at once.
#[tokio::test]
async fn without_a_window_the_server_closes_at_once() {
    let server = serve(SocketIo::builder().build()).await;
    let mut wire = joined(&server).await;
    assert_eq!(handshake(server.address).await.status(), 200);
    server.stop.send(()).unwrap();
    wire.assert_closed().await;
    crate::common::patient("the server stops", server.task).await.unwrap().unwrap();
}
