//! How an application is tested: a chat with names, rooms, a moderator's namespace and a history.
//!
//! The application comes first. Its own `main` would do nothing but `chat(SocketIo::builder()).listen("0.0.0.0:3000")`.

use parking_lot::Mutex;
use roomcast_server::{Builder, ConnectError, Namespace, Socket, SocketIo, State};
use roomcast_testkit::{Client, Disconnection, Network, Server, settle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

// --- the application ---

type History = Arc<Mutex<Vec<Said>>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    room: String,
    who: String,
    text: String,
}

#[derive(Deserialize)]
struct Auth {
    name: String,
}

fn options(builder: Builder) -> Builder {
    builder.state(History::default()).drain(Duration::from_secs(5), Duration::from_secs(10))
}

fn handlers(io: &SocketIo) {
    let chat = io.of("/");
    chat.middleware(|socket: Socket| async move {
        let auth: Auth = socket.auth().map_err(|_| ConnectError::new("say who you are").with_data(&json!(["name"])))?;
        socket.set_data(&auth.name)?;
        Ok(())
    });
    chat.on("enter", |socket: Socket, State(history): State<History>, room: String| async move {
        socket.join(room.as_str())?.await;
        socket.to(room.as_str()).emit("entered", (&room, name(&socket)))?;
        Ok::<usize, Box<dyn std::error::Error + Send + Sync>>(
            history.lock().iter().filter(|said| said.room == room).count(),
        )
    });
    chat.on("say", |socket: Socket, State(history): State<History>, (room, text): (String, String)| {
        if !socket.rooms().iter().any(|joined| **joined == *room) {
            return Err("enter the room first");
        }
        let said = Said { room: room.clone(), who: name(&socket), text };
        socket.to(room.as_str()).emit("said", &said).map_err(|_| "this cannot be said")?;
        history.lock().push(said);
        Ok(true)
    });
    chat.on("history", |socket: Socket, State(history): State<History>| async move {
        let history = history.lock().clone();
        for said in &history {
            if socket.ready().await.is_err() || socket.emit("past", said).is_err() {
                return;
            }
        }
    });

    let moderation = io.of("/moderation");
    moderation.on("kick", |moderation: Namespace, who: String| async move {
        let _ = moderation.emit("kicked", who);
    });
    let kicking = io.clone();
    moderation.on("close room", move |room: String| kicking.to(room).disconnect_sockets(false));
}

fn name(socket: &Socket) -> String {
    socket.data().unwrap_or_default()
}

fn chat() -> SocketIo {
    let io = options(SocketIo::builder()).build();
    handlers(&io);
    io
}

// --- its tests ---

/// A client that has said who it is.
async fn join(io: &SocketIo, name: &str) -> Client {
    Client::builder(io).name(name).auth(json!({ "name": name })).connect().await.unwrap()
}

/// As [`join`], in a room.
async fn enter(io: &SocketIo, name: &str, room: &str) -> Client {
    let client = join(io, name).await;
    client.ask::<usize>("enter", room).await;
    client
}

#[tokio::test(start_paused = true)]
async fn who_gives_no_name_is_refused_and_told_what_is_missing() {
    let refused = Client::connect(&chat()).await.unwrap_err();
    assert_eq!(refused.message(), "say who you are");
    assert_eq!(refused.data::<Vec<String>>().unwrap(), ["name"]);
}

