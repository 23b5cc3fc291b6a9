//! The cluster queue at its limits, and with a broker that fails.

use super::gate::{Gate, Publish};
use super::stage::{ACQUAINTED, NAMESPACE, Puppet, Server, context, pass};
use roomcast_adapter::cluster::{Body, ClusterOptions, Losses, MemoryNetwork, Queued, RequestId};
use roomcast_adapter::testkit::eventually;
use roomcast_adapter::{Action, Adapter, Room, Target};
use roomcast_protocol::Args;
use std::sync::Arc;
use std::time::Duration;

const COUNTED: Duration = Duration::from_secs(3);

fn options(change: impl FnOnce(&mut ClusterOptions)) -> ClusterOptions {
    let mut options = ClusterOptions::default();
    change(&mut options);
    options
}

/// Two servers that know each other. The first one has these options.
async fn pair(network: &MemoryNetwork, options: ClusterOptions) -> (Server, Server) {
    let pair = (Server::with(network, "a", options), Server::new(network, "b"));
    pass(ACQUAINTED).await;
    pair
}

/// The bytes that an emit of a [`Server`] takes in the queue if its number has so many digits.
fn a_message(digits: usize) -> usize {
    let data = Args::event("a", &10_u64.pow(digits as u32 - 1)).unwrap();
    Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true }.size()
}

