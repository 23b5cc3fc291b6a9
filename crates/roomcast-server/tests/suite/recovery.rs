//! Connection state recovery over WebSockets: what Node's server sends, its known faults, and what an application sees.

mod exchange;

use crate::common::wire::Wire;
use crate::common::{Frozen, Server, until};
use parking_lot::Mutex;
use roomcast_server::{
    CloseReason, ConnectError, DisconnectReason, Extension, NotRecovered, RecoveryOptions, RecoveryOutcome, Socket,
    SocketIo,
};
use serde_json::{Value, json};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A client as the official one behaves: it keeps its private id, and the last string argument of any event as its offset.
#[derive(Default)]
struct Client {
    wire: Option<Wire>,
    sid: String,
    pid: Option<String>,
    offset: Option<String>,
    /// Whether its last CONNECT was answered with the private id of before.
    recovered: bool,
    /// The arguments of the events that it received.
    events: Vec<Value>,
}

impl Client {
    async fn new(server: &Server) -> Self {
        let mut client = Self::default();
        client.connect(server).await;
        client
    }

    /// Connects over a new WebSocket, and receives up to the answer to CONNECT.
    async fn connect(&mut self, server: &Server) {
        self.connect_to(server, "/", json!({})).await;
    }

    async fn connect_to(&mut self, server: &Server, namespace: &str, mut auth: Value) {
        if let Some(pid) = &self.pid {
            auth["pid"] = pid.as_str().into();
        }
        if let Some(offset) = &self.offset {
            auth["offset"] = offset.as_str().into();
        }
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        let mut wire = server.websocket().await;
        wire.say(&format!("40{prefix}{auth}")).await;
        self.wire = Some(wire);
        loop {
            let text = self.wire.as_mut().unwrap().text().await;
            let Some(answer) = text.strip_prefix(&format!("40{prefix}")) else {
                self.take(&text);
                continue;
            };
            let answer: Value = serde_json::from_str(answer).unwrap();
            let pid = answer["pid"].as_str().map(str::to_owned);
            self.recovered = pid.is_some() && pid == self.pid;
            (self.sid, self.pid) = (answer["sid"].as_str().unwrap().to_owned(), pid);
            return;
        }
    }

    fn take(&mut self, text: &str) {
        let json = text.find('[').map(|at| &text[at..]).unwrap_or_else(|| panic!("not an event: {text}"));
        let args: Vec<Value> = serde_json::from_str(json).unwrap();
        // With an acknowledgement, the last argument is a function.
        let asks = text[2..].starts_with(|first: char| first.is_ascii_digit());
        if let Some(Value::String(last)) = args.last().filter(|_| !asks) {
            self.offset = Some(last.clone());
        }
        self.events.push(args[1].clone());
    }

    /// Receives so many events.
    async fn receive(&mut self, count: usize) -> Vec<Value> {
        for _ in 0..count {
            let text = self.wire.as_mut().unwrap().text().await;
            self.take(&text);
        }
        std::mem::take(&mut self.events)
    }

    /// Its connection is lost, with what it has not received.
    fn cut(&mut self) {
        self.wire = None;
    }
}

/// What the application saw of a socket.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    id: String,
    outcome: RecoveryOutcome,
    rooms: Vec<String>,
    data: Value,
}

#[derive(Default, Clone)]
struct App {
    connections: Arc<Mutex<Vec<Seen>>>,
    disconnects: Arc<Mutex<Vec<DisconnectReason>>>,
    middlewares: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<(String, NotRecovered)>>>,
}

impl App {
    fn on(&self, io: &SocketIo, namespace: &str) {
        let app = self.clone();
        io.of(namespace).middleware(move |socket: Socket| {
            app.middlewares.fetch_add(1, SeqCst);
            let refuses = socket.auth::<Value>().is_ok_and(|auth| auth["token"] == "no");
            ready(if refuses { Err(ConnectError::new("no")) } else { Ok(()) })
        });
        let app = self.clone();
        io.of(namespace).on_connection(move |socket: Socket| {
            let rooms = socket.rooms().iter().map(ToString::to_string).collect();
            let (id, outcome) = (socket.id().to_string(), socket.recovery_outcome());
            assert_eq!(socket.recovered(), outcome == RecoveryOutcome::Recovered);
            app.connections.lock().push(Seen { id, outcome, rooms, data: socket.data().unwrap() });
            let app = app.clone();
            socket.on_disconnect(move |_, reason| {
                app.disconnects.lock().push(reason);
                ready(())
            });
            ready(())
        });
        io.of(namespace).on("join", |socket: Socket, room: String| ready(socket.join(room).map(drop)));
        io.of(namespace).on("data", |socket: Socket, data: Value| ready(socket.set_data(&data)));
        io.of(namespace).on("echo", |socket: Socket, value: Value| ready(socket.emit("echo", &value)));
    }

