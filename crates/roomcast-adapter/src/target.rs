//! [`Target`]: which sockets are meant.

use crate::limits::MAX_ROOM_BYTES;
use roomcast_protocol::SocketId;
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// The name of a room. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// A room that nobody is in, ever: its name is one byte longer than those that can be joined.
    pub fn nobody() -> Self {
        static NOBODY: LazyLock<Room> = LazyLock::new(|| Room::from("-".repeat(MAX_ROOM_BYTES + 1)));
        NOBODY.clone()
    }
}

impl From<&str> for Room {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Room {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&String> for Room {
    fn from(name: &String) -> Self {
        Self(name.as_str().into())
    }
}

impl From<&Room> for Room {
    fn from(room: &Room) -> Self {
        room.clone()
    }
}

impl From<SocketId> for Room {
    /// The room that a socket is always in.
    fn from(id: SocketId) -> Self {
        Self(id.as_str().into())
    }
}

impl Deref for Room {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Room {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

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
