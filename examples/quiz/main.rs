//! A pub quiz: players in teams, a host, and tables to chat at, on one server or on several that share a Redis. It is the port of
//! `e2e/apps/quiz.mjs`, line by line where that is possible; `docs/porting.md` compares the two, and `e2e/run-port.mjs` runs the
//! same scenarios on both.
//!
//! Environment: `HOST`, `PORT`, `REDIS_URL`, `SERVER_NAME`.

use bytes::Bytes;
use parking_lot::Mutex;
use roomcast::cluster::{Cluster, ClusterOptions};
use roomcast::redis::{ClassicBroker, ClassicOptions};
use roomcast::{
    Ack, Args, Checked, ConnectError, Cors, DisconnectReason, Extension, Namespace, Namespaces, RemoteSocket, Room,
    Socket, SocketIo, State,
};
use roomcast_examples::{Outcome, listener, stopped};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::env::var;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The longest name of a player or a team, in characters.
const NAME_LENGTH: usize = 20;

/// How long players may think about a question, and how long a whisper may take.
const THINKING: Duration = Duration::from_millis(1000);
const WHISPER: Duration = Duration::from_millis(500);

/// What handlers need of the application.
#[derive(Clone, Default)]
struct Quiz {
    io: Arc<OnceLock<SocketIo>>,
    server: String,
    /// The points of each team. Every server has all of them: the server that gives points tells the others.
    scores: Arc<Mutex<BTreeMap<String, i64>>>,
    /// The tables at which somebody has been on this server.
    used: Arc<Mutex<BTreeSet<String>>>,
}

impl Quiz {
    fn io(&self) -> Outcome<&SocketIo> {
        Ok(self.io.get().ok_or("the server is not built yet")?)
    }