    fn last(&self) -> Seen {
        self.connections.lock().last().unwrap().clone()
    }

    fn gone(&self) -> usize {
        self.disconnects.lock().len()
    }

    async fn lost(&self, count: usize) {
        until("the server notices the loss", || self.gone() >= count).await;
    }
}

async fn start(options: RecoveryOptions) -> (Server, App) {
    let app = App::default();
    let ended = app.ended.clone();
    let options =
        options.on_session_ended(move |session| ended.lock().push((session.session.id.to_string(), session.why)));
    let server = Server::with(|builder| builder.recovery(options), |io| app.on(io, "/")).await;
    (server, app)
}

/// `socketio/socket.io` 5539: a volatile event that ends in a string spoils the offset.
async fn a_volatile_event_with_a_text_does_not_spoil_the_offset() {
    let (server, app) = start(RecoveryOptions::new()).await;
    let mut client = Client::new(&server).await;
    server.io.emit("e", 1).unwrap();
    server.io.of("/").everyone().volatile().emit("e", (2, "text")).unwrap();
    assert_eq!(client.receive(2).await, [1, 2]);
    client.cut();
    app.lost(1).await;
    server.io.emit("e", 3).unwrap();
    client.connect(&server).await;
    assert!(client.recovered);
    assert_eq!(client.receive(0).await, [3]);
    server.finish().await;
}

/// 4880: recovery works once. 4888 and 5541: it does not work without an event received. And nothing is needed but an idle connection.
async fn a_client_is_recovered_again_and_again_with_and_without_events() {
    let (server, app) = start(RecoveryOptions::new()).await;
    let mut client = Client::new(&server).await;
    let (sid, mut sent) = (client.sid.clone(), 0);
    for round in 1..=10 {
        client.cut();
        app.lost(round).await;
        if round > 3 {
            sent += 1;
            server.io.emit("e", sent).unwrap();
        }
        client.connect(&server).await;
        assert!(client.recovered, "round {round}");
        assert_eq!(client.sid, sid);
        assert_eq!(client.receive(0).await, if round > 3 { vec![json!(sent)] } else { vec![] });
    }
    assert_eq!(app.middlewares.load(SeqCst), 1, "they are skipped for who is recovered");
    server.finish().await;
}

/// 5282: the connection was idle for longer than sessions are kept.
#[tokio::test]
async fn a_client_that_was_idle_for_long_is_recovered() {
    let frozen = Frozen::new();
    let options = RecoveryOptions::new().max_disconnection(Duration::from_secs(2));
    let app = App::default();
    let server = Server::with(
        |builder| builder.recovery(options).ping_interval(Duration::from_secs(1_000)),
        |io| app.on(io, "/"),
    )
    .await;
    let mut client = Client::new(&server).await;
    server.io.emit("e", 1).unwrap();
    assert_eq!(client.receive(1).await, [1]);
    frozen.advance(900_000).await;
    server.io.to("elsewhere").emit("e", 2).unwrap();
    client.cut();
    app.lost(1).await;
    server.io.emit("e", 3).unwrap();
    client.connect(&server).await;
    assert!(client.recovered);
    assert_eq!(client.receive(0).await, [3]);
    drop(frozen);
    server.finish().await;
}

/// redis-streams-adapter 26: a client that reconnects at once, before the server has noticed that it lost the connection.
async fn a_client_that_reconnects_at_once_takes_its_session_over() {
    let (server, app) = start(RecoveryOptions::new()).await;
    let mut client = Client::new(&server).await;
    let sid = client.sid.clone();
    for round in 1..=20 {
        // The server's side of the former connection stays open: nobody tells it of the loss.
        let former = client.wire.take();
        server.io.emit("e", round).unwrap();
        client.connect(&server).await;
        assert!(client.recovered, "round {round}");
        assert_eq!((client.sid.clone(), client.receive(0).await), (sid.clone(), vec![json!(round)]));
        drop(former);
    }
    assert_eq!(*app.disconnects.lock(), [DisconnectReason::Connection(CloseReason::TransportClose); 20]);
    assert_eq!(server.io.of("/").everyone().count().await.value, 1);
    until("the former connections have ended", || server.io.connections() == 1).await;
    server.finish().await;
}

