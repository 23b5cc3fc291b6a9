//! [`Target`]: which sockets are meant.

use crate::seam::room::Room;

/// Which sockets of a namespace are meant: those in any of `rooms` (everybody if there are none) that are in none of
/// `except`. Each matching socket is meant once, however many of the rooms it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms, or nothing for everybody.
    pub rooms: Vec<Room>,
    /// Rooms whose members are left out. This wins over `rooms`.
    pub except: Vec<Room>,
    /// Only sockets of this server.
    pub local: bool,
    /// `rooms` are ids: only the sockets of those ids are meant, and not who else joined the rooms of these names. Servers
    /// whose dialect cannot say so take it for the rooms.
    pub one: bool,
}

impl Target {
    /// Everybody in the namespace.
    pub fn everyone() -> Self {
        Self::default()
    }

    /// The members of one room.
    pub fn room(room: impl Into<Room>) -> Self {
        Self { rooms: vec![room.into()], ..Self::default() }
    }

    /// The socket of that id, whoever else joined the room of its name.
    pub fn socket(id: impl Into<Room>) -> Self {
        Self { one: true, ..Self::room(id) }
    }

    /// The same target without the members of `room`.
    #[must_use]
    pub fn except(mut self, room: impl Into<Room>) -> Self {
        self.except.push(room.into());
        self
    }

    /// The same target on this server only.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }
}
