//! Losses, doubles, delays and partitions: exactly what is missing is counted.

use super::gate::Gate;
use super::stage::{ACQUAINTED, NAMESPACE, Puppet, Server, context, pass};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Alive, Body, ClusterState, Losses, Lost, MemoryNetwork, SERVERS, Series, SeriesReport,
};
use roomcast_adapter::testkit::{FakeRecipient, Random, eventually};
use roomcast_adapter::{Action, Adapter, Target};
use roomcast_protocol::{Args, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Seeded runs. Each is a few hundred steps of three servers.
const SEEDS: u64 = 200;

/// Everybody is in it: broadcasts to one room are numbered separately.
const ROOM: &str = "room";

/// A lost tail is counted at the second announcement after it, and announcements come every second.
const COUNTED: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Totals {
    emitted: u64,
    lost: u64,
    doubles: u64,
    dropped: u64,
}

async fn run(seed: u64) -> Totals {
    let mut random = Random::new(seed);
    let network = MemoryNetwork::new();
    let servers: Vec<Server> = ["a", "b", "c"].iter().map(|name| Server::new(&network, name)).collect();
    for server in &servers {
        server.adapter.join(server.socket_id, &[ROOM.into()]).unwrap();
    }
    pass(ACQUAINTED).await;
    for _ in 0..100 + random.below(200) {
        let server = &servers[random.below(3) as usize];
        match random.below(40) {
            0 | 1 => network.lose(1 + random.below(4) as usize),
            2 | 3 => network.double(1 + random.below(4) as usize),
            4 => network.cut_off(&server.broker, true),
            5..=8 => network.cut_off(&server.broker, false),
            9 => network.delay(Duration::from_millis(random.below(100))),
            10..=14 => pass(Duration::from_millis(random.below(700))).await,
            // Longer than a message is queued, and sometimes longer than a silent server is remembered by name.
            15 if random.below(4) == 0 => pass(Duration::from_millis(random.below(15_000))).await,
            16..=25 => server.emit_to(ROOM),
            _ => server.emit(),
        }
    }
    // What is emitted now may be lost without anything after it.
    if random.below(2) == 0 {
        for server in &servers {
            network.cut_off(&server.broker, false);
        }
        pass(Duration::from_millis(200)).await;
        network.lose(1 + random.below(6) as usize);
    }
    servers.iter().for_each(Server::emit);
    pass(Duration::from_millis(1)).await;
    network.lose(0);
    network.double(0);
    for server in &servers {
        network.cut_off(&server.broker, false);
    }
    pass(COUNTED).await;

    let mut totals = Totals::default();
    for receiver in &servers {
        let mut missing = 0;
        for publisher in &servers {
            let heard = receiver.heard(publisher);
            let rising = heard.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(rising, "seed {seed}: doubled or out of order: {heard:?}");
            missing += publisher.emitted() - heard.len() as u64;
        }
        let Losses { lost, doubles, dropped, .. } = receiver.cluster.losses();
        assert_eq!(lost, missing, "seed {seed}: server {} counts other losses than there were", receiver.cluster.id());
        assert_eq!(receiver.heard(receiver).len() as u64, receiver.emitted(), "seed {seed}: a local emit is missing");
        assert_eq!(receiver.cluster.queued(), 0, "seed {seed}");
        totals.emitted += receiver.emitted();
        totals.lost += lost;
        totals.doubles += doubles;
        totals.dropped += dropped;
    }
    totals
}

#[tokio::test(start_paused = true)]
async fn the_counted_losses_are_the_real_ones_in_seeded_random_runs() {
    let mut sum = Totals::default();
    for seed in 0..SEEDS {
        let Totals { emitted, lost, doubles, dropped } = run(seed).await;
        sum.emitted += emitted;
        sum.lost += lost;
        sum.doubles += doubles;
        sum.dropped += dropped;
    }
    println!("{SEEDS} seeds: {sum:?}");
    // Without faults these runs would prove nothing.
    assert!(sum.lost > SEEDS * 10 && sum.doubles > SEEDS && sum.dropped > SEEDS, "{sum:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_tail_is_counted_by_the_announcement() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    a.emit();
    pass(Duration::from_millis(1)).await;
    network.lose(3);
    (0..3).for_each(|_| a.emit());
    pass(Duration::from_millis(1)).await;
    assert_eq!((b.heard(&a), b.lost()), (vec![1], 0));
    pass(COUNTED).await;
    assert_eq!((b.lost(), a.lost()), (3, 0));
    a.emit();
    pass(COUNTED).await;
    assert_eq!((b.heard(&a), b.lost()), (vec![1, 5], 3));
}

/// Nothing has arrived in the series before, so only announcements show where it starts.
#[tokio::test(start_paused = true)]
async fn the_first_messages_of_a_series_are_missed_too() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    network.lose(2);
    (0..2).for_each(|_| a.emit());
    pass(COUNTED).await;
    assert_eq!(b.lost(), 2);
}

#[tokio::test(start_paused = true)]
async fn doubles_reach_no_client() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    network.double(usize::MAX);
    (0..1_000).for_each(|_| a.emit());
    assert!(eventually(|| b.cluster.losses().doubles == 1_000).await, "{:?}", b.cluster.losses());
    assert_eq!(b.heard(&a), (1..=1_000).collect::<Vec<_>>());
    assert_eq!(a.heard(&a).len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn ten_publishers_of_a_thousand_messages_keep_their_order() {
    let network = MemoryNetwork::new();
    network.delay(Duration::from_millis(5));
    let servers: Vec<Server> = (0..10).map(|number| Server::new(&network, &format!("s{number}"))).collect();
    pass(ACQUAINTED).await;
    for number in 0..1_000 {
        for server in &servers {
            server.emit();
        }
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let all: Vec<u64> = (1..=1_000).collect();
    let come = || servers.iter().all(|server| server.socket.packets().len() == 10_000);
    assert!(eventually(come).await);
    for receiver in &servers {
        let mut heard = vec![Vec::new(); servers.len()];
        for event in receiver.socket.events() {
            let publisher: usize = event.name[1..].parse().unwrap();
            heard[publisher].push(event.args.parse::<u64>().unwrap());
        }
        assert!(heard.iter().all(|numbers| *numbers == all));
        assert_eq!(receiver.cluster.losses(), Losses::default());
    }
}

/// The announcement takes less time than the messages that it is about.
#[tokio::test(start_paused = true)]
async fn an_announcement_that_overtakes_messages_costs_nothing() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    for _ in 0..10 {
        network.delay(Duration::from_millis(400));
        a.emit();
        pass(Duration::from_millis(1)).await;
        network.delay(Duration::ZERO);
        pass(Duration::from_millis(930)).await;
    }
    pass(COUNTED).await;
    assert_eq!((b.heard(&a), b.lost()), ((1..=10).collect::<Vec<_>>(), 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_in_a_namespace_that_is_not_open_here() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    let (other, _events) = context("/other");
    let other = a.cluster.adapter(other);
    let event = Args::event("e", &()).unwrap();
    for _ in 0..10 {
        other.apply(&Target::everyone(), Action::emit(&event)).unwrap();
        pass(Duration::from_millis(500)).await;
    }
    assert_eq!(b.cluster.losses(), Losses::default());
}

#[tokio::test(start_paused = true)]
async fn closing_a_namespace_and_opening_it_again_counts_no_false_loss() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    a.emit();
    pass(Duration::from_millis(1)).await;
    b.adapter.close().await;
    for _ in 0..5 {
        a.emit();
        pass(Duration::from_millis(900)).await;
    }
    let (again, _events) = context(NAMESPACE);
    let again = b.cluster.adapter(again);
    let socket = FakeRecipient::new();
    again.insert(SocketId::random().unwrap(), socket.clone(), &[], None).unwrap();
    a.emit();
    assert!(eventually(|| socket.packets().len() == 1).await, "what is opened again hears nothing");
    pass(COUNTED).await;
    assert_eq!((b.heard(&a), b.cluster.losses()), (vec![1], Losses::default()));
    // From here on losses count again.
    network.lose(1);
    a.emit();
    pass(COUNTED).await;
    assert_eq!(b.lost(), 1);
}

/// A server was cut off for longer than it is remembered by name, and comes back with the numbers that it had.
#[tokio::test(start_paused = true)]
async fn a_long_partition_is_counted_on_both_sides() {
    let network = MemoryNetwork::new();
    let (a, b, c) = (Server::new(&network, "a"), Server::new(&network, "b"), Server::new(&network, "c"));
    pass(ACQUAINTED).await;
    [&a, &b, &c].into_iter().for_each(Server::emit);
    pass(Duration::from_millis(10)).await;
    network.cut_off(&b.broker, true);
    for _ in 0..30 {
        [&a, &b, &c].into_iter().for_each(Server::emit);
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!((a.cluster.servers().len(), b.cluster.servers().len()), (1, 0));
    network.cut_off(&b.broker, false);
    pass(COUNTED).await;
    // b misses everything from the others. Of b's messages, those of the last five seconds were still queued.
    assert_eq!(b.lost(), 60);
    assert_eq!(a.lost(), 31 - a.heard(&b).len() as u64);
    assert_eq!(a.lost(), b.cluster.losses().dropped);
    assert!((25..=26).contains(&a.lost()), "{}", a.lost());
    assert_eq!(a.lost(), c.lost());
    assert_eq!((a.cluster.servers().len(), b.cluster.servers().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn hostile_numbers_and_names_do_no_harm() {
    let network = MemoryNetwork::new();
    let server = Server::new(&network, "a");
    let puppet = Puppet::new(&network, "p").await;
    let body = || Body::ServerSideEmit { request: None, data: Args::event("e", &()).unwrap() };
    for number in [u64::MAX, 0, u64::MAX, 1] {
        puppet.publish(NAMESPACE, Some(number), body()).await;
    }
    for number in [u64::MAX, 0] {
        let told = |name: &str| SeriesReport::new(name.into(), Series::Main, number, number);
        let numbers = vec![told(NAMESPACE), told(""), told(NAMESPACE)];
        let mut alive = Alive::default();
        alive.numbers = numbers;
        puppet.publish(SERVERS, None, Body::Alive(alive)).await;
        pass(ACQUAINTED).await;
    }
    puppet.publish(NAMESPACE, None, body()).await;
    pass(Duration::from_millis(1)).await;
    assert_eq!(server.cluster.servers(), std::slice::from_ref(&puppet.id));
    server.emit();
    assert!(eventually(|| puppet.heard().len() == 6).await, "{}", puppet.heard().len());
}

/// A broadcast to a room without members here does not arrive, and is not a loss. One that is lost in flight is.
#[tokio::test(start_paused = true)]
async fn broadcasts_to_rooms_without_members_here_are_not_losses() {
    let network = MemoryNetwork::new();
    let (a, b, c) = (Server::new(&network, "a"), Server::new(&network, "b"), Server::new(&network, "c"));
    c.adapter.join(c.socket_id, &["x".into()]).unwrap();
    pass(ACQUAINTED).await;
    for round in 0..100 {
        (0..10).for_each(|_| a.emit_to("x"));
        if round % 7 == 0 {
            a.emit();
        }
        pass(Duration::from_millis(30)).await;
    }
    pass(COUNTED).await;
    assert_eq!((b.heard(&a).len(), c.heard(&a).len() as u64), (15, a.emitted()));
    assert_eq!((b.cluster.losses(), c.cluster.losses()), (Losses::default(), Losses::default()));
    network.lose(3);
    (0..5).for_each(|_| a.emit_to("x"));
    pass(COUNTED).await;
    assert_eq!((b.lost(), c.lost(), c.heard(&a).len() as u64), (3, 3, a.emitted() - 3));
    // And so is a lost tail.
    network.lose(2);
    (0..2).for_each(|_| a.emit_to("x"));
    pass(COUNTED).await;
    assert_eq!((b.lost(), c.lost()), (5, 5));
}

/// A pod of a set crashes and comes back under its name.
#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_under_its_name_is_counted_anew() {
    for away in [Duration::from_millis(1), Duration::from_secs(30)] {
        let network = MemoryNetwork::new();
        let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
        pass(ACQUAINTED).await;
        (0..100).for_each(|_| a.emit());
        pass(Duration::from_millis(10)).await;
        assert_eq!(b.heard(&a).len(), 100);
        a.die(&network);
        pass(away).await;
        let a = Server::new(&network, "a");
        (0..50).for_each(|_| a.emit());
        pass(COUNTED).await;
        assert_eq!(b.heard(&a).len(), 150, "away for {away:?}");
        assert_eq!((b.cluster.losses(), b.cluster.servers().len()), (Losses::default(), 1));
    }
}

/// An application learns whose messages were lost, and whether its server is connected to the others.
#[tokio::test(start_paused = true)]
async fn an_application_is_told_of_losses_and_of_outages() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    let told = Arc::<Mutex<Vec<(Option<String>, u64)>>>::default();
    let lost = told.clone();
    b.cluster.on_lost(|_| panic!("a hook that panics spoils nothing"));
    b.cluster.on_lost(move |it: &Lost| lost.lock().push((it.sender.as_ref().map(ToString::to_string), it.messages)));
    let mut state = b.cluster.state();
    pass(ACQUAINTED).await;
    assert_eq!(b.cluster.members(NAMESPACE), std::slice::from_ref(a.cluster.id()));
    let stands = |state: &mut watch::Receiver<ClusterState>| {
        let now = *state.borrow_and_update();
        (now.hears, now.publishes, now.peers)
    };
    assert_eq!(stands(&mut state), (true, true, 1));
    network.lose(3);
    (0..5).for_each(|_| a.emit());
    pass(COUNTED).await;
    assert_eq!(*told.lock(), [(Some("a".to_owned()), 3)]);
    // A server that is cut off knows at once that it receives nothing, and after an attempt, that nothing goes out.
    network.cut_off(&b.broker, true);
    assert!(!state.borrow_and_update().hears);
    b.emit();
    pass(Duration::from_secs(2)).await;
    let now = *state.borrow_and_update();
    assert_eq!((now.hears, now.publishes, now.queued), (false, false, 1));
    assert!(now.queued_bytes > 0 && now.since.elapsed() >= Duration::from_secs(1), "{now:?}");
    network.cut_off(&b.broker, false);
    pass(Duration::from_secs(12)).await;
    let now = *state.borrow_and_update();
    assert_eq!((now.hears, now.publishes, now.peers, now.queued, now.queued_bytes), (true, true, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_messages_do_not_arrive_is_counted() {
    let network = MemoryNetwork::new();
    let (gate, a) = Gate::new(&network).server("a");
    pass(ACQUAINTED).await;
    assert_eq!(
        a.cluster.losses().interrupted,
        Duration::ZERO,
        "it was not heard before the beginning, which is no break"
    );
    for seconds in 1..=2 {
        gate.inbox(NAMESPACE).lost();
        pass(Duration::from_secs(seconds)).await;
        gate.inbox(NAMESPACE).connected();
    }
    assert_eq!(a.cluster.losses().interrupted, Duration::from_secs(3));
    // After closing, an interruption does not count.
    gate.inbox(NAMESPACE).lost();
    a.adapter.close().await;
    pass(Duration::from_secs(1)).await;
    gate.inbox(NAMESPACE).connected();
    assert_eq!(a.cluster.losses().interrupted, Duration::from_secs(3));
}