#[tokio::test]
async fn who_left_who_was_sent_away_and_who_is_late_get_new_sessions() {
    let frozen = Frozen::new();
    let (server, app) = start(RecoveryOptions::new().max_disconnection(Duration::from_secs(60))).await;
    // The client left.
    let mut client = Client::new(&server).await;
    client.wire.as_mut().unwrap().say("41").await;
    app.lost(1).await;
    client.connect(&server).await;
    assert_eq!(app.last().outcome, RecoveryOutcome::NotRecovered(NotRecovered::Left));
    assert!(!client.recovered);
    // The server sent it away.
    server.io.of("/").everyone().disconnect_sockets(false).unwrap();
    assert_eq!(client.wire.as_mut().unwrap().text().await, "41");
    client.connect(&server).await;
    assert_eq!(app.last().outcome, RecoveryOutcome::NotRecovered(NotRecovered::Left));
    // It comes too late.
    client.cut();
    app.lost(3).await;
    let first = client.sid.clone();
    frozen.advance(60_010).await;
    until("its end is told", || !app.ended.lock().is_empty()).await;
    assert_eq!(*app.ended.lock(), [(first, NotRecovered::Expired)]);
    client.connect(&server).await;
    assert_eq!(app.last().outcome, RecoveryOutcome::NotRecovered(NotRecovered::Expired));
    // In another server, or after a restart, nothing is known of it.
    client.cut();
    client.pid = Some("A".repeat(20));
    client.connect(&server).await;
    assert_eq!(app.last().outcome, RecoveryOutcome::NotRecovered(NotRecovered::Unknown));
    assert_eq!(app.connections.lock()[0].outcome, RecoveryOutcome::NotAsked);
    drop(frozen);
    server.finish().await;
}

