//! Questions to other servers: partial answers name silent servers, late and double answers are ignored.

use super::gate::Gate;
use super::stage::{ACQUAINTED, NAMESPACE, Puppet, Server, pass};
use roomcast_adapter::cluster::{Arrival, Body, BrokerError, Count, MemoryNetwork, Message, RequestId};
use roomcast_adapter::testkit::{FakeRecipient, eventually};
use roomcast_adapter::{Adapter, Details, Emit, Missing, Room, ServerEvent, SocketDetails, Target};
use roomcast_protocol::Args;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(2);

fn silent(name: &str) -> Missing {
    Missing { names: vec![name.to_owned()], others: 0 }
}

/// Two servers, a puppet that does not answer by itself, and a task that answers the second server's events.
async fn stage(network: &MemoryNetwork) -> (Server, Server, Puppet) {
    let (a, mut b) = (Server::new(network, "a"), Server::new(network, "b"));
    let puppet = Puppet::new(network, "silent").await;
    pass(ACQUAINTED).await;
    let (other, events) = tokio::sync::mpsc::channel(1);
    drop(other);
    let mut events = std::mem::replace(&mut b.events, events);
    tokio::spawn(async move {
        while let Some(ServerEvent { reply, .. }) = events.recv().await {
            if let Some(reply) = reply {
                let _ = reply.send(Args::of(&"b says").unwrap());
            }
        }
    });
    (a, b, puppet)
}

async fn within_the_timeout<T>(question: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = question.await;
    let took = begun.elapsed();
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(100), "the silent one was awaited for {took:?}");
    answer
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_named_by_every_question() {
    let network = MemoryNetwork::new();
    let (a, b, _puppet) = stage(&network).await;
    b.adapter.join(b.socket_id, &[Room::from("r")]).unwrap();
    let event = Args::event("e", &()).unwrap();

    let sockets = within_the_timeout(a.adapter.fetch_sockets(&Target::everyone(), TIMEOUT)).await;
    let mut ids: Vec<String> = sockets.value.into_iter().map(|socket| socket.id).collect();
    let mut expected = [&a, &b].map(|server| server.socket_id.to_string());
    ids.sort();
    expected.sort();
    assert_eq!((ids.as_slice(), sockets.missing), (expected.as_slice(), silent("silent")));

    let count = within_the_timeout(a.adapter.count(&Target::everyone(), TIMEOUT)).await;
    assert_eq!((count.value, count.missing), (2, silent("silent")));

    let rooms = within_the_timeout(a.adapter.all_rooms(TIMEOUT)).await;
    assert!(rooms.value.contains(&Room::from("r")) && rooms.value.len() == 3, "{rooms:?}");
    assert_eq!(rooms.missing, silent("silent"));

    let answers = within_the_timeout(a.adapter.server_side_emit_with_ack(&event, TIMEOUT)).await.unwrap();
    assert_eq!((answers.value, answers.missing), (vec![Args::of(&"b says").unwrap()], silent("silent")));

    for server in [&a, &b] {
        let adapter: std::sync::Arc<dyn Adapter> = server.adapter.clone();
        server.socket.answer(&adapter, server.socket_id, Args::of(&"yes").unwrap());
    }
    let acked =
        within_the_timeout(a.adapter.emit_with_ack(&Target::everyone(), Emit::of(&event), TIMEOUT)).await.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets, acked.missing), (2, 0, silent("silent")));

    assert_eq!((a.adapter.open_requests(), b.adapter.open_requests()), (0, 0));
    assert_eq!((a.adapter.local().sizes().2, b.adapter.local().sizes().2), (0, 0));
}

/// The puppet's question at this index, which the test answers as often and as late as it likes.
async fn question_of(puppet: &Puppet, heard: usize) -> RequestId {
    let mut request = None;
    let come = eventually(|| {
        request = puppet.heard().into_iter().skip(heard).find_map(|message| match message.body {
            Body::FetchSockets { request, .. }
            | Body::BroadcastWithAck { request, .. }
            | Body::ServerSideEmit { request: Some(request), .. } => Some(request),
            _ => None,
        });
        request.is_some()
    });
    assert!(come.await, "the question did not come");
    request.unwrap()
}

