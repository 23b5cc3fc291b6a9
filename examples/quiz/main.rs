//! A pub quiz: players in teams, a host, and tables to chat at, on one server or on several that share a Redis. It is the port of
//! `e2e/apps/quiz.mjs`, line by line where that is possible; `docs/porting.md` compares the two, and `e2e/run-port.mjs` runs the
//! same scenarios on both.
//!
//! Environment: `HOST`, `PORT`, `REDIS_URL`, `SERVER_NAME`.

use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Cluster, ClusterOptions};
use roomcast_examples::{Outcome, listener, stopped};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use roomcast_server::{
    Ack, Args, Checked, ConnectError, Cors, DisconnectReason, Namespace, RemoteSocket, Room, Socket, SocketIo, State,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::env::var;
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
}

impl Quiz {
    fn players(&self) -> Outcome<Namespace> {
        Ok(self.io.get().ok_or("the server is not built yet")?.of("/"))
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
    serve_host(&io);
    serve_tables(&io);
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

    let state = quiz.clone();
    players.on_connection(move |socket: Socket| {
        let scores = state.scores();
        async move {
            let Player { name, language } = socket.data()?;
            socket.join(format!("player {name}"))?;
            socket.emit("welcome", &json!({"name": name, "language": language, "scores": scores}))?;
            socket.broadcast().emit("arrived", &name)?;
            socket.on_disconnecting(|socket: Socket, _: DisconnectReason| async move {
                let name = name_of(&socket)?;
                for team in teams_of(&socket) {
                    socket.to(team).emit("teammate left", &name)?;
                }
                Outcome::Ok(())
            });
            socket.on_disconnect(|socket: Socket, reason: DisconnectReason| async move {
                socket.namespace().emit("gone", &(name_of(&socket)?, reason.as_str()))?;
                Outcome::Ok(())
            });
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
        socket.to(format!("team {team}")).emit("teammate", &name_of(&socket)?)?;
        let members = socket.namespace().to(format!("team {team}")).fetch_sockets().await.value;
        let members: BTreeSet<String> = members.iter().filter_map(|member| remote_name(member).ok()).collect();
        Outcome::Ok(json!({"ok": true, "members": members}))
    });

    // A list without rooms means nobody here, so this needs no check of its own.
    players.on("say", |socket: Socket, text: Value| async move {
        let teams = teams_of(&socket);
        if !teams.is_empty() {
            socket.namespace().to(&teams[..]).emit("said", &(name_of(&socket)?, text))?;
        }
        Outcome::Ok(teams.len())
    });
    players.on("typing", |socket: Socket| async move {
        Outcome::Ok(socket.to(teams_of(&socket)).volatile().emit("typing", &name_of(&socket)?)?)
    });
    players.on("photo", |socket: Socket, (caption, bytes): (String, Bytes)| async move {
        let photo = (name_of(&socket)?, caption, &bytes);
        socket.to(teams_of(&socket)).compress(false).emit("photo", &photo)?;
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
        Outcome::Ok(hearers.emit("shout", &(name_of(&socket)?, text))?)
    });
    players.on("shout to others", |socket: Socket, text: Value| async move {
        Outcome::Ok(socket.except("quiet").emit("shout", &(name_of(&socket)?, text))?)
    });

    players.on("whisper", |socket: Socket, (to, text): (String, String)| async move {
        let whispered = socket.namespace().to(format!("player {to}")).timeout(WHISPER);
        let acked = whispered.emit_with_ack("whisper", &(name_of(&socket)?, text)).await?;
        match acked.answers.first() {
            Some(answer) => Outcome::Ok(json!({"ok": true, "answer": answer.parse::<Value>()?})),
            None if acked.missing_sockets > 0 => Err(format!("{to} does not answer").into()),
            None => Err(format!("{to} is not here").into()),
        }
    });

    // The server asks back before it lets a player go.
    players.on("quit", |socket: Socket| async move {
        let answer = socket.emit_with_ack_within(WHISPER, "sure?", &()).await;
        let sure = answer.is_ok_and(|answer| answer.parse().unwrap_or(false));
        if sure {
            socket.disconnect(true);
        } else {
            socket.emit("stays", &name_of(&socket)?)?;
        }
        Outcome::Ok(())
    });

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

    players.on_server_event("scored", |(team, points): (String, i64), State(quiz): State<Quiz>| async move {
        quiz.scores.lock().insert(team, points);
    });
    players.on_server_event("load", |players: Namespace, State(quiz): State<Quiz>| async move {
        json!({"server": quiz.server, "players": players.local().count().await.value})
    });
}

fn serve_host(io: &SocketIo) {
    let host = io.of("/host");
    host.middleware(|socket: Socket| async move {
        let Auth { token, .. } = socket.auth()?;
        if token == "host" { Ok(()) } else { Err(refusal("wrong token", 401)) }
    });

    // Asks all players and answers with what they say, also if some say nothing.
    host.on("ask", |question: String, State(quiz): State<Quiz>| async move {
        let asked = quiz.players()?.everyone().timeout(THINKING).emit_with_ack("question", &question).await?;
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
        let players = quiz.players()?;
        players.server_side_emit("scored", &(team, sum))?;
        players.emit("scores", &quiz.scores())?;
        host.everyone().volatile().emit("scores", &quiz.scores())?;
        Outcome::Ok(json!({"ok": true}))
    });

    // All of one team go over to another, wherever they are connected.
    host.on("merge", |(from, to): (String, String), State(quiz): State<Quiz>, ack: Ack| async move {
        let players = quiz.players()?;
        let (old, new) = (format!("team {from}"), format!("team {to}"));
        players.to(&old).sockets_join(&new)?;
        players.to(&new).sockets_leave(&old)?;
        players.to(&new).emit("merged", &(from, to))?;
        Outcome::Ok(ack.send(&())?)
    });

    host.on("mute", |name: String, State(quiz): State<Quiz>| async move {
        let found = quiz.players()?.to(format!("player {name}")).fetch_sockets().await.value;
        let player = found.first().ok_or(format!("{name} is not here"))?;
        player.join("muted")?;
        player.emit("muted", &())?;
        let rooms = without_own(player.rooms(), player.id());
        Outcome::Ok(json!({"ok": true, "name": remote_name(player)?, "rooms": rooms}))
    });
    host.on("unmute all", |State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.players()?.to("muted").sockets_leave("muted")?;
        Outcome::Ok(ack.send(&())?)
    });

    host.on("kick", |name: String, State(quiz): State<Quiz>| async move {
        let players = quiz.players()?.to(format!("player {name}")).fetch_sockets().await.value;
        for player in &players {
            player.emit("kicked", &())?;
            player.disconnect(true)?;
        }
        Outcome::Ok(json!({"ok": true, "kicked": players.len()}))
    });
    host.on("close team", |team: String, State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.players()?.to(format!("team {team}")).disconnect_sockets(false)?;
        Outcome::Ok(ack.send(&())?)
    });

