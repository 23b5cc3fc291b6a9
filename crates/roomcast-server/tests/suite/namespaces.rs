//! Namespaces by name and by pattern: what decides about their clients, how many there may be, and when they are removed.

use crate::common::adapters::Adapters;
use crate::common::wire::Wire;
use crate::common::{Frozen, Log, Server, in_process, until};
use roomcast_server::limits::{IDLE_NAMESPACES, NAMESPACES_PER_CONNECTION};
use roomcast_server::{ConnectError, DisconnectReason, NamespaceRequest, Socket, SocketIo};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::watch;

const INVALID: &str = "{\"message\":\"Invalid namespace\"}";

/// Sends CONNECT for a namespace with an auth payload. Returns the answer without the name.
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

async fn a_namespace_by_name_has_the_middlewares_of_its_pattern() {
    let server = Server::start(|io| {
        let tenants = io.of_matching(|name| name.starts_with("/tenant-"));
        tenants.middleware(|socket: Socket| {
            let known = socket.auth_json().is_some_and(|auth| auth.contains("secret"));
            ready(if known { Ok(()) } else { Err(ConnectError::new("who are you?")) })
        });
        tenants.on("x", |socket: Socket| ready(socket.emit("of all", ())));
        tenants.on("y", |socket: Socket| ready(socket.emit("of all", ())));
    })
    .await;
    // The application emits to it before any client has joined.
    let seven = server.io.of("/tenant-7");
    seven.emit("news", ()).unwrap();
    let mut wire = server.websocket().await;
    assert_eq!(ask(&mut wire, "/tenant-7", "{}").await, "{\"message\":\"who are you?\"}");
    assert!(is_in(&ask(&mut wire, "/tenant-7", "{\"token\":\"secret\"}").await));
    // Its own handlers come after the pattern's, and apply to it alone.
    seven.on("y", |socket: Socket| ready(socket.emit("its own", ())));
    wire.say("42/tenant-7,[\"x\"]").await;
    wire.say("42/tenant-7,[\"y\"]").await;
    assert_eq!(
        wire.texts().await,
        ["42/tenant-7,[\"of all\"]", "42/tenant-7,[\"of all\"]", "42/tenant-7,[\"its own\"]"]
    );
    assert!(is_in(&ask(&mut wire, "/tenant-8", "{\"token\":\"secret\"}").await));
    wire.say("42/tenant-8,[\"y\"]").await;
    assert_eq!(wire.texts().await, ["42/tenant-8,[\"of all\"]"]);
    server.finish().await;
}

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
    // A namespace of that name that is made later is another one.
    assert_ne!(server.io.of("/news"), before);
    assert!(is_in(&ask(&mut wire, "/news", "{}").await));
    before.emit("nobody", ()).unwrap();
    assert!(wire.sync().await.is_empty());
    assert_eq!(log.lines().len(), 2);
    server.finish().await;
}

/// A socket that is connecting while its namespace is removed does not stay in it.
async fn a_namespace_that_is_removed_keeps_no_connecting_socket() {
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

/// An asynchronous pattern looks at each client and decides.
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
        tenants.on_connection(|socket: Socket| ready(socket.emit("hello", ())));
        io.of_matching(|name| name == "/by-name");
    })
    .await;
    let mut wire = server.websocket().await;
    let (good, bad) = ("{\"token\":\"secret\"}", "{\"token\":\"guess\"}");
    assert_eq!(ask(&mut wire, "/tenant-1", bad).await, INVALID);
    assert!(is_in(&ask(&mut wire, "/tenant-1", good).await));
    assert_eq!(wire.text().await, "42/tenant-1,[\"hello\"]");
    // That the namespace exists does not matter.
    let mut other = server.websocket().await;
    assert_eq!(ask(&mut other, "/tenant-1", bad).await, INVALID);
    assert!(is_in(&ask(&mut other, "/tenant-1", good).await));
    assert_eq!(other.text().await, "42/tenant-1,[\"hello\"]");
    // Nor does it if the application made it by name, to emit to it.
    server.io.of("/tenant-2").emit("news", ()).unwrap();
    assert_eq!(ask(&mut wire, "/tenant-2", bad).await, INVALID);
    assert!(is_in(&ask(&mut wire, "/tenant-2", good).await));
    assert_eq!(wire.text().await, "42/tenant-2,[\"hello\"]");
    assert_eq!(asked.load(SeqCst), 6);
    // Patterns are asked in order. They have no say about namespaces with handlers of their own, nor about the main namespace.
    assert!(is_in(&ask(&mut wire, "/by-name", bad).await));
    assert_eq!(asked.load(SeqCst), 7);
    assert!(is_in(&ask(&mut wire, "/own", bad).await));
    wire.say("40").await;
    assert!(wire.text().await.starts_with("40{\"sid\":\""));
    assert_eq!(asked.load(SeqCst), 7);
    server.finish().await;
}

