//! Large answers arrive in parts that the broker can carry, and an asker is told at once what cannot be answered.

use super::gate::{Gate, Publish};
use super::stage::{ACQUAINTED, NAMESPACE, Puppet, Server, pass};
use roomcast_adapter::cluster::{Body, MemoryNetwork, RequestId};
use roomcast_adapter::testkit::FakeRecipient;
use roomcast_adapter::{Action, Adapter, AdapterError, Details, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Adds sockets with so many bytes of data each.
fn sockets(server: &Server, number: usize, bytes: usize) {
    for _ in 0..number {
        let socket = FakeRecipient::new();
        socket.set_details(Details { handshake: "{}".to_owned(), data: format!("\"{}\"", "x".repeat(bytes)) });
        server.adapter.insert(SocketId::random().unwrap(), socket, &["room".into()], None).unwrap();
    }
}

/// A server that asks, and one behind a gate that has sockets in a room.
async fn two(network: &MemoryNetwork, largest: usize) -> (Server, Arc<Gate>, Server) {
    let a = Server::new(network, "a");
    let (gate, b) = Gate { largest, ..Gate::new(network) }.server("b");
    pass(ACQUAINTED).await;
    (a, gate, b)
}

/// The number of sockets found, the missing servers, and the time it took.
async fn fetch(server: &Server) -> (usize, Vec<String>, Duration) {
    let began = Instant::now();
    let found = server.adapter.fetch_sockets(&Target::room("room"), 5 * SECOND).await;
    (found.value.len(), found.missing.names, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_comes_in_parts() {
    for (largest, bytes) in [(usize::MAX, 300_000), (8_000, 2_000)] {
        let network = MemoryNetwork::new();
        let (a, gate, b) = two(&network, largest).await;
        sockets(&b, 40, bytes);
        // A part that is too large for the broker is refused.
        gate.set(Publish::Refuse(largest.min(1_000_001)));
        assert_eq!(fetch(&a).await, (40, vec![], Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_a_part_is_lost_is_missing() {
    let network = MemoryNetwork::new();
    let (a, gate, b) = two(&network, 8_000).await;
    sockets(&b, 40, 2_000);
    let asks = fetch(&a);
    let loses = async {
        // The question is in flight.
        network.delay(Duration::from_millis(10));
        pass(Duration::from_millis(1)).await;
        network.lose(1);
    };
    gate.set(Publish::Through);
    let ((found, missing, _), ()) = tokio::join!(asks, loses);
    assert_eq!((found < 40, missing), (true, vec!["b".to_owned()]), "{found}");
}

#[tokio::test(start_paused = true)]
async fn an_asker_is_told_at_once_that_it_gets_no_answer() {
    let network = MemoryNetwork::new();
    // An answer that is too large altogether.
    let (a, _, b) = two(&network, usize::MAX).await;
    sockets(&b, 33, 1_000_000);
    assert_eq!(fetch(&a).await, (0, vec!["b".to_owned()], Duration::ZERO));
    // A single part that the broker refuses when it is published.
    let network = MemoryNetwork::new();
    let (a, gate, b) = two(&network, usize::MAX).await;
    sockets(&b, 3, 900_000);
    gate.set(Publish::Refuse(800_000));
    let (_, missing, took) = fetch(&a).await;
    assert_eq!((missing, took), (vec!["b".to_owned()], Duration::ZERO));
    // An event that no handler answers.
    drop(b.events);
    let data = Args::event("hello", &1).unwrap();
    let began = Instant::now();
    let answers = a.adapter.server_side_emit_with_ack(&data, 5 * SECOND).await.unwrap();
    assert_eq!(
        (answers.value.len(), answers.missing.names, began.elapsed()),
        (0, vec!["b".to_owned()], Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn servers_of_other_software_get_one_message_and_no_refusal() {
    let network = MemoryNetwork::new();
    let b = Server::new(&network, "b");
    let puppet = Puppet::new(&network, "node").await;
    sockets(&b, 40, 100_000);
    for (more, answers) in [(0, 1), (80, 0)] {
        sockets(&b, more, 100_000);
        let request = RequestId(format!("{more}").as_str().into());
        let question = Body::FetchSockets { request: request.clone(), target: Target::room("room") };
        puppet.publish_as_others_do(NAMESPACE, question).await;
        pass(SECOND).await;
        let mut heard: Vec<Body> = puppet.heard().into_iter().map(|message| message.body).collect();
        heard.retain(|body| body.answers() == Some(&request));
        assert_eq!(heard.len(), answers, "{more}");
        assert!(
            heard.iter().all(|body| matches!(body, Body::Sockets { parts: 1, sockets, .. } if sockets.len() == 40))
        );
    }
}

/// At the limit and one past it. Nobody gets a part of it.
#[tokio::test(start_paused = true)]
async fn an_event_too_large_for_the_other_servers_is_refused_at_the_call() {
    let network = MemoryNetwork::new();
    let (a, _, b) = two(&network, 8_000).await;
    for (bytes, goes) in [(8_000, true), (8_001, false)] {
        // `"e","xxx"`
        let data = Args::event("e", &"x".repeat(bytes - 6)).unwrap();
        let refused = AdapterError::TooLargeForServers { bytes, most: 8_000 };
        let expected = if goes { Ok(()) } else { Err(refused.clone()) };
        assert_eq!(b.adapter.apply(&Target::everyone(), Action::emit(&data)), expected);
        assert_eq!(b.adapter.server_side_emit(&data), expected);
        if !goes {
            let emit = roomcast_adapter::Emit::of(&data);
            assert_eq!(b.adapter.emit_with_ack(&Target::everyone(), emit, SECOND).await.unwrap_err(), refused);
            assert_eq!(b.adapter.apply(&Target::everyone().local(), Action::emit(&data)), Ok(()));
        }
        pass(SECOND).await;
        assert_eq!((a.socket.events().len(), b.socket.events().len()), (1, if goes { 1 } else { 2 }));
    }
}