/// A server behind a [`Gate`], and another one.
async fn gated(network: &MemoryNetwork, gate: Gate, options: ClusterOptions) -> (Arc<Gate>, Server, Server) {
    let gate = Arc::new(gate);
    let a = Server::over(gate.inner.clone(), gate.clone(), "a", options);
    let b = Server::new(network, "b");
    pass(ACQUAINTED).await;
    (gate, a, b)
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_queue_is_that_of_its_oldest_message() {
    let network = MemoryNetwork::new();
    let (a, _b) = pair(&network, ClusterOptions::default()).await;
    assert_eq!(a.cluster.queue(), Queued::default());
    network.cut_off(&a.broker, true);
    a.emit();
    pass(Duration::from_secs(2)).await;
    a.emit();
    pass(Duration::from_secs(1)).await;
    let queue = a.cluster.queue();
    assert_eq!((queue.messages, queue.oldest), (2, Duration::from_secs(3)));
    assert_eq!(queue.bytes, a_message(1) + a_message(1));
    network.cut_off(&a.broker, false);
    pass(COUNTED).await;
    assert_eq!(a.cluster.queue(), Queued::default());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_messages_make_room_at_the_limit_and_one_past_it() {
    for (emits, dropped) in [(10, 0), (11, 1), (25, 15)] {
        let network = MemoryNetwork::new();
        let (a, b) = pair(&network, options(|options| options.max_queued_bytes = 10 * a_message(2))).await;
        network.cut_off(&a.broker, true);
        (0..emits).for_each(|_| a.emit());
        assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (10, dropped));
        assert_eq!(a.heard(&a).len() as u64, emits, "local delivery depends on the network");
        network.cut_off(&a.broker, false);
        pass(COUNTED).await;
        assert_eq!(b.heard(&a), (dropped + 1..=emits).collect::<Vec<_>>());
        assert_eq!((b.lost(), a.cluster.queued()), (dropped, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn queued_bytes_at_the_limit_and_one_past_it() {
    for (spare, dropped) in [(0, 0), (-1, 1)] {
        let network = MemoryNetwork::new();
        let bound = (5 * a_message(1)).checked_add_signed(spare).unwrap();
        let (a, b) = pair(&network, options(|options| options.max_queued_bytes = bound)).await;
        network.cut_off(&a.broker, true);
        (0..5).for_each(|_| a.emit());
        assert_eq!((a.cluster.queued() as u64, a.cluster.losses().dropped), (5 - dropped, dropped));
        network.cut_off(&a.broker, false);
        pass(COUNTED).await;
        assert_eq!((b.heard(&a).len() as u64, b.lost()), (5 - dropped, dropped));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_kept_if_it_waits_alone() {
    let network = MemoryNetwork::new();
    let (a, b) = pair(&network, options(|options| options.max_queued_bytes = 1)).await;
    network.cut_off(&a.broker, true);
    a.emit();
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (1, 0));
    a.emit();
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (1, 1));
    network.cut_off(&a.broker, false);
    pass(COUNTED).await;
    assert_eq!((b.heard(&a), b.lost()), (vec![2], 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_for_five_seconds_and_not_longer() {
    for (outage, dropped) in [(4_990, 0), (5_010, 1)] {
        let network = MemoryNetwork::new();
        let (a, b) = pair(&network, ClusterOptions::default()).await;
        network.cut_off(&a.broker, true);
        a.emit();
        pass(Duration::from_millis(outage)).await;
        network.cut_off(&a.broker, false);
        pass(COUNTED).await;
        assert_eq!(b.heard(&a).len() as u64, 1 - dropped);
        assert_eq!((a.cluster.losses().dropped, b.lost()), (dropped, dropped));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_with_history_knows_no_age() {
    let network = MemoryNetwork::new();
    let gate = Gate { keeps_history: true, ..Gate::new(&network) };
    let (gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
    network.cut_off(&gate.inner, true);
    a.emit();
    pass(Duration::from_secs(60)).await;
    network.cut_off(&gate.inner, false);
    pass(COUNTED).await;
    assert_eq!((b.heard(&a), b.lost()), (vec![1], 0));
}

#[tokio::test(start_paused = true)]
async fn volatile_emits_are_not_kept_while_nothing_goes_out() {
    let network = MemoryNetwork::new();
    let (a, b) = pair(&network, ClusterOptions::default()).await;
    a.emit_with(true);
    assert!(eventually(|| b.heard(&a) == [1]).await);
    network.cut_off(&a.broker, true);
    // This is known at the next announcement at the latest.
    pass(Duration::from_secs(1)).await;
    (0..5).for_each(|_| a.emit_with(true));
    a.emit();
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (1, 5));
    assert_eq!(a.heard(&a).len(), 7);
    network.cut_off(&a.broker, false);
    pass(COUNTED).await;
    a.emit_with(true);
    pass(COUNTED).await;
    assert_eq!(b.heard(&a), [1, 7, 8]);
    assert_eq!(b.lost(), 0, "a volatile message that was never sent is missed");
}

#[tokio::test(start_paused = true)]
async fn local_delivery_goes_on_while_cut_off() {
    let network = MemoryNetwork::new();
    let (a, b) = pair(&network, ClusterOptions::default()).await;
    network.cut_off(&a.broker, true);
    for number in 1..=100 {
        a.emit();
        assert_eq!(a.heard(&a).len(), number, "an emit waits");
    }
    assert!(b.heard(&a).is_empty());
    network.cut_off(&a.broker, false);
    assert!(eventually(|| b.heard(&a).len() == 100).await);
    assert_eq!(b.heard(&a), (1..=100).collect::<Vec<_>>());
}

/// What the broker is publishing may have gone out: dropping it would count a loss that did not happen.
#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_not_dropped() {
    let network = MemoryNetwork::new();
    let gate = Gate::new(&network);
    let (gate, a, b) = gated(&network, gate, options(|options| options.max_queued_bytes = 10 * a_message(2))).await;
    gate.set(Publish::Hang);
    (0..5).for_each(|_| a.emit());
    assert!(eventually(|| b.heard(&a).len() == 5).await);
    (0..10).for_each(|_| a.emit());
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (10, 5));
    gate.set(Publish::Through);
    pass(Duration::from_secs(8)).await;
    assert_eq!(b.heard(&a), [1, 2, 3, 4, 5, 11, 12, 13, 14, 15]);
    assert_eq!(b.cluster.losses(), Losses { lost: 5, doubles: 5, ..Losses::default() });
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_sent_again_is_dropped_as_doubles() {
    let network = MemoryNetwork::new();
    let gate = Gate::new(&network);
    let (gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
    gate.set(Publish::Part(7));
    (0..20).for_each(|_| a.emit());
    pass(Duration::from_secs(1)).await;
    gate.set(Publish::Through);
    pass(COUNTED).await;
    assert_eq!(b.heard(&a), (1..=20).collect::<Vec<_>>());
    let Losses { lost, doubles, .. } = b.cluster.losses();
    assert!(lost == 0 && doubles >= 7, "{lost} lost, {doubles} doubles");
    assert_eq!(a.cluster.losses().dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_refuses_is_dropped_and_the_rest_goes_on() {
    let network = MemoryNetwork::new();
    let gate = Gate::new(&network);
    let (gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
    gate.set(Publish::Refuse(100));
    let large = Args::event("large", &"x".repeat(100)).unwrap();
    for _ in 0..3 {
        a.emit();
        a.adapter.apply(&Target::everyone(), Action::emit(&large)).unwrap();
    }
    a.emit();
    pass(COUNTED).await;
    assert_eq!(b.heard(&a), [1, 2, 3, 4]);
    assert_eq!((a.cluster.losses().dropped, b.lost(), a.cluster.queued()), (3, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_with_a_wrong_number_of_outcomes_does_no_harm() {
    for how in [Publish::TooMany, Publish::Silence] {
        let network = MemoryNetwork::new();
        let gate = Gate::new(&network);
        let (gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
        gate.set(how);
        a.emit();
        pass(Duration::from_millis(1)).await;
        gate.set(Publish::Through);
        a.emit();
        pass(COUNTED).await;
        assert_eq!((b.heard(&a), a.cluster.queued()), (vec![1, 2], 0));
        assert_eq!((a.cluster.losses().dropped, b.lost()), (0, 0));
    }
}

/// On pub/sub, a message that did not go out is not sent after its later neighbours: it is lost, and both sides say so.
#[tokio::test(start_paused = true)]
async fn messages_that_were_overtaken_are_dropped() {
    let network = MemoryNetwork::new();
    let gate = Gate::new(&network);
    let (gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
    gate.set(Publish::Every2nd);
    (0..7).for_each(|_| a.emit());
    pass(Duration::from_millis(1)).await;
    gate.set(Publish::Through);
    pass(COUNTED).await;
    assert_eq!(b.heard(&a), [2, 4, 6, 7], "the last waits for its turn");
    assert_eq!((a.cluster.losses().dropped, b.cluster.losses()), (3, Losses { lost: 3, ..Losses::default() }));
}

/// Without faults nothing is lost, however much is emitted at once, and the rate does not depend on the round trip.
#[tokio::test(start_paused = true)]
async fn a_burst_arrives_completely_over_a_slow_network() {
    const BURST: u64 = 60_000;
    let network = MemoryNetwork::new();
    let trip = Duration::from_millis(6);
    let gate = Gate { takes: trip, ..Gate::new(&network) };
    let (_gate, a, b) = gated(&network, gate, ClusterOptions::default()).await;
    (0..BURST).for_each(|_| a.emit());
    // 4,096 messages go out in a round trip.
    pass(trip * 20).await;
    assert_eq!(b.heard(&a).len() as u64, BURST);
    assert_eq!((a.cluster.losses().dropped, b.lost()), (0, 0));
}

/// Large answers do not push this server's broadcasts out of the queue, nor broadcasts the answers.
#[tokio::test(start_paused = true)]
async fn answers_and_broadcasts_do_not_push_one_another_out() {
    let network = MemoryNetwork::new();
    let (a, b) = pair(&network, options(|options| options.max_queued_bytes = 100 * a_message(3))).await;
    let puppet = Puppet::new(&network, "asker").await;
    for room in 0..2_000 {
        a.adapter.join(a.socket_id, &[Room::from(format!("a room with a long name {room}"))]).unwrap();
    }
    pass(ACQUAINTED).await;
    puppet.publish(NAMESPACE, None, Body::FetchRooms { request: RequestId("large".into()) }).await;
    network.cut_off(&a.broker, true);
    (0..100).for_each(|_| a.emit());
    // A server that is not subscribed may be a newcomer, and answers later.
    pass(Duration::from_millis(200)).await;
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (101, 0));
    network.cut_off(&a.broker, false);
    pass(COUNTED).await;
    assert_eq!((b.heard(&a).len(), b.lost()), (100, 0));
    let answers = puppet.heard().into_iter().filter(|message| message.body.answers().is_some()).count();
    assert_eq!(answers, 2, "of a and b");
}

/// Namespaces come and go, and their numbers with them.
#[tokio::test(start_paused = true)]
async fn closed_namespaces_leave_no_numbers() {
    let network = MemoryNetwork::new();
    let (a, b) = pair(&network, ClusterOptions::default()).await;
    let event = Args::event("e", &()).unwrap();
    for number in 0..3_000 {
        let name = format!("/{}", number % 1_500);
        let ((here, _e1), (there, _e2)) = (context(&name), context(&name));
        let (here, there) = (a.cluster.adapter(here), b.cluster.adapter(there));
        here.apply(&Target::everyone(), Action::emit(&event)).unwrap();
        pass(Duration::from_millis(1)).await;
        here.close().await;
        there.close().await;
    }
    pass(COUNTED * 2).await;
    assert_eq!((a.cluster.numbered(), b.lost(), b.cluster.losses().doubles), (0, 0, 0));
}

/// What is queued when a server leaves during an outage never goes out: it is lost, and counted.
#[tokio::test(start_paused = true)]
async fn messages_that_are_queued_when_a_server_leaves_are_counted() {
    let network = MemoryNetwork::new();
    let (a, _b) = pair(&network, ClusterOptions::default()).await;
    network.cut_off(&a.broker, true);
    (0..3).for_each(|_| a.emit());
    pass(Duration::from_secs(1)).await;
    a.cluster.close().await;
    assert_eq!((a.cluster.queued(), a.cluster.losses().dropped), (0, 3));
}
