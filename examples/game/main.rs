//! A game with a loop of 20 steps a second. Where everybody is, is sent volatile: who cannot take it at once gets the next one, and never a
//! queue of old ones. Who took a coin is sent as usual, and arrives for certain.
//!
//! ```text
//! cargo run -p roomcast-examples --bin game
//! ```
//!
//! A client emits `play(name)`, which answers `{id, size, coin}`, then `steer(x, y)` with a direction from -1 to 1 each. It gets
//! `state(step, [[id, x, y], …])` at each step, and `coin(step, id, points, [x, y])` when somebody has taken the coin: its next place.
//!
//! Environment: `HOST`, `PORT`.

use parking_lot::Mutex;
use roomcast::{DisconnectReason, Namespace, Socket, SocketId, SocketIo, State};
use roomcast_examples::{Outcome, listener, stopped};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// A step of the game, 20 in a second.
const STEP: Duration = Duration::from_millis(50);

/// The board's width and height, how far a player comes in a step, and how near a coin must be.
const SIZE: f64 = 100.0;
const SPEED: f64 = 2.0;
const REACH: f64 = 3.0;

/// The most players of a game.
const PLAYERS: usize = 100;

type Game = Arc<Mutex<World>>;

/// All of the game. What changes it is here, and knows nothing of sockets.
#[derive(Default)]
struct World {
    step: u64,
    players: BTreeMap<SocketId, Player>,
    coins: u32,
}

struct Player {
    name: String,
    place: [f64; 2],
    direction: [f64; 2],
    points: u32,
}

/// Somebody took the coin.
struct Taken {
    by: SocketId,
    points: u32,
}

impl World {
    /// Where the coin is now.
    fn coin(&self) -> [f64; 2] {
        let place = |factor: u32| f64::from(self.coins.wrapping_mul(factor).wrapping_add(30) % 100);
        [place(37), place(61)]
    }

    fn step(&mut self) -> Option<Taken> {
        self.step = self.step.wrapping_add(1);
        let coin = self.coin();
        let mut taken = None;
        for (id, player) in &mut self.players {
            for (place, direction) in player.place.iter_mut().zip(player.direction) {
                *place = (*place + direction * SPEED).clamp(0.0, SIZE);
            }
            let near = player.place.iter().zip(coin).all(|(place, coin)| (place - coin).abs() <= REACH);
            if near && taken.is_none() {
                player.points = player.points.saturating_add(1);
                taken = Some(Taken { by: *id, points: player.points });
            }
        }
        if taken.is_some() {
            self.coins = self.coins.wrapping_add(1);
        }
        taken
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let game = Game::default();
    let io = SocketIo::builder().state(game.clone()).build();
    let arena = io.of("/");
    arena.on("play", play);
    arena.on("steer", |socket: Socket, (x, y): (f64, f64), State(game): State<Game>| {
        if let Some(player) = game.lock().players.get_mut(&socket.id()) {
            player.direction = [x, y].map(|part| if part.is_finite() { part.clamp(-1.0, 1.0) } else { 0.0 });
        }
    });
    tokio::spawn(run(arena, game));
    io.serve(listener().await?, stopped()?).await?;
    Ok(())
}

async fn play(socket: Socket, name: String, State(game): State<Game>) -> Outcome<serde_json::Value> {
    let coin = {
        let mut world = game.lock();
        if world.players.len() >= PLAYERS {
            return Err("the game is full".into());
        }
        let middle = [SIZE / 2.0; 2];
        world.players.insert(socket.id(), Player { name: name.clone(), place: middle, direction: [0.0; 2], points: 0 });
        world.coin()
    };
    let left = game.clone();
    socket.on_disconnect(move |socket: Socket, _: DisconnectReason| async move {
        let player = left.lock().players.remove(&socket.id());
        let name = player.map(|player| player.name);
        socket.namespace().to("players").emit("left", (socket.id(), name))
    });
    socket.join("players")?.await;
    socket.to("players").emit("came", (socket.id(), name))?;
    Ok(json!({"id": socket.id(), "size": SIZE, "coin": coin}))
}

/// The loop. A step that comes late is left out, and not made up for.
async fn run(arena: Namespace, game: Game) {
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        let players = arena.to("players");
        // The world is locked for the step alone, not while it is sent.
        let (step, places, taken, coin) = {
            let mut world = game.lock();
            if world.players.is_empty() {
                continue;
            }
            let taken = world.step();
            let places: Vec<_> = world.players.iter().map(|(id, player)| (*id, player.place)).collect();
            (world.step, places, taken, world.coin())
        };
        let sent = players.clone().volatile().emit("state", (step, places));
        let told = taken.map_or(Ok(()), |Taken { by, points }| players.emit("coin", (step, by, points, coin)));
        if let Err(error) = sent.and(told) {
            tracing::error!(%error, "a step of the game could not be sent");
        }
    }
}
