//! The example broker over NATS keeps the contract that our own brokers keep, over a real nats-server; three servers on
//! it find one another, answer, subscribe to rooms one by one, and survive restarts. Where there is no nats-server, a
//! line says so and nothing is checked.

#[allow(unreachable_pub)] // An example shows its parts as a library would.
#[path = "../../examples/nats_broker/main.rs"]
mod example;

mod nats_process;

use crate::cable::Cable;
use example::broker::NatsBroker;
use nats_process::NatsProcess;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, Cluster, ClusterAdapter, ClusterOptions, Inbox, Message, Outcome, Outgoing, SERVERS, codec,
};
use roomcast_adapter::testkit::{
    Brokers, Dialect, FakeRecipient, Servers, adapter_contract, broker_contract, eventually,
};
use roomcast_adapter::{Action, Adapter, AdapterContext, Room, Target};
use roomcast_protocol::{Args, SocketId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// NATS does not count subscribers, and is told not to send a connection what it published itself.
fn dialect() -> Dialect {
    Dialect { echo: false, counts: false, ..Dialect::default() }
}

async fn brokers(nats: SocketAddr, count: usize) -> Brokers {
    let mut tasks = JoinSet::new();
    let (mut all, mut cables) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (cable, address) = Cable::new(nats, &mut tasks).await;
        cables.push(cable);
        let broker = NatsBroker::new(&address.to_string());
        // The suite expects connected brokers.
        let hello = Message { sender: None, to: None, trailer: None, body: Body::Hello };
        let hello = [Outgoing { namespace: SERVERS.into(), message: hello }];
        while broker.publish(&hello).await != [Outcome::Sent] {
            tokio::task::yield_now().await;
        }
        all.push(broker);
    }
    Brokers::new(all)
        .dialect(dialect())
        .cut_off(move |broker, cut| {
            // The cables live as long as the hook.
            let _ = &tasks;
            cables[broker].clone().cut(cut)
        })
        .inject(move |namespace, bytes| async move {
            let mut stream = TcpStream::connect(nats).await.unwrap();
            let namespace = namespace.replace('/', "=2F");
            let head = format!("CONNECT {{}}\r\nPUB roomcast.{namespace}.all {}\r\n", bytes.len());
            stream.write_all(&[head.as_bytes(), &bytes, b"\r\n"].concat()).await.unwrap();
            stream.shutdown().await.unwrap();
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_keeps_the_contract_of_brokers() {
    let Some(nats) = NatsProcess::start().await else { return };
    broker_contract(async |count| brokers(nats.address, count).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_over_the_example_keep_the_contract_of_adapters() {
    let Some(nats) = NatsProcess::start().await else { return };
    let broker = || NatsBroker::new(&nats.address.to_string());
    let adapter = |context| Cluster::new(broker(), ClusterOptions::default()).adapter(context);
    adapter_contract(async || Servers::new(3, |_, context| adapter(context))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_does_what_it_says() {
    let Some(nats) = NatsProcess::start().await else { return };
    let lines = example::two_servers(&nats.address.to_string()).await.unwrap();
    let of = |number: &str| -> Vec<&str> {
        let begin = format!("a socket of the {number} server got ");
        lines.iter().filter_map(|line| line.strip_prefix(&begin)).collect()
    };
    assert_eq!(of("first"), [r#"42["hello","world"]"#]);
    assert_eq!(of("second"), [r#"42["hello","news"]"#, r#"42["hello","world"]"#]);
}

/// An inbox that passes on every call, as text.
struct ReportingInbox(mpsc::UnboundedSender<String>);

impl Inbox for ReportingInbox {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        arrivals.iter().for_each(|_| drop(self.0.send("message".to_owned())));
    }

    fn connected(&self) {
        let _ = self.0.send("connected".to_owned());
    }

    fn lost(&self) {
        let _ = self.0.send("lost".to_owned());
    }
}

fn telling() -> (Arc<ReportingInbox>, mpsc::UnboundedReceiver<String>) {
    let (told, telling) = mpsc::unbounded_channel();
    (Arc::new(ReportingInbox(told)), telling)
}

fn broadcast(namespace: &str, target: Target, text: &str) -> Outgoing {
    let body = Body::Broadcast { data: Args::event("e", &text).unwrap(), target, volatile: false, compress: true };
    Outgoing { namespace: namespace.into(), message: Message { sender: None, to: None, trailer: None, body } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_at_the_limit_of_nats_goes_out_and_a_larger_one_never() {
    let Some(nats) = NatsProcess::start().await else { return };
    let (one, two) = (NatsBroker::new(&nats.address.to_string()), NatsBroker::new(&nats.address.to_string()));
    // The longest names that clients can use, with each byte encoded as three.
    let (namespace, room) = (format!("/{}", "#".repeat(255)), "#".repeat(1_024));
    let (inbox, mut told) = telling();
    one.open(&namespace.as_str().into(), &"one".into(), inbox);
    assert_eq!(told.recv().await.unwrap(), "connected");
    one.look(&namespace, &Room::from(&*room)).unwrap().await.unwrap();
    while two.publish(&[broadcast("/nowhere", Target::everyone(), "")]).await != [Outcome::Sent] {
        tokio::task::yield_now().await;
    }

    assert_eq!(two.largest(), 1_048_576);
    let around = codec::encode(&broadcast(&namespace, Target::room(&*room), "").message).len();
    // The head has the length of the arguments in seven digits instead of fewer.
    let mut text = "x".repeat(two.largest() - around - 10);
    while codec::encode(&broadcast(&namespace, Target::room(&*room), &text).message).len() < two.largest() {
        text.push('x');
    }
    let message = |text: &str| broadcast(&namespace, Target::room(&*room), text);
    let long_name = broadcast(&namespace, Target::room("#".repeat(1_200)), "");
    let batch = [message(&text), message(&(text.clone() + "x")), long_name, message("")];
    let outcomes = two.publish(&batch).await;
    assert!(
        matches!(outcomes[..], [Outcome::Sent, Outcome::Never(_), Outcome::Never(_), Outcome::Sent]),
        "{outcomes:?}"
    );
    assert_eq!([told.recv().await.unwrap(), told.recv().await.unwrap()], ["message", "message"]);
    one.close(&namespace).await;
    // Nothing more, and the connection has not ended.
    assert_eq!(told.recv().await, None);
}

/// It answers until it falls silent, and keeps the connection open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up_and_reconnected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = NatsBroker::new(&listener.local_addr().unwrap().to_string());
    let (inbox, mut told) = telling();
    broker.open(&"/".into(), &"one".into(), inbox);
    let mut silent = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"INFO {\"max_payload\":1048576}\r\n").await.unwrap();
        let mut heard = Vec::new();
        while heard.windows(6).filter(|it| it == b"PING\r\n").count() < 2 {
            stream.read_buf(&mut heard).await.unwrap();
        }
        stream.write_all(b"PONG\r\nPONG\r\n").await.unwrap();
        assert_eq!(told.recv().await.unwrap(), "connected");
        let unsure = broker.publish(&[broadcast("/", Target::everyone(), "")]).await;
        assert!(matches!(unsure[..], [Outcome::Again(_)]), "{unsure:?}");
        assert_eq!(told.recv().await.unwrap(), "lost");
        silent.push(stream);
    }
}

/// A server with a socket in a room of the server's name.
struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    id: SocketId,
    recipient: Arc<FakeRecipient>,
}

impl Server {
    fn new(nats: &str, name: &str) -> Self {
        let cluster = Cluster::with_id(name.into(), NatsBroker::new(nats), ClusterOptions::default());
        let (server_events, _) = mpsc::channel(1);
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let (id, recipient) = (SocketId::random().unwrap(), FakeRecipient::new());
        adapter.insert(id, recipient.clone(), &[Room::from(name)], None).unwrap();
        Self { cluster, adapter, id, recipient }
    }

    fn emit(&self, target: &Target, event: &str) {
        self.adapter.apply(target, Action::emit(&Args::event(event, &()).unwrap())).unwrap();
    }

    /// How often its socket got an event.
    fn got(&self, event: &str) -> usize {
        self.recipient.events().iter().filter(|heard| heard.name == event).count()
    }
}

/// Every server knows all others, and gets their sockets.
async fn all_found(servers: &[Server]) {
    for server in servers {
        let known = || server.cluster.servers().len() == servers.len() - 1;
        assert!(eventually(known).await, "{} knows {:?}", server.cluster.id(), server.cluster.servers());
        loop {
            let sockets = server.adapter.fetch_sockets(&Target::everyone(), Duration::from_secs(5)).await;
            if sockets.is_complete() && sockets.value.len() == servers.len() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Each server reaches a room on each other server, and everybody. `round` is part of the events' names.
async fn all_reached(servers: &[Server], round: &str) {
    for from in servers {
        for to in servers {
            let event = format!("{round}: {} to the room {}", from.cluster.id(), to.cluster.id());
            // After an interruption a first event may be lost, until all other servers have subscribed again.
            let came = async {
                while to.got(&event) == 0 {
                    from.emit(&Target::room(to.cluster.id().as_str()), &event);
                    let _ = tokio::time::timeout(Duration::from_secs(1), eventually(|| to.got(&event) > 0)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), came).await.unwrap_or_else(|_| panic!("lost: {event}"));
            let others: Vec<&Server> = servers.iter().filter(|it| it.id != to.id).collect();
            assert!(others.iter().all(|other| other.got(&event) == 0), "{event} came to another room");
        }
        let event = format!("{round}: {} to everybody", from.cluster.id());
        from.emit(&Target::everyone(), &event);
        for to in servers {
            assert!(eventually(|| to.got(&event) == 1).await, "{event} came {} times", to.got(&event));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_survive_restarts_of_one_of_them_and_of_nats() {
    let Some(mut nats) = NatsProcess::start().await else { return };
    let address = nats.address.to_string();
    let mut servers: Vec<Server> = ["one", "two", "three"].map(|name| Server::new(&address, name)).into();
    all_found(&servers).await;
    all_reached(&servers, "first").await;

    // A socket that leaves a room gets nothing from it, and one that comes back does.
    let (two, room) = (&servers[1], Room::from("two"));
    two.adapter.leave(two.id, "two");
    servers[0].emit(&Target::room("two"), "to nobody");
    servers[0].emit(&Target::everyone(), "behind it");
    assert!(eventually(|| two.got("behind it") == 1).await);
    two.adapter.join(two.id, std::slice::from_ref(&room)).unwrap().await;
    servers[0].emit(&Target::room("two"), "to who came back");
    assert!(eventually(|| two.got("to who came back") == 1).await);
    assert_eq!(two.got("to nobody"), 0);

    // A server restarts under its old name.
    let third = servers.pop().unwrap();
    third.adapter.close().await;
    third.cluster.close().await;
    drop(third);
    servers.push(Server::new(&address, "three"));
    all_found(&servers).await;
    all_reached(&servers, "after a server's restart").await;

    // NATS is gone: each server goes on alone, and a socket joins a room meanwhile.
    nats.kill();
    servers[0].emit(&Target::everyone(), "alone");
    assert_eq!(servers[0].got("alone"), 1);
    let late = Room::from("late");
    drop(servers[1].adapter.join(servers[1].id, std::slice::from_ref(&late)).unwrap());
    nats.start_again().await;
    all_found(&servers).await;
    all_reached(&servers, "after a restart of NATS").await;
    servers[0].emit(&Target::room("late"), "to who joined in the outage");
    assert!(eventually(|| servers[1].got("to who joined in the outage") == 1).await);
    // What went out and was not confirmed went out again; the second copy is ignored.
    for to in &servers[..2] {
        for round in ["first", "after a server's restart", "after a restart of NATS"] {
            for from in &servers {
                let event = format!("{round}: {} to everybody", from.cluster.id());
                assert_eq!(to.got(&event), 1, "{event}");
            }
        }
    }
}
