//! Namespaces by name and by pattern: who decides about their clients, how many there may be, and when they go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::wire::Wire;
use common::{Frozen, Log, Server, patient, until};
use roomcast_server::limits::{IDLE_NAMESPACES, NAMESPACES_PER_CONNECTION};
use roomcast_server::{Builder, ConnectError, DisconnectReason, Local, NamespaceRequest, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

const INVALID: &str = "{\"message\":\"Invalid namespace\"}";

/// Asks for a namespace, with an auth payload; the answer without the name.
async fn ask(wire: &mut Wire, name: &str, auth: &str) -> String {
    wire.say(&format!("40{name},{auth}")).await;
    let answer = wire.text().await;
    let kind = answer[..2].to_owned();
    match answer.strip_prefix(&format!("{kind}{name},")).unwrap() {
        id if kind == "40" => format!("in as {}", &id[8..28]),
        error => error.to_owned(),
    }
}

fn is_in(answer: &str) -> bool {
    answer.starts_with("in as ")
}

#[tokio::test]
async fn b11_a_namespace_by_name_has_the_middlewares_of_its_pattern() {
    let server = Server::start(|io| {
        let tenants = io.of_matching(|name| name.starts_with("/tenant-"));
        tenants.middleware(|socket: Socket| {
            let known = socket.auth_json().is_some_and(|auth| auth.contains("secret"));
            ready(if known { Ok(()) } else { Err(ConnectError::new("who are you?")) })
        });
        tenants.on("x", |socket: Socket| ready(socket.emit("of all", &())));
        tenants.on("y", |socket: Socket| ready(socket.emit("of all", &())));
    })
    .await;
    // A job emits to it before anybody is there.
    let seven = server.io.of("/tenant-7");
    seven.emit("news", &()).unwrap();
    let mut wire = server.websocket().await;
    assert_eq!(ask(&mut wire, "/tenant-7", "{}").await, "{\"message\":\"who are you?\"}");
    assert!(is_in(&ask(&mut wire, "/tenant-7", "{\"token\":\"secret\"}").await));
    // What it is given itself comes before what all have, and is for it alone.
    seven.on("y", |socket: Socket| ready(socket.emit("its own", &())));
    wire.say("42/tenant-7,[\"x\"]").await;
    wire.say("42/tenant-7,[\"y\"]").await;
    assert_eq!(wire.texts().await, ["42/tenant-7,[\"of all\"]", "42/tenant-7,[\"its own\"]"]);
    assert!(is_in(&ask(&mut wire, "/tenant-8", "{\"token\":\"secret\"}").await));
    wire.say("42/tenant-8,[\"y\"]").await;
    assert_eq!(wire.texts().await, ["42/tenant-8,[\"of all\"]"]);
    server.finish().await;
}

#[tokio::test]
async fn a_namespace_can_be_looked_up_and_removed() {
    let log = Log::default();
    let server = Server::start(|io| {
        log.watch(&io.of("/news"));
        io.of("/other");
    })
    .await;
    assert!(server.io.namespace("/nope").is_none());
    assert_eq!(server.io.namespaces(), 2, "looking makes none");
    assert_eq!(server.io.namespace("news"), Some(server.io.of("/news")));
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/news").await;
    server.join(&mut wire, "/other").await;
    let before = server.io.of("/news");
    assert!(server.io.remove("news").await);
    assert!(!server.io.remove("/news").await && !server.io.remove("/").await);
    assert_eq!(wire.texts().await, ["41/news,"]);
    log.expect(&["/news connected", "/news server namespace disconnect"]).await;
    assert_eq!(ask(&mut wire, "/news", "{}").await, INVALID);
    assert!(server.io.namespace("/news").is_none());
    // One of that name that is made later is another.
    assert_ne!(server.io.of("/news"), before);
    assert!(is_in(&ask(&mut wire, "/news", "{}").await));
    before.emit("nobody", &()).unwrap();
    assert!(wire.sync().await.is_empty());
    assert_eq!(log.lines().len(), 2);
    server.finish().await;
}

/// Who is on the way in while the namespace is removed does not stay in it.
#[tokio::test]
async fn a_namespace_that_is_removed_takes_nobody_any_more() {
    let (go, wait) = watch::channel(false);
    let server = Server::start(|io| {
        io.of("/slow").middleware(move |_| {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|go| *go).await.unwrap();
                Ok(())
            }
        });
    })
    .await;
    let mut wire = server.websocket().await;
    wire.say("40/slow,").await;
    assert!(wire.sync().await.is_empty());
    let removed = server.io.of("/slow");
    assert!(server.io.remove("/slow").await);
    go.send_replace(true);
    assert!(wire.text().await.starts_with("40/slow,"));
    assert_eq!(wire.text().await, "41/slow,");
    assert_eq!(removed.everyone().count().await.value, 0);
    server.finish().await;
}