#[tokio::test(start_paused = true)]
async fn a_room_hears_what_is_said_and_others_do_not() {
    let io = chat();
    let (ann, bob) = (enter(&io, "ann", "tea").await, enter(&io, "bob", "tea").await);
    let cid = enter(&io, "cid", "coffee").await;
    assert_eq!(ann.next::<(String, String)>("entered").await, ("tea".into(), "bob".into()));

    assert!(bob.ask::<bool>("say", ("tea", "hello")).await);

    let said = Said { room: "tea".into(), who: "bob".into(), text: "hello".into() };
    assert_eq!(ann.next::<Said>("said").await, said);
    bob.expect_nothing("said").await;
    cid.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_not_in_the_room_is_told_so() {
    let ann = join(&chat(), "ann").await;
    let answer: Value = ann.ask("say", ("tea", "hello")).await;
    assert_eq!(answer, json!({ "ok": false, "error": "enter the room first" }));
}

#[tokio::test(start_paused = true)]
async fn a_moderator_uses_both_namespaces_on_one_connection() {
    let io = chat();
    let (ann, bob) = (enter(&io, "ann", "tea").await, enter(&io, "bob", "tea").await);
    let moderator = ann.of("moderation").connect().await.unwrap();

    moderator.emit("kick", "bob");
    assert_eq!(moderator.next::<String>("kicked").await, "bob");
    moderator.emit("close room", "tea");

    assert_eq!(bob.disconnected().await, Disconnection::ByServer);
    assert_eq!(ann.disconnected().await, Disconnection::ByServer);
    assert!(moderator.is_connected());
    assert_eq!(io.connections(), 2, "the connections themselves stay");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_a_long_history_at_its_own_pace() {
    let io = chat();
    let ann = enter(&io, "ann", "tea").await;
    let text = "x".repeat(30_000);
    for _ in 0..100 {
        assert!(ann.ask::<bool>("say", ("tea", &text)).await);
    }
    let slow = join(&io, "slow").await;
    slow.emit("history", ());
    slow.pause_reading();
    settle().await;
    // The server does not pile 3 MB up for it.
    let waiting = io.statistics().engine.budget_used;
    assert!(waiting < 1_500_000, "{waiting}");
    slow.resume_reading();
    for _ in 0..100 {
        assert_eq!(slow.next::<Said>("past").await.text.len(), 30_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_after_a_cut_enters_again() {
    let io = chat();
    let (ann, bob) = (enter(&io, "ann", "tea").await, enter(&io, "bob", "tea").await);
    ann.cut();
    settle().await;
    assert_eq!(io.connections(), 1, "the server has noticed");

    assert!(bob.ask::<bool>("say", ("tea", "are you there?")).await);
    ann.reconnect().await.unwrap();
    assert_eq!(ann.ask::<usize>("enter", "tea").await, 1, "one message is in the history");
    ann.emit("history", ());
    assert_eq!(ann.next::<Said>("past").await.text, "are you there?");
}

/// Two servers of the chat in one cluster.
async fn cluster(network: &Network) -> (Server, Server) {
    let server = || {
        let server = network.server(options);
        handlers(&server);
        server
    };
    let servers = (server(), server());
    network.ready().await;
    servers
}

#[tokio::test(start_paused = true)]
async fn what_is_said_during_a_short_cut_arrives_after_it() {
    let network = Network::new();
    let (a, b) = cluster(&network).await;
    let (ann, bob) = (enter(&a, "ann", "tea").await, enter(&b, "bob", "tea").await);
    assert_eq!(ann.next::<(String, String)>("entered").await.1, "bob");

    network.cut(&b);
    assert!(bob.ask::<bool>("say", ("tea", "can you hear me?")).await);
    ann.expect_nothing("said").await;

    network.heal(&b);
    assert_eq!(ann.next::<Said>("said").await.text, "can you hear me?");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_sends_its_clients_to_the_other_one() {
    let network = Network::new();
    let (a, b) = cluster(&network).await;
    let (ann, bob) = (enter(&a, "ann", "tea").await, enter(&b, "bob", "tea").await);

    a.drain().await; // 15 s of the clock
    assert_eq!(ann.disconnected().await, Disconnection::TransportClose);
    let refused = Client::connect(&a).await.unwrap_err();
    assert_eq!(refused.status(), Some(503));
    a.close().await;

    ann.reconnect_to(&b).await.unwrap();
    ann.ask::<usize>("enter", "tea").await;
    assert!(bob.ask::<bool>("say", ("tea", "welcome")).await);
    assert_eq!(ann.next::<Said>("said").await.text, "welcome");
}