    fn scores(&self) -> BTreeMap<String, i64> {
        self.scores.lock().clone()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    name: String,
    token: String,
}

/// How many events came from a player.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

/// The data of a player's socket, which all servers can see.
#[derive(Serialize, Deserialize)]
struct Player {
    name: String,
    language: String,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let quiz = Quiz { server: var("SERVER_NAME").unwrap_or_else(|_| "quiz".into()), ..Quiz::default() };
    let mut builder = SocketIo::builder()
        .path("/quiz/")
        .ping_interval(Duration::from_secs(10))
        .max_payload(100_000)
        .cors(Cors::origins(["http://quiz.example"])?)
        .state(quiz.clone());
    if let Ok(url) = var("REDIS_URL") {
        let broker = ClassicBroker::new(url.parse()?, ClassicOptions::default());
        builder = builder.cluster(&Cluster::new(broker, ClusterOptions::default()));
    }
    let io = builder.build();
    quiz.io.set(io.clone()).map_err(|_| "the server is built once")?;
    serve_players(&io, &quiz);
    let tables = serve_tables(&io);
    serve_host(&io, tables);
    io.serve(listener().await?, stopped()?).await?;
    Ok(())
}

fn serve_players(io: &SocketIo, quiz: &Quiz) {
    let players = io.of("/");
    players.middleware(|socket: Socket| async move {
        let Auth { name, token } = socket.auth()?;
        if token != "player" {
            return Err(refusal("wrong token", 401));
        }
        if !is_name(&name) {
            return Err(refusal(&format!("a name has 1 to {NAME_LENGTH} characters"), 400));
        }
        let language = socket.handshake().query().find(|(key, _)| key == "language");
        let language = language.map_or_else(|| "en".to_owned(), |(_, value)| value.into_owned());
        Ok(socket.set_data(&Player { name, language })?)
    });
    players.middleware(|socket: Socket| async move {
        let namesakes = socket.namespace().to(format!("player {}", name_of(&socket)?)).fetch_sockets().await;
        if namesakes.value.is_empty() { Ok(()) } else { Err(refusal("the name is taken", 409)) }
    });

    players.on_any(|Extension(Count(count)): Extension<Count>| {
        count.fetch_add(1, Ordering::Relaxed);
    });

    // A muted player's events are not handled, except these.
    players.event_middleware(|socket: Socket, event: String| async move {
        let allowed = !socket.rooms().iter().any(|room| **room == *"muted") || ["count", "quit"].contains(&&*event);
        if allowed {
            return Ok(());
        }
        let refusal = format!("you are muted: {event}");
        socket.emit("refused", &refusal)?;
        Outcome::Err(refusal.into())
    });

    let state = quiz.clone();
    players.on_connection(move |socket: Socket| {
        let scores = state.scores();
        async move {
            let Player { name, language } = socket.data()?;
            socket.insert(Count::default());
            socket.join(format!("player {name}"))?;
            socket.emit("welcome", json!({"name": name, "language": language, "scores": scores}))?;
            socket.broadcast().emit("arrived", &name)?;
            // Works once: a second "ready" is not answered.
            socket.once("ready", || "go");
            Outcome::Ok(())
        }
    });

    players.on("team", |socket: Socket, Checked(team): Checked<String>| async move {
        let team = team.ok().filter(|team| is_name(team));
        let team = team.ok_or(format!("a team's name has 1 to {NAME_LENGTH} characters"))?;
        for room in teams_of(&socket) {
            socket.leave(&room);
        }
        socket.join(format!("team {team}"))?.await;
        socket.to(format!("team {team}")).emit("teammate", name_of(&socket)?)?;
        let members = socket.namespace().to(format!("team {team}")).fetch_sockets().await.value;
        let members: BTreeSet<String> = members.iter().filter_map(|member| remote_name(member).ok()).collect();
        Outcome::Ok(json!({"ok": true, "members": members}))
    });

    // Two handlers of one event. A list without rooms means nobody, so the first needs no `if`.
    players.on("say", |socket: Socket, text: Value| async move {
        Outcome::Ok(socket.namespace().to(teams_of(&socket)).emit("said", (name_of(&socket)?, text))?)
    });
    players.on("say", |socket: Socket| teams_of(&socket).len());

    players.on("typing", |socket: Socket| async move {
        Outcome::Ok(socket.volatile().to(teams_of(&socket)).emit("typing", name_of(&socket)?)?)
    });
    players.on("photo", |socket: Socket, (caption, bytes): (String, Bytes)| async move {
        let photo = (name_of(&socket)?, caption, &bytes);
        socket.to(teams_of(&socket)).compress(false).emit("photo", photo)?;
        Outcome::Ok(json!({"bytes": bytes.len()}))
    });

    // "quiet" players hear no shouts.
    players.on("quiet", |socket: Socket, on: bool| async move {
        if on {
            socket.join("quiet")?.await;
        } else {
            socket.leave("quiet");
        }
        Outcome::Ok(without_own(&socket.rooms(), &socket.id().to_string()))
    });
    players.on("shout", |socket: Socket, text: Value| async move {
        let hearers = socket.namespace().except(["quiet", "muted"]);
        Outcome::Ok(hearers.emit("shout", (name_of(&socket)?, text))?)
    });
    players.on("shout to others", |socket: Socket, text: Value| async move {
        Outcome::Ok(socket.except("quiet").emit("shout", (name_of(&socket)?, text))?)
    });

    players.on("whisper", |socket: Socket, (to, text): (String, String)| async move {
        let whispered = socket.namespace().to(format!("player {to}")).timeout(WHISPER);
        let acked = whispered.emit_with_ack("whisper", (name_of(&socket)?, text)).await?;
        match acked.answers.first() {
            Some(answer) => Outcome::Ok(json!({"ok": true, "answer": answer.parse::<Value>()?})),
            None if acked.missing_sockets > 0 => Err(format!("{to} does not answer").into()),
            None => Err(format!("{to} is not here").into()),
        }
    });

    // The server asks back before it lets a player go.
    players.on("quit", |socket: Socket| async move {
        let answer = socket.timeout(WHISPER).emit_with_ack("sure?", ()).await;
        let sure = answer.is_ok_and(|answer| answer.parse().unwrap_or(false));
        if sure {
            socket.disconnect(true);
        } else {
            socket.emit("stays", name_of(&socket)?)?;
        }
        Outcome::Ok(())
    });

    players.on("count", |Extension(Count(count)): Extension<Count>| count.load(Ordering::Relaxed));
    players.on("about me", |socket: Socket, State(quiz): State<Quiz>| async move {
        let handshake = socket.handshake();
        let auth: BTreeMap<String, Value> = socket.auth()?;
        Outcome::Ok(json!({
            "server": quiz.server,
            "transport": socket.transport().as_str(),
            "connected": socket.is_connected(),
            "namespace": socket.namespace().name(),
            "client": handshake.header("x-client"),
            "language": handshake.query().find(|(key, _)| key == "language").map(|(_, value)| value),
            "auth": auth.keys().collect::<Vec<_>>(),
            "data": socket.data::<Value>()?,
        }))
    });

    players.on_disconnecting(|socket: Socket, _: DisconnectReason| async move {
        Outcome::Ok(socket.to(teams_of(&socket)).emit("teammate left", name_of(&socket)?)?)
    });
    players.on_disconnect(|socket: Socket, reason: DisconnectReason| async move {
        Outcome::Ok(socket.namespace().emit("gone", (name_of(&socket)?, reason.as_str()))?)
    });

    let used = quiz.used.clone();
    io.on_new_namespace(move |namespace: Namespace| {
        if namespace.name().starts_with("/table-") {
            used.lock().insert(namespace.name().to_owned());
        }
    });
    players.on_server_event("scored", |(team, points): (String, i64), State(quiz): State<Quiz>| async move {
        quiz.scores.lock().insert(team, points);
    });
    players.on_server_event("load", |players: Namespace, State(quiz): State<Quiz>| async move {
        json!({"server": quiz.server, "players": players.local_sockets().len()})
    });
}

fn serve_host(io: &SocketIo, tables: Namespaces) {
    let host = io.of("/host");
    host.middleware(|socket: Socket| async move {
        let Auth { token, .. } = socket.auth()?;
        if token == "host" { Ok(()) } else { Err(refusal("wrong token", 401)) }
    });

    // Asks all players and answers with what they say, also if some say nothing.
    host.on("ask", |question: String, State(quiz): State<Quiz>| async move {
        let asked = quiz.io()?.timeout(THINKING).emit_with_ack("question", question).await?;
        let mut answers: Vec<String> = asked.answers.iter().map(Args::parse).collect::<Result<_, _>>()?;
        answers.sort();
        Outcome::Ok(json!({"ok": true, "answers": answers, "all": asked.missing_sockets == 0}))
    });

    host.on("score", |host: Namespace, Checked(score): Checked<(String, i64)>, State(quiz): State<Quiz>| async move {
        let (team, points) = score.map_err(|_| "points are whole numbers")?;
        let sum = {
            let mut scores = quiz.scores.lock();
            let sum = scores.entry(team.clone()).or_default();
            *sum = sum.saturating_add(points);
            *sum
        };
        let io = quiz.io()?;
        io.server_side_emit("scored", (team, sum))?;
        io.emit("scores", quiz.scores())?;
        host.volatile().emit("scores", quiz.scores())?;
        Outcome::Ok(json!({"ok": true}))
    });

    // All of one team go over to another, wherever they are connected.
    host.on("merge", |(from, to): (String, String), State(quiz): State<Quiz>, ack: Ack| async move {
        let (io, old, new) = (quiz.io()?, format!("team {from}"), format!("team {to}"));
        io.to([&*old, &*new]).emit("merged", (from, to))?;
        io.to(&old).sockets_join(&new)?;
        io.to(&new).sockets_leave(&old)?;
        Outcome::Ok(ack.send(())?)
    });

    host.on("mute", |name: String, State(quiz): State<Quiz>| async move {
        let found = quiz.io()?.to(format!("player {name}")).fetch_sockets().await.value;
        let player = found.first().ok_or(format!("{name} is not here"))?;
        player.join("muted")?;
        player.emit("muted", ())?;
        let rooms = without_own(player.rooms(), player.id());
        Outcome::Ok(json!({"ok": true, "name": remote_name(player)?, "rooms": rooms}))
    });
    host.on("unmute all", |State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.io()?.to("muted").sockets_leave("muted")?;
        Outcome::Ok(ack.send(())?)
    });