/// An asynchronous pattern sees the client, and decides about each.
#[tokio::test]
async fn asynchronous_patterns_decide_about_each_client() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(|io| {
        io.of("/own").on("x", |_: Socket| ready(()));
        let tenants = io.of_matching_async(move |request: NamespaceRequest| {
            count.fetch_add(1, SeqCst);
            async move {
                tokio::task::yield_now().await;
                assert!(request.handshake().query().any(|(name, value)| name == "EIO" && value == "4"));
                let auth: serde_json::Value = request.auth().unwrap();
                request.name().starts_with("/tenant-") && auth["token"] == "secret"
            }
        });
        tenants.on_connection(|socket: Socket| ready(socket.emit("hello", &())));
        io.of_matching(|name| name == "/by-name");
    })
    .await;
    let mut wire = server.websocket().await;
    let (good, bad) = ("{\"token\":\"secret\"}", "{\"token\":\"guess\"}");
    assert_eq!(ask(&mut wire, "/tenant-1", bad).await, INVALID);
    assert!(is_in(&ask(&mut wire, "/tenant-1", good).await));
    assert_eq!(wire.text().await, "42/tenant-1,[\"hello\"]");
    // The namespace is there; that lets nobody in.
    let mut other = server.websocket().await;
    assert_eq!(ask(&mut other, "/tenant-1", bad).await, INVALID);
    assert!(is_in(&ask(&mut other, "/tenant-1", good).await));
    assert_eq!(other.text().await, "42/tenant-1,[\"hello\"]");
    // Nor does one that the application made by name, for an emit.
    server.io.of("/tenant-2").emit("news", &()).unwrap();
    assert_eq!(ask(&mut wire, "/tenant-2", bad).await, INVALID);
    assert!(is_in(&ask(&mut wire, "/tenant-2", good).await));
    assert_eq!(wire.text().await, "42/tenant-2,[\"hello\"]");
    assert_eq!(asked.load(SeqCst), 6);
    // Patterns in order; what has handlers of its own, and the main namespace, are theirs.
    assert!(is_in(&ask(&mut wire, "/by-name", bad).await));
    assert_eq!(asked.load(SeqCst), 7);
    assert!(is_in(&ask(&mut wire, "/own", bad).await));
    wire.say("40").await;
    assert!(wire.text().await.starts_with("40{\"sid\":\""));
    assert_eq!(asked.load(SeqCst), 7);
    server.finish().await;
}