fn a_socket(request: &RequestId) -> Body {
    let socket = SocketDetails { id: "x".to_owned(), rooms: Vec::new(), details: Details::default() };
    Body::Sockets { request: request.clone(), sockets: vec![socket], parts: 1 }
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_of_a_server_does_not_count() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    let (one, two) = (Puppet::new(&network, "one").await, Puppet::new(&network, "two").await);
    pass(ACQUAINTED).await;
    let everyone = Target::everyone();
    let (sockets, ()) = tokio::join!(a.adapter.fetch_sockets(&everyone, TIMEOUT), async {
        let request = question_of(&one, 0).await;
        for _ in 0..3 {
            one.publish(NAMESPACE, None, a_socket(&request)).await;
        }
        // An answer to another server's question, and one to a question that nobody asked.
        two.publish(NAMESPACE, None, a_socket(&RequestId("nobody".into()))).await;
    });
    assert_eq!((sockets.value.len(), sockets.missing), (3, silent("two")));
    assert_eq!(b.adapter.open_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_come_twice_count_once() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    for server in [&a, &b] {
        let adapter: std::sync::Arc<dyn Adapter> = server.adapter.clone();
        server.socket.answer(&adapter, server.socket_id, Args::of(server.cluster.id().as_str()).unwrap());
    }
    network.double(usize::MAX);
    let event = Args::event("e", &()).unwrap();
    for _ in 0..50 {
        let mut acked = a.adapter.emit_with_ack(&Target::everyone(), Emit::of(&event), TIMEOUT).await.unwrap();
        acked.answers.sort_by(|one, other| one.items().cmp(other.items()));
        assert_eq!(acked.answers, [Args::of("a").unwrap(), Args::of("b").unwrap()]);
        assert_eq!((acked.missing_sockets, acked.missing), (0, Missing::default()));
    }
    // With as many answers as clients and no other, a doubled answer of one client would look the same.
    b.socket.answer(&(a.adapter.clone() as std::sync::Arc<dyn Adapter>), a.socket_id, Args::none());
    let acked = a.adapter.emit_with_ack(&Target::everyone(), Emit::of(&event), TIMEOUT).await.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_doubled_client_count_counts_once_and_the_silent_server_is_named() {
    let network = MemoryNetwork::new();
    let a = Server::new(&network, "a");
    let (one, _two) = (Puppet::new(&network, "one").await, Puppet::new(&network, "two").await);
    pass(ACQUAINTED).await;
    let (target, event) = (Target::room("nobody here"), Args::event("e", &()).unwrap());
    let (acked, ()) = tokio::join!(a.adapter.emit_with_ack(&target, Emit::of(&event), TIMEOUT), async {
        let request = question_of(&one, 0).await;
        for _ in 0..2 {
            one.publish(NAMESPACE, None, Body::AskedClients { request: request.clone(), count: 1 }).await;
        }
        one.publish(NAMESPACE, None, Body::ClientAck { request, args: Args::of(&1).unwrap() }).await;
    });
    let acked = acked.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets, acked.missing), (1, 0, silent("two")));
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_ignored() {
    let network = MemoryNetwork::new();
    let a = Server::new(&network, "a");
    let puppet = Puppet::new(&network, "slow").await;
    pass(ACQUAINTED).await;
    let first = a.adapter.fetch_sockets(&Target::everyone(), TIMEOUT).await;
    assert_eq!((first.value.len(), first.missing), (1, silent("slow")));
    let request = question_of(&puppet, 0).await;
    puppet.publish(NAMESPACE, None, a_socket(&request)).await;
    let heard = puppet.heard().len();
    let everyone = Target::everyone();
    let (second, ()) = tokio::join!(a.adapter.fetch_sockets(&everyone, TIMEOUT), async {
        let second = question_of(&puppet, heard).await;
        assert_ne!(request, second);
        puppet.publish(NAMESPACE, None, a_socket(&request)).await;
        puppet.publish(NAMESPACE, None, a_socket(&second)).await;
    });
    assert!(second.is_complete() && second.value.len() == 2, "{second:?}");
    assert_eq!(a.adapter.open_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_kind_does_not_count() {
    let network = MemoryNetwork::new();
    let a = Server::new(&network, "a");
    let puppet = Puppet::new(&network, "odd").await;
    pass(ACQUAINTED).await;
    let everyone = Target::everyone();
    let (sockets, ()) = tokio::join!(a.adapter.fetch_sockets(&everyone, TIMEOUT), async {
        let request = question_of(&puppet, 0).await;
        puppet.publish(NAMESPACE, None, Body::Rooms { request: request.clone(), rooms: Vec::new(), parts: 1 }).await;
        puppet.publish(NAMESPACE, None, a_socket(&request)).await;
    });
    assert!(sockets.is_complete() && sockets.value.len() == 2, "{sockets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_dropped_leaves_nothing_behind() {
    let network = MemoryNetwork::new();
    let (a, b, _puppet) = stage(&network).await;
    let (everyone, event) = (Target::everyone(), Args::event("e", &()).unwrap());
    let short = Duration::from_millis(100);
    for _ in 0..10 {
        assert!(tokio::time::timeout(short, a.adapter.fetch_sockets(&everyone, TIMEOUT)).await.is_err());
        assert!(tokio::time::timeout(short, a.adapter.all_rooms(TIMEOUT)).await.is_err());
        assert!(tokio::time::timeout(short, a.adapter.server_side_emit_with_ack(&event, TIMEOUT)).await.is_err());
        assert!(
            tokio::time::timeout(short, a.adapter.emit_with_ack(&everyone, Emit::of(&event), TIMEOUT)).await.is_err()
        );
    }
    assert_eq!((a.adapter.open_requests(), a.adapter.local().sizes().2), (0, 0));
    // The other server gives up the acknowledgements when the asker's timeout is over.
    pass(TIMEOUT).await;
    assert_eq!(b.adapter.local().sizes().2, 0);
}

/// A server that has closed the namespace is not missing there, even though it is alive.
#[tokio::test(start_paused = true)]
async fn only_servers_that_have_the_namespace_are_missing() {
    let network = MemoryNetwork::new();
    let a = Server::new(&network, "a");
    let b = Server::new(&network, "b");
    let _puppet = Puppet::new(&network, "silent").await;
    pass(ACQUAINTED).await;
    b.adapter.close().await;
    let sockets = a.adapter.fetch_sockets(&Target::everyone(), TIMEOUT).await;
    assert_eq!((sockets.value.len(), sockets.missing), (1, silent("silent")));
}

#[tokio::test(start_paused = true)]
async fn while_cut_off_the_known_servers_are_named() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    network.cut_off(&a.broker, true);
    // The question is queued, and may still go out.
    let sockets = within_the_timeout(a.adapter.fetch_sockets(&Target::everyone(), TIMEOUT)).await;
    assert_eq!((sockets.value.len(), sockets.missing), (1, silent("b")));
    // Ten seconds later b is no longer known by name, but the answer still says that it may be partial.
    pass(Duration::from_secs(11)).await;
    let sockets = a.adapter.fetch_sockets(&Target::everyone(), TIMEOUT).await;
    assert_eq!(sockets.missing, Missing { names: Vec::new(), others: 1 });
    drop(b);
}

/// A server of other software that asks may not have counted a server that came within the last 100 ms, so that
/// server's answer is 150 ms late. What is asked for is done at once all the same, in order. Roomcast servers can tell
/// answers apart, and get them at once.
#[tokio::test(start_paused = true)]
async fn a_new_server_answers_late_and_acts_at_once() {
    let moment = Duration::from_millis(1);
    let mut late = Vec::new();
    let ages = [0, 99, 100].map(Duration::from_millis);
    for (age, ours) in ages.into_iter().map(|age| (age, false)).chain([(Duration::ZERO, true)]) {
        let network = MemoryNetwork::new();
        let puppet = Puppet::new(&network, "asker").await;
        let mut server = Server::new(&network, "new");
        pass(age).await;
        let begun = Instant::now();
        let request = |name: &str| RequestId(name.into());
        let event = Args::event("e", &()).unwrap();
        let everyone = Target::everyone();
        for (number, body) in (1..).zip([
            Body::FetchSockets { request: request("sockets"), target: everyone.clone() },
            Body::FetchIds { request: request("ids"), target: everyone.clone() },
            Body::FetchRooms { request: request("rooms") },
            Body::BroadcastWithAck {
                request: request("acks"),
                data: event.clone(),
                target: everyone.clone(),
                timeout: Some(TIMEOUT),
            },
            Body::Broadcast { data: event.clone(), target: everyone, volatile: false, compress: true },
            Body::ServerSideEmit { request: Some(request("event")), data: event.clone() },
        ]) {
            if ours {
                puppet.publish(NAMESPACE, Some(number), body).await;
            } else {
                puppet.publish_as_others_do(NAMESPACE, body).await;
            }
        }
        let asked = server.events.recv().await.unwrap();
        asked.reply.unwrap().send(Args::of(&1).unwrap()).unwrap();
        let acks: Vec<bool> = server.socket.events().iter().map(|event| event.ack.is_some()).collect();
        assert_eq!((acks, begun.elapsed()), (vec![true, false], Duration::ZERO), "in order, and at once");
        let answers = || puppet.heard().iter().filter(|message| message.body.answers().is_some()).count();
        assert!(eventually(|| answers() == 5).await, "{} of five answers", answers());
        late.push(begun.elapsed() >= Duration::from_millis(150) - moment);
        assert_eq!(server.cluster.losses().lost, 0);
    }
    assert_eq!(late, [true, true, false, false]);
}

/// The process may end when its adapters have closed, as the program does.
#[tokio::test(start_paused = true)]
async fn the_last_answers_have_gone_out_when_the_adapter_has_closed() {
    let network = MemoryNetwork::new();
    let puppet = Puppet::new(&network, "asker").await;
    let moment = Duration::from_millis(20);
    let gate = Gate { lingers: Duration::from_millis(250), takes: moment, ..Gate::new(&network) };
    let (gate, server) = gate.server("leaving");
    pass(ACQUAINTED).await;
    let inbox = gate.inbox(NAMESPACE);
    let adapter = server.adapter.clone();
    let closing = tokio::spawn(async move { adapter.close().await });
    pass(moment).await;
    let answers_are_due = Instant::now() + Duration::from_millis(300);
    // The asker counted the server before it left.
    let body = Body::FetchRooms { request: RequestId("late".into()) };
    let question = Message { sender: Some(puppet.id.clone()), to: None, trailer: None, body };
    inbox.receive(vec![Arrival::Message(question)]);
    // A second call waits for the first.
    server.adapter.close().await;
    assert!(answers_are_due <= Instant::now() && closing.is_finished());
    assert_eq!(server.cluster.queued(), 0, "an answer would be lost with the process");
    let answered = |message: &Message| message.body.answers().is_some();
    assert!(eventually(|| puppet.heard().iter().any(answered)).await, "the question was not answered");
}

/// Servers are asked even if nobody knows how many there are; one that is known and has answered is not missing.
#[tokio::test(start_paused = true)]
async fn servers_that_cannot_be_counted_are_asked_all_the_same() {
    let network = MemoryNetwork::new();
    let (gate, a) = Gate::new(&network).server("a");
    let mut b = Server::new(&network, "b");
    let (other, events) = tokio::sync::mpsc::channel(1);
    drop(other);
    let mut events = std::mem::replace(&mut b.events, events);
    tokio::spawn(async move {
        while let Some(ServerEvent { reply, .. }) = events.recv().await {
            reply.unwrap().send(Args::of(&"b says").unwrap()).unwrap();
        }
    });
    let adapter: std::sync::Arc<dyn Adapter> = b.adapter.clone();
    b.socket.answer(&adapter, b.socket_id, Args::of(&"yes").unwrap());
    pass(ACQUAINTED).await;
    let (everyone, event) = (Target::everyone(), Args::event("e", &()).unwrap());
    for (count, missing) in [
        (Err(BrokerError("the test wants it".to_owned())), Missing { names: Vec::new(), others: 1 }),
        (Ok(Count::at_least(2)), Missing { names: Vec::new(), others: 1 }),
    ] {
        *gate.counts.lock() = Some(count.clone());
        let begun = Instant::now();
        let sockets = a.adapter.fetch_sockets(&everyone, TIMEOUT).await;
        assert_eq!((sockets.value.len(), &sockets.missing), (2, &missing), "{count:?}");
        let answers = a.adapter.server_side_emit_with_ack(&event, TIMEOUT).await.unwrap();
        assert_eq!((answers.value, &answers.missing), (vec![Args::of(&"b says").unwrap()], &missing));
        let acked =
            a.adapter.emit_with_ack(&Target::room(b.socket_id.as_str()), Emit::of(&event), TIMEOUT).await.unwrap();
        assert_eq!(
            (acked.answers, acked.missing_sockets, &acked.missing),
            (vec![Args::of(&"yes").unwrap()], 0, &missing)
        );
        let waits = if count.is_err() { TIMEOUT * 3 } else { Duration::ZERO };
        assert_eq!(begun.elapsed(), waits, "what may still come is awaited, and nothing else");
    }
}

/// A local client that leaves is not awaited, whatever other servers there are.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_is_asked_costs_no_timeout() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    let adapter: std::sync::Arc<dyn Adapter> = b.adapter.clone();
    b.socket.answer(&adapter, b.socket_id, Args::of(&"yes").unwrap());
    pass(ACQUAINTED).await;
    let event = Args::event("e", &()).unwrap();
    let begun = Instant::now();
    let everyone = Target::everyone();
    let (acked, ()) = tokio::join!(a.adapter.emit_with_ack(&everyone, Emit::of(&event), TIMEOUT), async {
        pass(Duration::from_millis(50)).await;
        a.adapter.remove(a.socket_id);
    });
    let acked = acked.unwrap();
    assert_eq!((acked.answers.len(), acked.missing_sockets, acked.missing), (1, 1, Missing::default()));
    assert_eq!(begun.elapsed(), Duration::from_millis(50));
}

/// "Wait for ever" is written as the longest duration.
#[tokio::test(start_paused = true)]
async fn the_longest_timeout_does_not_panic() {
    let network = MemoryNetwork::new();
    let (a, _b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    let sockets = a.adapter.fetch_sockets(&Target::everyone(), Duration::MAX).await;
    assert!(sockets.is_complete() && sockets.value.len() == 2, "{sockets:?}");
    assert_eq!(a.adapter.all_rooms(Duration::MAX).await.value.len(), 2);
}

/// A count transfers numbers, not sockets. A server that does not know this question answers with sockets.
#[tokio::test(start_paused = true)]
async fn a_count_transfers_numbers_only() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    let puppet = Puppet::new(&network, "foreign").await;
    for _ in 0..10_000 {
        let (id, socket) = (roomcast_protocol::SocketId::random().unwrap(), FakeRecipient::new());
        b.adapter.insert(id, socket, &["large".into()], None).unwrap();
    }
    pass(ACQUAINTED).await;
    let target = Target::room("large");
    let (count, ()) = tokio::join!(a.adapter.count(&target, TIMEOUT), async {
        let mut request = None;
        let asked = eventually(|| {
            request = puppet.heard().into_iter().find_map(|message| match message.body {
                Body::Count { request, .. } => Some(request),
                _ => None,
            });
            request.is_some()
        });
        assert!(asked.await);
        puppet.publish(NAMESPACE, None, a_socket(&request.unwrap())).await;
    });
    assert_eq!((count.value, count.missing), (10_001, Missing::default()));
    let largest = puppet.heard().into_iter().map(|message| message.body.size()).max();
    assert!(largest < Some(1_000), "{largest:?} bytes for a number");
}

/// Node's servers send events that end the connections of all clients that get them.
#[tokio::test(start_paused = true)]
async fn events_with_names_that_clients_do_not_accept_are_dropped() {
    let network = MemoryNetwork::new();
    let server = Server::new(&network, "a");
    let puppet = Puppet::new(&network, "node").await;
    pass(ACQUAINTED).await;
    let names =
        ["null", "true", "{}", "[]", r#""connect""#, r#""disconnect""#, r#""con\u006eect""#, r#""fine""#, "5", "-1.5"];
    for name in names {
        let data = Args::from_parts(name.to_owned().into(), Vec::new());
        let body = Body::Broadcast { data: data.clone(), target: Target::everyone(), volatile: false, compress: true };
        puppet.publish(NAMESPACE, None, body).await;
        let request = RequestId(name.into());
        let body = Body::BroadcastWithAck { request, data, target: Target::everyone(), timeout: Some(TIMEOUT) };
        puppet.publish(NAMESPACE, None, body).await;
    }
    pass(Duration::from_millis(10)).await;
    assert_eq!(server.socket.packets().len(), 6, "three events, each once and once as a question");
    // The asker is told that no client was asked.
    let mut told: Vec<(String, u64)> = Vec::new();
    for message in puppet.heard() {
        if let Body::AskedClients { request, count } = message.body {
            told.push((request.0.to_string(), count));
        }
    }
    assert_eq!(told, names.map(|name| (name.to_owned(), u64::from(matches!(name, r#""fine""# | "5" | "-1.5")))));
}

/// Counting may take as long as the whole question: local answers until then count, and nobody else is asked.
#[tokio::test(start_paused = true)]
async fn answers_of_local_clients_count_however_long_counting_takes() {
    for _ in 0..20 {
        let network = MemoryNetwork::new();
        let (gate, a) = Gate::new(&network).server("a");
        let puppet = Puppet::new(&network, "silent").await;
        let adapter: std::sync::Arc<dyn Adapter> = a.adapter.clone();
        a.socket.answer(&adapter, a.socket_id, Args::of(&"yes").unwrap());
        pass(ACQUAINTED).await;
        *gate.counting_takes.lock() = Duration::from_millis(700);
        let event = Args::event("e", &()).unwrap();
        let (everyone, time) = (Target::everyone(), Duration::from_millis(300));
        let acked = a.adapter.emit_with_ack(&everyone, Emit::of(&event), time).await.unwrap();
        assert_eq!((acked.answers.len(), acked.missing), (1, silent("silent")));
        pass(Duration::from_secs(1)).await;
        let asked = puppet.heard().into_iter().any(|message| message.body.is_question());
        assert!(!asked, "the question went out when its time was over");
    }
}

/// A namespace that closes while its servers are counted asks nobody, and leaves no numbers behind.
#[tokio::test(start_paused = true)]
async fn a_question_that_is_overtaken_by_the_close_is_not_asked() {
    let network = MemoryNetwork::new();
    let (gate, a) = Gate::new(&network).server("a");
    let puppet = Puppet::new(&network, "other").await;
    pass(ACQUAINTED).await;
    *gate.counting_takes.lock() = Duration::from_millis(100);
    let adapter = a.adapter.clone();
    let asking = tokio::spawn(async move { adapter.fetch_sockets(&Target::everyone(), TIMEOUT).await });
    pass(Duration::from_millis(50)).await;
    a.adapter.close().await;
    let answer = asking.await.unwrap();
    assert_eq!((answer.value.len(), answer.is_complete()), (1, false));
    pass(Duration::from_secs(5)).await;
    assert_eq!(a.cluster.numbered(), 0);
    assert!(puppet.heard().into_iter().all(|message| !message.body.is_question()));
}