    host.on("kick", |name: String, State(quiz): State<Quiz>| async move {
        let players = quiz.io()?.to(format!("player {name}")).fetch_sockets().await.value;
        for player in &players {
            player.emit("kicked", ())?;
            player.disconnect(true)?;
        }
        Outcome::Ok(json!({"ok": true, "kicked": players.len()}))
    });
    host.on("close team", |team: String, State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.io()?.to(format!("team {team}")).disconnect_sockets(false)?;
        Outcome::Ok(ack.send(())?)
    });

    // To some teams but not to one of their players, to the players of this server, to everybody.
    host.on("tell teams", |told: (Vec<String>, String, Value), State(quiz): State<Quiz>, ack: Ack| async move {
        let (teams, except_for, text) = told;
        let rooms: Vec<String> = teams.iter().map(|team| format!("team {team}")).collect();
        quiz.io()?.to(rooms).except(format!("player {except_for}")).emit("told", text)?;
        Outcome::Ok(ack.send(())?)
    });
    host.on("tell here", |text: Value, State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.io()?.local().emit("told", text)?;
        Outcome::Ok(ack.send(())?)
    });
    host.on("tell all", |text: Value, State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.io()?.send(&text)?;
        quiz.io()?.local().emit("told", text)?;
        Outcome::Ok(ack.send(())?)
    });
    host.on("tell tables", move |text: Value, ack: Ack| {
        tables.emit("told", text)?;
        Outcome::Ok(ack.send(())?)
    });

    // A player of this server is asked directly, without the cluster.
    host.on("poke", |name: String, State(quiz): State<Quiz>| async move {
        let here = quiz.io()?.local_sockets();
        let player = here.iter().find(|player| name_of(player).is_ok_and(|found| found == name));
        let player = player.ok_or(format!("{name} is not on this server"))?;
        let answer: Value = player.timeout(WHISPER).emit_with_ack("poke", ()).await?.parse()?;
        Outcome::Ok(json!({"ok": true, "answer": answer}))
    });

    host.on("servers", |State(quiz): State<Quiz>| async move {
        let others = quiz.io()?.server_side_emit_with_ack("load", ()).await?.value;
        let others: Vec<Value> = others.iter().map(Args::parse).collect::<Result<_, _>>()?;
        let players = quiz.io()?.local_sockets();
        let teams: BTreeSet<Room> = players.iter().flat_map(teams_of).collect();
        let (clients, tables) = (quiz.io()?.connections(), quiz.used.lock().clone());
        let here = json!({"players": players.len(), "clients": clients, "teams": teams, "tables": tables});
        Outcome::Ok(json!({"ok": true, "others": others, "here": here}))
    });
}

