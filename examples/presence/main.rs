//! Who is here, and who is typing. Somebody with several tabs is one person, who is away when the last tab has been closed for a moment: to
//! load a page again is not to leave. Whoever stops typing without saying so is told to have stopped.
//!
//! ```text
//! cargo run -p roomcast-examples --bin presence
//! ```
//!
//! A client connects with `auth: {name}`, gets `online(names)` and then `came(name)` and `left(name)`; it emits `join(room)` and
//! `typing(room, true | false)`, and gets `typing(room, name, true | false)`.
//!
//! Environment: `HOST`, `PORT`; `AWAY_MS`, after which a person without tabs has left (2,000); `TYPING_MS`, after which a person who is
//! typing has stopped (4,000).

use parking_lot::Mutex;
use roomcast::{ConnectError, DisconnectReason, Namespace, Socket, SocketId, SocketIo, State};
use roomcast_examples::{Outcome, listener, stopped};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::env::var;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The longest name of a person or a room, in characters.
const NAME: usize = 32;

/// The most rooms in which one may be typing in one tab.
const ROOMS: usize = 20;

/// What the client says of itself, and the data of its socket.
#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
}

#[derive(Clone)]
struct Presence {
    away: Duration,
    typing: Duration,
    typists: Arc<Mutex<Typists>>,
}

/// The tabs in which somebody is typing: the rooms, and the number of the last sign of each.
type Typists = HashMap<SocketId, HashMap<String, u64>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let presence = Presence {
        away: milliseconds("AWAY_MS", 2000)?,
        typing: milliseconds("TYPING_MS", 4000)?,
        typists: Arc::default(),
    };
    let io = SocketIo::builder().state(presence.clone()).build();
    let people = io.of("/");
    people.middleware(|socket: Socket| async move {
        let person: Person = socket.auth().map_err(|_| ConnectError::new("say who you are: auth: {name}"))?;
        if !(1..=NAME).contains(&person.name.chars().count()) {
            return Err(ConnectError::new(format!("a name has 1 to {NAME} characters")));
        }
        Ok(socket.set_data(&person)?)
    });
    people.on_connection(move |socket: Socket| come(socket, presence.clone()));
    people.on("join", |socket: Socket, room: String| async move {
        if !(1..=NAME).contains(&room.chars().count()) {
            return Err(format!("a room's name has 1 to {NAME} characters").into());
        }
        socket.join(format!("room {room}"))?.await;
        Outcome::Ok(true)
    });
    people.on("typing", typing);
    io.serve(listener().await?, stopped()?).await?;
    Ok(())
}

// --- who is here ---

/// The room of all tabs of a person.
fn tabs(name: &str) -> String {
    format!("tabs {name}")
}

async fn come(socket: Socket, presence: Presence) -> Outcome<()> {
    let Person { name } = socket.data()?;
    let people = socket.namespace().clone();
    // The first tab, of all servers, makes the person come.
    let first = people.to(tabs(&name)).count().await.value == 0;
    socket.join(tabs(&name))?.await;
    if first {
        socket.broadcast().emit("came", &name)?;
    }
    socket.emit("online", &online(&people).await)?;
    let others = socket.clone();
    socket.on_disconnect(move |_: Socket, _: DisconnectReason| async move {
        for room in presence.typists.lock().remove(&others.id()).into_iter().flatten().map(|(room, _)| room) {
            tell(&others, &room, &name, false)?;
        }
        sleep(presence.away).await;
        if people.to(tabs(&name)).count().await.value == 0 {
            people.emit("left", &name)?;
        }
        Outcome::Ok(())
    });
    Ok(())
}

/// The names of all who are here, on all servers.
async fn online(people: &Namespace) -> BTreeSet<String> {
    let sockets = people.everyone().fetch_sockets().await.value;
    sockets.iter().filter_map(|socket| Some(socket.data::<Person>().ok()?.name)).collect()
}

// --- who is typing ---

async fn typing(socket: Socket, (room, on): (String, bool), State(presence): State<Presence>) -> Outcome<()> {
    if !socket.rooms().iter().any(|joined| **joined == *format!("room {room}")) {
        return Err("join the room first".into());
    }
    let Person { name } = socket.data()?;
    if !on {
        let stopped = presence.typists.lock().get_mut(&socket.id()).and_then(|rooms| rooms.remove(&room));
        return if stopped.is_some() { tell(&socket, &room, &name, false) } else { Ok(()) };
    }
    let sign = {
        let mut typists = presence.typists.lock();
        let rooms = typists.entry(socket.id()).or_default();
        if rooms.len() >= ROOMS && !rooms.contains_key(&room) {
            return Err(format!("typing in {ROOMS} rooms already").into());
        }
        let sign = rooms.entry(room.clone()).or_default();
        *sign = sign.wrapping_add(1);
        *sign
    };
    tell(&socket, &room, &name, true)?;
    // Unless another sign comes, the person has stopped.
    sleep(presence.typing).await;
    let stopped = {
        let mut typists = presence.typists.lock();
        let rooms = typists.entry(socket.id()).or_default();
        rooms.get(&room) == Some(&sign) && rooms.remove(&room).is_some()
    };
    if stopped { tell(&socket, &room, &name, false) } else { Ok(()) }
}

/// Volatile: who cannot be told at once need not know later.
fn tell(socket: &Socket, room: &str, name: &str, on: bool) -> Outcome<()> {
    Ok(socket.to(format!("room {room}")).volatile().emit("typing", (room, name, on))?)
}

fn milliseconds(name: &str, default: u64) -> Outcome<Duration> {
    Ok(Duration::from_millis(var(name).map_or(Ok(default), |text| text.parse())?))
}