/// What fails while a pattern decides leaves nothing behind.
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
    // A packet before the answer is a fault, even a second CONNECT.
    for early in ["40/slow,", "42/slow,[\"x\"]", "41/slow,"] {
        let mut wire = server.websocket().await;
        wire.say("40/slow,").await;
        wire.say(early).await;
        wire.assert_closed().await;
    }
    // Namespaces that the client has asked for count.
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

async fn namespaces_of_patterns_at_the_limit_and_one_past_it() {
    let server = Server::with(
        |builder| builder.max_namespaces(2),
        |io| {
            io.of_matching(|name| name.starts_with("/p-"));
            io.of("/by-name");
        },
    )
    .await;
    let mut wire = server.websocket().await;
    let full = "{\"message\":\"Too many namespaces\"}";
    for name in ["/p-1", "/p-2", "/by-name"] {
        assert!(is_in(&ask(&mut wire, name, "{}").await));
    }
    let mut other = server.websocket().await;
    assert_eq!(ask(&mut other, "/p-3", "{}").await, full);
    assert!(is_in(&ask(&mut other, "/p-2", "{}").await), "it is there");
    // A namespace that waits for another socket does not count.
    wire.say("41/p-1,").await;
    assert!(wire.sync().await.is_empty());
    assert!(is_in(&ask(&mut other, "/p-3", "{}").await));
    assert_eq!(ask(&mut wire, "/p-1", "{}").await, full);
    // A namespace that the application asks for by name does not count.
    server.io.of("/p-1");
    assert!(is_in(&ask(&mut wire, "/p-1", "{}").await));
    server.finish().await;
}

/// A client that connects again and again causes one adapter, and so one subscription in a cluster.
#[tokio::test]
async fn a_namespace_waits_for_another_socket() {
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

/// If the last socket of a namespace is disconnected on a thread without a runtime, the adapter is closed all the same.
async fn a_namespace_whose_last_socket_ends_on_a_plain_thread_is_closed() {
    let adapters = Adapters::default();
    let (sockets, mut connected) = tokio::sync::mpsc::unbounded_channel::<Socket>();
    let change = adapters.builder();
    let server = Server::with(
        |builder| change(builder).namespace_linger(Duration::ZERO),
        |io| {
            io.of_matching(|name| name == "/p").on_connection(move |socket: Socket| {
                sockets.send(socket).unwrap();
                ready(())
            });
        },
    )
    .await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/p").await;
    let socket = connected.recv().await.unwrap();
    std::thread::spawn(move || socket.disconnect(false)).join().unwrap();
    until("its adapter is closed", || adapters.counts() == (1, 1)).await;
    assert_eq!(wire.texts().await, ["41/p,"]);
    server.finish().await;
}

/// A room in which the end of one member ends all others, from a handler, without a deep stack.
async fn a_handler_that_disconnects_thousands() {
    const MEMBERS: usize = 2_000;
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let io = SocketIo::builder().build();
    io.of("/").on_connection(move |socket: Socket| {
        let count = count.clone();
        socket.join("room").map(drop).unwrap();
        socket.on_disconnect(move |socket: Socket, _: DisconnectReason| {
            count.fetch_add(1, SeqCst);
            // Each of these sockets does the same.
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
    // The usual stack was too small for ten times as many sockets, so a tenth of it would be too small for these.
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

crate::common::runtime::on_both_runtimes! {
    a_namespace_by_name_has_the_middlewares_of_its_pattern,
    a_namespace_can_be_looked_up_and_removed,
    a_namespace_that_is_removed_keeps_no_connecting_socket,
    asynchronous_patterns_decide_about_each_client,
    asynchronous_patterns_that_do_not_come_to_an_end,
    namespaces_of_patterns_at_the_limit_and_one_past_it,
    a_namespace_whose_last_socket_ends_on_a_plain_thread_is_closed,
    a_handler_that_disconnects_thousands,
}