async fn middlewares_decide_again_if_asked_to() {
    let (server, app) = start(RecoveryOptions::new().skip_middlewares(false)).await;
    let mut client = Client::new(&server).await;
    client.cut();
    app.lost(1).await;
    server.io.emit("e", 1).unwrap();
    let mut wire = server.websocket().await;
    let pid = client.pid.clone().unwrap();
    wire.say(&format!(r#"40{{"pid":"{pid}","token":"no"}}"#)).await;
    assert_eq!(wire.text().await, r#"44{"message":"no"}"#);
    // The session is still there.
    client.connect(&server).await;
    assert!(client.recovered);
    assert_eq!((client.receive(0).await, app.middlewares.load(SeqCst)), (vec![json!(1)], 3));
    server.finish().await;
}

/// A middleware that looks again at what a client may do takes rooms of the session away by leaving them.
async fn a_middleware_leaves_rooms_of_the_session() {
    let server = Server::with(
        |builder| builder.recovery(RecoveryOptions::new().skip_middlewares(false)),
        |io| {
            io.middleware(|socket: Socket| {
                if socket.recovered() {
                    socket.leave("admins");
                    socket.leave("left and joined");
                    drop(socket.join("left and joined").unwrap());
                    drop(socket.join("joined and left").unwrap());
                    socket.leave("joined and left");
                }
                ready(Ok(()))
            });
        },
    )
    .await;
    let mut client = Client::new(&server).await;
    let socket = server.io.socket(&client.sid).unwrap();
    drop(socket.join(["admins", "news", "left and joined", "joined and left"]).unwrap());
    // So that the client has an offset.
    server.io.emit("e", 1).unwrap();
    client.receive(1).await;
    client.cut();
    until("its loss is noticed", || !socket.is_connected()).await;
    client.connect(&server).await;
    assert!(client.recovered);
    let mut rooms = server.io.socket(&client.sid).unwrap().rooms();
    rooms.retain(|room| **room != *client.sid);
    rooms.sort();
    assert_eq!(rooms, ["left and joined", "news"].map(roomcast_server::Room::from));
    server.finish().await;
}

/// Values that a middleware gave to a socket come back with it, as the middleware is not asked again; those of a session that ends go.
async fn values_of_a_socket_come_back() {
    let tokens = Arc::new(());
    let server = {
        let token = tokens.clone();
        Server::with(
            |builder| builder.recovery(RecoveryOptions::new()),
            |io| {
                io.middleware(move |socket: Socket| {
                    socket.insert(token.clone());
                    ready(Ok(()))
                });
                io.on("has", |_: Extension<Arc<()>>| true);
            },
        )
        .await
    };
    let mut client = Client::new(&server).await;
    for _ in 0..2 {
        client.cut();
        client.connect(&server).await;
        assert!(client.recovered);
        let wire = client.wire.as_mut().unwrap();
        wire.say(r#"421["has"]"#).await;
        assert_eq!(wire.text().await, "431[true]");
    }
    client.wire.as_mut().unwrap().say("41").await;
    // That of the test, and that of the middleware.
    until("the values are dropped", || Arc::strong_count(&tokens) == 2).await;
    server.finish().await;
}

/// T01 of the attacks: a private id is nobody else's business, nor is it the application's.
async fn the_private_id_is_shown_to_its_client_alone() {
    let (server, app) = start(RecoveryOptions::new()).await;
    let mut client = Client::new(&server).await;
    let pid = client.pid.clone().unwrap();
    assert_ne!(pid, client.sid);
    assert_eq!(pid.len(), 20);
    client.cut();
    app.lost(1).await;
    let auths = Arc::<Mutex<Vec<String>>>::default();
    let seen = auths.clone();
    server.io.of("/").on_connection(move |socket: Socket| {
        seen.lock().push(socket.auth_json().unwrap_or_default().to_owned());
        ready(())
    });
    client.connect_to(&server, "/", json!({"token": "t"})).await;
    assert!(client.recovered);
    assert_eq!(*auths.lock(), [r#"{"token":"t"}"#]);
    let sockets = server.io.of("/").everyone().fetch_sockets().await;
    assert!(!format!("{sockets:?}").contains(&pid));
    server.finish().await;
}

/// A namespace that a pattern made is kept while sessions of it are, and each namespace has its own.
#[tokio::test]
async fn a_namespace_of_a_pattern_stays_for_kept_sessions() {
    let frozen = Frozen::new();
    let options = RecoveryOptions::new().max_disconnection(Duration::from_secs(60));
    let lost = Arc::<AtomicUsize>::default();
    let count = lost.clone();
    let server = Server::with(
        |builder| builder.recovery(options),
        |io| {
            let count = count.clone();
            io.of_matching(|name| name.starts_with("/game-")).on_connection(move |socket: Socket| {
                let count = count.clone();
                socket.on_disconnect(move |_, _| {
                    count.fetch_add(1, SeqCst);
                    ready(())
                });
                ready(())
            });
        },
    )
    .await;
    let mut client = Client::default();
    client.connect_to(&server, "/game-1", json!({})).await;
    let first = client.pid.clone();
    client.cut();
    until("the loss", || lost.load(SeqCst) == 1).await;
    frozen.advance(30_000).await;
    assert_eq!(server.io.namespaces(), 1);
    server.io.of("/game-2");
    client.connect_to(&server, "/game-2", json!({})).await;
    assert!(!client.recovered, "a private id is one of its namespace");
    client.cut();
    until("the loss", || lost.load(SeqCst) == 2).await;
    client.pid = first;
    client.connect_to(&server, "/game-1", json!({})).await;
    assert!(client.recovered);
    client.cut();
    until("the loss", || lost.load(SeqCst) == 3).await;
    assert!(server.io.namespace("/game-1").is_some());
    frozen.advance(60_010).await;
    until("the session ends", || {
        server.io.namespace("/game-1").is_none() || {
            // The namespace lingers for its 5 s.
            tokio::spawn(tokio::time::advance(Duration::from_secs(1)));
            false
        }
    })
    .await;
    drop(frozen);
    server.finish().await;
}

/// A handler that still works for a client that is gone: what it emits arrives after the recovery.
async fn an_emit_by_a_socket_that_was_lost_arrives_later() {
    let (server, app) = start(RecoveryOptions::new()).await;
    let kept = Arc::<Mutex<Option<Socket>>>::default();
    let keeper = kept.clone();
    server.io.of("/").on("keep", move |socket: Socket| {
        *keeper.lock() = Some(socket.clone());
        ready(socket.emit("kept", 0))
    });
    let mut client = Client::new(&server).await;
    client.wire.as_mut().unwrap().say(r#"42["keep"]"#).await;
    client.receive(1).await;
    client.cut();
    app.lost(1).await;
    let socket = kept.lock().take().unwrap();
    socket.emit("later", 1).unwrap();
    client.connect(&server).await;
    assert_eq!(client.receive(0).await, [1]);
    // It is the same session, so this arrives too; but it can no longer change rooms of the socket that continues it.
    socket.emit("later", 2).unwrap();
    assert_eq!(client.receive(1).await, [2]);
    client.wire.as_mut().unwrap().say(r#"42["join","room"]"#).await;
    client.wire.as_mut().unwrap().say(r#"42["echo",3]"#).await;
    assert_eq!(client.receive(1).await, [3]);
    socket.leave("room");
    server.io.to("room").emit("e", 4).unwrap();
    assert_eq!(client.receive(1).await, [4]);
    client.wire.as_mut().unwrap().say("41").await;
    app.lost(2).await;
    assert!(socket.emit("later", 5).is_err());
    server.finish().await;
}

/// With recovery off, CONNECT has no private id, events no offset, and what a client asks for is of no interest.
async fn without_recovery_nothing_changes() {
    let server = Server::start(|_| {}).await;
    let mut wire = server.websocket().await;
    wire.say(r#"40{"pid":"AAAAAAAAAAAAAAAAAAAA","offset":"x"}"#).await;
    let answer = wire.text().await;
    assert_eq!(answer.len(), r#"40{"sid":""}"#.len() + 20, "{answer}");
    server.io.emit("e", "text").unwrap();
    server.io.of("/").everyone().volatile().emit("e", "text").unwrap();
    assert_eq!([wire.text().await, wire.text().await], [r#"42["e","text"]"#, r#"42["e","text"]"#]);
    server.finish().await;
}

/// 1,000 silent cuts under traffic: everybody is recovered, nothing is lost, nothing comes twice.
async fn a_thousand_cuts_under_traffic() {
    const CLIENTS: usize = 20;
    const CUTS: usize = 50;
    let (server, app) = start(RecoveryOptions::new()).await;
    let over = Arc::new(AtomicUsize::new(0));
    let (io, done) = (server.io.clone(), over.clone());
    let traffic = tokio::spawn(async move {
        let mut at = 0_u64;
        while done.load(SeqCst) < CLIENTS {
            for _ in 0..5 {
                io.to("room").emit("e", at).unwrap();
                at += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        at
    });
    let server = Arc::new(server);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (server, over) = (server.clone(), over.clone());
            tokio::spawn(async move {
                let mut client = Client::new(&server).await;
                client.wire.as_mut().unwrap().say(r#"42["join","room"]"#).await;
                let (mut received, mut recovered) = (Vec::new(), 0);
                for cut in 0..CUTS {
                    received.extend(client.receive(1 + (number * 7 + cut * 3) % 20).await);
                    // Every second time the server is not told: its side of the connection stays open.
                    let former = client.wire.take().filter(|_| cut % 2 == 0);
                    client.connect(&server).await;
                    recovered += usize::from(client.recovered);
                    drop(former);
                }
                received.extend(client.receive(1).await);
                over.fetch_add(1, SeqCst);
                (client, received, recovered)
            })
        })
        .collect();
    let mut recovered = 0;
    let mut left = Vec::new();
    for client in clients {
        let (client, received, times) = client.await.unwrap();
        recovered += times;
        left.push((client, received));
    }
    let emitted = traffic.await.unwrap();
    for (mut client, mut received) in left {
        while received.last().and_then(Value::as_u64) != Some(emitted - 1) {
            received.extend(client.receive(1).await);
        }
        let first = received[0].as_u64().unwrap();
        let expected = first..emitted;
        assert!(received.iter().map(|at| at.as_u64().unwrap()).eq(expected), "a hole or a double: {received:?}");
    }
    println!("{recovered} of {} recovered, {emitted} events", CLIENTS * CUTS);
    assert!(recovered * 1_000 >= CLIENTS * CUTS * 999, "{recovered} of {}", CLIENTS * CUTS);
    let refused =
        app.connections.lock().iter().filter(|seen| matches!(seen.outcome, RecoveryOutcome::NotRecovered(_))).count();
    assert_eq!(refused, CLIENTS * CUTS - recovered);
    Arc::try_unwrap(server).unwrap_or_else(|_| panic!("all clients have ended")).finish().await;
}

crate::common::runtime::on_both_runtimes! {
    a_volatile_event_with_a_text_does_not_spoil_the_offset,
    a_client_is_recovered_again_and_again_with_and_without_events,
    a_client_that_reconnects_at_once_takes_its_session_over,
    a_middleware_leaves_rooms_of_the_session,
    middlewares_decide_again_if_asked_to,
    values_of_a_socket_come_back,
    the_private_id_is_shown_to_its_client_alone,
    an_emit_by_a_socket_that_was_lost_arrives_later,
    without_recovery_nothing_changes,
    a_thousand_cuts_under_traffic,
}