    // To some teams but not to one of their players, to the players of this server, to everybody.
    host.on("tell teams", |told: (Vec<String>, String, Value), State(quiz): State<Quiz>, ack: Ack| async move {
        let (teams, except_for, text) = told;
        let rooms: Vec<String> = teams.iter().map(|team| format!("team {team}")).collect();
        quiz.players()?.to(rooms).except(format!("player {except_for}")).emit("told", &text)?;
        Outcome::Ok(ack.send(&())?)
    });
    host.on("tell here", |text: Value, State(quiz): State<Quiz>, ack: Ack| async move {
        quiz.players()?.local().emit("told", &text)?;
        Outcome::Ok(ack.send(&())?)
    });
    host.on("tell all", |text: Value, State(quiz): State<Quiz>, ack: Ack| async move {
        let players = quiz.players()?;
        players.emit("message", &text)?;
        players.local().volatile().emit("told", &text)?;
        Outcome::Ok(ack.send(&())?)
    });

    // A player of this server is asked directly, without the cluster.
    host.on("poke", |name: String, State(quiz): State<Quiz>| async move {
        let player = quiz.players()?.to(format!("player {name}")).local();
        if player.count().await.value == 0 {
            return Err(format!("{name} is not on this server").into());
        }
        let poked = player.timeout(WHISPER).emit_with_ack("poke", &()).await?;
        let answer = poked.answers.first().ok_or("operation has timed out")?;
        Outcome::Ok(json!({"ok": true, "answer": answer.parse::<Value>()?}))
    });

    host.on("servers", |State(quiz): State<Quiz>| async move {
        let players = quiz.players()?;
        let others = players.server_side_emit_with_ack("load", &()).await?.value;
        let others: Vec<Value> = others.iter().map(Args::parse).collect::<Result<_, _>>()?;
        let here = players.local().fetch_sockets().await.value;
        let rooms: BTreeSet<&Room> = here.iter().flat_map(RemoteSocket::rooms).collect();
        let teams: Vec<_> = rooms.into_iter().filter(|room| room.starts_with("team ")).collect();
        let clients = quiz.io.get().map(SocketIo::connections);
        let here = json!({"players": here.len(), "clients": clients, "teams": teams});
        Outcome::Ok(json!({"ok": true, "others": others, "here": here}))
    });
}

/// Tables: a namespace for each, which exists once somebody sits at it.
fn serve_tables(io: &SocketIo) {
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
        table.emit("sits down", &(table.name(), &name))?;
        socket.on_disconnect(|socket: Socket, reason: DisconnectReason| async move {
            let Auth { name, .. } = socket.auth()?;
            Outcome::Ok(socket.namespace().emit("stands up", &(name, reason.as_str()))?)
        });
        Outcome::Ok(())
    });
    tables.on("message", |socket: Socket, text: Value| async move {
        let Auth { name, .. } = socket.auth()?;
        Outcome::Ok(socket.broadcast().emit("heard", &(name, text))?)
    });
    tables.on("count", |table: Namespace| async move { table.everyone().count().await.value });
    tables.on("stand up", |socket: Socket| socket.disconnect(false));
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
