//! [`Plan`]: the rooms of a server's sockets, and the targets of the numbered messages.

use roomcast_adapter::cluster::Series;
use serde::{Deserialize, Serialize};

/// Three roomcast servers, and one Node server.
pub(super) const SERVERS: [&str; 4] = ["a", "b", "c", "n"];

/// The room that a roomcast server's last socket joins and leaves all the time.
pub(super) const MOVING: &str = "moving";

/// The instructions for a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// How many servers must count each other.
    pub(super) servers: usize,
    /// For each socket the rooms in which it stays.
    pub(super) sockets: Vec<Vec<String>>,
    /// The targets of the messages, in turn.
    pub(super) targets: Vec<Aim>,
    /// Bytes of a message beside its number.
    pub(super) padding: usize,
}

/// Everybody, or the members of rooms, except the members of other rooms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Aim {
    pub(super) rooms: Vec<String>,
    pub(super) except: Vec<String>,
}

/// Whether a message is for a socket.
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

    pub(super) fn aim(&self, number: u64) -> &Aim {
        &self.targets[(number - 1) as usize % self.targets.len()]
    }

    /// Whether a message is for a socket of this server. `moves`: the last socket joins and leaves [`MOVING`].
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
    /// The series in the cluster layer: rooms if there is exactly one, whatever is excepted.
    pub(super) fn series(&self) -> Series {
        if self.rooms.len() == 1 { Series::Rooms } else { Series::Main }
    }
}
