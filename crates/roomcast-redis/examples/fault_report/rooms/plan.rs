//! [`Plan`]: which rooms a server's sockets are in, and whom the numbered messages are for.

use roomcast_adapter::cluster::Series;
use serde::{Deserialize, Serialize};

/// Three roomcast servers, and one of Node.
pub(super) const SERVERS: [&str; 4] = ["a", "b", "c", "n"];

/// The room that a roomcast server's last socket joins and leaves all the time.
pub(super) const MOVING: &str = "moving";

/// What a server is told of its part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// All that must count one another.
    pub(super) servers: usize,
    /// For each socket the rooms that it stays in.
    pub(super) sockets: Vec<Vec<String>>,
    /// Whom messages are for, in turn.
    pub(super) targets: Vec<Aim>,
    /// Bytes of a message beside its number.
    pub(super) padding: usize,
}

/// Everybody, or the members of rooms; but for members of others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Aim {
    pub(super) rooms: Vec<String>,
    pub(super) except: Vec<String>,
}

/// Whether a socket is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meant {
    Yes,
    No,
    /// While it is in [`MOVING`].
    Sometimes,
}

impl Plan {
    pub(super) fn of(server: &str, padding: usize) -> Self {
        let rooms = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let own = format!("at {server}");
        let mut first = rooms(&["team", &own]);
        if ["a", "b"].contains(&server) {
            first.push("pair".to_owned());
        }
        let aim = |names: &[&str], except: &[&str]| Aim { rooms: rooms(names), except: rooms(except) };
        let targets = vec![
            aim(&[], &[]),
            aim(&["team"], &[]),
            aim(&["team", "pair"], &[]),
            aim(&["team"], &["quiet"]),
            aim(&["at a"], &[]),
            aim(&[], &["quiet"]),
            aim(&["at b"], &[]),
            aim(&["at a", "at c"], &[]),
            aim(&["pair"], &[]),
            aim(&["at c"], &[]),
            aim(&["empty"], &[]),
            aim(&["empty", "at b"], &[]),
            aim(&[MOVING], &[]),
            aim(&[MOVING, "at n"], &["quiet"]),
            aim(&["at n"], &[]),
        ];
        Self { servers: SERVERS.len(), sockets: vec![first, rooms(&["team", "quiet"]), Vec::new()], targets, padding }
    }

    /// Whom a message is for.
    pub(super) fn aim(&self, number: u64) -> &Aim {
        &self.targets[(number - 1) as usize % self.targets.len()]
    }

    /// Whether a socket of this server is meant. `moves`: its last one comes and goes.
    pub(super) fn meant(&self, aim: &Aim, socket: usize, moves: bool) -> Meant {
        let is_in = |rooms: &[String]| rooms.iter().any(|room| self.sockets[socket].contains(room));
        if is_in(&aim.except) {
            Meant::No
        } else if aim.rooms.is_empty() || is_in(&aim.rooms) {
            Meant::Yes
        } else if moves && socket + 1 == self.sockets.len() && aim.rooms.iter().any(|room| room == MOVING) {
            Meant::Sometimes
        } else {
            Meant::No
        }
    }
}

impl Aim {
    /// As the cluster layer has it: one room, whatever is excepted.
    pub(super) fn lane(&self) -> Series {
        if self.rooms.len() == 1 { Series::Rooms } else { Series::Main }
    }
}