/// What goes wrong while a pattern thinks leaves nothing.
#[tokio::test]
async fn asynchronous_patterns_that_do_not_come_to_an_end() {
    let (go, wait) = watch::channel(false);
    let server = Server::start(|io| {
        io.of_matching_async(move |request: NamespaceRequest| {
            let mut wait = wait.clone();
            async move {
                assert_ne!(request.name(), "/panic");
                wait.wait_for(|go| *go).await.unwrap();
                true
            }
        });
    })
    .await;
    let mut wire = server.websocket().await;
    for _ in 0..2 {
        assert_eq!(ask(&mut wire, "/panic", "{}").await, "{\"message\":\"Server error\"}");
    }
    // What comes before the answer is out of turn, a second CONNECT too.
    for early in ["40/slow,", "42/slow,[\"x\"]", "41/slow,"] {
        let mut wire = server.websocket().await;
        wire.say("40/slow,").await;
        wire.say(early).await;
        wire.assert_closed().await;
    }
    // Those that are asked for count.
    for n in 0..NAMESPACES_PER_CONNECTION {
        wire.say(&format!("40/{n},")).await;
    }
    assert!(wire.sync().await.is_empty());
    wire.say("40/more,").await;
    wire.assert_closed().await;
    until("they are gone", || server.io.connections() == 0).await;
    go.send_replace(true);
    let mut wire = server.websocket().await;
    assert!(is_in(&ask(&mut wire, "/last", "{}").await));
    server.finish().await;
}

#[tokio::test]
async fn namespaces_of_patterns_at_the_limit_and_one_past_it() {
    let server = Server::with(|builder| builder.max_namespaces(2), |io| {
        io.of_matching(|name| name.starts_with("/p-"));
        io.of("/by-name");
    })
    .await;
    let mut wire = server.websocket().await;
    let full = "{\"message\":\"Too many namespaces\"}";
    for name in ["/p-1", "/p-2", "/by-name"] {
        assert!(is_in(&ask(&mut wire, name, "{}").await));
    }
    let mut other = server.websocket().await;
    assert_eq!(ask(&mut other, "/p-3", "{}").await, full);
    assert!(is_in(&ask(&mut other, "/p-2", "{}").await), "it is there");
    // One that waits for another socket does not count, until it has one.
    wire.say("41/p-1,").await;
    assert!(wire.sync().await.is_empty());
    assert!(is_in(&ask(&mut other, "/p-3", "{}").await));
    assert_eq!(ask(&mut wire, "/p-1", "{}").await, full);
    // One that the application asks for by name is not the clients' choice.
    server.io.of("/p-1");
    assert!(is_in(&ask(&mut wire, "/p-1", "{}").await));
    server.finish().await;
}

