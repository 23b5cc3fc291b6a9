//! File descriptors of the process are counted here, so this file has one test and nothing runs beside it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]
#![cfg(target_os = "linux")]

mod common;

use common::wire::upgrade;
use common::{Server, polling, until};
use roomcast_engine::CloseReason;
use std::time::Duration;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn nothing_leaks_a_descriptor() {
    let server = Server::with(|config| {
        config.ping_interval = Duration::from_millis(500);
        config.ping_timeout = Duration::from_millis(500);
        config.upgrade_timeout = Duration::from_millis(300);
    })
    .await;
    let _ = server.get("EIO=4&transport=foo").await;
    let baseline = descriptors();

    // Upgrades of every kind, then a reset.
    let targets = [
        "/engine.io/?EIO=4&transport=websocket",
        "/engine.io/?EIO=4&transport=polling",
        "/engine.io/?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA",
        "/engine.io/?EIO=3&transport=websocket",
        "/elsewhere/?EIO=4&transport=websocket",
    ];
    for target in targets {
        for round in 0..100 {
            let mut wire = server.connect().await;
            wire.send(upgrade(target, &[])).await;
            // Before and after the answer. An unknown path has none.
            if round % 2 == 0 && target.starts_with("/engine.io/") {
                wire.answer().await;
            }
            wire.reset();
        }
    }
    for _ in 0..100 {
        let sid = server.handshake().await;
        server.probing(&sid).await.reset();
        server.hold(&sid).await.reset();
    }
    until("sessions are over", || server.engine.sessions() == 0).await;
    until("descriptors are back after resets", || descriptors() <= baseline).await;

    // Octet streams on a hundred connections of one session.
    let sid = server.handshake().await;
    let mut wires = Vec::new();
    for _ in 0..100 {
        let mut wire = server.connect().await;
        let kind = [("Content-Type", "application/octet-stream")];
        wire.send(common::wire::request("POST", &polling(&sid), &kind, "x")).await;
        wires.push(wire);
    }
    for wire in &mut wires {
        let answer = wire.answer().await;
        assert_eq!(answer.status, 400);
    }
    let last = server.log.opened() - 1;
    assert_eq!(server.closed(last).await, CloseReason::TransportError);
    drop(wires);
    until("descriptors are back after octet streams", || descriptors() <= baseline).await;
    server.finish().await;
}
