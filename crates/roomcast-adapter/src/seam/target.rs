//! [`Target`]: selects sockets of a namespace.

use crate::seam::room::Room;

/// Selects the sockets of a namespace that are in any of `rooms` (all sockets if `rooms` is empty) and in none of
/// `except`. Each matching socket is selected once, however many of the rooms it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms whose members are selected; empty for all sockets.
    pub rooms: Vec<Room>,
    /// Rooms whose members are left out. This wins over `rooms`.
    pub except: Vec<Room>,
    /// Only sockets of this server.
    pub local: bool,
    /// `rooms` are socket ids: only the sockets with these ids are selected, and not others that joined the rooms of
    /// these names. Servers whose dialect cannot express this treat them as rooms.
    pub one: bool,
}

impl Target {
    /// All sockets of the namespace.
    pub fn everyone() -> Self {
        Self::default()
    }

    /// The members of one room.
    pub fn room(room: impl Into<Room>) -> Self {
        Self { rooms: vec![room.into()], ..Self::default() }
    }

    /// The socket with this id, and no other member of the room of that name.
    pub fn socket(id: impl Into<Room>) -> Self {
        Self { one: true, ..Self::room(id) }
    }

    /// The same target without the members of `room`.
    #[must_use]
    pub fn except(mut self, room: impl Into<Room>) -> Self {
        self.except.push(room.into());
        self
    }

    /// The same target, on this server only.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }
}