/// Adapters that were made and closed.
#[derive(Clone, Default)]
struct Adapters {
    made: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Adapters {
    fn builder(&self) -> impl FnOnce(Builder) -> Builder + use<> {
        let adapters = self.clone();
        move |builder| {
            builder.adapter(move |context| {
                adapters.made.fetch_add(1, SeqCst);
                closing::Closing::new(Local::new(context.namespace), adapters.closed.clone())
            })
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.made.load(SeqCst), self.closed.load(SeqCst))
    }
}

/// A client that comes and goes makes one adapter, so that a cluster need not subscribe each time.
#[tokio::test]
async fn b38_a_namespace_waits_for_another_socket() {
    let adapters = Adapters::default();
    let server = Server::with(adapters.builder(), |io| {
        io.of_matching(|name| name.starts_with("/p-"));
    })
    .await;
    let clock = Frozen::new();
    let mut wire = server.websocket().await;
    for _ in 0..100 {
        server.join(&mut wire, "/p-1").await;
        wire.say("41/p-1,").await;
    }
    assert!(wire.sync().await.is_empty());
    clock.advance(4_990).await;
    assert_eq!((adapters.counts(), server.io.namespaces()), ((1, 0), 1));
    clock.advance(1_300).await;
    until("it has gone", || adapters.counts() == (1, 1) && server.io.namespaces() == 0).await;
    drop(clock);
    server.finish().await;
}

#[tokio::test]
async fn namespaces_that_wait_at_the_limit_and_one_past_it() {
    let adapters = Adapters::default();
    let server = Server::with(adapters.builder(), |io| {
        io.of_matching(|name| name.starts_with("/p-"));
    })
    .await;
    let clock = Frozen::new();
    let mut wire = server.websocket().await;
    for n in 0..=IDLE_NAMESPACES {
        assert_eq!(adapters.counts(), (n, 0));
        server.join(&mut wire, &format!("/p-{n}")).await;
        wire.say(&format!("41/p-{n},")).await;
    }
    until("one past the limit goes at once", || adapters.counts() == (IDLE_NAMESPACES + 1, 1)).await;
    assert_eq!(server.io.namespaces(), IDLE_NAMESPACES);
    clock.advance(6_300).await;
    until("the others go", || server.io.namespaces() == 0).await;
    drop((clock, wire));
    server.finish().await;
}

/// The last socket of a namespace may be disconnected on a thread without a runtime; its adapter is closed all the same.
#[tokio::test]
async fn b37_a_namespace_that_ends_on_a_plain_thread_is_closed() {
    let adapters = Adapters::default();
    let (sockets, mut connected) = tokio::sync::mpsc::unbounded_channel::<Socket>();
    let change = adapters.builder();
    let server = Server::with(|builder| change(builder).namespace_linger(Duration::ZERO), |io| {
        io.of_matching(|name| name == "/p").on_connection(move |socket: Socket| ready(drop(sockets.send(socket))));
    })
    .await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/p").await;
    let socket = connected.recv().await.unwrap();
    std::thread::spawn(move || socket.disconnect(false)).join().unwrap();
    until("its adapter is closed", || adapters.counts() == (1, 1)).await;
    assert_eq!(wire.texts().await, ["41/p,"]);
    server.finish().await;
}

/// A room of which one member's end ends all others, from its handler: no stack of thousands.
#[tokio::test]
async fn b36_a_handler_that_disconnects_thousands() {
    const MEMBERS: usize = 2_000;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let io = SocketIo::builder().build();
    io.of("/").on_connection(move |socket: Socket| {
        let count = count.clone();
        socket.join("room").map(drop).unwrap();
        socket.on_disconnect(move |socket: Socket, _: DisconnectReason| {
            count.fetch_add(1, SeqCst);
            // Each of them does the same.
            ready(socket.to("room").disconnect_sockets(false))
        });
        ready(())
    });
    let service = io.clone().into_service();
    for _ in 0..MEMBERS {
        in_process::join(&service).await;
    }
    assert_eq!(io.of("/").to("room").count().await.value, MEMBERS);
    let first = io.of("/");
    // A tenth of the usual stack for a tenth of the sockets that such a stack was too small for.
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().stack_size(256 * 1_024).spawn(move || {
        let _context = runtime.enter();
        let target = roomcast_adapter::Target::room("room");
        let close = roomcast_adapter::Action::Disconnect { close: false };
        first.adapter().apply(&target, close).unwrap();
    });
    thread.unwrap().join().unwrap();
    assert_eq!(ended.load(SeqCst), MEMBERS);
    assert_eq!(io.of("/").everyone().count().await.value, 0);
    io.close().await;
}

/// Sessions by polling, without sockets of the system.
mod in_process {
    use roomcast_server::engine::EngineService;
    use tower_service::Service;

