//! [`Room`]: the name of a room.

use crate::limits::MAX_ROOM_BYTES;
use roomcast_protocol::SocketId;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// The name of a room. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Room(Arc<str>);

impl Room {
    /// A room that is always empty: its name is one byte too long to be joined.
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
    /// The room named after the socket's id, which the socket is always in.
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