/// Tables: a namespace for each, which exists once somebody sits at it.
fn serve_tables(io: &SocketIo) -> Namespaces {
    let tables = io.of_matching(|name| {
        let number = name.strip_prefix("/table-").unwrap_or_default();
        (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    tables.middleware(|socket: Socket| async move {
        let Auth { name, .. } = socket.auth()?;
        if name.is_empty() { Err(refusal("who are you?", 400)) } else { Ok(()) }
    });
    tables.on_connection(|socket: Socket| async move {
        let Auth { name, .. } = socket.auth()?;
        let table = socket.namespace();
        Outcome::Ok(table.emit("sits down", (table.name(), &name))?)
    });
    tables.on("message", |socket: Socket, text: Value| async move {
        let Auth { name, .. } = socket.auth()?;
        Outcome::Ok(socket.broadcast().emit("heard", (name, text))?)
    });
    tables.on("count", |table: Namespace| async move { table.count().await.value });
    tables.on("stand up", |socket: Socket| socket.disconnect(false));
    tables.on_disconnect(|socket: Socket, reason: DisconnectReason| async move {
        let Auth { name, .. } = socket.auth()?;
        Outcome::Ok(socket.namespace().emit("stands up", (name, reason.as_str()))?)
    });
    tables
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LENGTH).contains(&name.chars().count())
}

fn name_of(socket: &Socket) -> Outcome<String> {
    Ok(socket.data::<Player>()?.name)
}

fn remote_name(socket: &RemoteSocket) -> Outcome<String> {
    Ok(socket.data::<Player>()?.name)
}

fn teams_of(socket: &Socket) -> Vec<Room> {
    let mut teams: Vec<Room> = socket.rooms().into_iter().filter(|room| room.starts_with("team ")).collect();
    teams.sort();
    teams
}

/// The rooms but that of the socket's id.
fn without_own(rooms: &[Room], id: &str) -> Vec<Room> {
    let mut rooms: Vec<Room> = rooms.iter().filter(|room| ***room != *id).cloned().collect();
    rooms.sort();
    rooms
}

fn refusal(message: &str, code: u16) -> ConnectError {
    ConnectError::new(message).with_data(&json!({"code": code}))
}