    async fn ask(service: &EngineService, method: &str, query: &str, body: &str) -> String {
        let uri = format!("/socket.io/?EIO=4&transport=polling{query}");
        let request = http::Request::builder().method(method).uri(uri).body(body.to_owned()).unwrap();
        let mut answer = service.clone().call(request).await.unwrap().into_body();
        let mut text = Vec::new();
        while let Some(frame) =
            std::future::poll_fn(|cx| hyper::body::Body::poll_frame(std::pin::Pin::new(&mut answer), cx)).await
        {
            text.extend(frame.unwrap().into_data().unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    pub async fn join(service: &EngineService) {
        let open = ask(service, "GET", "", "").await;
        let sid = open.strip_prefix("0{\"sid\":\"").unwrap()[..20].to_owned();
        assert_eq!(ask(service, "POST", &format!("&sid={sid}"), "40").await, "ok");
    }
}

/// A handler that holds up the end of a server, as long as nobody gives it a permit.
#[tokio::test]
async fn the_end_of_a_server_waits_for_disconnect_handlers_for_a_time() {
    for gives in [true, false] {
        let (permits, log) = (Arc::new(Semaphore::new(0)), Log::default());
        let (waits, seen) = (permits.clone(), log.clone());
        let adapters = Adapters::default();
        let server = Server::with(adapters.builder(), |io| {
            io.of("/").on_connection(move |socket: Socket| {
                let (waits, seen) = (waits.clone(), seen.clone());
                socket.on_disconnect(move |_: Socket, reason: DisconnectReason| async move {
                    seen.push(format!("begins: {reason}"));
                    waits.acquire().await.unwrap().forget();
                    seen.push("ends");
                });
                ready(())
            });
        })
        .await;
        let wire = server.joined().await;
        let clock = Frozen::new();
        let io = server.io.clone();
        let closing = tokio::spawn(async move { io.close().await });
        log.expect(&["begins: server shutting down"]).await;
        // Nobody is accepted any more, and the connection ends meanwhile.
        until("no connection is left", || server.io.connections() == 0).await;
        until("nobody listens", || std::net::TcpStream::connect(server.address).is_err()).await;
        clock.advance(2_990).await;
        assert!(!closing.is_finished());
        assert_eq!(adapters.counts(), (1, 0), "adapters go after the handlers");
        if gives {
            permits.add_permits(1);
        } else {
            clock.advance(20).await;
        }
        patient("the server ends", closing).await.unwrap();
        assert_eq!(adapters.counts(), (1, 1));
        assert_eq!(log.lines().len(), if gives { 2 } else { 1 });
        drop((wire, clock));
        server.finish().await;
    }
}

/// An adapter that tells when it is closed.
mod closing {
    use roomcast_adapter::{
        Acked, Action, Adapter, AdapterError, Answer, Emit, Joined, Local, Recipient, Restored, Room, Saved,
        SocketDetails, Target, async_trait,
    };
    use roomcast_protocol::{Args, Packet, SocketId};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    #[derive(Debug)]
    pub struct Closing(Arc<Local>, Arc<AtomicUsize>);

    impl Closing {
        pub fn new(local: Arc<Local>, closed: Arc<AtomicUsize>) -> Arc<Self> {
            Arc::new(Self(local, closed))
        }
    }

    #[async_trait]
    impl Adapter for Closing {
        fn insert(
            &self,
            id: SocketId,
            recipient: Arc<dyn Recipient>,
            rooms: &[Room],
            welcome: Option<&Arc<Packet>>,
        ) -> Result<(), AdapterError> {
            self.0.insert(id, recipient, rooms, welcome)
        }
        fn remove(&self, id: SocketId) {
            self.0.remove(id);
        }
        fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
            self.0.join(id, rooms)
        }
        fn leave(&self, id: SocketId, room: &str) {
            self.0.leave(id, room);
        }
        fn rooms_of(&self, id: SocketId) -> Vec<Room> {
            self.0.rooms_of(id)
        }
        fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
            self.0.apply(target, action)
        }
        fn ack(&self, from: SocketId, id: u64, args: Args) {
            self.0.ack(from, id, args);
        }
        async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, time: Duration) -> Result<Acked, AdapterError> {
            self.0.emit_with_ack(target, emit, time).await
        }
        fn save(&self, session: Saved) {
            self.0.save(session);
        }
        async fn restore(&self, pid: &str, offset: &str, recipient: Arc<dyn Recipient>) -> Option<Restored> {
            self.0.restore(pid, offset, recipient).await
        }
        async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
            self.0.fetch_sockets(target, timeout).await
        }
        async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
            self.0.count(target, timeout).await
        }
        async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
            self.0.all_rooms(timeout).await
        }
        async fn server_count(&self) -> Answer<usize> {
            self.0.server_count().await
        }
        fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
            self.0.server_side_emit(data)
        }
        async fn server_side_emit_with_ack(
            &self,
            data: &Args,
            timeout: Duration,
        ) -> Result<Answer<Vec<Args>>, AdapterError> {
            self.0.server_side_emit_with_ack(data, timeout).await
        }
        async fn close(&self) {
            self.1.fetch_add(1, SeqCst);
            self.0.close().await;
        }
    }
}
